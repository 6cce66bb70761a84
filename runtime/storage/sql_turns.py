"""Turns: claim, progress, commit (T1, T3, D7, D8)."""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from runtime.sessions.media import Claimed
from runtime.sessions.rows import (
    Draft,
    DropReason,
    InboundState,
    OutboundRow,
    SessionRow,
    SessionStatus,
    TurnRow,
    TurnState,
    Usage,
)
from runtime.storage import sql_journal, sql_media, sql_outbox, sql_sessions
from runtime.storage.codec import (
    TURN_COLUMNS,
    draft_of,
    media_items,
    to_json,
    to_json_or_null,
    turn_row,
)
from runtime.storage.engine import SqlRow, Transaction
from runtime.storage.errors import (
    NotPending,
    StaleFence,
    TurnRunning,
    UnknownTurn,
)
from runtime.storage.joining import JoinTurn
from runtime.storage.requests import (
    BeginTurn,
    EndedTurn,
    EndTurn,
    SaveDraft,
    Settlement,
    TurnProgress,
)

LOOKED_THROUGH = 1_000
"""So many of the newest turns may have left something to withdraw."""

_BY_ID = f"SELECT {TURN_COLUMNS} FROM turns WHERE id = ?"
_ENDINGS = (
    InboundState.PENDING,
    InboundState.DONE,
    InboundState.FAILED,
    InboundState.DROPPED,
    InboundState.EXPIRED,
)


def begin(transaction: Transaction, request: BeginTurn) -> TurnRow:
    """Claim messages for a turn, all or none."""
    session = sql_sessions.active(transaction, request.session_id)
    check_fence(transaction, session, request.fence)
    present = transaction.row(_BY_ID, request.turn_id)
    if present is not None:
        return turn_row(present)
    if session.epoch != request.epoch:
        raise StaleFence(
            f"The session {session.id} is in epoch {session.epoch}, not {request.epoch}."
        )
    running = transaction.row(
        "SELECT id FROM turns WHERE session_id = ? AND state = 'running'", session.id
    )
    if running is not None:
        raise TurnRunning(f"The turn {running[0]} of the session {session.id} has not ended.")
    draft = _draft_of_earlier_try(transaction, request.message_ids)
    turn = TurnRow(
        id=request.turn_id,
        session_id=session.id,
        epoch=session.epoch,
        state=TurnState.RUNNING,
        started_at=transaction.now,
        message_ids=request.message_ids,
        tries=max((claim(transaction, request, each) for each in request.message_ids), default=0),
        draft=draft,
    )
    transaction.run(
        "INSERT INTO turns (id, session_id, epoch, state, tries, message_ids, overflow, instance,"
        " incarnation, fence, started_at, draft) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        turn.id,
        turn.session_id,
        turn.epoch,
        turn.state,
        turn.tries,
        to_json(turn.message_ids),
        to_json(request.overflow),
        request.owner.instance,
        request.owner.incarnation,
        request.fence,
        turn.started_at,
        to_json_or_null(turn.draft),
    )
    _set_owed(transaction, session.id, request.overflow, owed=False)
    transaction.run(
        "UPDATE sessions SET cap_noticed = '[]', updated_at = max(updated_at, ?1),"
        " last_active_at = max(coalesce(last_active_at, 0), ?1) WHERE id = ?2",
        transaction.now,
        session.id,
    )
    return turn


def save_progress(transaction: Transaction, progress: TurnProgress) -> None:
    """Keep what a running turn has said (T3). Of a turn that has ended it is ignored."""
    session = sql_sessions.existing(transaction, progress.session_id)
    check_fence(transaction, session, progress.fence)
    turn = existing(transaction, progress.turn_id, progress.session_id)
    if turn.state is not TurnState.RUNNING:
        return
    transaction.run(
        "INSERT INTO turn_progress (turn_id, n, at, text, data) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (turn_id, n) DO NOTHING",
        progress.turn_id,
        progress.n,
        transaction.now,
        progress.text,
        to_json_or_null(progress.data),
    )
    if progress.first_event_at is not None:
        transaction.run(
            "UPDATE turns SET first_event_at = coalesce(first_event_at, ?) WHERE id = ?",
            progress.first_event_at,
            progress.turn_id,
        )


def save_draft(transaction: Transaction, request: SaveDraft) -> None:
    """Keep which message shows the answer in the making (R8). Of a turn that has ended it is
    ignored.
    """
    session = sql_sessions.existing(transaction, request.session_id)
    check_fence(transaction, session, request.fence)
    turn = existing(transaction, request.turn_id, request.session_id)
    if turn.state is TurnState.RUNNING:
        _keep_draft(transaction, turn.id, request.draft)


def drafts_left_over(
    transaction: Transaction, channel: str, account: str
) -> tuple[tuple[str, Draft], ...]:
    """What is to be withdrawn from the chats of an account, of the newest turns (R6)."""
    rows = transaction.rows(
        "SELECT id, draft FROM turns WHERE n > (SELECT max(n) FROM turns) - ?"
        " AND draft ->> '$.left_over' AND state <> 'running' ORDER BY n",
        LOOKED_THROUGH,
    )
    drafts = ((str(row[0]), draft_of(row[1])) for row in rows)
    place = (channel, account)
    return tuple(
        (turn_id, draft)
        for turn_id, draft in drafts
        if (draft.reply_to.channel, draft.reply_to.account) == place
    )


def draft_gone(transaction: Transaction, turn_id: str) -> None:
    """Nothing is shown any more of a turn that has ended."""
    transaction.run(
        "UPDATE turns SET draft = NULL WHERE id = ? AND state <> 'running'",
        turn_id,
    )


def end(transaction: Transaction, request: EndTurn) -> EndedTurn:
    """The turn commit (D7); repeated, it answers the same."""
    if request.state is TurnState.RUNNING:
        raise ValueError("a turn cannot end as running")
    session = sql_sessions.existing(transaction, request.session_id)
    check_fence(transaction, session, request.fence)
    turn = existing(transaction, request.turn_id, request.session_id)
    if turn.epoch != request.epoch:
        raise StaleFence(f"The turn {turn.id} is of epoch {turn.epoch}, not {request.epoch}.")
    if turn.state is not TurnState.RUNNING:
        return _ended_before(transaction, session, request)
    turn = structs.replace(turn, first_event_at=turn.first_event_at or request.first_event_at)
    _settle(transaction, session, turn, request.messages)
    lines = sql_journal.append(transaction, session, turn.epoch, turn.id, request.journal)
    outbound = tuple(
        sql_outbox.insert(transaction, session.id, turn.id, each) for each in request.outbound
    )
    finish(
        transaction,
        structs.replace(
            turn,
            state=request.state,
            stop_reason=request.stop_reason,
            error=request.error,
            usage=request.usage,
        ),
    )
    if turn.first_event_at is not None:
        sql_media.tell(transaction, session.id, request.told)
    if request.draft is not None:
        _keep_draft(transaction, turn.id, request.draft)
    _update_session(transaction, session, request)
    return EndedTurn(sql_sessions.existing(transaction, session.id), lines, outbound)


def finish(transaction: Transaction, turn: TurnRow) -> None:
    """Write how a turn ended and forget its progress."""
    transaction.run(
        "UPDATE turns SET state = ?, ended_at = ?, stop_reason = ?, error = ?, usage = ?,"
        " first_event_at = ? WHERE id = ?",
        turn.state,
        transaction.now,
        turn.stop_reason,
        to_json_or_null(turn.error),
        to_json_or_null(turn.usage),
        turn.first_event_at,
        turn.id,
    )
    transaction.run("DELETE FROM turn_progress WHERE turn_id = ?", turn.id)


def withdrawn_because(session: SessionRow, epoch: int) -> DropReason | None:
    """Why a message of this epoch cannot wait any more, if so: it has no queue to go back to."""
    if session.status is not SessionStatus.ACTIVE:
        return DropReason.CLOSED
    return DropReason.RESET if epoch != session.epoch else None


def requeue(transaction: Transaction, turn: TurnRow, settlement: Settlement) -> None:
    """Put a claimed message back into its queue. That it was cut off once stays its reason: the
    agent is told, whatever befalls the tries after it (T5 d). One that was never tried is of no
    turn: it may run together with others (Q3).
    """
    row = transaction.row(
        "UPDATE inbound SET state = 'pending', tries = tries + ?1, not_before = ?2,"
        " reason = CASE WHEN reason IN ('interrupted', 'shutdown') THEN reason ELSE ?3 END,"
        " turn_id = CASE WHEN tries + ?1 = 0 THEN NULL ELSE turn_id END"
        " WHERE id = ?4 RETURNING media",
        int(settlement.count_try),
        settlement.not_before,
        settlement.reason,
        settlement.message_id,
    )
    _settle_media(transaction, turn, settlement.message_id, row, waits=True)


def finish_message(
    transaction: Transaction,
    turn: TurnRow,
    message_id: str,
    state: InboundState,
    reason: str | None,
    *,
    count_try: bool,
) -> None:
    """The end of a message that a turn had claimed."""
    row = transaction.row(
        "UPDATE inbound SET state = ?, reason = ?, tries = tries + ?, finished_at = ?"
        " WHERE id = ? RETURNING media",
        state,
        reason,
        int(count_try),
        transaction.now,
        message_id,
    )
    _settle_media(transaction, turn, message_id, row, waits=False)


def _settle_media(
    transaction: Transaction, turn: TurnRow, message_id: str, row: SqlRow | None, *, waits: bool
) -> None:
    media = media_items(None if row is None else row[0])
    message = (message_id, turn.session_id, media)
    sql_media.settle(transaction, message, turn.epoch, turn.first_event_at, waits=waits)


def owe_overflow_again(transaction: Transaction, turn: TurnRow) -> None:
    """A turn whose messages run again carries the lines of dropped messages again (Q4)."""
    row = transaction.row("SELECT overflow FROM turns WHERE id = ?", turn.id)
    if row is not None:
        transaction.run(
            "UPDATE inbound SET line_owed = 1"
            " WHERE id IN (SELECT value FROM json_each(?)) AND session_id = ?",
            row[0],
            turn.session_id,
        )


def _settle(
    transaction: Transaction, session: SessionRow, turn: TurnRow, messages: Sequence[Settlement]
) -> None:
    """Decide every message that the turn claimed: none may be left without an owner."""
    named = [settlement.message_id for settlement in messages]
    if sorted(named) != sorted(turn.message_ids):
        raise ValueError(
            f"the end of turn {turn.id} must settle exactly the messages that it claimed"
        )
    requeued = False
    for settlement in messages:
        if settlement.state not in _ENDINGS:
            raise ValueError(f"a claimed message cannot be settled as {settlement.state}")
        state, reason = settlement.state, settlement.reason
        if state is InboundState.PENDING:
            withdrawn = withdrawn_because(session, turn.epoch)
            if withdrawn is None:
                requeue(transaction, turn, settlement)
                requeued = True
                continue
            state, reason = InboundState.DROPPED, withdrawn
        finish_message(
            transaction,
            turn,
            settlement.message_id,
            state,
            reason,
            count_try=settlement.count_try,
        )
    if requeued:
        owe_overflow_again(transaction, turn)


def _draft_of_earlier_try(transaction: Transaction, message_ids: Sequence[str]) -> Draft | None:
    """What the chat still shows of the last turn that carried one of these messages."""
    row = transaction.row(
        "SELECT draft FROM turns WHERE id = (SELECT max(turns.id)"
        " FROM inbound JOIN turns ON turns.id = inbound.turn_id"
        " WHERE inbound.id IN (SELECT value FROM json_each(?))"
        " AND inbound.trigger = 1 AND turns.draft IS NOT NULL)",
        to_json(message_ids),
    )
    return None if row is None else draft_of(row[0])


def _keep_draft(transaction: Transaction, turn_id: str, draft: Draft) -> None:
    transaction.run("UPDATE turns SET draft = ? WHERE id = ?", to_json(draft), turn_id)


def claim(transaction: Transaction, request: BeginTurn | JoinTurn, message_id: str) -> int:
    """Claim one message; how often it was tried before. Raises `NotPending`."""
    row = transaction.row(
        "UPDATE inbound SET state = 'claimed', turn_id = ?, claim_generation = ?, claimed_at = ?"
        " WHERE id = ? AND session_id = ? AND state = 'pending' RETURNING tries, media IS NOT NULL",
        request.turn_id,
        request.fence,
        transaction.now,
        message_id,
        request.session_id,
    )
    if row is None:
        raise NotPending(f"The message {message_id} does not wait in this session any more.")
    if row[1]:
        transaction.media_changes.append(Claimed(request.session_id, message_id))
    return int(row[0])


def _set_owed(
    transaction: Transaction, session_id: str, message_ids: Sequence[str], *, owed: bool
) -> None:
    if message_ids:
        transaction.run(
            "UPDATE inbound SET line_owed = ?"
            " WHERE id IN (SELECT value FROM json_each(?)) AND session_id = ?",
            int(owed),
            to_json(message_ids),
            session_id,
        )


def _update_session(transaction: Transaction, session: SessionRow, request: EndTurn) -> None:
    usage = request.usage if request.usage is not None else Usage()
    agent_session_id = session.agent_session_id
    if request.agent_session_id is not None and request.epoch == session.epoch:
        agent_session_id = request.agent_session_id
    transaction.run(
        "UPDATE sessions SET input_tokens = input_tokens + ?, output_tokens = output_tokens + ?,"
        " total_tokens = total_tokens + ?, context_tokens = ?, agent_session_id = ?,"
        " last_active_at = max(coalesce(last_active_at, 0), ?), updated_at = max(updated_at, ?)"
        " WHERE id = ?",
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.context_tokens or session.usage.context_tokens,
        agent_session_id,
        transaction.now,
        transaction.now,
        session.id,
    )


def _ended_before(transaction: Transaction, session: SessionRow, request: EndTurn) -> EndedTurn:
    lines = sql_journal.lines_of(transaction, session.id, (each.id for each in request.journal))
    found = (sql_outbox.by_id(transaction, each.id) for each in request.outbound)
    outbound: tuple[OutboundRow, ...] = tuple(row for row in found if row is not None)
    return EndedTurn(session, lines, outbound)


def existing(transaction: Transaction, turn_id: str, session_id: str) -> TurnRow:
    """A turn of a session. Raises `UnknownTurn`."""
    row = transaction.row(_BY_ID, turn_id)
    if row is None or row[1] != session_id:
        raise UnknownTurn(f"There is no turn {turn_id} in the session {session_id}.")
    return turn_row(row)


def check_fence(transaction: Transaction, session: SessionRow, fence: int) -> None:
    """Raise `StaleFence` when somebody newer works on the session (D8)."""
    if session.fence != fence:
        raise StaleFence(
            f"The session {session.id} has a newer owner (fence {session.fence}, not {fence})."
        )
