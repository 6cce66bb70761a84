"""Agents that do what they should not: the message still ends once, and says how."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from runtime.embedding import TurnFailed
from runtime.ports.agent import AgentGone
from runtime.sessions.content import TextBlock
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import AgentEvent, AgentMessageChunk, Result
from runtime.storage.sqlite import open_memory
from tests.actors.stage import Call, HandAgent, chunk, clock, stage

Play = Callable[[Call], AsyncIterator[AgentEvent]]


async def gone_after_the_result(call: Call) -> AsyncIterator[AgentEvent]:
    yield chunk("done")
    yield Result()
    raise AgentGone("a one-shot agent exits")


async def bug_after_the_result(call: Call) -> AsyncIterator[AgentEvent]:
    yield chunk("done")
    yield Result()
    raise ZeroDivisionError("in its clean-up")


async def endless_after_the_result(call: Call) -> AsyncIterator[AgentEvent]:
    yield chunk("done")
    yield Result()
    await trio.sleep(50_000)


async def talking_after_the_result(call: Call) -> AsyncIterator[AgentEvent]:
    yield chunk("done")
    yield Result()
    yield chunk(" and more")


@pytest.mark.parametrize(
    "play",
    [
        gone_after_the_result,
        bug_after_the_result,
        endless_after_the_result,
        talking_after_the_result,
    ],
)
async def test_a_complete_answer_stands(autojump_clock: MockClock, play: Play) -> None:
    # T2 T3 T5
    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        began = trio.current_time()
        outcome = await (await session.prompt("go")).result()
        assert (outcome.state, outcome.text) == (InboundState.DONE, "done")
        assert trio.current_time() - began < 5
        assert (await (await session.prompt("again")).result()).text == "done"
        assert len(agent.calls) == 2


async def test_a_complete_answer_survives_a_power_cut_right_after_it(
    autojump_clock: MockClock,
) -> None:
    # T5 D7
    agent = HandAgent(endless_after_the_result, hold=False)
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store) as rt:
                turn = await (await rt.session("demo")).prompt("go")
                async for _ in turn:
                    await trio.sleep(0.5)
                    power.cancel()
                    await trio.sleep_forever()
        status = await store.message_status(turn.message_id)
        assert status is not None
        assert status.message.state is InboundState.DONE


async def stops_without_a_word(call: Call) -> AsyncIterator[AgentEvent]:
    await call.cancelled.wait()
    if call.text == "never":
        yield Result()


async def vanishes_when_asked(call: Call) -> AsyncIterator[AgentEvent]:
    await call.cancelled.wait()
    if call.text == "never":
        yield Result()
    raise AgentGone("exits when it is told to stop")


async def fails_when_asked(call: Call) -> AsyncIterator[AgentEvent]:
    await call.cancelled.wait()
    if call.text == "never":
        yield Result()
    raise OSError("broken pipe")


async def finishes_when_asked(call: Call) -> AsyncIterator[AgentEvent]:
    await call.cancelled.wait()
    yield Result("end_turn", text="too late")


ASKED = [stops_without_a_word, vanishes_when_asked, fails_when_asked]


@pytest.mark.parametrize("play", [*ASKED, finishes_when_asked])
async def test_cancelled_is_cancelled_however_the_agent_takes_it(
    autojump_clock: MockClock, play: Play
) -> None:
    # G11 T6
    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("go")
        await agent.called(1)
        assert await turn.cancel()
        assert (await turn.result()).stop_reason == "cancelled"
        await trio.sleep(500)
        assert len(agent.calls) == 1


@pytest.mark.parametrize("play", [*ASKED, finishes_when_asked])
async def test_cleared_is_dropped_even_if_an_event_comes_later(
    autojump_clock: MockClock, play: Play
) -> None:
    # H3 S32
    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("go")
        await agent.called(1)
        assert await session.clear() == 1
        outcome = await turn.result()
        assert (outcome.state, outcome.stop_reason) == (InboundState.DROPPED, "cancelled")


async def test_clearing_spares_a_turn_that_has_begun(autojump_clock: MockClock) -> None:
    # H3
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("I have begun")
        await call.go.wait()
        yield Result()

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("go")
        async for _ in turn:
            break
        assert await session.clear() == 0
        agent.calls[0].go.set()
        assert (await turn.result()).text == "I have begun"


@pytest.mark.parametrize("play", ASKED)
async def test_past_the_grace_nothing_counts_as_an_answer(
    autojump_clock: MockClock, play: Play
) -> None:
    # S45 T5
    agent = HandAgent(play, hold=False)
    async with open_memory(clock) as store:
        async with stage(agent=agent, store=store) as rt:
            sent = await (await rt.session("demo")).send("go")
            await agent.called(1)
        status = await store.message_status(sent.message_id)
        assert status is not None
        assert (status.message.state, status.message.tries) == (InboundState.PENDING, 1)


@pytest.mark.parametrize("play", ASKED)
async def test_a_silent_agent_is_retried_however_it_takes_its_end(
    autojump_clock: MockClock, play: Play
) -> None:
    # T4 T5
    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        turn = await (await rt.session("demo")).prompt("go")
        with pytest.raises(TurnFailed) as caught:
            await turn.result()
        assert caught.value.code == "agent_silent"
        assert len(agent.calls) == 2


async def test_a_cancel_outlives_the_runtime(autojump_clock: MockClock) -> None:
    # G11 T5
    async def deaf(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("la la la")
        await trio.sleep(50_000)

    agent = HandAgent(deaf, hold=False)
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store) as rt:
                turn = await (await rt.session("demo")).prompt("go")
                await agent.called(1)
                assert await turn.cancel()
                power.cancel()
                await trio.sleep_forever()
        async with stage(agent=agent, store=store) as rt:
            outcome = await rt.front.outcome(turn.message_id)
            assert outcome.stop_reason == "cancelled"
            assert len(agent.calls) == 1


BAD: dict[str, Any] = {
    "text": "hello",
    "chunk of text": AgentMessageChunk(cast("TextBlock", "hello")),
    "error of text": Result(error=cast("Any", "bad")),
    "stop reason": Result(stop_reason=cast("str", object())),
    "session id": Result(agent_session_id=cast("str", object())),
    "nothing": None,
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_event_is_an_error_of_the_agent(
    autojump_clock: MockClock, name: str
) -> None:
    # T5 K6
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("it did something")
        yield BAD[name]

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        with pytest.raises(TurnFailed) as caught:
            await (await session.prompt("go")).result()
        assert caught.value.code == "agent_raised"
        assert len(agent.calls) == 1
        assert [line.role for line in await session.history()] == ["user", "assistant", "system"]


async def test_an_error_that_cannot_be_written_is_written_without_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    # T5
    caplog.set_level(logging.CRITICAL, "actors.turn")  # a worker of xdist cannot send the line

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("half a \ud800 character")
        raise OSError("no file \udcff" + "x" * 100_000)

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        with pytest.raises(TurnFailed, match="no file"):
            await (await session.prompt("go")).result()
        assert len(agent.calls) == 1
