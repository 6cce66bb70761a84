"""What earlier owners left behind: cut-off turns, waking, recovery (D8, T5 d, O2)."""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from runtime.sessions.rows import (
    Draft,
    InboundRow,
    InboundState,
    SessionRow,
    TurnError,
    TurnRow,
    TurnState,
)
from runtime.storage import sql_inbound, sql_journal, sql_outbox, sql_sessions, sql_turns
from runtime.storage.codec import (
    INBOUND_COLUMNS,
    INBOUND_SOURCE,
    TURN_COLUMNS,
    inbound_row,
    progress_data,
    to_json,
    turn_row,
)
from runtime.storage.engine import Transaction
from runtime.storage.entries import error_entry, interrupted_entry, user_entry
from runtime.storage.requests import (
    Awake,
    FinishedPending,
    FinishPending,
    InterruptedPolicy,
    NewEntry,
    NewOutbound,
    Owner,
    Recovery,
    SettledTurn,
    Settlement,
)

RECOVERIES_KEPT = 100
"""How many starts are remembered for ``doctor``."""

INTERRUPTED = TurnError(
    code="interrupted",
    message="The runtime stopped while your message was being worked on, and it is not tried "
    "again. Send it again if you still want an answer.",
)

TURNS_LOOKED_AT = 8
"""So many turns of a session back it is known whether a message came while one ran."""

_NEWEST_TURNS = (
    "SELECT started_at, ended_at FROM turns WHERE session_id = ? AND ended_at IS NOT NULL"
    " ORDER BY n DESC LIMIT ?"
)
_CLAIMED = (
    f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE}"
    " WHERE inbound.session_id = ? AND inbound.state = 'claimed' ORDER BY inbound.seq"
)
_RUNNING_IN = f"SELECT {TURN_COLUMNS} FROM turns WHERE session_id = ? AND state = 'running'"
_RUNNING_ELSEWHERE = (
    f"SELECT {TURN_COLUMNS} FROM turns INDEXED BY turns_running"
    " WHERE state = 'running' AND instance != ? ORDER BY session_id"
)


def wake(
    transaction: Transaction, session_id: str, owner: Owner, policy: InterruptedPolicy
) -> Awake:
    """Take a session for a new incarnation of its actor."""
    session = sql_sessions.active(transaction, session_id)
    settled = tuple(
        _settle(transaction, turn_row(row), policy)
        for row in transaction.rows(_RUNNING_IN, session.id)
    )
    transaction.run(
        "UPDATE sessions SET fence = fence + 1, owner = ?, incarnation = ? WHERE id = ?",
        owner.instance,
        owner.incarnation,
        session.id,
    )
    pending = sql_inbound.pending(transaction, session.id)
    return Awake(
        session=sql_sessions.existing(transaction, session.id),
        pending=pending,
        behind=_behind(transaction, session.id, pending),
        overflow=sql_inbound.owed(transaction, session.id),
        settled=settled,
    )


def _behind(
    transaction: Transaction, session_id: str, pending: Sequence[InboundRow]
) -> tuple[str, ...]:
    """Those of the messages that came while a turn ran."""
    turns = transaction.rows(_NEWEST_TURNS, session_id, TURNS_LOOKED_AT) if pending else ()
    return tuple(
        row.id for row in pending if any(begun <= row.admitted_at <= end for begun, end in turns)
    )


def recover(transaction: Transaction, instance: str, policy: InterruptedPolicy) -> Recovery:
    """Settle all that other instances left; asked again by the same instance, the same answer."""
    row = transaction.row("SELECT record FROM recoveries WHERE instance = ?", instance)
    if row is not None:
        return msgspec.json.decode(row[0], type=Recovery)
    settled = []
    for found in transaction.rows(_RUNNING_ELSEWHERE, instance):
        turn = turn_row(found)
        settled.append(_settle(transaction, turn, policy))
        transaction.run("UPDATE sessions SET fence = fence + 1 WHERE id = ?", turn.session_id)
    recovery = Recovery(
        at=transaction.now,
        instance=instance,
        settled=tuple(settled),
        ambiguous_deliveries=sql_outbox.mark_ambiguous(transaction),
        pending_messages=sql_inbound.count_pending(transaction),
    )
    transaction.run(
        "INSERT INTO recoveries (at, instance, record) VALUES (?, ?, ?)",
        recovery.at,
        instance,
        to_json(recovery),
    )
    transaction.run(
        "DELETE FROM recoveries WHERE n <= (SELECT max(n) FROM recoveries) - ?", RECOVERIES_KEPT
    )
    return recovery


def last_recovery(transaction: Transaction) -> Recovery | None:
    """What the newest start recovered."""
    row = transaction.row("SELECT record FROM recoveries WHERE n = (SELECT max(n) FROM recoveries)")
    return None if row is None else msgspec.json.decode(row[0], type=Recovery)


def _settle(transaction: Transaction, turn: TurnRow, policy: InterruptedPolicy) -> SettledTurn:
    """End a turn that nobody runs any more (T5 d) and decide its messages."""
    session = sql_sessions.existing(transaction, turn.session_id)
    claimed = [inbound_row(row) for row in transaction.rows(_CLAIMED, session.id)]
    requeued: list[InboundRow] = []
    failed: list[InboundRow] = []
    dropped: list[InboundRow] = []
    withdrawn = sql_turns.withdrawn_because(session, turn.epoch)
    for row in claimed:
        if withdrawn is not None:
            state = InboundState.DROPPED
            sql_turns.finish_message(transaction, turn, row.id, state, withdrawn, count_try=False)
            dropped.append(row)
        elif policy.retry and row.tries < policy.max_tries:
            again = Settlement(row.id, InboundState.PENDING, INTERRUPTED.code, count_try=True)
            sql_turns.requeue(transaction, turn, again)
            requeued.append(row)
        else:
            state, reason = InboundState.FAILED, INTERRUPTED.code
            sql_turns.finish_message(transaction, turn, row.id, state, reason, count_try=True)
            failed.append(row)
    if requeued:
        sql_turns.owe_overflow_again(transaction, turn)
    lines = _lines(transaction, turn, claimed, failed)
    sql_journal.append(transaction, session, turn.epoch, turn.id, lines)
    _tell_senders(transaction, session, turn, failed, draft=None if requeued else turn.draft)
    error = INTERRUPTED if failed else None
    ended = msgspec.structs.replace(turn, state=TurnState.INTERRUPTED, error=error)
    sql_turns.finish(transaction, ended)
    return SettledTurn(
        turn_id=turn.id,
        session_id=session.id,
        requeued=tuple(row.id for row in requeued),
        failed=tuple(row.id for row in failed),
        dropped=tuple(row.id for row in dropped),
    )


def _lines(
    transaction: Transaction, turn: TurnRow, claimed: list[InboundRow], failed: list[InboundRow]
) -> list[NewEntry]:
    """What the transcript keeps of a cut-off turn.

    Messages that run again get their line when they are answered, unless something was said to them
    already: then their lines come first, so that the transcript reads in order.
    """
    text, data = _progress(transaction, turn)
    asked = claimed if text or data else failed
    lines = [user_entry(row) for row in asked]
    if text or data:
        lines.append(interrupted_entry(turn.id, text, data))
    if failed:
        lines.append(error_entry(turn.id, INTERRUPTED))
    return lines


def _progress(transaction: Transaction, turn: TurnRow) -> tuple[str, list[dict[str, Any]]]:
    parts = transaction.rows(
        "SELECT text, data FROM turn_progress WHERE turn_id = ? ORDER BY n", turn.id
    )
    text = "".join(part[0] for part in parts)
    data = [item for part in parts if part[1] is not None for item in progress_data(part[1])]
    return text, data


def _tell_senders(
    transaction: Transaction,
    session: SessionRow,
    turn: TurnRow,
    failed: list[InboundRow],
    draft: Draft | None,
) -> None:
    """One notice per conversation, as an answer to its newest message. It takes the place of what
    the chat was shown of the answer (R8), unless a later try goes on with that.
    """
    newest = {row.reply_to.conversation: row.reply_to for row in failed if row.reply_to is not None}
    for address in newest.values():
        there = draft is not None and draft.reply_to.conversation == address.conversation
        notice = NewOutbound(
            transaction.ids.new(),
            address,
            INTERRUPTED.message,
            kind="notice",
            edits=draft.platform_message_id if draft is not None and there else None,
        )
        sql_outbox.insert(transaction, session.id, turn.id, notice)


def finish_pending(transaction: Transaction, request: FinishPending) -> FinishedPending:
    """Finish waiting messages that needed no turn, and owe what is said to them."""
    session_id = request.session_id
    sql_sessions.existing(transaction, session_id)
    waiting = sql_inbound.waiting_among(transaction, session_id, request.message_ids)
    return FinishedPending(
        messages=tuple(
            sql_inbound.finish_row(transaction, row, request.reason, request.said)
            for row in waiting
        ),
        outbound=tuple(
            sql_outbox.insert(transaction, session_id, None, new)
            for new in request.outbound
            if waiting
        ),
    )
