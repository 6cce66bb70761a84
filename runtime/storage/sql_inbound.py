"""Inbound rows: what waits, what is due, what is withdrawn, where a message stands (D6)."""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from runtime.sessions.media import Ended
from runtime.sessions.rows import DropReason, InboundRow, InboundState, MessageKey
from runtime.storage.codec import (
    INBOUND_COLUMNS,
    INBOUND_SOURCE,
    TURN_COLUMNS,
    inbound_row,
    turn_row,
)
from runtime.storage.engine import Transaction
from runtime.storage.requests import Drop, MessageStatus

_BY_ID = f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE} WHERE inbound.id = ?"
_PENDING = (
    f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE}"
    " WHERE inbound.session_id = ? AND inbound.state = 'pending' ORDER BY inbound.seq"
)
_HELD = (
    f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE}"
    " WHERE inbound.session_id = ? AND inbound.state = 'held' ORDER BY inbound.seq"
)
_OWED = (
    f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE}"
    " WHERE inbound.session_id = ? AND inbound.line_owed = 1 ORDER BY inbound.seq"
)
_KNOWN = (
    "SELECT 1 FROM message_keys JOIN inbound ON inbound.id = message_keys.inbound_id"
    " WHERE channel = ? AND account = ? AND chat = ? AND message_id = ? AND version = ?"
)
_DUE = """
    WITH RECURSIVE waiting (session_id) AS (
        SELECT min(session_id) FROM inbound WHERE state = 'pending' AND session_id > ?1
        UNION ALL
        SELECT (
            SELECT min(session_id) FROM inbound
            WHERE state = 'pending' AND session_id > waiting.session_id
        ) FROM waiting WHERE session_id IS NOT NULL
    )
    SELECT session_id FROM waiting WHERE EXISTS (
        SELECT 1 FROM inbound WHERE session_id = waiting.session_id AND state = 'pending'
            AND trigger = 1 AND coalesce(not_before, 0) <= ?2
    ) LIMIT ?3"""


def ended(transaction: Transaction, row: InboundRow) -> None:
    """A message has come to its end: whoever looks after its files hears of it."""
    if row.media:
        transaction.media_changes.append(Ended(row.session_id, row.id))


def by_id(transaction: Transaction, message_id: str) -> InboundRow | None:
    """One message."""
    row = transaction.row(_BY_ID, message_id)
    return None if row is None else inbound_row(row)


def known(transaction: Transaction, keys: Iterable[MessageKey]) -> frozenset[MessageKey]:
    """Those of messages that came before (D5)."""
    return frozenset(
        key
        for key in keys
        if transaction.row(_KNOWN, key.channel, key.account, key.chat, key.message_id, key.version)
    )


def pending(transaction: Transaction, session_id: str) -> tuple[InboundRow, ...]:
    """All that waits in a session, in order."""
    return tuple(map(inbound_row, transaction.rows(_PENDING, session_id)))


def held(transaction: Transaction, session_id: str) -> tuple[InboundRow, ...]:
    """All that waits for approval in a session, in order."""
    return tuple(map(inbound_row, transaction.rows(_HELD, session_id)))


def owed(transaction: Transaction, session_id: str) -> tuple[InboundRow, ...]:
    """The dropped messages whose line is owed to the agent, in order (Q4)."""
    return tuple(map(inbound_row, transaction.rows(_OWED, session_id)))


def due_sessions(transaction: Transaction, limit: int, after: str | None) -> tuple[str, ...]:
    """Sessions with a message whose time has come, by id.

    The question skips in the index from one session that waits to the next, and looks only as far
    as the first message that is due.
    """
    rows = transaction.rows(_DUE, after or "", transaction.now, limit)
    return tuple(row[0] for row in rows)


def status(transaction: Transaction, message_id: str) -> MessageStatus | None:
    """Where a message stands, with the turn that carried it last."""
    message = by_id(transaction, message_id)
    if message is None:
        return None
    row = transaction.row(
        f"SELECT {TURN_COLUMNS} FROM turns WHERE id = ?",
        message.turn_id,
    )
    return MessageStatus(message, None if row is None else turn_row(row))


def drop_row(transaction: Transaction, row: InboundRow, reason: str) -> InboundRow:
    """Drop one message and give its row; past its time it is ``expired``, else ``dropped``."""
    state = InboundState.EXPIRED if reason == DropReason.EXPIRED else InboundState.DROPPED
    transaction.run(
        "UPDATE inbound SET state = ?, reason = ?, finished_at = ? WHERE id = ?",
        state,
        reason,
        transaction.now,
        row.id,
    )
    ended(transaction, row)
    return structs.replace(row, state=state, reason=reason, finished_at=transaction.now)


def waiting_among(
    transaction: Transaction, session_id: str, message_ids: Iterable[str]
) -> list[InboundRow]:
    """Those of some messages that wait in a session."""
    found = (by_id(transaction, message_id) for message_id in dict.fromkeys(message_ids))
    return [
        row
        for row in found
        if row is not None and row.session_id == session_id and row.state is InboundState.PENDING
    ]


def finish_row(
    transaction: Transaction, row: InboundRow, reason: str, said: str | None
) -> InboundRow:
    """A message that is done without a turn, and what was said to it."""
    row = structs.replace(
        row, state=InboundState.DONE, reason=reason, finished_at=transaction.now, said=said
    )
    transaction.run(
        "UPDATE inbound SET state = ?, reason = ?, finished_at = ?, said = ? WHERE id = ?",
        row.state,
        row.reason,
        row.finished_at,
        row.said,
        row.id,
    )
    ended(transaction, row)
    return row


def record_drop(transaction: Transaction, drop: Drop) -> None:
    """Record a message that never became a row (S32)."""
    transaction.run(
        "INSERT INTO drops (at, reason, channel, account, chat, sender, platform_message_id,"
        " detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        transaction.now,
        drop.reason,
        drop.channel,
        drop.account,
        drop.chat,
        drop.sender,
        drop.platform_message_id,
        drop.detail,
    )


def count_pending(transaction: Transaction) -> int:
    """How many messages wait in all sessions."""
    row = transaction.row("SELECT count(*) FROM inbound WHERE state = 'pending'")
    return 0 if row is None else int(row[0])
