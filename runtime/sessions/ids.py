"""Identifiers that sort by the time they were made (S7)."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


class IdSource:
    """Makes UUIDs of version 7 that increase strictly within one source.

    Layout and the monotonic counter follow RFC 9562, sections 5.7 and 6.2 (method 1): 48 bits of
    milliseconds, a 12-bit counter that starts at random in its lower half, 62 random bits. When the
    counter is used up, or the clock goes backwards, the time of the last id is carried on.

    Args:
        clock: returns the wall clock in milliseconds since 1970.
    """

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock if clock is not None else wall_clock_ms
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0
        self._random = b""

    def new(self) -> str:
        """A new id as 36 characters of lower-case hexadecimal with dashes. Safe from any thread."""
        with self._lock:
            now = self._clock()
            if now > self._last_ms:
                self._last_ms = now
                self._counter = self._bits(11)
            else:
                self._counter += 1
                if self._counter > 0xFFF:
                    self._last_ms += 1
                    self._counter = self._bits(11)
            milliseconds, counter, tail = self._last_ms, self._counter, self._bits(62)
        value = (
            (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | tail
        )
        digits = f"{value:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _bits(self, count: int) -> int:
        """Random bits, at most 64. They are taken in blocks, since each call is expensive."""
        if len(self._random) < 8:
            self._random = os.urandom(4_096)
        taken, self._random = self._random[:8], self._random[8:]
        return int.from_bytes(taken, "big") >> (64 - count)


def is_id(text: str) -> bool:
    """Whether a text has the form of an id that `IdSource` makes."""
    return _ID.fullmatch(text) is not None


def wall_clock_ms() -> int:
    """The wall clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
