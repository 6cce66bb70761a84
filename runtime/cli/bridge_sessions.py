"""What an editor has seen of a session, so that after a lost connection it gets the rest, once.

While connected, updates pass through and are counted. After a loss the runtime is asked for the
lines of the transcript since then and for a snapshot of the running turn (G12); what the counts say
the editor has is taken off, and what remains is sent as updates. Live updates that the snapshot
contains already are skipped by their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from runtime.gateway import translate
from runtime.protocol.acp import UpdateParams
from runtime.protocol.extensions import SessionMark, UpdateMark
from runtime.sessions.content import TextBlock
from runtime.sessions.updates import AgentThoughtChunk

REMEMBERED = 1_000
"""Turns, and lines of a transcript, that are looked back at."""

CUT_OFF = "cut_off"
BEGINS_ANEW = "The runtime was restarted before this answer was complete."

_MESSAGE = "agent_message_chunk"
_THOUGHT = "agent_thought_chunk"
_WORDS = "user_message_chunk"

_NOT_OF_A_TURN = frozenset(
    (
        "available_commands_update",
        "config_option_update",
        "current_mode_update",
        "session_info_update",
        "usage_update",
    )
)
"""Announcements (T6), which are in no record of a turn."""


class Update(msgspec.Struct, frozen=True, rename="camel"):
    """A session update of any kind."""

    session_update: str
    content: Any = None

    @property
    def text(self) -> str | None:
        """The text of a piece of text that the agent says; None for everything else."""
        if self.session_update not in (_MESSAGE, _THOUGHT) or not isinstance(self.content, dict):
            return None
        text = self.content.get("text") if self.content.get("type") == "text" else None
        return text if isinstance(text, str) else None


class _Meta(msgspec.Struct, frozen=True):
    runtime: UpdateMark | None = None


class Shown(msgspec.Struct, frozen=True, rename="camel"):
    """The parameters of a ``session/update``."""

    session_id: str
    update: Update
    meta: _Meta | None = msgspec.field(name="_meta", default=None)

    @property
    def mark(self) -> UpdateMark:
        """What the runtime says about it."""
        return (self.meta.runtime if self.meta is not None else None) or UpdateMark()


class Running(msgspec.Struct, frozen=True, rename="camel"):
    """The running turn in a snapshot."""

    turn_id: str
    message_ids: tuple[str, ...]
    prompt: list[dict[str, Any]]
    updates: list[dict[str, Any]]


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """What matters here of a line of the transcript, or of a snapshot."""

    type: str
    seq: int = 0
    id: str = ""
    role: str = ""
    content: Any = None
    turn_id: str | None = None
    data: dict[str, Any] | None = None
    number: int = 0
    journal_seq: int = 0
    running: Running | None = None


class Happened(msgspec.Struct, frozen=True, rename="camel"):
    """The parameters of a ``_runtime/session/event``."""

    session_id: str
    event: Event


class _Turn:
    """How much of a turn was shown. Its texts only grow, so their lengths say how much."""

    def __init__(self, turn_id: str) -> None:
        self.id = turn_id
        self.over = False
        self._lengths = {_MESSAGE: 0, _THOUGHT: 0}
        self._others = 0

    @property
    def begun(self) -> bool:
        """Whether any of its answer was shown."""
        return self._lengths[_MESSAGE] > 0

    def count(self, update: Update) -> None:
        """An update was shown."""
        text = update.text
        if text is not None:
            self._lengths[update.session_update] += len(text)
        elif update.session_update != _WORDS:
            self._others += 1

    def rest(self, record: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """What a record of the turn has beyond what was shown; it counts as shown from now on."""
        lengths, others = dict(self._lengths), self._others
        for raw in record:
            update = msgspec.convert(raw, Update)
            kind, text = update.session_update, update.text
            if text is None:
                others -= 1
                if others < 0:
                    self.count(update)
                    yield raw
                continue
            fresh = text[lengths[kind] :]
            lengths[kind] = max(0, lengths[kind] - len(text))
            if fresh:
                self._lengths[kind] += len(fresh)
                yield {**raw, "content": {**update.content, "text": fresh}}


class Followed:
    """A session that the editor follows.

    Args:
        session_id: the session.
        cwd: where its client is, as it said.
        mcp_servers: what it wants passed on, as it said.

    Attributes:
        catching_up: whether what was missed is shown just now, and live updates are not.
    """

    def __init__(self, session_id: str, cwd: msgspec.Raw, mcp_servers: msgspec.Raw) -> None:
        self.id = session_id
        self.cwd = cwd
        self.mcp_servers = mcp_servers
        self._cursor: int | None = None
        self._run: str | None = None
        self._turn: _Turn | None = None
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._contained = 0
        self.catching_up = False
        self._restarted = False
        self._missed = False
        self._own: frozenset[str] = frozenset()

    # -- while connected ----------------------------------------------------------------------

    def attached(self, mark: SessionMark | None) -> None:
        """The editor follows it from this place on."""
        if mark is not None:
            self._cursor, self._run = mark.journal_seq, mark.run

    def passes(self, shown: Shown) -> bool:
        """Whether the editor is to see an update; if so it is counted."""
        mark, update = shown.mark, shown.update
        if not mark.turn_id or update.session_update in _NOT_OF_A_TURN:
            return True
        if mark.seq is not None:
            self._remember(mark.turn_id)
            return True
        if self.catching_up or (mark.number is not None and mark.number <= self._contained):
            return False
        if not mark.notice:
            self._turn_of(mark.turn_id).count(update)
        return True

    def ended(self, turn_id: str | None) -> None:
        """A turn has ended, and all of it was shown."""
        if self._turn is not None and self._turn.id == turn_id:
            self._turn.over = True

    # -- after a loss -------------------------------------------------------------------------

    def begin_to_catch_up(self) -> None:
        """No live update of a turn is shown before the snapshot."""
        self.catching_up = True
        self._contained = 0

    def cursor(self, mark: SessionMark, own: Iterable[str]) -> int:
        """The line of the transcript after which to ask.

        Args:
            mark: what the session is now.
            own: the ids of the editor's own messages: it knows what it said.
        """
        self._own = frozenset(own)
        self._restarted, self._run = mark.run != self._run, mark.run
        self._missed = self._cursor is not None
        return max(self._cursor or 0, mark.journal_seq - REMEMBERED)

    def missed(self, event: Event) -> Iterator[UpdateParams]:
        """What the editor has not seen of a line or a snapshot."""
        if event.type == "journal" and event.turn_id is not None:
            yield from self._line(event, event.turn_id)
        elif event.type == "snapshot":
            yield from self._snapshot(event)

    def catch_up_no_more(self) -> None:
        """Live updates are shown from now on, whatever was missed."""
        self.catching_up = False

    def _line(self, event: Event, turn_id: str) -> Iterator[UpdateParams]:
        mark = UpdateMark(turn_id=turn_id, seq=event.seq)
        current = self._turn is not None and self._turn.id == turn_id
        if current or event.id in self._own:
            self._missed = True
        if not self._missed or (turn_id in self._seen and not current):
            return
        if event.role == "user" and not current and event.id not in self._own:
            yield from self._next_turn(turn_id)
            yield self._update(_words({"type": "text", "text": event.content}), mark)
        elif event.role == "assistant":
            yield from self._next_turn(turn_id)
            data = event.data or {}
            chunk = {"type": "text", "text": event.content}
            record = data.get("updates") or [{"sessionUpdate": _MESSAGE, "content": chunk}]
            turn = self._turn_of(turn_id)
            for update in () if turn.over else turn.rest(record):
                yield self._update(update, mark)
            if data.get("interrupted"):
                yield from self._cut_off()
            turn.over = True

    def _snapshot(self, event: Event) -> Iterator[UpdateParams]:
        self.catching_up = False
        self._contained, self._cursor = event.number, event.journal_seq
        running = event.running
        if running is None:
            if self._restarted:
                yield from self._cut_off()
            return
        mark = UpdateMark(turn_id=running.turn_id)
        if self._turn is None or self._turn.id != running.turn_id:
            yield from self._next_turn(running.turn_id)
            if not self._own.issuperset(running.message_ids):
                for block in running.prompt:
                    yield self._update(_words(block), mark)
        for update in self._turn_of(running.turn_id).rest(running.updates):
            yield self._update(update, mark)

    def _next_turn(self, turn_id: str) -> Iterator[UpdateParams]:
        if self._turn is not None and self._turn.id != turn_id and self._restarted:
            yield from self._cut_off()
        self._turn_of(turn_id)

    def _cut_off(self) -> Iterator[UpdateParams]:
        """Say that the words so far are all that there will be of a turn: another follows."""
        turn = self._turn
        if turn is not None and turn.begun and not turn.over:
            turn.over = True
            thought = AgentThoughtChunk(TextBlock(BEGINS_ANEW))
            yield self._update(thought, UpdateMark(turn_id=turn.id, notice=CUT_OFF))

    def _turn_of(self, turn_id: str) -> _Turn:
        if self._turn is None or self._turn.id != turn_id:
            self._turn = _Turn(turn_id)
            self._remember(turn_id)
        return self._turn

    def _remember(self, turn_id: str) -> None:
        if not self._seen or self._seen[-1] != turn_id:
            self._seen.append(turn_id)

    def _update(self, update: Any, mark: UpdateMark) -> UpdateParams:
        return translate.update(self.id, update, mark)


def _words(block: dict[str, Any]) -> dict[str, Any]:
    return {"sessionUpdate": _WORDS, "content": block}
