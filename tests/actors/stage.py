"""A whole runtime on a virtual clock: real actors, real SQLite in memory, scripted edges."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import trio

from runtime.app import Runtime, open_runtime
from runtime.ports.agent import Agent, AgentCapabilities, AgentContext, AgentHandle, PromptTurn
from runtime.ports.channel import Channel
from runtime.sessions.content import PromptContent, TextBlock, plain_text
from runtime.sessions.updates import AgentEvent, AgentMessageChunk, Result
from runtime.settings import QueueSettings, RoutingSettings, SessionSettings, Settings
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store

EPOCH = 1_800_000_000_000


def clock() -> int:
    """Wall time that follows Trio's clock."""
    return EPOCH + round(trio.current_time() * 1000)


def settings(
    queue: Mapping[str, Any] | None = None,
    sessions: Mapping[str, Any] | None = None,
    default_agent: str | None = None,
) -> Settings:
    """Settings with these keys changed."""
    return Settings(
        queue=QueueSettings(**(queue or {})),
        sessions=SessionSettings(**(sessions or {})),
        routing=RoutingSettings(default_agent=default_agent),
    )


@asynccontextmanager
async def stage(
    *,
    agent: Agent | None = None,
    agents: Mapping[str, Agent] | None = None,
    channels: Sequence[Channel] = (),
    settings: Settings | None = None,
    store: Store | None = None,
) -> AsyncIterator[Runtime]:
    """A runtime whose store lives for as long as the block, or is the one given."""
    chosen = agents if agents is not None else {"agent": agent} if agent is not None else None
    if store is not None:
        async with open_runtime(
            settings, agents=chosen, channels=channels, store=store, clock=clock
        ) as runtime:
            yield runtime
        return
    async with (
        open_memory(clock) as own,
        open_runtime(settings, agents=chosen, channels=channels, store=own, clock=clock) as runtime,
    ):
        yield runtime


class Call(msgspec.Struct):
    """One prompt that reached the agent."""

    text: str
    turn: PromptTurn
    context: AgentContext
    go: trio.Event
    cancelled: trio.Event
    finished: bool = False


class HandAgent(Agent):
    """An agent that is played by the test: each prompt waits until the test lets it go.

    Args:
        play: how a prompt is answered once it may go; yields events.
        steer: whether a message is taken in by the turn that runs; None: it cannot be.
    """

    def __init__(
        self,
        play: Callable[[Call], AsyncIterator[AgentEvent]] | None = None,
        *,
        hold: bool = True,
        steer: Callable[[PromptContent], Awaitable[bool]] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.opened = 0
        self.closed = 0
        self.hold = hold
        self.take_in = steer
        self._play = play if play is not None else echo
        self._changed = trio.Event()

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        self.opened += 1
        try:
            yield _HandHandle(self, context)
        finally:
            self.closed += 1

    async def called(self, count: int) -> Call:
        """Wait for the n-th prompt, counted from 1."""
        with trio.fail_after(3_600):
            while len(self.calls) < count:
                await self._changed.wait()
        return self.calls[count - 1]

    def note(self, call: Call) -> None:
        self.calls.append(call)
        self._changed.set()
        self._changed = trio.Event()


class _HandHandle(AgentHandle):
    def __init__(self, agent: HandAgent, context: AgentContext) -> None:
        self._agent = agent
        self._context = context
        self._call: Call | None = None
        self.capabilities = AgentCapabilities(steer=agent.take_in is not None)

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        call = Call(plain_text(turn.content), turn, self._context, trio.Event(), trio.Event())
        self._call = call
        self._agent.note(call)
        if self._agent.hold:
            await _either(call.go, call.cancelled)
        if call.cancelled.is_set():
            call.finished = True
            yield Result("cancelled")
            return
        async with aclosing(self._agent._play(call)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event
        call.finished = True

    async def steer(self, content: PromptContent) -> bool:
        return self._agent.take_in is not None and await self._agent.take_in(content)

    async def cancel(self) -> None:
        if self._call is not None:
            self._call.cancelled.set()


async def _either(first: trio.Event, second: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_then_cancel, first, nursery.cancel_scope)
        nursery.start_soon(_then_cancel, second, nursery.cancel_scope)


async def _then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def echo(call: Call) -> AsyncIterator[AgentEvent]:
    """Says the prompt back."""
    yield AgentMessageChunk(TextBlock(f"echo: {call.text}"))
    yield Result()


def says(*texts: str) -> Callable[[Call], AsyncIterator[AgentEvent]]:
    """Answers with these deltas."""

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        for text in texts:
            yield AgentMessageChunk(TextBlock(text))
        yield Result()

    return play


def chunk(text: str) -> AgentMessageChunk:
    """A piece of an answer."""
    return AgentMessageChunk(TextBlock(text))
