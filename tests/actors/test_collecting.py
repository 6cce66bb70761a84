"""What several messages are given as, when their turn is tried again or the runtime restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.ports.agent import AgentGone
from runtime.sessions.updates import AgentEvent
from runtime.storage.sqlite import open_memory
from tests.actors.stage import Call, HandAgent, clock, echo, settings, stage
from tests.actors.test_stubborn_disk import refusing

BUSY = "messages were queued while the agent was busy"


async def test_a_collected_batch_is_the_same_when_it_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    # Q2 T5
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if BUSY in call.text and len(agent.calls) == 2:
            raise AgentGone("gone")
        async for event in echo(call):
            yield event

    agent = HandAgent(play)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.send("one")
        running = await agent.called(1)
        await session.send("two")
        await session.send("three")
        agent.hold = False
        running.go.set()
        again = await agent.called(3)
        assert again.text == agent.calls[1].text
        assert BUSY in again.text


@pytest.mark.parametrize("how", ["power cut", "stop"])
async def test_what_came_while_a_turn_ran_is_known_after_a_restart(
    autojump_clock: MockClock, how: str
) -> None:
    # Q2 Q8 T5 S45
    agent = HandAgent()
    async with refusing() as store:
        with trio.CancelScope() as power:
            async with trio.open_nursery() as nursery, stage(agent=agent, store=store) as rt:
                session = await rt.session("demo")
                await session.send("one")
                running = await agent.called(1)
                await trio.sleep(1)
                if how == "power cut":  # and a command that the disk refuses is among them
                    store.refusals["finish_pending"] = 99
                    await session.send("/status")
                await session.send("two")
                await session.send("three")
                if how == "power cut":
                    power.cancel()
                    await trio.sleep_forever()
                nursery.start_soon(let_go, running)
        store.refusals.clear()
        agent.hold = False
        async with stage(agent=agent, store=store):
            collected = await agent.called(3 if how == "power cut" else 2)
        assert collected.text == f"[2 {BUSY}.]\n\n---\n1.\ntwo\n\n---\n2.\nthree"


async def let_go(call: Call) -> None:
    """Let a turn end when the runtime is stopping."""
    await trio.sleep(5)
    call.go.set()


async def test_what_was_said_in_one_go_before_a_restart_was_not_collected(
    autojump_clock: MockClock,
) -> None:
    # Q1 Q2
    agent = HandAgent()
    network = ScriptedChannel()
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, channels=[network], store=store):
                await network.say("one")
                (await agent.called(1)).go.set()
                await network.sent(1)
                await trio.sleep(1)
                await network.say("two")
                await network.say("three")
                await agent.called(2)
                power.cancel()
                await trio.sleep_forever()
        network.lose_connection()
        async with stage(agent=agent, channels=[network], store=store):
            again = await agent.called(3)
            assert again.text.endswith("two\n\nthree")
            assert BUSY not in again.text


async def test_lines_of_what_was_dropped_come_again_with_a_new_try(
    autojump_clock: MockClock,
) -> None:
    # Q4 T5
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if len(agent.calls) == 2:
            raise AgentGone("gone")
        async for event in echo(call):
            yield event

    agent = HandAgent(play)
    network = ScriptedChannel()
    small = settings(queue={"cap": 1, "debounce": 0.0})
    async with stage(agent=agent, channels=[network], settings=small):
        await network.say("runs")
        running = await agent.called(1)
        await network.say("dropped")
        await network.say("kept")
        agent.hold = False
        running.go.set()
        again = await agent.called(3)
        assert "- Ann: dropped\n\nkept" in agent.calls[1].text
        assert again.text == agent.calls[1].text
        await network.say("later")
        assert (await agent.called(4)).text == "later"
