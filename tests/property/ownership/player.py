"""An agent that does what the rules say, and writes down what it was given."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

import trio

from runtime.ports.agent import (
    Agent,
    AgentCapabilities,
    AgentContext,
    AgentGone,
    AgentHandle,
    AgentRefused,
    PromptTurn,
)
from runtime.sessions.content import PromptContent, ResourceLink, plain_text
from runtime.sessions.prompting import EVICTED
from runtime.sessions.updates import AgentEvent, Result
from tests.actors.stage import chunk

FileKey = tuple[str, str]
"""A session and the name of a file."""


class Order(StrEnum):
    """What a rule tells the agent to do next."""

    SPEAK = "speak"
    FINISH = "finish"
    END = "end without a word"
    VANISH = "vanish"
    REFUSE = "answer with an error"
    CONFIRM = "it is cancelled"


@dataclass
class Steer:
    """A message that the agent is told of while it works.

    ``taken``: it has confirmed it. ``too_late``: when it had been asked to end its turn.
    ``doubtful``: the message was taken back or the turn ended at the same time, or the power went:
    nobody knows, and either is right as long as it is kept to.
    """

    session_id: str
    turn_id: str
    key: str
    links: tuple[FileKey, ...]
    decided: trio.Event = field(default_factory=trio.Event)
    taken: bool = False
    too_late: bool = False
    doubtful: bool = False
    seen: bool = False


@dataclass
class Call:
    """A prompt that reached the agent.

    ``spoke``: the runtime took an event of it; ``only_ended``: a result and nothing before it,
    which does not count when it was asked to end. ``withdrawn``: before that it was called off.
    ``doubtful``: both happened at once, and only the outcome tells which came first.
    """

    session_id: str
    turn_id: str
    message_ids: tuple[str, ...]
    links: tuple[FileKey, ...]
    named_as_gone: frozenset[FileKey]
    send: trio.MemorySendChannel[Order]
    spoke: bool = False
    only_ended: bool = False
    withdrawn: bool = False
    doubtful: bool = False
    asked_to_end: bool = False
    over: bool = False
    read: bool = False
    seen: bool = False


class Player(Agent):
    """The agent of all sessions.

    Args:
        note: is told of each link when it is given, to look at what is there.
        gone: says which files were at some paths.
        with_inbox: ends of the keys of sessions in which it finds files in its inbox only.
    """

    def __init__(
        self,
        note: Callable[[str, ResourceLink], FileKey],
        gone: Callable[[str, list[Path]], frozenset[FileKey]],
        with_inbox: tuple[str, ...],
    ) -> None:
        self.calls: list[Call] = []
        self.steers: list[Steer] = []
        self.stubborn = False
        self.note = note
        self.gone = gone
        self.with_inbox = with_inbox

    @property
    def open_calls(self) -> list[Call]:
        """The prompts that wait for a rule."""
        return [call for call in self.calls if not call.over]

    @property
    def open_steers(self) -> list[Steer]:
        """The messages that wait for a rule to take them."""
        return [steer for steer in self.steers if not steer.decided.is_set()]

    def not_begun(self, session_id: str) -> set[str]:
        """The messages of prompts to which it has said nothing yet."""
        calls = [call for call in self.open_calls if call.session_id == session_id]
        return {each for call in calls if not call.spoke for each in call.message_ids}

    def decide(self, number: int, taken: bool) -> None:
        """Take one of the messages in, or not."""
        steers = self.open_steers
        if steers:
            steer = steers[number % len(steers)]
            steer.taken, steer.too_late = taken, self.is_ending(steer)
            steer.decided.set()

    def is_ending(self, steer: Steer) -> bool:
        """Whether the turn of a message has ended, or was asked to."""
        calls = (call for call in self.calls if call.turn_id == steer.turn_id)
        return any(call.over or call.asked_to_end for call in calls)

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        yield _Handle(self, context)


class _Handle(AgentHandle):
    def __init__(self, player: Player, context: AgentContext) -> None:
        inbox = context.key.endswith(player.with_inbox)
        self.capabilities = AgentCapabilities(steer=True, images=True, inbox=inbox)
        self._player = player
        self._session_id = context.session_id
        self._call: Call | None = None

    def _links(self, content: PromptContent) -> tuple[FileKey, ...]:
        return tuple(
            self._player.note(self._session_id, block)
            for block in content
            if isinstance(block, ResourceLink)
        )

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        send, orders = trio.open_memory_channel[Order](100)
        call = self._call = Call(
            self._session_id,
            turn.turn_id,
            turn.message_ids,
            self._links(turn.content),
            self._player.gone(self._session_id, named_as_gone(plain_text(turn.content))),
            send,
        )
        self._player.calls.append(call)
        try:
            async for order in orders:
                match order:
                    case Order.SPEAK:
                        call.spoke = True  # whoever reads has it before anything else happens
                        yield chunk("so: ")
                    case Order.FINISH:
                        call.only_ended = not call.spoke
                        call.spoke = call.spoke or not call.asked_to_end
                        yield Result("cancelled" if call.asked_to_end else "end_turn")
                        return
                    case Order.CONFIRM:
                        yield Result("cancelled")
                        return
                    case Order.END:
                        return
                    case Order.VANISH:
                        raise AgentGone("as the rule says")
                    case Order.REFUSE:
                        raise AgentRefused("as the rule says")
        finally:
            call.over = True

    async def cancel(self) -> None:
        call = self._call
        if call is not None:
            call.asked_to_end = True
            if not self._player.stubborn:
                call.send.send_nowait(Order.CONFIRM)

    async def steer(self, content: PromptContent) -> bool:
        if self._call is None:
            return False
        key = said_in(plain_text(content))
        steer = Steer(self._session_id, self._call.turn_id, key, self._links(content))
        self._player.steers.append(steer)
        try:
            await steer.decided.wait()
        finally:
            steer.decided.set()
        return steer.taken


def said_in(text: str) -> str:
    """The message that a text is of: each says its own name."""
    found = re.search(r"\bm\d+\b", text)
    return "" if found is None else found[0]


def named_as_gone(text: str) -> list[Path]:
    """The files that a prompt says were removed."""
    _, found, rest = text.partition(EVICTED)
    lines = re.match(r"(\n- .*)*", rest)
    if not found or lines is None:
        return []
    uris = re.findall(r"file://[^\s)]+", lines[0].replace(",", " "))
    return [path_of(uri) for uri in uris]


def path_of(uri: str) -> Path:
    """The path of a ``file:`` address."""
    return Path(unquote(urlsplit(uri).path))
