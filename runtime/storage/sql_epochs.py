"""The ends of epochs: a new one, also asked for in the chat, or none any more (S18, S40, S43)."""

from __future__ import annotations

from msgspec import structs

from runtime.sessions.media import SessionEnded
from runtime.sessions.rows import DropReason, InboundRow, InboundState, SessionRow, SessionStatus
from runtime.sessions.withdrawing import DropNotice
from runtime.storage import sql_inbound, sql_outbox, sql_sessions
from runtime.storage.anew import StartAnew, StartedAnew
from runtime.storage.codec import to_json
from runtime.storage.engine import Transaction
from runtime.storage.sql_withdrawing import owe_notice, withdraw_all

COMMAND = "command"
"""Why a message is done that was a command and nothing else."""


def new_epoch(
    transaction: Transaction, session_id: str, notice: DropNotice | None = None
) -> tuple[SessionRow, tuple[InboundRow, ...]]:
    """Begin a new epoch (S18); what waited for the old one is dropped."""
    sql_sessions.active(transaction, session_id)
    dropped = withdraw_all(transaction, session_id, DropReason.RESET, notice)
    _tell_others(transaction, session_id, notice)
    transaction.run(
        "UPDATE sessions SET epoch = epoch + 1, generation = generation + 1,"
        " agent_session_id = NULL, updated_at = max(updated_at, ?) WHERE id = ?",
        transaction.now,
        session_id,
    )
    return sql_sessions.existing(transaction, session_id), dropped


def close(
    transaction: Transaction, session_id: str, notice: DropNotice | None = None
) -> tuple[SessionRow, tuple[InboundRow, ...]]:
    """Close a session (S43); what waits for it is dropped. A closed one stays as it is."""
    session = sql_sessions.existing(transaction, session_id)
    if session.status is not SessionStatus.ACTIVE:
        return session, ()
    dropped = withdraw_all(transaction, session_id, DropReason.CLOSED, notice, held=True)
    _tell_others(transaction, session_id, notice)
    transaction.run(
        "UPDATE sessions SET status = 'closed', generation = generation + 1,"
        " updated_at = max(updated_at, ?) WHERE id = ?",
        transaction.now,
        session_id,
    )
    transaction.media_changes.append(SessionEnded(session_id))
    return sql_sessions.existing(transaction, session_id), dropped


def start_anew(transaction: Transaction, request: StartAnew) -> StartedAnew | None:
    """Begin a new epoch with the message that asked for it; None when it does not wait any more."""
    session = sql_sessions.active(transaction, request.session_id)
    asked = sql_inbound.by_id(transaction, request.message_id)
    if asked is None or asked.session_id != session.id or asked.state is not InboundState.PENDING:
        return None
    waiting = sql_inbound.pending(transaction, session.id)
    before = [row for row in waiting if row.seq < asked.seq]
    owe_notice(transaction, session.id, request.notice, before)
    _tell_others(transaction, session.id, request.notice)
    dropped = tuple(sql_inbound.drop_row(transaction, row, DropReason.RESET) for row in before)
    epoch = session.epoch + 1
    transaction.run(
        "UPDATE sessions SET epoch = ?, generation = generation + 1, agent_session_id = NULL,"
        " cap_noticed = '[]',"
        " updated_at = max(updated_at, ?) WHERE id = ?",
        epoch,
        transaction.now,
        session.id,
    )
    transaction.run(
        "UPDATE inbound SET line_owed = 0 WHERE session_id = ? AND line_owed = 1", session.id
    )
    transaction.run(
        "UPDATE inbound SET epoch = ? WHERE session_id = ? AND state = 'pending'",
        epoch,
        session.id,
    )
    asked = structs.replace(asked, epoch=epoch)
    if request.first:
        asked = structs.replace(asked, content=request.first)
        transaction.run(
            "UPDATE inbound SET content = ?, command = 0 WHERE id = ?",
            to_json(asked.content),
            asked.id,
        )
    else:
        asked = sql_inbound.finish_row(transaction, asked, COMMAND, request.said)
    return StartedAnew(
        session=sql_sessions.existing(transaction, session.id),
        message=asked,
        dropped=dropped,
        outbound=tuple(
            sql_outbox.insert(transaction, session.id, None, new) for new in request.outbound
        ),
    )


def _tell_others(transaction: Transaction, session_id: str, notice: DropNotice | None) -> None:
    if notice is not None:
        owe_notice(transaction, session_id, notice, (), also=notice.also)
