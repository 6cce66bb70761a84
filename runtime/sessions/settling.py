"""How a turn that ended is settled: one table for every end (T2, T5, D8).

=============  ===========  =====================  ===========  =========  ======  =============
end            first event  condition              turn         messages   counts  sender told
=============  ===========  =====================  ===========  =========  ======  =============
done           any                                 done         done
done           any          reason ``cancelled``   cancelled    done
cancelled      any                                 cancelled    done
superseded     yes                                 cancelled    done
superseded     no                                  cancelled    pending
withdrawn      any                                 cancelled    dropped
answered error any                                 failed       failed             yes (b)
raised         any                                 failed       failed             yes (b)
vanished       no           tries < max            vanished     pending    yes     later (a)
vanished       no           tries used up          failed       failed             yes (a)
silent         no           tries < 1              vanished     pending    yes     later (a)
silent         no           was tried before       failed       failed             yes (a)
any of these   yes                                 failed       failed             yes (c)
shutdown       any          retry, tries < max     interrupted  pending    yes     no (d)
shutdown       any          retry, tries used up   interrupted  failed             yes (d)
shutdown       any          notify                 interrupted  failed             yes (d)
=============  ===========  =====================  ===========  =========  ======  =============

``vanished`` and ``silent`` are tried again after ``retry_delay · 2ⁿ``, n being the tries so far;
after a shutdown at once. What was ``superseded`` before its first event waits as if it had never
been claimed, and runs together with what is newer (Q3). ``stalled`` is silence after the first
event; without one it is the same as ``silent``. ``raised``: a bug of what runs the agent, which
counts as an answer of the agent.

*Tries* are the earlier prompts that came to nothing, so 5 of them allow a sixth prompt and no
seventh. A failed start wrote no prompt and is no end of a turn: see `runtime.sessions.starting`.
The messages of one turn share its fate: the one with the most tries decides.

**What the sender is told** is what happened and what to do. What an agent answered is its own to
word, and is told as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from runtime.sessions.rows import DropReason, InboundRow, InboundState, TurnError, TurnState

SILENT_TRIES = 1
"""How often a silent agent is asked again (T5 a)."""

SEND_AGAIN = "Send the message again to have it tried again."
LOOK_FIRST = "Part of it may have been done: look before you send it again."
LOG = "The runtime's log says more."


class TurnEnd(StrEnum):
    """How a turn came to its end."""

    DONE = "done"
    ANSWERED_ERROR = "answered_error"
    RAISED = "raised"
    VANISHED = "vanished"
    SILENT = "silent"
    STALLED = "stalled"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    SHUTDOWN = "shutdown"


class MessageVerdict(msgspec.Struct, frozen=True):
    """What becomes of one message.

    ``not_before`` is in milliseconds since 1970; ``count_try`` adds one to its tries.
    """

    state: InboundState
    not_before: int | None = None
    count_try: bool = False
    reason: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of a turn and its messages.

    Args:
        turn_state: the state of the turn's row.
        stop_reason: the protocol's, where the turn has one.
        message_state: the state of each of its messages.
        settlements: by the id of the message.
        error: what went wrong, None when nothing did.
        tell_sender: the sender is owed the text of ``error``. False while a retry is due.
    """

    turn_state: TurnState
    stop_reason: str | None
    message_state: InboundState
    settlements: Mapping[str, MessageVerdict]
    error: TurnError | None = None
    tell_sender: bool = False

    @property
    def retry_at(self) -> int | None:
        """When the messages are tried again, in ms at the earliest; None when not, or at once."""
        moments = [verdict.not_before for verdict in self.settlements.values()]
        return max((moment for moment in moments if moment is not None), default=None)

    def requeued(self, rows: Iterable[InboundRow]) -> Iterator[InboundRow]:
        """Those of the turn's messages that wait again, as they wait from now on."""
        for row in rows:
            verdict = self.settlements[row.id]
            if verdict.state is InboundState.PENDING:
                yield msgspec.structs.replace(
                    row,
                    state=verdict.state,
                    not_before=verdict.not_before,
                    tries=row.tries + verdict.count_try,
                    interrupted=row.interrupted or self.turn_state is TurnState.INTERRUPTED,
                    reason=verdict.reason,
                )


_CAUSES = {
    TurnEnd.ANSWERED_ERROR: TurnError("agent_error", "The agent answered with an error."),
    TurnEnd.RAISED: TurnError("agent_raised", "The agent failed."),
    TurnEnd.VANISHED: TurnError("agent_vanished", "The agent went away before it had answered."),
    TurnEnd.SILENT: TurnError("agent_silent", "The agent did not answer in time."),
    TurnEnd.STALLED: TurnError(
        "agent_stalled", "The agent fell silent in the middle of its answer."
    ),
    TurnEnd.SHUTDOWN: TurnError(
        "interrupted", "The runtime stopped before the agent had answered."
    ),
}


def settle(
    end: TurnEnd,
    *,
    first_event: bool,
    rows: Sequence[InboundRow],
    now_ms: int,
    max_tries: int = 5,
    retry_delay: float = 5.0,
    error: TurnError | None = None,
    stop_reason: str | None = None,
    on_interrupted_retry: bool = True,
) -> Verdict:
    """Decide what an end means; total, so that no end of a turn is left unsettled.

    Args:
        end: how it ended.
        first_event: whether the agent had begun to answer (T6).
        rows: the turn's messages as they were when it began.
        now_ms: the wall clock, in milliseconds since 1970.
        max_tries: how often a message is tried again at most.
        retry_delay: seconds before the first new try.
        error: what went wrong in the agent's words; otherwise ours.
        stop_reason: the agent's own, of a turn that is done.
        on_interrupted_retry: False for ``on_interrupted = "notify"`` (T5 d).
    """
    if end is TurnEnd.SUPERSEDED and not first_event:
        waits = MessageVerdict(InboundState.PENDING)
        return _verdict(TurnState.CANCELLED, rows, waits, stop_reason="cancelled")
    cancelled = end in (TurnEnd.CANCELLED, TurnEnd.SUPERSEDED)
    if cancelled or (end is TurnEnd.DONE and stop_reason == "cancelled"):
        return _finished(TurnState.CANCELLED, "cancelled", rows)
    if end is TurnEnd.WITHDRAWN:
        dropped = MessageVerdict(InboundState.DROPPED, reason=DropReason.CLEARED.value)
        return _verdict(TurnState.CANCELLED, rows, dropped, stop_reason="cancelled")
    if end is TurnEnd.DONE:
        return _finished(TurnState.DONE, stop_reason or "end_turn", rows)
    if end is TurnEnd.STALLED and not first_event:
        end = TurnEnd.SILENT
    cause = error if error is not None else _CAUSES[end]
    tries = max((row.tries for row in rows), default=0)
    what_to_do = LOOK_FIRST if first_event else SEND_AGAIN
    if end is TurnEnd.SHUTDOWN:
        if on_interrupted_retry and tries < max_tries:
            return _tried_again(TurnState.INTERRUPTED, cause, rows, reason=end, not_before=None)
        given_up = on_interrupted_retry and tries
        told = _given_up(cause, tries) if given_up else _with(cause, what_to_do)
        return _failed(TurnState.INTERRUPTED, told, rows)
    if end is TurnEnd.ANSWERED_ERROR:
        return _failed(TurnState.FAILED, cause, rows)
    if end is TurnEnd.RAISED:
        return _failed(TurnState.FAILED, _with(cause, f"{LOG} {what_to_do}"), rows)
    if first_event:
        return _failed(TurnState.FAILED, _with(cause, what_to_do), rows)
    if tries >= (min(SILENT_TRIES, max_tries) if end is TurnEnd.SILENT else max_tries):
        return _failed(TurnState.FAILED, _given_up(cause, tries), rows)
    delay = retry_delay * 2**tries
    return _tried_again(
        TurnState.VANISHED,
        cause,
        rows,
        reason=end,
        not_before=now_ms + round(delay * 1000),
    )


def _finished(state: TurnState, stop_reason: str, rows: Sequence[InboundRow]) -> Verdict:
    return _verdict(state, rows, MessageVerdict(InboundState.DONE), stop_reason=stop_reason)


def _failed(state: TurnState, error: TurnError, rows: Sequence[InboundRow]) -> Verdict:
    verdict = MessageVerdict(InboundState.FAILED, reason=error.code)
    return _verdict(state, rows, verdict, error=error, tell_sender=True)


def _tried_again(
    state: TurnState,
    error: TurnError,
    rows: Sequence[InboundRow],
    *,
    reason: str,
    not_before: int | None,
) -> Verdict:
    verdict = MessageVerdict(InboundState.PENDING, not_before, True, str(reason))
    return _verdict(state, rows, verdict, error=error)


def _verdict(
    state: TurnState,
    rows: Sequence[InboundRow],
    verdict: MessageVerdict,
    *,
    stop_reason: str | None = None,
    error: TurnError | None = None,
    tell_sender: bool = False,
) -> Verdict:
    settlements = {row.id: verdict for row in rows}
    return Verdict(state, stop_reason, verdict.state, settlements, error, tell_sender)


def _given_up(cause: TurnError, tries: int) -> TurnError:
    if tries == 0:
        return _with(cause, SEND_AGAIN)
    return _with(
        cause,
        f"That was try {tries + 1}, and there will be no other by itself:"
        " send the message again to have it tried again.",
    )


def _with(cause: TurnError, more: str) -> TurnError:
    return TurnError(cause.code, cause.followed_by(more))
