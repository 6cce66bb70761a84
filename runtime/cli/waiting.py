"""How many messages will run after the next start, of a runtime that does not run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from runtime.sessions.ids import wall_clock_ms
from runtime.settings import SessionSettings
from runtime.storage.engine import Limits, Transaction
from runtime.storage.opening import DATABASE
from runtime.storage.reader import Readers

_WAITING = """
    SELECT count(*), min(inbound.admitted_at)
    FROM inbound JOIN sessions ON sessions.id = inbound.session_id
    WHERE (inbound.state = 'pending'
            OR (inbound.state = 'claimed' AND ? AND inbound.tries < ?
                AND sessions.status = 'active' AND inbound.epoch = sessions.epoch))
        AND (? IS NULL OR sessions.id = ?)
"""
"""A message of a cut-off turn waits again after the next start, unless it is given up (T5 d)."""


class Waiting(msgspec.Struct, frozen=True):
    """How many messages wait, and since when the oldest does (ms since 1970)."""

    count: int
    oldest: int | None


def will_wait(
    transaction: Transaction, sessions: SessionSettings, session_id: str | None = None
) -> Waiting:
    """What will wait after the next start, in one session or, with None, in all.

    Args:
        transaction: reads the database of a runtime that does not run.
        sessions: they say what becomes of messages whose turn was cut off.
        session_id: which session.
    """
    retry = int(sessions.on_interrupted == "retry")
    row = transaction.row(_WAITING, retry, sessions.max_tries, session_id, session_id)
    return Waiting(0, None) if row is None else Waiting(row[0], row[1])


@asynccontextmanager
async def open_readers(data_dir: Path) -> AsyncIterator[Readers]:
    """Read the database of a data directory, beside whoever writes it."""
    readers = Readers(data_dir / DATABASE, wall_clock_ms, Limits())
    try:
        yield readers
    finally:
        await readers.aclose()
