"""What waits to be sent to one client (G6).

Putting a message in never blocks, so a slow client slows nobody. When the client lags, pieces of
the same text are joined; when even that is too much, `SlowReader` ends the connection, and the
client comes back with its cursor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import msgspec
import trio

from runtime.protocol import jsonrpc
from runtime.protocol.acp import UpdateParams
from runtime.protocol.extensions import EventParams, RuntimeMark, TurnUpdateEvent, UpdateMark
from runtime.sessions.content import TextBlock
from runtime.sessions.updates import AgentMessageChunk, AgentThoughtChunk

MAX_BYTES = 8 * 1024 * 1024
"""Unsent bytes at which a client is too slow; a single message may be longer."""

LAG_MESSAGES = 64
"""Unsent messages at which pieces of text begin to be joined."""

PATIENCE = 60.0
"""Seconds that a replay waits for the client to read."""

_OVERHEAD = 256
"""Bytes counted for a message beside its text: envelope and bookkeeping."""

_EVENT = "_runtime/session/event"

_What: TypeAlias = tuple[type, str | None]
_Encode: TypeAlias = Callable[[str], bytes]


class SlowReader(Exception):
    """The client does not read what it is sent."""


class _Frame:
    """An encoded message; ``stream`` when its place among others of that stream matters."""

    def __init__(self, data: bytes, stream: str | None) -> None:
        self.stream = stream
        self.size = _OVERHEAD + len(data)
        self._data = data

    def encode(self) -> bytes:
        return self._data


class _Text:
    """Consecutive pieces of one text, which go as one message with the number of the last.

    Args:
        stream: where they follow each other.
        what: the same for all pieces of the text.
        text: the first piece.
        encode: makes the message of the whole text.
    """

    def __init__(self, stream: str, what: _What, text: str, encode: _Encode) -> None:
        self.stream = stream
        self.size = _OVERHEAD + len(text)
        self._what = what
        self._pieces = [text]
        self._encode = encode

    def is_continued_by(self, what: _What) -> bool:
        return what == self._what

    def join(self, text: str, encode: _Encode) -> None:
        self.size += len(text)
        self._pieces.append(text)
        self._encode = encode

    def encode(self) -> bytes:
        return self._encode("".join(self._pieces))


class Outgoing:
    """A bounded queue of messages to one client, with one reader.

    Args:
        max_bytes: see `MAX_BYTES`.
        lag: see `LAG_MESSAGES`.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, lag: int = LAG_MESSAGES) -> None:
        self._max_bytes = max_bytes
        self._lag = lag
        self._queue: deque[_Frame | _Text] = deque()
        self._last: dict[str, _Frame | _Text] = {}
        self._bytes = 0
        self._finished = False
        self._changed: trio.Event | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def post(self, frame: bytes) -> None:
        """Queue an encoded message.

        Raises:
            SlowReader: there is no room. The connection is to end.
        """
        self._append(_Frame(frame, None))

    def post_update(self, params: UpdateParams) -> None:
        """Queue an update of a session. Raises `SlowReader`."""
        stream = f"update {params.session_id}"
        mark = params.meta.runtime if params.meta is not None else None
        text = _text(params.update)
        if text is None or mark is None or mark.number is None or mark.notice is not None:
            self._append(_Frame(jsonrpc.notification("session/update", params), stream))
            return
        kind = type(params.update)
        encode = partial(_encode_update, params.session_id, kind, mark)
        self._post_text(stream, (kind, mark.turn_id), text, encode)

    def post_event(self, params: EventParams) -> None:
        """Queue an event of a session. Raises `SlowReader`."""
        stream = f"event {params.session_id}"
        event = params.event
        if not isinstance(event, TurnUpdateEvent) or (text := _text(event.update)) is None:
            self._append(_Frame(jsonrpc.notification(_EVENT, params), stream))
            return
        kind = type(event.update)
        encode = partial(_encode_event, params, event.turn_id, kind)
        self._post_text(stream, (kind, event.turn_id), text, encode)

    def finish(self) -> None:
        """Nothing will be queued any more: `take` ends when the queue is empty."""
        self._finished = True
        self._notify()

    async def take(self) -> bytes | None:
        """Remove and return the oldest message; None when there will be no more.

        Cancelled while it waits, it removes nothing.
        """
        while not self._queue:
            if self._finished:
                return None
            await self._change()
        entry = self._queue.popleft()
        if entry.stream is not None and self._last.get(entry.stream) is entry:
            del self._last[entry.stream]
        self._bytes -= entry.size
        self._notify()
        return entry.encode()

    async def wait_for_room(self) -> None:
        """Wait until at least three quarters of the room are free. For history, which can wait.

        Raises:
            SlowReader: that took longer than `PATIENCE`.
        """
        with trio.move_on_after(PATIENCE) as patience:
            while self._bytes > self._max_bytes // 4:
                await self._change()
        if patience.cancelled_caught:
            raise SlowReader

    def _post_text(self, stream: str, what: _What, text: str, encode: _Encode) -> None:
        last = self._last.get(stream)
        if len(self._queue) >= self._lag and isinstance(last, _Text) and last.is_continued_by(what):
            self._make_room(len(text))
            last.join(text, encode)
        else:
            self._append(_Text(stream, what, text, encode))

    def _append(self, entry: _Frame | _Text) -> None:
        self._make_room(entry.size)
        self._queue.append(entry)
        if entry.stream is not None:
            self._last[entry.stream] = entry
        self._notify()

    def _make_room(self, size: int) -> None:
        if self._queue and self._bytes + size > self._max_bytes:
            raise SlowReader
        self._bytes += size

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _text(update: object) -> str | None:
    """The text of a chunk that may be joined to others, None for any other update."""
    if isinstance(update, AgentMessageChunk | AgentThoughtChunk):
        return update.content.text if isinstance(update.content, TextBlock) else None
    return None


def _encode_update(session_id: str, kind: type[Any], mark: UpdateMark, text: str) -> bytes:
    params = UpdateParams(session_id, kind(TextBlock(text)), RuntimeMark(mark))
    return jsonrpc.notification("session/update", params)


def _encode_event(params: EventParams, turn_id: str, kind: type[Any], text: str) -> bytes:
    whole = TurnUpdateEvent(turn_id, kind(TextBlock(text)))
    return jsonrpc.notification(_EVENT, msgspec.structs.replace(params, event=whole))
