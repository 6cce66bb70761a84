"""What an agent may do with its handle and its context, and what a bad one cannot do to others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from runtime.embedding import TurnFailed
from runtime.ports.agent import Agent, AgentCapabilities, AgentContext, AgentHandle, PromptTurn
from runtime.ports.front import SessionBlocked
from runtime.sessions.content import PromptContent, plain_text
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import (
    AgentEvent,
    AvailableCommands,
    Result,
    ToolCall,
    ToolCallUpdate,
)
from runtime.storage.sqlite import open_memory
from tests.actors.stage import Call, HandAgent, chunk, clock, stage


class Rude(AgentHandle):
    """Its methods raise, all but one."""

    def __init__(self, agent: RudeAgent) -> None:
        self._agent = agent

    def declared_silence(self) -> float:
        raise ValueError("a bug")

    async def steer(self, content: PromptContent) -> bool:
        raise ValueError("a bug")

    async def cancel(self) -> None:
        raise ValueError("a bug")

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        self._agent.prompts += 1
        yield chunk("part")
        await trio.sleep(3)
        yield Result()


class RudeAgent(Agent):
    prompts = 0

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        yield Rude(self)
        raise ValueError("a bug on the way out")


async def test_methods_that_raise_do_not_disturb_the_turn(autojump_clock: MockClock) -> None:
    # T4 S45
    agent = RudeAgent()
    async with open_memory(clock) as store:
        async with stage(agent=agent, store=store) as rt:
            sent = await (await rt.session("demo")).send("go")
            await trio.sleep(1)
        status = await store.message_status(sent.message_id)
        assert status is not None
        assert status.message.state is InboundState.DONE
        assert agent.prompts == 1
        async with stage(agent=agent, store=store) as rt:
            turn = await (await rt.session("demo")).prompt("again")
            async for _ in turn:
                break
            assert await turn.cancel()
            assert (await turn.result()).stop_reason == "cancelled"


class Nothing(Agent):
    opened = closed = 0

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        self.opened += 1
        try:
            yield cast("AgentHandle", None)
        finally:
            self.closed += 1


async def test_an_agent_without_a_handle_cannot_be_started(autojump_clock: MockClock) -> None:
    # P3
    agent = Nothing()
    async with stage(agent=agent) as rt:
        with pytest.raises(SessionBlocked, match="AgentHandle"):
            await (await (await rt.session("demo")).prompt("go")).result()
        await trio.sleep(10)
        assert agent.opened == agent.closed == 1


class Bare(Agent):
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:  # type: ignore[override]
        yield cast("AgentHandle", None)


async def test_an_agent_that_opens_in_no_context_is_told_what_to_do(
    autojump_clock: MockClock,
) -> None:
    # P3 N1
    async with stage(agent=Bare()) as rt:
        with pytest.raises(SessionBlocked, match=r"open of Bare .* put @asynccontextmanager"):
            await (await (await rt.session("demo")).prompt("go")).result()


class Slow(Agent):
    """Takes too long to start, and too long to end."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        await trio.sleep(self.start)
        handle = Quick()
        yield handle
        await trio.sleep(self.end)


class Quick(AgentHandle):
    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        yield Result(text="quick")


async def test_starting_and_ending_an_agent_have_deadlines(autojump_clock: MockClock) -> None:
    # P2 P3
    async with stage(agent=Slow(start=50_000, end=0)) as rt:
        began = trio.current_time()
        with pytest.raises(SessionBlocked, match="ready within"):
            await (await (await rt.session("demo")).prompt("go")).result()
        assert trio.current_time() - began < 5 * 10 + 5 + 10 + 20 + 40 + 10
    async with stage(agent=Slow(start=0, end=50_000)) as rt:
        assert (await (await (await rt.session("demo")).prompt("go")).result()).text == "quick"
        began = trio.current_time()
    assert trio.current_time() - began < 15


class Declares(AgentHandle):
    def declared_silence(self) -> float:
        return 7_200.0

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        yield chunk("this takes an hour and a half")
        await trio.sleep(5_400)
        yield Result()


async def test_a_declared_long_tool_extends_the_limit(autojump_clock: MockClock) -> None:
    # T4
    class Patient(Agent):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            yield Declares()

    async with stage(agent=Patient()) as rt:
        turn = await (await rt.session("demo")).prompt("go")
        assert (await turn.result()).stop_reason == "end_turn"


class DeclaresForAWhile(AgentHandle):
    """A long tool runs for ten minutes; then the agent falls silent."""

    def __init__(self) -> None:
        self.declared = 0.0

    def declared_silence(self) -> float:
        return self.declared

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        self.declared = 7_200.0
        yield ToolCall("1", "build")
        await trio.sleep(600)
        self.declared = 0.0
        yield ToolCallUpdate("1", status="completed")
        await trio.sleep_forever()


async def test_a_longer_limit_is_over_with_its_tool(autojump_clock: MockClock) -> None:
    # T4
    class Patient(Agent):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            yield DeclaresForAWhile()

    async with stage(agent=Patient()) as rt:
        began = trio.current_time()
        with pytest.raises(TurnFailed, match="silent in the middle"):
            await (await (await rt.session("demo")).prompt("go")).result()
        assert 600 + 1_800 <= trio.current_time() - began <= 600 + 1_800 + 5 + 5


async def test_the_agents_own_session_id_comes_back(autojump_clock: MockClock) -> None:
    # S18
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield Result(text=f"resume {call.context.resume}", agent_session_id="mine-1")

    agent = HandAgent(play, hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        assert (await (await session.prompt("a")).result()).text == "resume None"
        await trio.sleep(200)
        assert (await (await session.prompt("b")).result()).text == "resume mine-1"
        await session.reset()
        assert (await (await session.prompt("c")).result()).text == "resume None"


async def test_an_agent_that_never_waits_leaves_the_loop_to_others(
    autojump_clock: MockClock,
) -> None:
    # D2
    ticks = 0

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        for number in range(2_000):
            yield chunk(f"{number} ")
        yield Result(text=str(ticks))

    async with stage(agent=HandAgent(play, hold=False)) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("go")

        async def tick() -> None:
            nonlocal ticks
            while True:
                await trio.lowlevel.checkpoint()
                ticks += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await turn.result()
            nursery.cancel_scope.cancel()
        assert ticks > 1_000


class Steerable(AgentHandle):
    """Finishes early when it is told that the runtime stops."""

    capabilities = AgentCapabilities(steer=True)

    def __init__(self) -> None:
        self.told = trio.Event()
        self.words = ""

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        yield chunk("a long story")
        await self.told.wait()
        yield chunk(", cut short")
        yield Result()

    async def steer(self, content: PromptContent) -> bool:
        self.words = plain_text(content)
        self.told.set()
        return True


async def test_an_agent_that_can_be_steered_is_told_of_the_end(autojump_clock: MockClock) -> None:
    # S45
    handle = Steerable()

    class Story(Agent):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            yield handle

    async with open_memory(clock) as store:
        async with stage(agent=Story(), store=store) as rt:
            session = await rt.session("demo")
            sent = await session.send("tell me")
            await trio.sleep(1)
        status = await store.message_status(sent.message_id)
        assert status is not None
        assert status.message.state is InboundState.DONE
        assert (await store.journal(session.id))[-1].content == "a long story, cut short"
        assert "about to stop" in handle.words


async def test_an_id_is_kept_when_there_is_something_to_resume(autojump_clock: MockClock) -> None:
    # P4
    class Named(Quick):
        def __init__(self, number: int) -> None:
            self._number = number

        @property
        def agent_session_id(self) -> str | None:
            return f"talk-{self._number}"

        async def choose(self, option_id: str, value: str | bool) -> None:
            """Takes anything."""

    class Counting(Agent):
        def __init__(self) -> None:
            self.resumed: list[str | None] = []

        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            self.resumed.append(context.resume)
            yield Named(len(self.resumed))

    agent = Counting()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.choose("model", "big")  # opened, but nothing was said yet
        await trio.sleep(200)
        await (await session.prompt("a")).result()
        await trio.sleep(200)
        await (await session.prompt("b")).result()
        assert agent.resumed == [None, None, "talk-2"]


async def test_announcements_are_no_sign_of_a_beginning(autojump_clock: MockClock) -> None:
    # T4 T6
    class Announcing(AgentHandle):
        async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
            while True:
                yield AvailableCommands([])
                await trio.sleep(30)

    class Talkative(Agent):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            yield Announcing()

    async with stage(agent=Talkative()) as rt:
        began = trio.current_time()
        with pytest.raises(TurnFailed) as caught:
            await (await (await rt.session("demo")).prompt("go")).result()
        assert caught.value.code == "agent_silent"
        assert trio.current_time() - began < 2 * (300 + 5 + 5) + 10
