"""Messages that join a running turn, and leave it again when the agent does not take them (Q3)."""

from __future__ import annotations

from msgspec import structs

from runtime.sessions.media import without_files
from runtime.sessions.rows import InboundRow, InboundState, TurnRow, TurnState
from runtime.storage import sql_inbound, sql_media, sql_sessions, sql_turns
from runtime.storage.codec import to_json
from runtime.storage.engine import Transaction
from runtime.storage.errors import NotPending, StaleFence
from runtime.storage.joining import JoinTurn, KeepCopy, LeaveTurn
from runtime.storage.sql_withdrawing import owe_notice


def join(transaction: Transaction, request: JoinTurn) -> TurnRow:
    """Claim one more message for a running turn; repeated, it answers the same."""
    session = sql_sessions.active(transaction, request.session_id)
    sql_turns.check_fence(transaction, session, request.fence)
    turn = sql_turns.existing(transaction, request.turn_id, session.id)
    if request.message_id in turn.message_ids:
        return turn
    if session.epoch != request.epoch or turn.epoch != request.epoch:
        raise StaleFence(f"The session {session.id} is in epoch {session.epoch}.")
    if turn.state is not TurnState.RUNNING:
        raise NotPending(f"The turn {turn.id} has ended: {request.message_id} cannot join it.")
    row = sql_inbound.by_id(transaction, request.message_id)
    if row is None or row.turn_id is not None or not row.trigger:
        raise NotPending(f"The message {request.message_id} cannot join a running turn.")
    sql_turns.claim(transaction, request, request.message_id)
    return _carry(transaction, turn, (*turn.message_ids, request.message_id))


def leave(transaction: Transaction, request: LeaveTurn) -> InboundRow | None:
    """Let a message go back to where it waited; None when it is not of the turn."""
    session = sql_sessions.existing(transaction, request.session_id)
    sql_turns.check_fence(transaction, session, request.fence)
    turn = sql_turns.existing(transaction, request.turn_id, session.id)
    row = sql_inbound.by_id(transaction, request.message_id)
    if (
        row is None
        or row.turn_id != turn.id
        or row.state is not InboundState.CLAIMED
        or turn.state is not TurnState.RUNNING
    ):
        return None
    _carry(transaction, turn, tuple(each for each in turn.message_ids if each != row.id))
    transaction.run(
        "UPDATE inbound SET state = 'pending', turn_id = NULL, claim_generation = NULL,"
        " claimed_at = NULL WHERE id = ?",
        row.id,
    )
    row = structs.replace(row, state=InboundState.PENDING, turn_id=None)
    reason = request.drop or sql_turns.withdrawn_because(session, turn.epoch)
    if reason is not None:
        owe_notice(transaction, session.id, request.notice, (row,))
        return sql_inbound.drop_row(transaction, row, reason)
    sql_media.lease(transaction, row)
    return row


def keep_copy(transaction: Transaction, request: KeepCopy) -> InboundRow | None:
    """Hand over the files of a waiting message and leave words in their places; None when it does
    not wait any more.
    """
    session = sql_sessions.existing(transaction, request.session_id)
    sql_turns.check_fence(transaction, session, request.fence)
    turn = sql_turns.existing(transaction, request.turn_id, session.id)
    row = sql_inbound.by_id(transaction, request.message_id)
    if row is None or row.session_id != session.id or row.state is not InboundState.PENDING:
        return None
    if not row.media:
        return row
    sql_media.hand_over_of(transaction, row, turn.epoch, request.at)
    sql_inbound.ended(transaction, row)  # as far as its files are concerned
    row = structs.replace(row, content=without_files(row.content, row.media), media=())
    transaction.run(
        "UPDATE inbound SET media = NULL, content = ? WHERE id = ?", to_json(row.content), row.id
    )
    return row


def _carry(transaction: Transaction, turn: TurnRow, message_ids: tuple[str, ...]) -> TurnRow:
    transaction.run("UPDATE turns SET message_ids = ? WHERE id = ?", to_json(message_ids), turn.id)
    return structs.replace(turn, message_ids=message_ids)
