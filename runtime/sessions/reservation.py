"""Room for a file on its way in, which grows with the file (M3).

How large a file becomes is not known before it is here, and what a sender announces is only words.
So room is counted in steps: before any byte is written there is room for it, and little more than
that, and nothing has to go for what may never come.
"""

from __future__ import annotations

from runtime.sessions.ledger import Ledger

STEP = 1024 * 1024
"""Bytes that are counted at a time for a file of unknown size, while nothing has to go for them."""


class Reservation:
    """The room that is counted for one file, from before its first byte until it is staged or
    gone.

    Args:
        ledger: counts it among what all files take.
        largest: how many bytes the file may have.
    """

    def __init__(self, ledger: Ledger, largest: int) -> None:
        self._ledger = ledger
        self._largest = largest
        self._size = 0
        self._written = 0

    @property
    def size(self) -> int:
        """Bytes that are counted for the file."""
        return self._size

    def lack(self, more: int) -> int:
        """Bytes that have to be added before so many more are written."""
        return max(0, self._written + more - self._size)

    def step(self, needed: int, cap: int, free: int | None) -> int:
        """How many bytes to add when so many are needed: a whole step where there is room for it;
        else only those, for which others may have to go.

        Args:
            needed: bytes without which it does not go on.
            cap: what all files may take.
            free: bytes of the disk that may still be counted; None for any number.
        """
        step = max(needed, min(STEP, self._largest - self._size))
        fits = self._ledger.total + step <= cap and (free is None or step <= free)
        return step if fits else needed

    def add(self, size: int) -> None:
        """Count so many bytes more; the caller has seen that there is room for them."""
        self._ledger.incoming.reserve(size)
        self._size += size

    def wrote(self, size: int) -> None:
        """So many of them are on disk."""
        self._ledger.incoming.arrive(size)
        self._written += size

    def end(self) -> None:
        """The file is counted by itself from now on, or is gone. Again, nothing happens."""
        self._ledger.incoming.release(self._size, arrived=self._written)
        self._size = self._written = 0
