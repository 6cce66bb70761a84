"""An agent that can be told of messages while it works, and settings for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from runtime.ports.agent import (
    Agent,
    AgentCapabilities,
    AgentContext,
    AgentHandle,
    PromptTurn,
)
from runtime.sessions.content import PromptContent, plain_text
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import AgentEvent, Result
from runtime.storage.store import Store
from tests.actors.stage import chunk, settings

STEER = settings(queue={"mode": "steer", "debounce": 0.0})
BACKLOG = settings(queue={"mode": "steer-backlog", "debounce": 0.0})


class Listener(Agent, AgentHandle):
    """Says at once that it has begun, listens until it is let go, and repeats what it heard."""

    def __init__(self, *, steer: bool = True) -> None:
        self.capabilities = AgentCapabilities(steer=steer)
        self.prompts: list[str] = []
        self.asked: list[str] = []
        self.heard: list[str] = []
        self.begin = trio.Event()
        self.begin.set()
        self.go = trio.Event()
        self.answer: Callable[[], Awaitable[bool]] = self.confirm
        self.last_words: Exception | None = None
        self._changed = trio.Event()

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        yield self

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        self.prompts.append(plain_text(turn.content))
        self._note()
        await self.begin.wait()
        yield chunk("well: ")
        await self.go.wait()
        if self.last_words is not None:
            raise self.last_words
        yield chunk(", ".join([plain_text(turn.content), *self.heard]))
        self.heard.clear()
        yield Result()

    async def cancel(self) -> None:
        self.go.set()

    async def steer(self, content: PromptContent) -> bool:
        self.asked.append(plain_text(content))
        self._note()
        if not await self.answer():
            return False
        self.heard.append(plain_text(content))
        return True

    async def confirm(self) -> bool:
        return True

    async def refuse(self) -> bool:
        return False

    async def raise_an_error(self) -> bool:
        raise ValueError("a bug")

    async def prompted(self, count: int) -> str:
        """The n-th prompt, counted from 1, when it has come."""
        return await self._nth(self.prompts, count)

    async def was_asked(self, count: int) -> str:
        """The n-th message that it was asked to take in, when it has come."""
        return await self._nth(self.asked, count)

    async def _nth(self, texts: list[str], count: int) -> str:
        with trio.fail_after(3_600):
            while len(texts) < count:
                await self._changed.wait()
        return texts[count - 1]

    def _note(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def state_of(store: Store, message_id: str) -> tuple[InboundState, str | None]:
    status = await store.message_status(message_id)
    assert status is not None
    return status.message.state, status.message.reason
