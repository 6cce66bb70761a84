"""What an agent streams, made into an answer and a record (R1, R2, T3).

**The answer** is the text of the deltas, one after the other. A snapshot that repeats the block in
the making, or the turn, adds only what goes beyond it; one of other text is a block of its own. The
text of a result counts where none was said, else like a snapshot that adds nothing new. An error
replaces the answer (R1).

**Blank lines**: between two text blocks with something else in between (a thought, a plan, a tool
call, an image) stands exactly one; within a block, three or more newlines become two (R2). The
progress of a tool call begins no block, since it may arrive in the middle of a sentence. Whitespace
at the end is held back until more text or the result comes: a blank line may yet take its place.

**What is no text** is a block of its own. The answer has words for it (`plain_text`), which are not
held against what the agent repeats.

**The record** is what the transcript, and a watcher who comes late, see of the turn: the updates,
with chunks that follow each other joined, and words in place of what is larger than `MEDIA_LIMIT`,
which those see whole who watch live. Announcements are not of the turn (T6). Both are bounded:
an answer that was cut says so, and updates that found no place are counted. Every operation costs
what it is given or gives, never what was said before.
"""

from __future__ import annotations

import io
import re
from typing import TypeAlias

import msgspec

from runtime.sessions.content import AgentBlock, TextBlock, plain_text, storable
from runtime.sessions.updates import (
    AgentEvent,
    AgentMessageChunk,
    AgentThoughtChunk,
    MessageSnapshot,
    PermissionRequest,
    PermissionSettled,
    Result,
    SessionUpdate,
    ToolCallUpdate,
    UserMessageChunk,
    is_turn_event,
    within_limit,
)

TEXT_LIMIT = 4_000_000
"""Characters that an answer may have, the mark included."""

UPDATES_LIMIT = 1_000_000
"""Bytes, as JSON, that the updates other than the answer's text may have together."""

CUT_MARK = "\n\n[The answer is longer than can be kept, and was cut off here.]"

_SPACE = " \t\r\n"
_NEWLINES = re.compile(r"(?:\r?\n){3,}")

_Chunk: TypeAlias = AgentMessageChunk | AgentThoughtChunk | UserMessageChunk


class Reply:
    """One turn's answer in the making.

    Args:
        text_limit: characters that the answer may have.
        updates_limit: bytes, as JSON, that the other updates may have together.
    """

    def __init__(self, text_limit: int = TEXT_LIMIT, updates_limit: int = UPDATES_LIMIT) -> None:
        room = max(0, text_limit - len(CUT_MARK))
        self._deltas = _Deltas(room)
        self._answer = _Answer(room)
        self._record = _Record(updates_limit)
        self._cut = False
        self._result: Result | None = None
        self._saved_text = 0
        self._saved_updates = _START

    @property
    def result(self) -> Result | None:
        """The agent's result, None as long as there is none."""
        return self._result

    @property
    def text(self) -> str:
        """The answer so far; after an error its message."""
        if self._result is not None and self._result.error is not None:
            return self._result.error.message
        return self._answer.text.since(0)

    def beginning(self, count: int) -> str:
        """The first characters of the answer so far; of an error nothing."""
        return self._answer.text.since(0, count)

    @property
    def updates(self) -> tuple[SessionUpdate, ...]:
        """What was seen of the turn so far, chunks of one kind joined."""
        return self._record.since(_START)

    @property
    def omitted(self) -> int:
        """How many updates found no place in the record."""
        return self._record.omitted

    def feed(self, event: AgentEvent) -> tuple[SessionUpdate, ...]:
        """Take in what the agent says next; after its result nothing any more.

        Returns:
            What a watcher is shown of it: an update as it is, or the text that a snapshot or a
            result adds. Empty for what cannot be written as JSON, and for questions.
        """
        if self._result is not None or isinstance(event, PermissionRequest | PermissionSettled):
            return ()
        if isinstance(event, Result):
            return self._end(event)
        if isinstance(event, MessageSnapshot):
            return self._snapshot(storable(event.text))
        if not is_turn_event(event):
            return (event,)
        if isinstance(event, AgentMessageChunk) and isinstance(event.content, TextBlock):
            return self._delta(storable(event.content.text))
        if not isinstance(event, ToolCallUpdate):
            self._deltas.end_block()
            self._answer.end_block()
        if not self._record.add(event):
            return ()
        if isinstance(event, AgentMessageChunk):
            self._name(event.content)
        return (event,)

    def take_unsaved(self) -> tuple[str, tuple[SessionUpdate, ...]]:
        """The text and the updates since the last time: in the end all of them, each piece once.

        The text of an error is no part of it.
        """
        text = self._answer.text.since(self._saved_text)
        updates = self._record.since(self._saved_updates)
        self._saved_text = self._answer.text.length
        self._saved_updates = self._record.mark
        return text, updates

    def _delta(self, text: str) -> tuple[SessionUpdate, ...]:
        if not text:
            return ()
        if not self._cut:
            kept = self._deltas.append(text)
            self._record.say(kept)
            fits = self._answer.append(kept)
            if len(kept) < len(text) or not fits:
                self._cut = True
                self._answer.cut()
                self._record.say(CUT_MARK)
        return (AgentMessageChunk(TextBlock(text)),)

    def _name(self, block: AgentBlock) -> None:
        """Say in the answer that there is something beside text."""
        if not self._cut and not self._answer.append(storable(plain_text((block,)))):
            self._cut = True
            self._answer.cut()
            self._record.say(CUT_MARK)
        self._answer.end_block()

    def _snapshot(self, text: str) -> tuple[SessionUpdate, ...]:
        rest = self._rest(text)
        if rest is not None:
            return self._delta(rest)
        self._deltas.end_block()
        self._answer.end_block()
        return self._delta(text)

    def _rest(self, text: str) -> str | None:
        """What a repetition adds: "" for nothing, None when it repeats nothing that was said."""
        if self._cut or not text.strip(_SPACE):
            return ""
        rest = self._deltas.rest_of(text)
        return self._answer.rest_of(text) if rest is None else rest

    def _end(self, result: Result) -> tuple[SessionUpdate, ...]:
        shown: tuple[SessionUpdate, ...] = ()
        if result.text is not None and result.error is None:
            text = storable(result.text)
            shown = self._delta(text if self._deltas.blank else self._rest(text) or "")
        self._answer.finish()
        self._result = result
        return shown


class _Text:
    """Text that only grows. To append costs what is appended, to read what is read."""

    def __init__(self) -> None:
        self._buffer = io.StringIO()
        self._solid = 0
        self.length = 0

    def append(self, text: str) -> None:
        if solid := text.rstrip(_SPACE):
            self._solid = self.length + len(solid)
        self.length += self._buffer.write(text)

    def since(self, start: int, count: int | None = None) -> str:
        self._buffer.seek(start)
        text = self._buffer.read(self.length - start if count is None else count)
        self._buffer.seek(0, io.SEEK_END)
        return text

    def rest_of(self, text: str, start: int, *, partly: bool = False) -> str | None:
        """What ``text`` has beyond the text from ``start``: None when it does not begin with it.

        Args:
            text: compared without the whitespace around it.
            start: where a non-blank character is.
            partly: ``text`` may also be only the beginning of what is there: then it adds nothing.
        """
        text = text.lstrip(_SPACE)
        count = self.length - start
        if 0 < count < len(text) and text.startswith(self.since(start)):
            return text[count:]
        text = text.rstrip(_SPACE)
        if count < len(text) or self.since(start, len(text)) != text:
            return None
        return "" if partly or start + len(text) == self._solid else None


class _Deltas:
    """The text as it came, against which repetitions are held."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._text = _Text()
        self._turn = 0
        self._block = 0
        self._block_ended = False

    @property
    def blank(self) -> bool:
        """Whether nothing was said but whitespace."""
        return self._text.length == self._turn

    def append(self, text: str) -> str:
        """Take in what there is room for, and return that."""
        text = text[: self._room - self._text.length]
        blanks = len(text) - len(text.lstrip(_SPACE))
        if self._block_ended and blanks < len(text):
            self._block = self._text.length
            self._block_ended = False
        if self._block == self._text.length:
            self._block += blanks
        if self._turn == self._text.length:
            self._turn += blanks
        self._text.append(text)
        return text

    def end_block(self) -> None:
        """The next text begins a block."""
        self._block_ended = True

    def rest_of(self, text: str) -> str | None:
        """What ``text`` adds to the block in the making, to the last one, or to the turn."""
        rest = self._text.rest_of(text, self._block, partly=not self._block_ended)
        return self._text.rest_of(text, self._turn) if rest is None else rest


class _Answer:
    """The text as it is delivered. It ends with no whitespace before `finish`."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.text = _Text()
        self._held: list[str] = []
        self._block_ended = False

    def append(self, text: str) -> bool:
        """Take in text; False when there was no room for all of it."""
        body = text.rstrip(_SPACE)
        if not body:
            self._held.append(text)
            return True
        joined = "".join(self._held) + body
        self._held = [text[len(body) :]]
        if self._block_ended and self.text.length:
            bare = joined.lstrip(_SPACE)
            indentation = joined[: len(joined) - len(bare)].rpartition("\n")[2]
            joined = f"\n\n{indentation}{bare}"
        self._block_ended = False
        return self._write(joined)

    def end_block(self) -> None:
        """The next text begins a block: a blank line takes the place of the space before it."""
        self._held = []
        self._block_ended = True

    def cut(self) -> None:
        """Say that the rest is missing."""
        self._held = []
        self.text.append(CUT_MARK)

    def finish(self) -> None:
        """No more text comes: what is held is part of the answer."""
        if not (self._block_ended and self.text.length):
            self._write("".join(self._held))
        self._held = []

    def rest_of(self, text: str) -> str | None:
        """What ``text`` adds to the answer of the turn."""
        return self.text.rest_of(_NEWLINES.sub("\n\n", text), 0)

    def _write(self, text: str) -> bool:
        text = _NEWLINES.sub("\n\n", text)
        fitting = text[: max(0, self._room - self.text.length)]
        self.text.append(fitting)
        return len(fitting) == len(text)


class _Mark(msgspec.Struct, frozen=True):
    """A place in the record: so many whole items, and so many characters of the next."""

    items: int = 0
    characters: int = 0


_START = _Mark()


class _Chunks:
    """Chunks of one kind that follow each other, as one."""

    def __init__(self, kind: type[_Chunk]) -> None:
        self.kind = kind
        self.text = _Text()


class _Record:
    """The updates of a turn."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._items: list[_Chunks | SessionUpdate] = []
        self.omitted = 0

    @property
    def mark(self) -> _Mark:
        """The place behind the last update."""
        last = self._items[-1] if self._items else None
        if isinstance(last, _Chunks):
            return _Mark(len(self._items) - 1, last.text.length)
        return _Mark(len(self._items))

    def since(self, mark: _Mark) -> tuple[SessionUpdate, ...]:
        """The updates behind a place."""
        updates: list[SessionUpdate] = []
        skipped = mark.characters
        for item in self._items[mark.items :]:
            if not isinstance(item, _Chunks):
                updates.append(item)
            elif text := item.text.since(skipped):
                updates.append(item.kind(TextBlock(text)))
            skipped = 0
        return tuple(updates)

    def say(self, text: str) -> None:
        """Take in text of the answer; its length is bounded by what the answer takes."""
        self._open(AgentMessageChunk).append(text)

    def add(self, update: SessionUpdate) -> bool:
        """Take in another update if there is room; False when it cannot be written as JSON."""
        kept = within_limit(update)
        try:
            size = len(msgspec.json.encode(update))
        except (TypeError, ValueError, OverflowError, RecursionError):
            self.omitted += 1
            return False
        chunk = _chunk(update)
        if kept is not update:
            size = len(msgspec.json.encode(kept))
        elif chunk is not None and self._last_chunks(chunk[0]) is not None:
            size = len(msgspec.json.encode(chunk[1])) - len('""')
        if size > self._room:
            self.omitted += 1
            return True
        self._room -= size
        if chunk is None:
            self._items.append(kept)
        else:
            self._open(chunk[0]).append(chunk[1])
        return True

    def _last_chunks(self, kind: type[_Chunk]) -> _Chunks | None:
        last = self._items[-1] if self._items else None
        return last if isinstance(last, _Chunks) and last.kind is kind else None

    def _open(self, kind: type[_Chunk]) -> _Text:
        """The text of the last item if it is of this kind, else of a new one."""
        chunks = self._last_chunks(kind)
        if chunks is None:
            chunks = _Chunks(kind)
            self._items.append(chunks)
        return chunks.text


def _chunk(update: SessionUpdate) -> tuple[type[_Chunk], str] | None:
    """Kind and text of a chunk of text; None for any other update."""
    if isinstance(update, _Chunk) and isinstance(update.content, TextBlock):
        return type(update), update.content.text
    return None
