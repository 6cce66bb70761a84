"""The journal: the transcript lines that are the truth of what was said (J1, J2)."""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from collections.abc import Iterable

from runtime.sessions.rows import JournalEntry, SessionRow
from runtime.storage.codec import JOURNAL_COLUMNS, journal_entry, to_json_or_null
from runtime.storage.engine import SqlRow, Transaction
from runtime.storage.requests import JournalExtent, NewEntry

_BY_ID = f"SELECT {JOURNAL_COLUMNS} FROM journal WHERE session_id = ? AND id = ?"
_AFTER = (
    f"SELECT {JOURNAL_COLUMNS} FROM journal WHERE session_id = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_AFTER_IN_EPOCH = (
    f"SELECT {JOURNAL_COLUMNS} FROM journal"
    " WHERE session_id = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_TAIL = f"SELECT {JOURNAL_COLUMNS} FROM journal WHERE session_id = ? ORDER BY seq DESC LIMIT ?"
_TAIL_IN_EPOCH = (
    f"SELECT {JOURNAL_COLUMNS} FROM journal WHERE session_id = ? AND epoch = ?"
    " ORDER BY seq DESC LIMIT ?"
)


def append(
    transaction: Transaction,
    session: SessionRow,
    epoch: int,
    turn_id: str,
    entries: Iterable[NewEntry],
) -> tuple[JournalEntry, ...]:
    """Append lines to a session; of one that is there already, the line that is there."""
    seq = session.journal_seq
    lines = []
    for new in entries:
        present = transaction.row(_BY_ID, session.id, new.id)
        if present is not None:
            lines.append(journal_entry(present))
            continue
        seq += 1
        line = JournalEntry(
            seq=seq,
            ts=transaction.now if new.ts is None else new.ts,
            id=new.id,
            role=new.role,
            content=new.content,
            epoch=epoch,
            turn_id=turn_id,
            data=new.data,
        )
        transaction.run(
            "INSERT INTO journal (session_id, seq, ts, id, role, content, epoch, turn_id, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            session.id,
            line.seq,
            line.ts,
            line.id,
            line.role,
            line.content,
            line.epoch,
            line.turn_id,
            to_json_or_null(line.data),
        )
        lines.append(line)
    if seq != session.journal_seq:
        transaction.run("UPDATE sessions SET journal_seq = ? WHERE id = ?", seq, session.id)
    return tuple(lines)


def lines_of(
    transaction: Transaction, session_id: str, ids: Iterable[str]
) -> tuple[JournalEntry, ...]:
    """The lines with these ids, as far as they exist."""
    found = (transaction.row(_BY_ID, session_id, line_id) for line_id in ids)
    return tuple(journal_entry(row) for row in found if row is not None)


def entry(transaction: Transaction, session_id: str, entry_id: str) -> JournalEntry | None:
    """One line by its id."""
    return next(iter(lines_of(transaction, session_id, (entry_id,))), None)


def read(
    transaction: Transaction, session_id: str, after: int, limit: int, epoch: int | None
) -> tuple[JournalEntry, ...]:
    """Lines above a number, in order."""
    rows: list[SqlRow]
    if epoch is None:
        rows = transaction.rows(_AFTER, session_id, after, limit)
    else:
        rows = transaction.rows(_AFTER_IN_EPOCH, session_id, epoch, after, limit)
    return tuple(map(journal_entry, rows))


def tail(
    transaction: Transaction, session_id: str, limit: int, epoch: int | None
) -> tuple[JournalEntry, ...]:
    """The newest lines, in order."""
    if epoch is None:
        rows = transaction.rows(_TAIL, session_id, limit)
    else:
        rows = transaction.rows(_TAIL_IN_EPOCH, session_id, epoch, limit)
    return tuple(map(journal_entry, reversed(rows)))


def extent(transaction: Transaction, session_id: str, epoch: int) -> JournalExtent:
    """How many lines an epoch has, and the number of the last."""
    row = transaction.row(
        "SELECT count(*), coalesce(max(seq), 0) FROM journal WHERE session_id = ? AND epoch = ?",
        session_id,
        epoch,
    )
    return JournalExtent(*row) if row is not None else JournalExtent(0, 0)
