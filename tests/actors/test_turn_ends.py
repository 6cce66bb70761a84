"""Every end of a turn, and what it means for its messages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from actors.agents.echo import EchoAgent, Options
from actors.channels.scripted import ScriptedChannel
from runtime.embedding import TurnFailed
from runtime.ports.agent import AgentGone, AgentRefused
from runtime.sessions.content import TextBlock
from runtime.sessions.events import TurnEnded
from runtime.sessions.rows import InboundState, TurnError, TurnState
from runtime.sessions.settling import LOG, LOOK_FIRST
from runtime.sessions.updates import AgentEvent, AgentMessageChunk, AvailableCommands, Result
from runtime.storage.sqlite import open_memory
from tests.actors.stage import Call, HandAgent, clock, echo, settings, stage


async def test_an_agent_that_vanishes_before_it_begins_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    # T5 T2 T6
    failures = 3

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        nonlocal failures
        yield AvailableCommands([])  # an announcement is no first event
        if failures:
            failures -= 1
            raise AgentGone("gone")
        yield AgentMessageChunk(TextBlock("here"))
        yield Result()

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        with session.watch() as watch:
            turn = await session.prompt("hello")
            began = trio.current_time()
            assert (await turn.result()).text == "here"
            assert trio.current_time() - began >= 5 + 10 + 20
            ends = []
            async for live in watch:
                if isinstance(live.event, TurnEnded):
                    ends.append(live.event)
                    if live.event.state is TurnState.DONE:
                        break
        assert [e.state for e in ends] == [TurnState.VANISHED] * 3 + [TurnState.DONE]
        assert all(e.retry_at is not None for e in ends[:3])
        assert (agent.opened, agent.closed) == (4, 3)
        assert [line.role for line in await session.history()] == ["user", "assistant"]


async def test_tries_end_with_one_clear_message(autojump_clock: MockClock) -> None:
    # T5
    network = ScriptedChannel()
    agent = EchoAgent(Options(fail="before"))
    few = settings(sessions={"max_tries": 2})
    async with stage(agent=agent, channels=[network], settings=few) as rt:
        await network.say("hello")
        (arrival,) = await network.sent(1)
        assert "went away" in arrival.text
        assert "send the message again" in arrival.text
        (info,) = (await rt.front.list_sessions()).sessions
        lines = await rt.front.journal(info.row.id)
        assert [line.role for line in lines] == ["user", "system"]
        await trio.sleep(1_000)
        assert len(network.arrived) == 1


@pytest.mark.parametrize(
    "error, text",
    [
        (AgentGone("no pipe"), f"The agent went away: no pipe. {LOOK_FIRST}"),
        (ValueError("x"), f"The agent failed: ValueError: x. {LOG} {LOOK_FIRST}"),
        (AgentRefused("Ask me tomorrow"), "Ask me tomorrow"),
    ],
)
async def test_a_failure_in_mid_turn_is_one_message_that_says_what_to_do(
    autojump_clock: MockClock, error: Exception, text: str
) -> None:
    # T5
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield AgentMessageChunk(TextBlock("half an ans"))
        raise error

    network = ScriptedChannel()
    async with stage(agent=HandAgent(play, hold=False), channels=[network]):
        await network.say("hello")
        await trio.sleep(1_000)
        assert [each.text for each in network.arrived] == [text]


@pytest.mark.parametrize("fail", ["error", "after"])
async def test_an_answered_error_or_a_late_crash_is_not_tried_again(
    autojump_clock: MockClock, fail: str
) -> None:
    # T5
    agent = EchoAgent(Options(fail=fail, fail_times=1))  # type: ignore[arg-type]
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("one two three")
        with pytest.raises(TurnFailed) as caught:
            await turn.result()
        assert caught.value.code == ("echo_error" if fail == "error" else "agent_gone")
        assert (await (await session.prompt("again")).result()).text == "again"


async def test_an_exception_of_an_agent_is_its_answer(autojump_clock: MockClock) -> None:
    # T5
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if call.text == "bug":
            raise ZeroDivisionError("oops")
        if call.text == "refuse":
            raise AgentRefused("not today", code="busy")
        if call.text == "error result":
            yield AgentMessageChunk(TextBlock("half an ans"))
            yield Result(error=TurnError("overloaded", "try later"))
            return
        async for event in echo(call):
            yield event

    async with stage(agent=HandAgent(play, hold=False)) as rt:
        session = await rt.session("demo")
        for text, code in (
            ("bug", "agent_raised"),
            ("refuse", "busy"),
            ("error result", "overloaded"),
        ):
            with pytest.raises(TurnFailed) as caught:
                await (await session.prompt(text)).result()
            assert caught.value.code == code
        assert (await (await session.prompt("fine")).result()).text == "echo: fine"


async def test_a_silent_agent_is_asked_once_more(autojump_clock: MockClock) -> None:
    # T4 T5
    agent = EchoAgent(Options(fail="silent"))
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        began = trio.current_time()
        turn = await session.prompt("hello")
        with pytest.raises(TurnFailed) as caught:
            await turn.result()
        assert caught.value.code == "agent_silent"
        took = trio.current_time() - began
        assert 2 * 300 <= took <= 2 * (300 + 5 + 5) + 5


async def test_that_it_stops_when_asked_to_is_no_first_event(autojump_clock: MockClock) -> None:
    # T4 T5 T6 H4
    agent = HandAgent()  # it answers nothing but the cancel
    impatient = settings(sessions={"first_event_limit": 10.0})
    async with (
        open_memory(clock) as store,
        stage(agent=agent, store=store, settings=impatient) as rt,
    ):
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        again = await agent.called(2)
        assert agent.calls[0].finished
        status = await store.message_status(turn.message_id)
        assert status is not None
        assert status.message.tries == 1
        again.go.set()
        assert (await turn.result()).text == "echo: hello"


async def test_an_agent_that_only_announces_things_is_silent(autojump_clock: MockClock) -> None:
    # T4 T6
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        for _ in range(1_000):
            await trio.sleep(3)
            yield AvailableCommands([])
        yield Result()

    impatient = settings(sessions={"first_event_limit": 10.0})
    async with stage(agent=HandAgent(play, hold=False), settings=impatient) as rt:
        session = await rt.session("demo")
        began = trio.current_time()
        with pytest.raises(TurnFailed) as caught:
            await (await session.prompt("hello")).result()
        assert caught.value.code == "agent_silent"
        assert trio.current_time() - began <= 2 * (10 + 5 + 5) + 5


async def test_silence_in_mid_turn_ends_it_and_the_queue_goes_on(
    autojump_clock: MockClock,
) -> None:
    # T4
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield AgentMessageChunk(TextBlock("and then"))
        if call.text == "stall":
            await trio.sleep_forever()
        yield Result()

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("stall")
        await agent.called(1)
        after = await session.prompt("next")
        began = trio.current_time()
        with pytest.raises(TurnFailed) as caught:
            await turn.result()
        assert caught.value.code == "agent_stalled"
        assert (await after.result()).text == "and then"
        assert trio.current_time() - began <= 1_800 + 5 + 5


async def test_an_agent_deaf_to_cancel_loses_the_turn(autojump_clock: MockClock) -> None:
    # T6 T2
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield AgentMessageChunk(TextBlock("la la la"))
        await trio.sleep(50_000)
        yield Result()

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        async for _ in turn:
            break
        began = trio.current_time()
        assert await turn.cancel()
        outcome = await turn.result()
        assert outcome.stop_reason == "cancelled"
        assert 5 <= trio.current_time() - began <= 10
        assert agent.closed == 1
        assert (await session.history())[-1].content == "la la la"


async def test_a_persons_wish_comes_before_the_reasons_of_the_runtime(
    autojump_clock: MockClock,
) -> None:
    # T4 T5 G11
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        await trio.sleep(50_000)
        yield Result()

    agent = HandAgent(play, hold=False)
    impatient = settings(sessions={"first_event_limit": 10.0})
    async with stage(agent=agent, settings=impatient) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        await agent.called(1)
        await trio.sleep(12)  # it is being ended for its silence, to be asked once more
        assert await turn.cancel()
        assert (await turn.result()).stop_reason == "cancelled"
        await trio.sleep(100)
        assert len(agent.calls) == 1


async def test_a_complete_answer_is_not_cancelled_any_more(autojump_clock: MockClock) -> None:
    # T2 G11
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield Result(text="all of it")
        said.set()
        await trio.sleep(0.5)

    said = trio.Event()
    async with stage(agent=HandAgent(play, hold=False)) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        await said.wait()
        assert not await turn.cancel()
        outcome = await turn.result()
        assert (outcome.stop_reason, outcome.text) == ("end_turn", "all of it")


async def test_what_a_running_turn_said_is_kept_about_every_second(
    autojump_clock: MockClock,
) -> None:
    # T3 D8 T5 S45
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if "cut off" not in call.text:
            yield AgentMessageChunk(TextBlock("The answer is"))
            await trio.sleep(3)
            yield AgentMessageChunk(TextBlock(" forty-"))
            await trio.sleep_forever()
        yield AgentMessageChunk(TextBlock("forty-two"))
        yield Result()

    agent = HandAgent(play, hold=False)
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store) as rt:
                session = await rt.session("demo")
                submitted = await session.send("what is the answer?")
                await agent.called(1)
                await trio.sleep(10)
                power.cancel()
                await trio.sleep_forever()
        lines = await store.journal(session.id)
        assert [(x.role, x.content) for x in lines] == [
            ("user", "what is the answer?"),
            ("assistant", "The answer is forty-"),
        ]
        assert lines[1].data is not None
        assert lines[1].data["interrupted"] is True
        async with stage(agent=agent, store=store) as rt:
            outcome = await rt.front.outcome(submitted.message_id)
            assert (outcome.state, outcome.text) == (InboundState.DONE, "forty-two")
            lines = await store.journal(session.id)
            assert [x.role for x in lines] == ["user", "assistant", "assistant"]


async def test_interrupted_messages_may_be_failed_instead(autojump_clock: MockClock) -> None:
    # T5
    agent = HandAgent()
    notify = settings(sessions={"on_interrupted": "notify"})
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store, settings=notify) as rt:
                submitted = await (await rt.session("demo")).send("hello")
                await agent.called(1)
                power.cancel()
                await trio.sleep_forever()
        async with stage(agent=agent, store=store, settings=notify) as rt:
            outcome = await rt.front.outcome(submitted.message_id)
            assert outcome.state is InboundState.FAILED
            assert len(agent.calls) == 1


async def test_a_graceful_stop_lets_the_turn_finish_and_keeps_the_rest(
    autojump_clock: MockClock,
) -> None:
    # S45 T5
    agent = HandAgent()
    async with open_memory(clock) as store:
        async with trio.open_nursery() as nursery, stage(agent=agent, store=store) as rt:
            session = await rt.session("demo")
            runs = await session.send("runs")
            call = await agent.called(1)
            waits = await session.send("waits")

            async def finish_soon() -> None:
                await trio.sleep(5)
                call.go.set()

            nursery.start_soon(finish_soon)
        assert len(agent.calls) == 1
        done = await store.message_status(runs.message_id)
        kept = await store.message_status(waits.message_id)
        assert done is not None
        assert done.message.state is InboundState.DONE
        assert kept is not None
        assert kept.message.state is InboundState.PENDING
        assert kept.message.tries == 0
        agent.hold = False
        async with stage(agent=agent, store=store) as rt:
            assert (await rt.front.outcome(waits.message_id)).text == "echo: waits"


async def test_past_the_grace_a_turn_is_cut_off_and_runs_again(autojump_clock: MockClock) -> None:
    # S45 T5
    agent = HandAgent()
    async with open_memory(clock) as store:
        async with stage(agent=agent, store=store) as rt:
            runs = await (await rt.session("demo")).send("long work")
            await agent.called(1)
            began = trio.current_time()
        assert 10 <= trio.current_time() - began <= 16
        status = await store.message_status(runs.message_id)
        assert status is not None
        assert status.message.tries == 1
        assert status.message.state is InboundState.PENDING
        agent.hold = False
        async with stage(agent=agent, store=store) as rt:
            await rt.front.outcome(runs.message_id)
            assert "cut off" in agent.calls[1].text
            assert "long work" in agent.calls[1].text


@pytest.mark.parametrize("first", ["power cut", "stop"])
async def test_that_it_was_cut_off_is_said_however_often_it_is_tried(
    autojump_clock: MockClock, first: str
) -> None:
    # T5 D8
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if len(agent.calls) == 1:
            await trio.sleep_forever()
        if len(agent.calls) == 2:
            raise AgentGone("gone")
        async for event in echo(call):
            yield event

    agent = HandAgent(play, hold=False)
    slowly = settings(sessions={"retry_delay": 600.0, "shutdown_grace": 0.0})
    async with open_memory(clock) as store:
        for tries in (1, 2):
            with trio.CancelScope() as power:
                async with stage(agent=agent, store=store, settings=slowly) as rt:
                    session = await rt.session("demo")
                    sent = await session.send("go", message_id="m")
                    await agent.called(tries)
                    await trio.sleep(1)
                    if (tries, first) != (1, "stop"):
                        power.cancel()
                        await trio.sleep_forever()
            status = await store.message_status(sent.message_id)
            assert status is not None
            assert (status.message.state, status.message.tries) == (InboundState.PENDING, tries)
        async with stage(agent=agent, store=store, settings=slowly):
            assert "cut off" in (await agent.called(3)).text
    assert "cut off" not in agent.calls[0].text
    assert "cut off" in agent.calls[1].text
