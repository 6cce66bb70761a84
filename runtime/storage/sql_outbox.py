"""Outbound rows: what is owed to push channels, and what became of it (O1–O5)."""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from collections.abc import Iterable

from runtime.sessions.media import MediaChange, OutboxFile, Owed, SessionEnded, Settled
from runtime.sessions.outgoing import Standing, standing
from runtime.sessions.rows import OutboundRow, OutboundState, ReplyAddress, SessionStatus
from runtime.storage import sql_sessions
from runtime.storage.codec import OUTBOUND_COLUMNS, outbound_row, to_json, to_json_or_null
from runtime.storage.engine import Transaction
from runtime.storage.errors import UnknownMessage
from runtime.storage.requests import NewOutbound

_BY_ID = f"SELECT {OUTBOUND_COLUMNS} FROM outbound WHERE id = ?"
_HEADS = """
    WITH RECURSIVE heads (conversation, n) AS (
        SELECT * FROM (
            SELECT conversation, n FROM outbound
            WHERE channel = ?1 AND account = ?2 AND state IN ('pending', 'attempting')
            ORDER BY conversation, n LIMIT 1
        )
        UNION ALL
        SELECT next.conversation, next.n FROM heads JOIN outbound AS next ON next.n = (
            SELECT n FROM outbound
            WHERE channel = ?1 AND account = ?2 AND conversation > heads.conversation
                AND state IN ('pending', 'attempting')
            ORDER BY conversation, n LIMIT 1
        )
    )"""
_DUE = (
    f"{_HEADS} SELECT {OUTBOUND_COLUMNS} FROM outbound"
    " WHERE n IN (SELECT n FROM heads) AND state = 'pending' AND coalesce(not_before, 0) <= ?3"
    " ORDER BY n LIMIT ?4"
)
_NEXT_DUE = (
    f"{_HEADS} SELECT min(not_before) FROM outbound"
    " WHERE n IN (SELECT n FROM heads) AND state = 'pending' AND not_before > ?3"
)

_STANDING = (
    "SELECT status, (SELECT state FROM outbound WHERE session_id = ?1 AND file = ?2"
    " ORDER BY n DESC LIMIT 1) FROM sessions WHERE id = ?1"
)
_FILES_OWED = (
    f"SELECT {OUTBOUND_COLUMNS},"
    " (SELECT status FROM sessions WHERE sessions.id = outbound.session_id)"
    " FROM outbound INDEXED BY outbound_open"
    " WHERE state IN ('pending', 'attempting') AND file IS NOT NULL"
)


def by_id(transaction: Transaction, outbound_id: str) -> OutboundRow | None:
    """One row."""
    row = transaction.row(_BY_ID, outbound_id)
    return None if row is None else outbound_row(row)


def insert(
    transaction: Transaction, session_id: str, turn_id: str | None, new: NewOutbound
) -> OutboundRow:
    """Owe something to a push channel; the row of the first time when it was owed already."""
    present = by_id(transaction, new.id)
    if present is not None:
        return present
    address = new.reply_to
    refused = new.refused is not None
    transaction.run(
        "INSERT INTO outbound (id, session_id, turn_id, part, kind, channel, account, conversation,"
        " reply_to, text, edits, file, state, error, created_at, finished_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        new.id,
        session_id,
        turn_id,
        new.part,
        new.kind,
        address.channel,
        address.account,
        address.conversation,
        to_json(address),
        new.text,
        new.edits,
        to_json_or_null(new.file),
        OutboundState.FAILED if refused else OutboundState.PENDING,
        new.refused,
        transaction.now,
        transaction.now if refused else None,
    )
    if new.file is not None and not refused:
        transaction.media_changes.append(Owed(session_id, new.id, new.file, transaction.now))
    return _existing(transaction, new.id)


def notify(transaction: Transaction, session_id: str, new: NewOutbound) -> OutboundRow:
    """Owe a notice outside of any turn."""
    sql_sessions.existing(transaction, session_id)
    return insert(transaction, session_id, None, new)


def due(
    transaction: Transaction, channel: str, account: str, limit: int
) -> tuple[OutboundRow, ...]:
    """The heads of an account's conversations whose time has come, oldest first (O3).

    A conversation's head is found by skipping from one to the next in the index of unfinished rows,
    so that the cost follows the conversations that wait and not the rows behind their heads.
    """
    rows = transaction.rows(_DUE, channel, account, transaction.now, limit)
    return tuple(map(outbound_row, rows))


def next_due(transaction: Transaction, channel: str, account: str, after: int) -> int | None:
    """When the earliest pending head that was not due yet becomes due, in ms since 1970."""
    row = transaction.row(_NEXT_DUE, channel, account, after)
    return None if row is None else row[0]


def owes(transaction: Transaction, address: ReplyAddress) -> bool:
    """Whether a conversation has unfinished rows."""
    found = transaction.row(
        "SELECT n FROM outbound WHERE channel = ? AND account = ? AND conversation = ?"
        " AND state IN ('pending', 'attempting') LIMIT 1",
        address.channel,
        address.account,
        address.conversation,
    )
    return found is not None


def attempt(transaction: Transaction, outbound_id: str) -> OutboundRow | None:
    """``pending → attempting`` (O1)."""
    row = transaction.row(
        "UPDATE outbound SET state = 'attempting', attempts = attempts + 1,"
        " attempted_at = coalesce(attempted_at, ?)"
        f" WHERE id = ? AND state = 'pending' RETURNING {OUTBOUND_COLUMNS}",
        transaction.now,
        outbound_id,
    )
    return None if row is None else outbound_row(row)


def send_anew(transaction: Transaction, outbound_id: str, text: str) -> OutboundRow | None:
    """The attempt edits nothing any more; what is in doubt about edits is none about a send."""
    row = transaction.row(
        "UPDATE outbound SET edits = NULL, ambiguous = 0, text = ?"
        f" WHERE id = ? AND state = 'attempting' RETURNING {OUTBOUND_COLUMNS}",
        text,
        outbound_id,
    )
    return None if row is None else outbound_row(row)


def delivered(transaction: Transaction, outbound_id: str, platform_message_id: str | None) -> None:
    """``attempting → delivered``."""
    row = _existing(transaction, outbound_id)
    changed = transaction.row(
        "UPDATE outbound SET state = 'delivered', platform_message_id = ?, error = NULL,"
        " finished_at = ? WHERE id = ? AND state = 'attempting' RETURNING n",
        platform_message_id,
        transaction.now,
        outbound_id,
    )
    if changed is not None:
        _settled(transaction, row, delivered=True)


def retry(
    transaction: Transaction,
    outbound_id: str,
    not_before: int,
    error: str,
    ambiguous: bool,
    counts: bool,
) -> None:
    """``attempting → pending``. Once ambiguous, a row stays so."""
    _existing(transaction, outbound_id)
    transaction.run(
        "UPDATE outbound SET state = 'pending', not_before = ?, error = ?,"
        " ambiguous = max(ambiguous, ?), attempts = attempts - ?"
        " WHERE id = ? AND state = 'attempting'",
        not_before,
        error,
        int(ambiguous),
        int(not counts),
        outbound_id,
    )


def failed(
    transaction: Transaction, outbound_id: str, error: str, notices: tuple[NewOutbound, ...]
) -> None:
    """``attempting → failed``; without the first part of an answer the others are not sent (R5)."""
    row = _existing(transaction, outbound_id)
    changed = transaction.row(
        "UPDATE outbound SET state = 'failed', error = ?, finished_at = ?"
        " WHERE id = ? AND state = 'attempting' RETURNING n",
        error,
        transaction.now,
        outbound_id,
    )
    if changed is None:
        return
    _settled(transaction, row, delivered=False)
    for notice in notices:
        insert(transaction, row.session_id, None, notice)
    if row.part != 0 or row.turn_id is None:
        return
    address = row.reply_to
    transaction.run(
        "UPDATE outbound SET state = 'abandoned', error = 'the first part failed', finished_at = ?"
        " WHERE channel = ? AND account = ? AND conversation = ?"
        " AND state IN ('pending', 'attempting') AND state = 'pending'"
        " AND turn_id = ? AND kind = ? AND part > 0",
        transaction.now,
        address.channel,
        address.account,
        address.conversation,
        row.turn_id,
        row.kind,
    )


def states_of_files(
    transaction: Transaction, session_id: str, files: tuple[OutboxFile, ...]
) -> dict[OutboxFile, OutboundState]:
    """What has become of these files, as far as they were owed before (R7)."""
    found = {
        file: transaction.row(
            "SELECT state FROM outbound WHERE session_id = ? AND file = ? ORDER BY n DESC LIMIT 1",
            session_id,
            to_json(file),
        )
        for file in files
    }
    return {file: OutboundState(row[0]) for file, row in found.items() if row is not None}


def standings_of_files(
    transaction: Transaction, files: Iterable[tuple[str, OutboxFile]]
) -> tuple[Standing, ...]:
    """What is to become of files in outboxes, each given with the id of its session (M8)."""
    found = (
        transaction.row(_STANDING, session_id, to_json(file)) or (None, None)
        for session_id, file in files
    )
    return tuple(
        standing(
            None if status is None else SessionStatus(status),
            None if state is None else OutboundState(state),
        )
        for status, state in found
    )


def files_owed(transaction: Transaction) -> tuple[MediaChange, ...]:
    """The files that are to be delivered, those of closed sessions too, and that these are closed
    (H6).
    """
    changes: list[MediaChange] = []
    closed: dict[str, None] = {}
    for row in transaction.rows(_FILES_OWED):
        delivery = outbound_row(row[:-1])
        if delivery.file is not None:
            owed = Owed(delivery.session_id, delivery.id, delivery.file, delivery.created_at)
            changes.append(owed)
            if row[-1] != SessionStatus.ACTIVE:
                closed[delivery.session_id] = None
    return (*changes, *map(SessionEnded, closed))


def mark_ambiguous(transaction: Transaction) -> int:
    """Attempts that nobody finished become pending and ambiguous (O2); how many there were."""
    rows = transaction.rows(
        "UPDATE outbound SET state = 'pending', ambiguous = 1"
        " WHERE state IN ('pending', 'attempting') AND state = 'attempting' RETURNING n"
    )
    return len(rows)


def mark_account_ambiguous(transaction: Transaction, channel: str, account: str) -> int:
    """The same for one account, whose delivery begins anew."""
    rows = transaction.rows(
        "UPDATE outbound SET state = 'pending', ambiguous = 1"
        " WHERE channel = ? AND account = ? AND state IN ('pending', 'attempting')"
        " AND state = 'attempting' RETURNING n",
        channel,
        account,
    )
    return len(rows)


def _settled(transaction: Transaction, row: OutboundRow, *, delivered: bool) -> None:
    """The file of a row, if it has one, is owed no more."""
    if row.file is not None:
        changed = Settled(row.session_id, row.id, row.file, delivered)
        transaction.media_changes.append(changed)


def _existing(transaction: Transaction, outbound_id: str) -> OutboundRow:
    row = by_id(transaction, outbound_id)
    if row is None:
        raise UnknownMessage(f"There is no delivery {outbound_id}.")
    return row
