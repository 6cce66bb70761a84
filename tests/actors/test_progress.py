"""What is left of a turn whose end could not be written down."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio
from trio.testing import MockClock

from runtime.sessions.updates import AgentEvent, Result, ToolCall
from tests.actors.slow_writing import QUICK, agent, network, quiet
from tests.actors.stage import Call, HandAgent, chunk, stage
from tests.actors.test_stubborn_disk import refusing


async def test_what_was_said_a_little_before_a_power_cut_is_kept(
    autojump_clock: MockClock,
) -> None:
    # T3 T5 D8
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if "cut off" not in call.text:
            yield chunk("one")
            await trio.sleep(1.2)
            yield ToolCall("1", "look")
            yield chunk("two")
            await trio.sleep(1.2)
            yield chunk("three")
            await trio.sleep_forever()
        yield Result(text="whole")

    agent = HandAgent(play, hold=False)
    async with refusing() as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store) as rt:
                session = await rt.session("demo")
                sent = await session.send("hello")
                await agent.called(1)
                await trio.sleep(2.5)
                store.refusals["end_turn"] = 99
                power.cancel()
                await trio.sleep_forever()
        store.refusals.clear()
        async with stage(agent=agent, store=store) as rt:
            assert (await rt.front.outcome(sent.message_id)).text == "whole"
            lines = await store.journal(session.id)
        assert [line.content for line in lines] == ["hello", "one\n\ntwo", "whole"]
        assert lines[1].data is not None
        assert lines[1].data["interrupted"] is True
        assert "look" in str(lines[1].data)


async def test_of_a_second_run_that_is_stopped_before_it_says_anything_nothing_stays(
    autojump_clock: MockClock,
) -> None:
    # R8 T5
    chat = network()
    async with refusing() as store:
        with trio.CancelScope() as power:
            half = agent("half", 1_000.0)
            async with stage(agent=half, channels=[chat], store=store, settings=QUICK):
                await chat.say("hello")
                await chat.called("draft")
                await trio.sleep(0.5)
                power.cancel()
                await trio.sleep_forever()
        chat.lose_connection()

        async def works(call: Call) -> AsyncIterator[AgentEvent]:
            yield ToolCall("1", "look")
            await trio.sleep(50_000)
            yield Result()

        working = HandAgent(works, hold=False)
        async with stage(agent=working, channels=[chat], store=store, settings=QUICK):
            await working.called(1)
            await trio.sleep(5)
            assert chat.visible() == ["half"]
            await chat.say("/stop")
            await quiet()
        assert chat.visible() == ["Stopped."]
