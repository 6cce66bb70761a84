"""What waits to be sent to one client (G6).

Putting a message in never blocks, so a slow client slows nobody. When the client lags, pieces of
the same text are joined; when even that is too much, `SlowReader` ends the connection, and the
client comes back with its cursor.
"""

from __future__ import annotations

from collections import deque

import trio

from runtime.protocol import jsonrpc
from runtime.protocol.acp import UpdateParams
from runtime.protocol.extensions import RuntimeMark, UpdateMark
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

Chunk = AgentMessageChunk | AgentThoughtChunk


class SlowReader(Exception):
    """The client does not read what it is sent."""


class _Frame:
    """An encoded message; ``session_id`` when its place among that session's updates matters."""

    def __init__(self, data: bytes, session_id: str | None) -> None:
        self.session_id = session_id
        self.size = _OVERHEAD + len(data)
        self._data = data

    def encode(self) -> bytes:
        return self._data


class _Text:
    """Consecutive pieces of one text, which go as one update with the number of the last."""

    def __init__(self, session_id: str, chunk: Chunk, text: str, mark: UpdateMark) -> None:
        self.session_id = session_id
        self.size = _OVERHEAD + len(text)
        self._kind = type(chunk)
        self._pieces = [text]
        self._mark = mark

    def is_continued_by(self, chunk: Chunk, mark: UpdateMark) -> bool:
        return type(chunk) is self._kind and mark.turn_id == self._mark.turn_id

    def join(self, text: str, mark: UpdateMark) -> None:
        self.size += len(text)
        self._pieces.append(text)
        self._mark = mark

    def encode(self) -> bytes:
        update = self._kind(TextBlock("".join(self._pieces)))
        params = UpdateParams(self.session_id, update, RuntimeMark(self._mark))
        return jsonrpc.notification("session/update", params)


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
        self._changed = trio.Event()

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
        mark = params.meta.runtime if params.meta is not None else None
        chunk = params.update
        if (
            isinstance(chunk, Chunk)
            and isinstance(chunk.content, TextBlock)
            and mark is not None
            and mark.number is not None
            and mark.notice is None
        ):
            self._post_text(params.session_id, chunk, chunk.content.text, mark)
        else:
            data = jsonrpc.notification("session/update", params)
            self._append(_Frame(data, params.session_id))

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
            await self._changed.wait()
        entry = self._queue.popleft()
        if entry.session_id is not None and self._last.get(entry.session_id) is entry:
            del self._last[entry.session_id]
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
                await self._changed.wait()
        if patience.cancelled_caught:
            raise SlowReader

    def _post_text(self, session_id: str, chunk: Chunk, text: str, mark: UpdateMark) -> None:
        last = self._last.get(session_id)
        if (
            len(self._queue) >= self._lag
            and isinstance(last, _Text)
            and last.is_continued_by(chunk, mark)
        ):
            self._make_room(len(text))
            last.join(text, mark)
        else:
            self._append(_Text(session_id, chunk, text, mark))

    def _append(self, entry: _Frame | _Text) -> None:
        self._make_room(entry.size)
        self._queue.append(entry)
        if entry.session_id is not None:
            self._last[entry.session_id] = entry
        self._notify()

    def _make_room(self, size: int) -> None:
        if self._queue and self._bytes + size > self._max_bytes:
            raise SlowReader
        self._bytes += size

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
