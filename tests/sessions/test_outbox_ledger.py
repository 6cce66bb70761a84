"""The index of files: those that agents send, beside those that people sent (M5, R7, S43)."""

from __future__ import annotations

import pytest

from runtime.sessions.handover import Owner
from runtime.sessions.ledger import Ledger
from runtime.sessions.media import BlobRow, OutboxFile, Owed, SessionEnded, Settled, is_outgoing

NOW = 1_000_000


def file(path: str = "a.txt", at: int = 0, size: int = 10, inode: int = 1) -> OutboxFile:
    """A file that was written at a time in ms."""
    return OutboxFile(path, size, at * 1_000_000, inode)


def owed(of: OutboxFile, delivery: str = "d1") -> Owed:
    return Owed("s", delivery, of, NOW)


def settled(of: OutboxFile, delivery: str = "d1", *, delivered: bool) -> Settled:
    return Settled("s", delivery, of, delivered)


def media(name: str, used_at: int, size: int = 10) -> BlobRow:
    """A file of a person that an agent was given."""
    return BlobRow("s", name, f"hash of {name}", size, 0, 0, used_at, handed_at=used_at)


def evicted(ledger: Ledger, size: int = 10**9) -> list[str]:
    taken = ledger.take_evictable(size)
    return [blob.file if blob.outgoing is None else blob.outgoing.path for blob in taken]


def discarded(ledger: Ledger) -> list[str]:
    return [blob.file for blob in ledger.take_discarded()]


def test_a_file_that_is_found_is_the_sessions() -> None:  # M5
