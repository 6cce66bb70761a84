"""Agents that cannot be started: waits, blocking, /reconnect, places for processes (P2, P3, P6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from actors.agents.echo import EchoAgent, Options
from actors.channels.scripted import ScriptedChannel
from runtime.embedding import Session, Turn
from runtime.ports.agent import (
    Agent,
    AgentContext,
    AgentGone,
    AgentHandle,
    AgentUnusable,
    PromptTurn,
)
from runtime.ports.front import SessionBlocked
from runtime.sessions.events import MessageAccepted, Notice, SessionEvent, TurnStarted
from runtime.sessions.updates import AgentEvent, AvailableCommands, Result
from runtime.storage.sqlite import open_memory
from tests.actors.stage import HandAgent, clock, settings, stage


class Flaky(Agent):
    """Cannot be started so often; then it is the one within."""

    def __init__(self, failures: int, within: Agent | None = None) -> None:
        self.failures = failures
        self.starts: list[float] = []
        self._within = within if within is not None else EchoAgent()

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        self.starts.append(trio.current_time())
        if len(self.starts) <= self.failures:
            raise AgentGone("no such program: nonesuch")
        async with self._within.open(context) as handle:
            yield handle

    @property
    def waits(self) -> list[float]:
        return [
            round(later - earlier)
            for earlier, later in zip(self.starts, self.starts[1:], strict=False)
        ]


async def _events(session: Session, seen: list[SessionEvent]) -> None:
    with session.watch() as watch:
        async for live in watch:
            seen.append(live.event)


def _notices(seen: list[SessionEvent]) -> list[str]:
    return [event.code for event in seen if isinstance(event, Notice)]


async def _blocked(turn: Turn) -> str:
    with pytest.raises(SessionBlocked) as caught:
        await turn.result()
    return str(caught.value)


async def test_a_start_that_fails_is_tried_again_and_no_try_of_the_message_is_used(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    # P3 T5
    agent = Flaky(4)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        seen: list[SessionEvent] = []
        nursery.start_soon(_events, session, seen)
        await trio.testing.wait_all_tasks_blocked()
        outcome = await (await session.prompt("hello")).result()
        assert outcome.text == "hello"
        assert agent.waits == [5, 10, 20, 40]
        assert _notices(seen) == ["agent_start_failed"] * 4
        kinds = [type(event) for event in seen]
        assert kinds.index(TurnStarted) > kinds.index(Notice) > kinds.index(MessageAccepted)
        assert kinds.count(TurnStarted) == 1


async def test_a_blocked_session_says_so_keeps_its_messages_and_is_unblocked(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    # P3 T5
    agent = Flaky(5)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        seen: list[SessionEvent] = []
        nursery.start_soon(_events, session, seen)
        await trio.testing.wait_all_tasks_blocked()
        first = await session.prompt("one")
        why = await _blocked(first)
        assert "no such program: nonesuch" in why
        assert "/reconnect" in why
        assert _notices(seen) == ["agent_start_failed"] * 4 + ["agent_blocked"]
        second = await session.prompt("two")
        assert await _blocked(second) == why
        status = await session.queue()
        assert (status.blocked, status.running, status.waiting) == (why, None, 2)
        await trio.sleep(5_000)  # it does not fall asleep over them, and starts nothing
        assert len(agent.starts) == 5
        assert (await session.queue()).waiting == 2
        answer = await (await session.prompt("/reconnect")).result()
        assert answer.text is not None
        assert (await first.result()).text == "one"
        assert (await second.result()).text == "two"
        assert (await session.queue()).blocked is None


async def test_an_agent_that_fails_while_it_is_too_late_is_a_failed_start(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    # P2 P3 K5
    class Slow(Agent):
        """Takes its time for dying as well."""

        starts = 0

        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            self.starts += 1
            if self.starts == 1:
                try:
                    await trio.sleep(9)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(2)
                raise AgentGone("it did not answer")
            async with EchoAgent().open(context) as handle:
                yield handle

    async with stage(agent=Slow()) as rt:
        session = await rt.session("demo")
        seen: list[SessionEvent] = []
        nursery.start_soon(_events, session, seen)
        await trio.testing.wait_all_tasks_blocked()
        assert (await (await session.prompt("hello")).result()).text == "hello"
        (notice,) = (event for event in seen if isinstance(event, Notice))
        assert "it did not answer" in notice.text


async def test_what_does_not_mend_itself_is_not_tried_again_by_itself(
    autojump_clock: MockClock,
) -> None:
    # P3
    class Missing(Flaky):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            self.starts.append(trio.current_time())
            if len(self.starts) <= self.failures:
                raise AgentUnusable("nonesuch is not installed")
            yield Silent()

    class Silent(AgentHandle):
        async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
            yield Result(text="here")

    agent = Missing(1)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("go")
        why = await _blocked(turn)
        assert "nonesuch is not installed" in why
        assert "in a row" not in why
        (listed,) = (await rt.front.list_sessions()).sessions
        assert listed.run_state == "blocked"
        await (await session.prompt("/reconnect")).result()
        assert (await turn.result()).text == "here"
        assert len(agent.starts) == 2


async def test_a_start_is_called_off_when_the_runtime_stops(autojump_clock: MockClock) -> None:
    # S45
    class Endless(Agent):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            await trio.sleep(80_000)
            yield Silent()

    class Silent(AgentHandle):
        async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
            yield Result()

    async with stage(agent=Endless()) as rt:
        session = await rt.session("demo")
        await session.send("go")
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began < 1


async def test_a_success_forgets_the_failures_before_it(autojump_clock: MockClock) -> None:
    # P3
    agent = Flaky(3)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        assert (await (await session.prompt("a")).result()).text == "a"
        await trio.sleep(300)  # it sleeps
        agent.failures = len(agent.starts) + 4
        assert (await (await session.prompt("b")).result()).text == "b"
        assert agent.waits[-4:] == [5, 10, 20, 40]


async def test_a_command_gets_through_when_the_queue_is_full(autojump_clock: MockClock) -> None:
    # S36 Q4
    agent = Flaky(5)
    async with stage(agent=agent, settings=settings(queue={"cap": 1})) as rt:
        session = await rt.session("demo")
        kept = await session.prompt("one")
        await _blocked(kept)
        await (await session.prompt("/reconnect")).result()
        assert (await kept.result()).text == "one"


async def test_messages_of_a_blocked_session_outlive_the_runtime(
    autojump_clock: MockClock,
) -> None:
    # P3 D8
    async with open_memory(clock) as store:
        async with stage(agent=Flaky(99), store=store) as rt:
            session = await rt.session("demo")
            kept = await session.prompt("one")
            await _blocked(kept)
        async with stage(agent=EchoAgent(), store=store) as rt:
            session = await rt.session("demo")
            outcome = await session.outcome(kept.message_id)
            assert outcome.text == "one"
            entries = await session.history()
            assert [entry.role for entry in entries] == ["user", "assistant"]


async def test_a_chat_is_told_that_its_session_is_blocked_once(autojump_clock: MockClock) -> None:
    # P3
    channel = ScriptedChannel()
    agent = Flaky(5)
    async with stage(agent=agent, channels=[channel]):
        await channel.say("hello")
        await trio.sleep(200)
        assert [sent.text for sent in channel.arrived if "/reconnect" in sent.text] != []
        assert len(channel.arrived) == 1
        await channel.say("/reconnect")
        await trio.sleep(20)
        assert channel.arrived[-1].text == "hello"
        assert len(channel.arrived) == 3


async def test_a_prompt_that_waits_for_its_agent_can_be_withdrawn(
    autojump_clock: MockClock,
) -> None:
    # G11 H3
    agent = Flaky(99)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        for withdraw in (session.cancel, session.clear, session.reset):
            turn = await session.prompt("never")
            await trio.sleep(1)
            await withdraw()
            outcome = await turn.result()
            assert outcome.stop_reason == "cancelled"
        assert (await session.queue()).waiting == 0


async def test_something_newer_does_not_take_the_place_of_what_has_not_begun(
    autojump_clock: MockClock,
) -> None:
    # Q3 P3 T5
    agent = Flaky(5)
    async with stage(agent=agent, settings=settings(queue={"mode": "interrupt"})) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await trio.sleep(1)
        second = await session.prompt("two")
        await _blocked(first)
        await _blocked(second)
        third = await session.prompt("three")
        await _blocked(third)
        assert (await session.queue()).waiting == 3
        await (await session.prompt("/reconnect")).result()
        for turn in (first, second, third):
            text = (await turn.result()).text
            assert text is not None
            assert all(word in text for word in ("one", "two", "three"))


async def test_how_a_message_was_withdrawn_is_written_down(autojump_clock: MockClock) -> None:
    # H3 G11
    async with open_memory(clock) as store, stage(agent=Flaky(99), store=store) as rt:
        session = await rt.session("demo")
        for withdraw, reason in ((session.cancel, "cancelled"), (session.clear, "cleared")):
            turn = await session.prompt("never")
            await trio.sleep(1)
            await withdraw()
            await turn.result()
            status = await store.message_status(turn.message_id)
            assert status is not None
            assert (status.message.state, status.message.reason) == ("dropped", reason)


async def test_stopping_does_not_wait_for_an_agent_that_is_not_there(
    autojump_clock: MockClock,
) -> None:
    # S45
    async with open_memory(clock) as store:
        async with stage(agent=Flaky(99), store=store) as rt:
            session = await rt.session("demo")
            kept = await session.prompt("one")
            await trio.sleep(1)
            began = trio.current_time()
        assert trio.current_time() - began < 5
        status = await store.message_status(kept.message_id)
        assert status is not None
        assert (status.message.state, status.message.tries) == ("pending", 0)


class Commands(HandAgent):
    """Has commands that are called like ours."""

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        mine = [{"name": name, "description": "mine"} for name in ("status", "new")]
        context.announce(AvailableCommands(mine))
        async with super().open(context) as handle:
            yield handle


async def test_its_commands_are_known_while_it_sleeps(autojump_clock: MockClock) -> None:
    # S36
    agent = Commands(hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await (await session.prompt("hello")).result()
        await trio.sleep(10_000)
        assert agent.closed == 1
        for key in ("demo", "another"):
            session = await rt.session(key)
            answer = await (await session.prompt("/new feature")).result()
            assert answer.text == "echo: /new feature"
        (first, second) = (await rt.front.list_sessions()).sessions
        assert (first.row.epoch, second.row.epoch) == (1, 1)


async def test_a_command_of_the_agent_wins(autojump_clock: MockClock) -> None:
    # S36
    async with stage(agent=Commands(hold=False)) as rt:
        session = await rt.session("demo")
        assert (await (await session.prompt("hello")).result()).text == "echo: hello"
        assert (await (await session.prompt("/status")).result()).text == "echo: /status"
        answer = await (await session.prompt("/runtime status")).result()
        assert answer.text is not None
        assert "Nothing is running" in answer.text


class Process(EchoAgent):
    """Pretends to be a process, and counts."""

    uses_process = True
    open_now = 0
    most = 0
    closed = 0

    @property
    def idle_limit(self) -> float | None:
        return 600.0

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        try:
            async with super().open(context) as handle:
                await trio.sleep(0.1)
                yield handle
                await trio.sleep(0.1)
        finally:
            self.open_now -= 1
            self.closed += 1


async def test_sessions_wait_for_a_process_and_idle_ones_go(
    autojump_clock: MockClock,
) -> None:
    # P6
    agent = Process(Options(delay=5.0))
    done: list[int] = []

    async def ask(number: int) -> None:
        session = await rt.session(f"s{number}")
        turn = await session.prompt(str(number))
        assert (await turn.result()).text == str(number)
        done.append(number)

    few = settings(sessions={"max_agent_processes": 2})
    async with stage(agent=agent, settings=few) as rt, trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(done) == list(range(8))
    assert agent.most == 2


async def test_an_idle_process_is_closed_after_its_own_limit(autojump_clock: MockClock) -> None:
    # S42
    agent = Process()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await (await session.prompt("a")).result()
        await trio.sleep(500)
        assert agent.closed == 0
        await trio.sleep(200)
        assert agent.closed == 1
