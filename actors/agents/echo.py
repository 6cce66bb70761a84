"""The built-in agent: says back what it is told, without any network, and fails on request.

Its options let everything around an agent be tried by hand: slow answers, tool calls, an agent that
vanishes before or after it has begun, one that answers with an error, one that never says anything.
Files that it is given are listed, see `actors.echoed_files`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio
from msgspec import Meta

from actors.disk import Threads
from actors.echoed_files import echoed
from runtime.ports.agent import (
    Agent,
    AgentCapabilities,
    AgentContext,
    AgentGone,
    AgentHandle,
    AgentRefused,
    PromptTurn,
)
from runtime.sessions.content import PromptContent, TextBlock, plain_text
from runtime.sessions.updates import (
    AgentEvent,
    AgentMessageChunk,
    Result,
    ToolCall,
    ToolCallUpdate,
)
from runtime.settings import Seconds
from runtime.storage.inbox import INBOX
from runtime.storage.media_errors import NoAnswer
from runtime.storage.transcript import make_session_folder

KIND = "echo"

Failure = Literal["never", "start", "before", "after", "error", "silent"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the echo agent.

    Args:
        prefix: said before the echo.
        delay: how long it waits before the first word.
        pace: how long it waits between two words.
        tools: how many tool calls it pretends to make before it answers.
        files: how many small files it puts into its outbox in each turn.
        images: whether it takes images as such, beside the links to them.
        audio: whether it takes sounds so.
        inbox: whether it finds files in the inbox of its session only, as an agent in a container.
        fail: ``never``; ``start`` (cannot be started); ``before`` (vanishes before its first
            event); ``after`` (vanishes in the middle); ``error`` (answers with an error);
            ``silent`` (never says anything).
        fail_times: how many times it fails before it behaves; 0 fails always.
        steer: whether it takes in what people say while it answers, and says that back as well.
    """

    prefix: str = ""
    delay: Seconds = 0.0
    pace: Seconds = 0.0
    tools: Annotated[int, Meta(ge=0, le=1_000)] = 0
    files: Annotated[int, Meta(ge=0, le=100)] = 0
    images: bool = False
    audio: bool = False
    inbox: bool = False
    fail: Failure = "never"
    fail_times: Annotated[int, Meta(ge=0)] = 0
    steer: bool = True


class EchoHandle(AgentHandle):
    """One conversation with the echo."""

    def __init__(self, agent: EchoAgent, context: AgentContext) -> None:
        self._agent = agent
        self._outbox = context.outbox
        self._files = _folder_of_files(context, inbox=agent.options.inbox)
        self._disk = agent.disk
        self._options = agent.options
        self.capabilities = AgentCapabilities(
            steer=self._options.steer,
            images=self._options.images,
            audio=self._options.audio,
            inbox=self._options.inbox,
        )
        self._cancelled = trio.Event()
        self._unsaid: deque[str] | None = None

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        self._cancelled = trio.Event()
        failure = self._agent.next_failure()
        if failure == "silent":
            await trio.sleep_forever()
        if failure == "before":
            raise AgentGone("the echo agent was told to vanish before its first event")
        if failure == "error":
            raise AgentRefused("the echo agent was told to answer with an error", code="echo_error")
        if await self._pause(self._options.delay):
            yield Result(stop_reason="cancelled")
            return
        for number in range(1, self._options.tools + 1):
            call = f"{turn.turn_id}-{number}"
            yield ToolCall(call, title=f"Pretend {number}", kind="other", status="in_progress")
            yield ToolCallUpdate(call, status="completed")
        text = await echoed(turn.content, self._files, self._disk)
        pieces = _pieces(self._options.prefix + text) or [""]
        self._unsaid = deque(pieces)
        said = 0
        while self._unsaid:
            yield AgentMessageChunk(TextBlock(self._unsaid.popleft()))
            said += 1
            if failure == "after" and said > len(pieces) // 2:
                raise AgentGone("the echo agent was told to vanish in the middle")
            if self._unsaid and await self._pause(self._options.pace):
                yield Result(stop_reason="cancelled")
                return
        if self._outbox is not None and self._options.files:
            put = partial(_put, self._outbox, self._options.files, plain_text(turn.content))
            try:
                await self._disk(put)
            except NoAnswer as error:
                raise AgentRefused(str(error), code="echo_error") from error
        self._unsaid = None
        yield Result(stop_reason="end_turn")

    async def steer(self, content: PromptContent) -> bool:
        """Say this back too, as long as there is something left to say."""
        text = await echoed(content, self._files, self._disk)
        if not self._unsaid or not self.capabilities.steer:
            return False
        self._unsaid.extend(_pieces(f"\n{text}"))
        return True

    async def cancel(self) -> None:
        self._cancelled.set()

    async def _pause(self, seconds: float) -> bool:
        """Wait; whether the turn was cancelled meanwhile."""
        with trio.move_on_after(seconds):
            await self._cancelled.wait()
        return self._cancelled.is_set()


class EchoAgent(Agent):
    """Says back what it is told."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options if options is not None else Options()
        self._failed = 0
        self.disk = Threads("agent echo")

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        if self.options.fail == "start" and self.next_failure() == "start":
            raise AgentGone("the echo agent was told not to start")
        yield EchoHandle(self, context)

    def next_failure(self) -> Failure:
        """How it fails this time; counts."""
        if self.options.fail == "never":
            return "never"
        if self.options.fail_times and self._failed >= self.options.fail_times:
            return "never"
        self._failed += 1
        return self.options.fail


def _folder_of_files(context: AgentContext, *, inbox: bool) -> Path | None:
    if inbox and context.folder is not None:
        return context.folder / INBOX
    return context.media


def _put(outbox: Path, files: int, text: str) -> None:
    """Put files into an outbox, each under its name only when it is complete."""
    make_session_folder(outbox.parent)
    for number in range(1, files + 1):
        unfinished = outbox / f"echo-{number}.txt.part"
        unfinished.write_text(f"{text}\n", encoding="utf-8", errors="replace")
        unfinished.rename(outbox / f"echo-{number}.txt")


def _pieces(text: str) -> list[str]:
    """A text in words, each with the blanks that follow it."""
    return re.findall(r"\S+\s*|\s+", text)


def create(name: str, options: Options) -> Agent:
    """The agent of one ``[agents.NAME]`` table."""
    return EchoAgent(options)
