"""Records out of a stream of bytes: they end at a newline byte and nowhere else (P1)."""

from __future__ import annotations


class RecordSplitter:
    """Cuts bytes into records, without reading or waiting.

    Holds at most one record of the longest length and what was fed last. A record that is longer is
    thrown away while it arrives, and counted.

    Args:
        limit: bytes of the longest record, without its newline.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False
        self.skipped = 0

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        if self._skipping:
            newline = data.find(b"\n")
            if newline < 0:
                return
            self._skipping = False
            data = data[newline + 1 :]
        self._buffer += data

    def next_record(self) -> bytes | None:
        """The next record that is complete, or None."""
        while (newline := self._buffer.find(b"\n", self._searched)) >= 0:
            record = bytes(self._buffer[:newline])
            del self._buffer[: newline + 1]
            self._searched = 0
            if len(record) <= self._limit:
                return record
            self.skipped += 1
        self._searched = len(self._buffer)
        if self._searched > self._limit:
            self.skipped += 1
            self._skipping = True
            self._clear()
        return None

    def last_record(self) -> bytes | None:
        """At the end of the stream: what came after the last newline, or None."""
        record = bytes(self._buffer)
        self._clear()
        return record or None

    def _clear(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
