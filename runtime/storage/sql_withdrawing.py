"""Messages that are taken from a queue, and what their chats are told of it (H3, Q4)."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.sessions.rows import DropReason, InboundRow, ReplyAddress
from runtime.sessions.withdrawing import DropNotice
from runtime.storage import sql_inbound, sql_outbox
from runtime.storage.engine import Transaction
from runtime.storage.requests import DropPending, NewOutbound


def withdraw_all(
    transaction: Transaction,
    session_id: str,
    reason: DropReason,
    notice: DropNotice | None = None,
    *,
    held: bool = False,
    before: int | None = None,
) -> tuple[InboundRow, ...]:
    """Drop all that waits in a session; with ``held`` also what waits for approval, with ``before``
    only what has a lower ``seq``.

    The lines that earlier drops still owe to the agent are forgotten too, and a burst is over.
    """
    rows = sql_inbound.pending(transaction, session_id)
    rows = tuple(row for row in rows if before is None or row.seq < before)
    if held:
        rows += sql_inbound.held(transaction, session_id)
    transaction.run(
        "UPDATE inbound SET line_owed = 0 WHERE session_id = ? AND line_owed = 1", session_id
    )
    transaction.run("UPDATE sessions SET cap_noticed = '[]' WHERE id = ?", session_id)
    owe_notice(transaction, session_id, notice, rows)
    return tuple(sql_inbound.drop_row(transaction, row, reason) for row in rows)


def withdraw(transaction: Transaction, request: DropPending) -> tuple[InboundRow, ...]:
    """Withdraw waiting messages (H3): some, or all, which raises the queue's generation."""
    if request.message_ids is None:
        rows = withdraw_all(
            transaction,
            request.session_id,
            request.reason,
            request.notice,
            before=request.before,
        )
        transaction.run(
            "UPDATE sessions SET generation = generation + 1, updated_at = max(updated_at, ?)"
            " WHERE id = ?",
            transaction.now,
            request.session_id,
        )
        return rows
    found = sql_inbound.waiting_among(transaction, request.session_id, request.message_ids)
    owe_notice(transaction, request.session_id, request.notice, found)
    return tuple(sql_inbound.drop_row(transaction, row, request.reason) for row in found)


def owe_notice(
    transaction: Transaction,
    session_id: str,
    notice: DropNotice | None,
    dropped: Iterable[InboundRow],
    also: Iterable[ReplyAddress] = (),
) -> None:
    """Owe to the chats of messages that are dropped, and to others, what they are told of it.

    Args:
        transaction: the one in which they are dropped.
        session_id: their session.
        notice: what is said; None: nothing.
        dropped: the messages; those that wake nobody do not count, since nobody waits for an
            answer to them.
        also: where it is said in any case.
    """
    if notice is None:
        return
    addresses = (*also, *(row.reply_to for row in dropped if row.trigger))
    for name, address in notice.owed(addresses).items():
        new = NewOutbound(name, address, notice.text, kind="notice")
        sql_outbox.insert(transaction, session_id, None, new)
