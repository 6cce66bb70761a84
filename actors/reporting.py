"""What the end of a turn writes down: transcript lines, parts of the answer, a word to the sender
(D7, J1, R5, R6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.drafting import Drafts
from actors.queue import Batch
from actors.services import Services
from runtime.sessions.outgoing import Outgoing, refusal_notice, waiting_notice
from runtime.sessions.relay import Reply
from runtime.sessions.rows import (
    InboundState,
    OutboundRow,
    ReplyAddress,
    SessionRow,
    TurnState,
)
from runtime.sessions.settling import Verdict
from runtime.sessions.silence import presentable, visible_text
from runtime.sessions.split import split
from runtime.sessions.withdrawing import DropNotice
from runtime.storage.entries import answer_id, error_entry, user_entry
from runtime.storage.requests import EndTurn, NewEntry, NewOutbound, Settlement


def end_of_turn(
    services: Services,
    session: SessionRow,
    batch: Batch,
    verdict: Verdict,
    reply: Reply,
    first_event_at: int | None,
    told: tuple[str, ...],
    drafts: Drafts,
    outgoing: Outgoing,
    notice: DropNotice | None = None,
) -> EndTurn:
    """The one transaction in which a turn ends."""
    outbound = _outbound(services, batch, verdict, reply, drafts.edits, outgoing, notice)
    draft = drafts.draft
    if draft is not None:
        left_over = is_left_over(verdict, outbound, reply)
        draft = msgspec.structs.replace(draft, left_over=left_over)
    return EndTurn(
        turn_id=batch.turn_id,
        session_id=session.id,
        epoch=session.epoch,
        fence=session.fence,
        state=verdict.turn_state,
        stop_reason=verdict.stop_reason,
        error=verdict.error,
        usage=reply.result.usage if reply.result is not None else None,
        first_event_at=first_event_at,
        messages=tuple(
            Settlement(
                message_id=row.id,
                state=verdict.settlements[row.id].state,
                reason=verdict.settlements[row.id].reason,
                not_before=verdict.settlements[row.id].not_before,
                count_try=verdict.settlements[row.id].count_try,
            )
            for row in batch.claimed
        ),
        journal=_journal(batch, verdict, reply),
        outbound=outbound,
        agent_session_id=reply.result.agent_session_id if reply.result is not None else None,
        told=told,
        draft=draft,
    )


def is_left_over(
    verdict: Verdict, outbound: Sequence[OutboundRow | NewOutbound], reply: Reply
) -> bool:
    """Whether the draft of a turn that has ended is to go: nothing takes its place, no later try
    goes on with it, and it is not what is left of an answer that was stopped.
    """
    if verdict.message_state is InboundState.PENDING or any(row.edits for row in outbound):
        return False
    stopped = verdict.turn_state is TurnState.CANCELLED
    return not (stopped and presentable(reply.text))


def _journal(batch: Batch, verdict: Verdict, reply: Reply) -> tuple[NewEntry, ...]:
    """What was said. Nothing for a turn that is tried again, unless the agent had begun to
    answer.
    """
    waits = verdict.message_state is InboundState.PENDING
    cut_off = verdict.turn_state is TurnState.INTERRUPTED
    if waits and not (cut_off and reply.text):
        return ()
    entries = [user_entry(row) for row in batch.claimed]
    answered_error = reply.result is not None and reply.result.error is not None
    text, updates = "" if answered_error else reply.text, reply.updates
    if text or updates:
        data: dict[str, Any] = {"updates": [msgspec.to_builtins(update) for update in updates]}
        if verdict.stop_reason is not None:
            data["stopReason"] = verdict.stop_reason
        if cut_off:
            data["interrupted"] = True
        entries.append(NewEntry(answer_id(batch.turn_id), "assistant", text, data=data))
    if verdict.error is not None and not waits:
        entries.append(error_entry(batch.turn_id, verdict.error))
    return tuple(entries)


def _outbound(
    services: Services,
    batch: Batch,
    verdict: Verdict,
    reply: Reply,
    edits: str | None,
    outgoing: Outgoing,
    notice: DropNotice | None,
) -> tuple[NewOutbound, ...]:
    """The parts owed to a push channel, the first in place of the draft, and files after them (R7);
    what is told of an end that somebody elsewhere asked for; nothing for a pull channel (R8).
    """
    address = batch.rows[0].reply_to
    if address is None:
        return ()
    if notice is not None and verdict.turn_state is TurnState.CANCELLED:
        owed = notice.owed(row.reply_to for row in batch.rows)
        return tuple(NewOutbound(*each, notice.text, kind="notice") for each in owed.items())
    if verdict.turn_state is TurnState.DONE:
        text, kind = visible_text(reply.text), "answer"
    elif verdict.tell_sender and verdict.error is not None:
        text, kind = verdict.error.message, "notice"
    else:
        return ()
    texts = parts(services, address, text or "", kind, edits)
    return (*texts, *_files(services, address, outgoing))


def _files(
    services: Services, address: ReplyAddress, outgoing: Outgoing
) -> tuple[NewOutbound, ...]:
    """The files that are owed, those that are not taken, and a word about these."""
    files = [(file, None) for file in outgoing.owed] + list(outgoing.refused)
    rows = (
        NewOutbound(services.ids.new(), address, file.name, kind="file", file=file, refused=reason)
        for file, reason in files
    )
    notices = (refusal_notice(outgoing.refused), waiting_notice(outgoing.waiting))
    told = "\n\n".join(notice for notice in notices if notice)
    return (*rows, *parts(services, address, told, "notice"))


def parts(
    services: Services, address: ReplyAddress, text: str, kind: str, edits: str | None = None
) -> tuple[NewOutbound, ...]:
    """A text as rows within the channel's limit, each its own delivery (R5). The first takes the
    place of the message ``edits``.
    """
    if not text.strip():
        return ()
    limit, counting = services.text_limit(address.channel, address.account)
    return tuple(
        NewOutbound(
            services.ids.new(),
            address,
            piece,
            part=number,
            kind=kind,
            edits=edits if number == 0 else None,
        )
        for number, piece in enumerate(split(text, limit, counting))
    )
