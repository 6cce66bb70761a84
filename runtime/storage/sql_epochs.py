"""A new epoch that somebody asked for in the chat (S18, S40)."""

from __future__ import annotations

from msgspec import structs

from runtime.sessions.rows import DropReason, InboundState
from runtime.storage import sql_inbound, sql_outbox, sql_sessions
from runtime.storage.codec import to_json
from runtime.storage.engine import Transaction
from runtime.storage.requests import StartAnew, StartedAnew

COMMAND = "command"
"""Why a message is done that was a command and nothing else."""


def start_anew(transaction: Transaction, request: StartAnew) -> StartedAnew | None:
    """Begin a new epoch with the message that asked for it; None when it does not wait any more."""
    session = sql_sessions.active(transaction, request.session_id)
    asked = sql_inbound.by_id(transaction, request.message_id)
    if asked is None or asked.session_id != session.id or asked.state is not InboundState.PENDING:
        return None
    waiting = sql_inbound.pending(transaction, session.id)
    dropped = tuple(
        sql_inbound.drop_row(transaction, row, DropReason.RESET)
        for row in waiting
        if row.seq < asked.seq
    )
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
