"""What is cheap to send and costly to keep, found before the WebSocket library sees it (G7, G8).

The library keeps each piece of an unfinished message as an object of its own, and a piece is
whatever arrived at once: a client that sends a message in empty fragments, or byte by byte, would
take many times of what it sends, without end. So the pieces are put together here, and fragments
are counted.
"""

from __future__ import annotations

MAX_FRAGMENTS = 4_096
"""Frames of one message. 32 MiB in the 16 KiB pieces of a Node.js stream are half of it."""

PIECE = 64 * 1024
"""Bytes of a frame's payload that are kept back at most until more of it arrive."""

_FIN = 0x80
_CONTROL = 0x08
_MASKED = 0x80
_MASK = 4
_LENGTH = 0x7F
_EXTENDED = {126: 2, 127: 8}


class TooManyFragments(Exception):
    """A message came in more than `MAX_FRAGMENTS` frames."""


class Frames:
    """Cuts what arrives at the ends of heads, of frames, and of pieces (RFC 6455, section 5.2).

    Whether a head is acceptable is for the library to say, which gets it as soon as it is whole.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._payload = 0
        self._fragments = 0

    def feed(self, data: bytes | bytearray) -> bytes:
        """Take bytes; the bytes that can be given on by now, which may be none.

        Raises:
            TooManyFragments: the connection is to end.
        """
        self._buffer += data
        ready = 0
        while True:
            if self._payload == 0:
                head = self._read_head()
                if head == 0:
                    break
                self._scanned += head
                ready = self._scanned
            step = min(self._payload, len(self._buffer) - self._scanned)
            self._scanned += step
            self._payload -= step
            if self._payload == 0 or self._scanned - ready >= PIECE:
                ready = self._scanned
            if self._payload:
                break
        given = bytes(self._buffer[:ready])
        del self._buffer[:ready]
        self._scanned -= ready
        return given

    def _read_head(self) -> int:
        """Read the head of the next frame; its size, 0 when it is not whole yet."""
        at = self._scanned
        available = len(self._buffer) - at
        if available < 2:
            return 0
        first, second = self._buffer[at], self._buffer[at + 1]
        length = second & _LENGTH
        extended = _EXTENDED.get(length, 0)
        size = 2 + extended + (_MASK if second & _MASKED else 0)
        if available < size:
            return 0
        if extended:
            length = int.from_bytes(self._buffer[at + 2 : at + 2 + extended], "big")
        self._payload = length
        if not first & _CONTROL:
            self._fragments = 0 if first & _FIN else self._fragments + 1
            if self._fragments > MAX_FRAGMENTS:
                raise TooManyFragments
        return size
