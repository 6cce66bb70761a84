"""Modes that change while messages wait, and what comes together with what."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import AgentEvent, Result
from runtime.storage.sqlite import open_memory
from tests.actors.listener import BACKLOG, Listener, state_of
from tests.actors.stage import Call, HandAgent, chunk, clock, settings, stage

QUICK = settings(queue={"debounce": 0.0})


@pytest.mark.parametrize("by", ["the session", "the settings"])
async def test_what_waits_is_handed_over_once_the_mode_is_steer(
    autojump_clock: MockClock, by: str
) -> None:
    # Q3
    agent = Listener()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        waits = [await session.prompt(text) for text in ("two", "three")]
        await trio.sleep(20)
        assert agent.asked == []
        if by == "the session":
            await session.set_queue(mode="steer")
        else:
            rt.reconfigure(settings(queue={"mode": "steer"}))
        assert [await agent.was_asked(count) for count in (1, 2)] == ["two", "three"]
        agent.go.set()
        assert (await waits[1].result()).text == "well: one, two, three"
        assert agent.prompts == ["one"]


async def test_what_waits_interrupts_once_the_mode_is_interrupt(autojump_clock: MockClock) -> None:
    # Q3
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        old = await session.prompt("old")
        running = await agent.called(1)
        new = await session.prompt("new")
        await trio.sleep(20)
        assert not running.cancelled.is_set()
        await session.set_queue(mode="interrupt")
        call = await agent.called(2)
        assert running.cancelled.is_set()
        lines = call.text.splitlines()  # nothing had come of the first
        assert [line for line in lines if line in ("old", "new")] == ["old", "new"]
        call.go.set()
        assert (await new.result()).text == f"echo: {call.text}"
        assert (await old.result()).text == f"echo: {call.text}"


@pytest.mark.parametrize("mode", ["collect", "steer", "followup"])
async def test_what_a_turn_was_told_of_has_its_own_turn_in_any_mode(
    autojump_clock: MockClock, mode: str
) -> None:
    # Q3: the documented second answer of steer-backlog
    agent = Listener()
    async with stage(agent=agent, settings=BACKLOG) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        await trio.sleep(1)
        await session.set_queue(mode=mode)
        await trio.sleep(20)
        assert agent.asked == ["two"]
        agent.go.set()
        assert (await first.result()).text == "well: one, two"
        assert (await second.result()).text == "well: two"


async def test_an_agent_that_does_not_stop_is_interrupted_all_the_same(
    autojump_clock: MockClock,
) -> None:
    # Q3 T6
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk(f"{call.text}: ")
        if call.text == "old":
            for _ in range(1_000):
                await trio.sleep(1)
                yield chunk("la ")
        yield Result()

    agent = HandAgent(play, hold=False)
    network = ScriptedChannel()
    rude = settings(queue={"mode": "interrupt", "debounce": 1.0})
    async with stage(agent=agent, channels=[network], settings=rude):
        await network.say("old")
        await agent.called(1)
        began = trio.current_time()
        await network.say("newer")
        await network.say("newest")
        call = await agent.called(2)
        assert call.text.endswith("---\n1.\nnewer\n\n---\n2.\nnewest")
        assert 1 + 5 <= trio.current_time() - began <= 1 + 5 + 1 + 0.1
        assert agent.closed == 1
        (answer,) = await network.sent(1)
        assert answer.text.startswith(call.text[:10])


async def test_copies_that_a_turn_was_told_of_fill_the_queue_like_others(
    autojump_clock: MockClock,
) -> None:
    # Q3 Q4
    agent = Listener()
    network = ScriptedChannel()
    small = settings(queue={"mode": "steer-backlog", "debounce": 0.0, "cap": 2, "drop": "old"})
    async with (
        open_memory(clock) as store,
        stage(agent=agent, channels=[network], store=store, settings=small) as rt,
    ):
        await network.say("one")
        await agent.prompted(1)
        for count, text in enumerate(("two", "three", "four"), 1):
            await network.say(text)
            assert await agent.was_asked(count) == text
        await trio.sleep(1)
        (notice,) = await network.sent(1)
        assert "Too many messages are waiting" in notice.text
        agent.go.set()
        texts = [each.text for each in await network.sent(3)]
        assert texts[1] == "well: one, two, three, four"
        assert "three" in texts[2]
        assert "four" in texts[2]
        assert "two" not in texts[2]
        (info,) = (await rt.front.list_sessions()).sessions
        assert (await rt.front.queue_status(info.row.id)).waiting == 0


async def test_messages_that_joined_a_turn_do_not_fill_the_queue(autojump_clock: MockClock) -> None:
    # Q3 Q4
    agent = Listener()
    network = ScriptedChannel()
    small = settings(queue={"mode": "steer", "debounce": 0.0, "cap": 1})
    async with (
        open_memory(clock) as store,
        stage(agent=agent, channels=[network], store=store, settings=small),
    ):
        for count, text in enumerate(("one", "two", "three", "four")):
            await network.say(text)
            await (agent.was_asked(count) if count else agent.prompted(1))
            await trio.sleep(1)
        agent.go.set()
        (answer,) = await network.sent(1)
        assert answer.text == "well: one, two, three, four"


async def test_a_shorter_window_holds_for_what_waits_already(autojump_clock: MockClock) -> None:
    # Q1 Q3
    agent = HandAgent(hold=False)
    network = ScriptedChannel()
    patient = settings(queue={"debounce": 500.0, "debounce_max": 900.0})
    async with stage(agent=agent, channels=[network], settings=patient) as rt:
        await network.say("one")
        await trio.sleep(10)
        assert agent.calls == []
        began = trio.current_time()
        rt.reconfigure(settings(queue={"debounce": 20.0, "debounce_max": 30.0}))
        await agent.called(1)
        assert 9 <= trio.current_time() - began <= 11


async def test_a_sessions_own_settings_outlive_a_restart(autojump_clock: MockClock) -> None:
    # Q3 Q8
    agent = HandAgent()
    network = ScriptedChannel()
    async with open_memory(clock) as store:
        async with stage(agent=agent, channels=[network], store=store, settings=QUICK):
            await network.say("/queue followup cap:1 drop:new")
            await network.sent(1)
        network.lose_connection()
        async with stage(agent=agent, channels=[network], store=store, settings=QUICK) as rt:
            await network.say("runs")
            await agent.called(1)
            await network.say("waits")
            await network.say("too many")
            assert "No more are taken" in (await network.sent(2))[1].text
            (info,) = (await rt.front.list_sessions()).sessions
            assert (await rt.front.queue_status(info.row.id)).mode == "followup"
            (waits,) = await store.pending_messages(info.row.id)
            assert (await state_of(store, waits.id))[0] is InboundState.PENDING
