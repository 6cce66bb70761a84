"""Things that happen at the same moment: nothing is lost, done twice or held for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from actors.front import ActorFront
from actors.queue import Arrived
from actors.sessions import FindLive
from runtime.app import Runtime
from runtime.embedding import Session
from runtime.ports.agent import Agent, AgentContext, AgentGone, AgentHandle, Offers, PromptTurn
from runtime.ports.front import FrontError, SessionBlocked
from runtime.sessions.events import Notice, PermissionAnswered
from runtime.sessions.rows import InboundRow, InboundState
from runtime.sessions.updates import AgentEvent, PermissionRequest, Result, ToolCallUpdate
from tests.actors.slowness import Starting, slow
from tests.actors.stage import Call, HandAgent, chunk, settings, stage
from tests.actors.test_permissions import OPTIONS, Asks
from tests.actors.test_starting_agents import Flaky


async def test_a_cancel_right_after_the_receipt_counts(autojump_clock: MockClock) -> None:
    # G11
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        for _ in range(5):
            turn = await session.prompt("never mind")  # the session sleeps, or has just woken
            assert await turn.cancel()
            assert (await turn.result()).stop_reason == "cancelled"
        await trio.sleep(100)
        for _ in range(5):
            turn = await session.prompt("never mind")
            assert await rt.front.cancel(session.id, message_id=turn.message_id)
            assert (await turn.result()).stop_reason == "cancelled"
            await trio.sleep(100)


async def test_what_was_said_before_the_question_is_no_answer_to_it(
    autojump_clock: MockClock,
) -> None:
    # S36 T6 D8
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("hm")
        await trio.sleep(2)
        yield PermissionRequest("q", ToolCallUpdate("t", title="rm -r x"), OPTIONS)
        await trio.sleep(30)
        yield Result()

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        with session.watch() as watch:
            first = await session.prompt("go")
            await agent.called(1)
            await session.prompt("Allow")
            await first.result()
            async for live in watch:
                if isinstance(live.event, PermissionAnswered):
                    assert live.event.option_id is None
                    break
        assert (await agent.called(2)).text == "Allow"


async def test_those_who_watch_a_blocked_session_are_told_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    # P3
    codes: list[str] = []

    async def look() -> None:
        with session.watch() as watch:
            async for live in watch:
                if isinstance(live.event, Notice):
                    codes.append(live.event.code)

    async with stage(agent=Flaky(99)) as rt:
        session = await rt.session("demo")
        nursery.start_soon(look)
        await session.send("hello")
        await trio.sleep(1_000)
        assert codes.count("agent_blocked") == 1


async def test_an_agent_nobody_wants_any_more_makes_room_for_others(
    autojump_clock: MockClock,
) -> None:
    # P6
    agent = Starting()
    one = settings(sessions={"max_agent_processes": 1})
    async with stage(agent=agent, settings=one) as rt:
        first, second = await rt.session("first"), await rt.session("second")
        turn = await first.prompt("a")
        await trio.sleep(2)
        await turn.cancel()
        await trio.sleep(2.9)
        again = await first.prompt("b")
        await trio.sleep(0.05)
        await again.cancel()
        with trio.fail_after(60):
            assert (await (await second.prompt("c")).result()).text == "c"


async def test_a_place_is_given_back_when_the_turn_goes_just_as_the_agent_comes(
    autojump_clock: MockClock,
) -> None:
    # P6
    agent = Starting()
    one = settings(sessions={"max_agent_processes": 1})
    async with stage(agent=agent, settings=one) as rt:
        first, second = await rt.session("first"), await rt.session("second")
        began = trio.current_time()
        turn = await first.prompt("a")
        async with trio.open_nursery() as nursery:
            for delay in (4.98, 4.99, 5.0):

                async def cancel(delay: float = delay) -> None:
                    await trio.sleep_until(began + delay)
                    await turn.cancel()

                nursery.start_soon(cancel)
        with trio.fail_after(60):
            assert (await (await second.prompt("c")).result()).text == "c"


async def test_a_question_that_cannot_be_written_down_now_is_put_later(
    autojump_clock: MockClock,
) -> None:
    # T6 D1
    class Counts(Asks):
        asked = 0

        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            self.asked += 1
            async with super().open(context) as handle:
                yield handle

    channel, agent = ScriptedChannel(), Counts()
    async with slow() as store, stage(agent=agent, channels=[channel], store=store):
        store.refusals["notify"] = 3
        await channel.say("go")
        await trio.sleep(60)
        assert channel.arrived[-1].text.startswith("The agent asks")
        await channel.say("1")
        await trio.sleep(5)
        assert channel.arrived[-1].text == "told yes"
        assert agent.asked == 1


async def test_a_choice_does_not_open_the_conversation_that_is_being_left(
    autojump_clock: MockClock,
) -> None:
    # S18 G2
    class Knows(Starting):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            async with super().open(context) as handle:
                yield Remembers(handle, f"conversation {len(self.contexts)}")

    class Remembers(AgentHandle):
        def __init__(self, within: AgentHandle, name: str) -> None:
            self._within = within
            self._name = name

        @property
        def agent_session_id(self) -> str | None:
            return self._name

        def prompt(self, turn: Any) -> AsyncIterator[AgentEvent]:
            return self._within.prompt(turn)

        async def choose(self, option_id: str, value: str | bool) -> None:
            await trio.sleep(1)

    agent = Knows(1.0)
    async with slow() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        assert (await (await session.prompt("a")).result()).text == "a"
        await session.reconnect()  # it is closed, so that the choice has to start it

        async def choose() -> None:
            with suppress(FrontError):
                await session.choose("model", "large")

        store.delays["new_epoch"] = 5.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(choose)
            await trio.sleep(0.5)
            await session.reset()
        assert (await (await session.prompt("b")).result()).text == "b"
        last = agent.contexts[-1]
        assert (last.epoch, last.resume) == (2, None)


async def test_a_cancel_that_overtakes_its_message_within_a_session_counts(
    autojump_clock: MockClock,
) -> None:
    # G11
    agent = HandAgent(hold=False)
    async with slow() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        store.delays["wake"] = 3.0  # the queue offers it as soon as the session is awake
        turn = await session.prompt("never mind")
        assert await turn.cancel()
        assert (await turn.result()).stop_reason == "cancelled"
        assert agent.calls == []


async def test_a_turn_that_is_cancelled_while_it_is_claimed_does_not_reach_the_agent(
    autojump_clock: MockClock,
) -> None:
    # T6 G11
    agent = HandAgent()
    async with slow() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        store.delays["begin_turn"] = 3.0
        turn = await session.prompt("never mind")
        await trio.sleep(1)
        began = trio.current_time()
        assert await turn.cancel()
        assert (await turn.result()).stop_reason == "cancelled"
        assert trio.current_time() - began < 5  # and the agent is not made to stop
        assert (agent.calls, agent.closed) == ([], 0)


async def test_a_start_that_is_called_off_is_no_failure(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    # P3 S18
    class Stuck(Starting):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            if not self.contexts:
                self.contexts.append(context)
                await trio.sleep(5)
                raise AgentGone("somebody has ended it")
            async with super().open(context) as handle:
                yield handle

    codes: list[str] = []

    async def look() -> None:
        with session.watch() as watch:
            async for live in watch:
                if isinstance(live.event, Notice):
                    codes.append(live.event.code)

    async with stage(agent=Stuck()) as rt:
        session = await rt.session("demo")
        nursery.start_soon(look)
        turn = await session.prompt("a")
        await trio.sleep(1)
        await session.reset()
        assert (await turn.result()).state is InboundState.DROPPED
        assert (await (await session.prompt("b")).result()).text == "b"
        assert codes == []


async def test_a_command_that_is_heard_of_twice_is_carried_out_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    # S36 D8
    agent = HandAgent()
    done: list[str | None] = []

    async def look() -> None:
        with session.watch() as watch:
            async for live in watch:
                if isinstance(live.event, Notice):
                    done.append(live.event.message_id)

    async with slow() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        nursery.start_soon(look)
        running = await session.prompt("go")
        await agent.called(1)
        store.delays["finish_pending"] = 4.0
        store.late["pending_messages"] = 8.0  # what it has read is old when it arrives
        await trio.sleep(3)
        command = await session.prompt("/stop")
        assert (await running.result()).stop_reason == "cancelled"
        await command.result()
        after = await session.prompt("go on")
        await trio.sleep(60)
        (await agent.called(2)).go.set()
        assert (await after.result()).stop_reason == "end_turn"
        assert done == [command.message_id]


async def test_who_waits_is_told_though_the_session_crashes_meanwhile(
    autojump_clock: MockClock,
) -> None:
    # D7 H3 S18 S36
    agent = HandAgent()
    for operation in ("drop_pending", "new_epoch", "finish_pending"):
        async with slow() as store, stage(agent=agent, store=store) as rt:
            session = await rt.session("demo")
            await session.prompt("first")
            await agent.called(len(agent.calls) + 1)
            text = "/status" if operation == "finish_pending" else "second"
            store.late[operation] = 3.0
            turn = await session.prompt(text)
            async with trio.open_nursery() as nursery:
                if operation == "drop_pending":
                    nursery.start_soon(_ignoring, session.clear)
                elif operation == "new_epoch":
                    nursery.start_soon(_ignoring, session.reset)
                await trio.sleep(1)
                await _crash(rt, session)
                with trio.fail_after(30):
                    outcome = await turn.result()
            assert outcome.stop_reason in ("cancelled", "end_turn")


async def test_an_agent_whose_offers_are_a_bug_cannot_be_started(
    autojump_clock: MockClock,
) -> None:
    # P3 K5
    class Buggy(AgentHandle):
        @property
        def offers(self) -> Offers:
            raise ZeroDivisionError("a bug")

        def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
            raise NotImplementedError

    class Opens(Agent):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            yield Buggy()

    async with stage(agent=Opens()) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("a")
        with trio.fail_after(300), pytest.raises(SessionBlocked, match="ZeroDivisionError"):
            await turn.result()


async def test_a_turn_that_is_tried_again_and_then_held_up_says_so(
    autojump_clock: MockClock,
) -> None:
    # P3 T5
    class Dying(Flaky):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            self.starts.append(trio.current_time())
            if len(self.starts) > 1:
                raise AgentGone("it does not start again")
            async with HandAgent(_gone, hold=False).open(context) as handle:
                yield handle

    async with stage(agent=Dying(0)) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("a")
        with trio.fail_after(600), pytest.raises(SessionBlocked):
            async for _ in turn:
                pass


async def _gone(call: Call) -> AsyncIterator[AgentEvent]:
    if call.text:
        raise AgentGone("before it began")
    yield Result()


async def _ignoring(work: Callable[[], Awaitable[object]]) -> None:
    with suppress(FrontError):
        await work()


async def _crash(rt: Runtime, session: Session) -> None:
    """A bug within the session's queue."""
    assert isinstance(rt.front, ActorFront)
    live = await rt.front._sessions.ask(FindLive((session.id,)), timeout=5)
    family = live[session.id]._cell.family
    assert family is not None
    queue = rt.system.ref_to(family.children["queue"])
    queue.tell(Arrived(rows=(cast("InboundRow", None),)))


async def test_a_turn_may_end_in_the_moment_in_which_everything_stops(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    # S45 T2
    for steps in range(25, 55):
        agent = HandAgent()
        async with slow() as store:
            async with stage(agent=agent, store=store) as rt:
                session = await rt.session("demo")
                receipt = await session.send("hello")
                (await agent.called(1)).go.set()
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
            status = await store.message_status(receipt.message_id)
            assert status.message.state is InboundState.DONE
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
