from itertools import product
from typing import NamedTuple

import pytest

from runtime.sessions.rows import InboundState, TurnError, TurnState
from runtime.sessions.settling import (
    MessageVerdict,
    TurnEnd,
    Verdict,
    settle,
)
from tests.sessions.rows import inbound

NOW_MS = 1_000_000


class Case(NamedTuple):
    """A row of the table in `runtime.sessions.settling`."""

    end: TurnEnd
    first_event: bool | None
    turn: TurnState
    message: InboundState
    delay: float | None = None
    counts: bool = False
    told: bool = False
    tries: int = 0
    retry: bool = True
    said: str | None = None
    stop_reason: str | None = None


DONE, PENDING, FAILED = InboundState.DONE, InboundState.PENDING, InboundState.FAILED
VANISHED, SILENT, STALLED = TurnEnd.VANISHED, TurnEnd.SILENT, TurnEnd.STALLED
SHUTDOWN, SUPERSEDED = TurnEnd.SHUTDOWN, TurnEnd.SUPERSEDED

TABLE = [
    Case(TurnEnd.DONE, None, TurnState.DONE, DONE, stop_reason="end_turn"),
    Case(TurnEnd.DONE, None, TurnState.DONE, DONE, said="refusal", stop_reason="refusal"),
    Case(TurnEnd.DONE, None, TurnState.CANCELLED, DONE, said="cancelled", stop_reason="cancelled"),
    Case(TurnEnd.DONE, None, TurnState.DONE, DONE, tries=5, stop_reason="end_turn"),
    Case(TurnEnd.CANCELLED, None, TurnState.CANCELLED, DONE, stop_reason="cancelled"),
    Case(TurnEnd.CANCELLED, None, TurnState.CANCELLED, DONE, tries=5, stop_reason="cancelled"),
    Case(SUPERSEDED, True, TurnState.CANCELLED, DONE, stop_reason="cancelled"),
    *(
        Case(SUPERSEDED, False, TurnState.CANCELLED, PENDING, tries=tries, stop_reason="cancelled")
        for tries in (0, 5)
    ),
    Case(TurnEnd.ANSWERED_ERROR, None, TurnState.FAILED, FAILED, told=True),
    Case(TurnEnd.RAISED, None, TurnState.FAILED, FAILED, told=True),
    # T5 a, before the first event
    *(
        Case(VANISHED, False, TurnState.VANISHED, PENDING, delay, counts=True, tries=tries)
        for tries, delay in enumerate((5.0, 10.0, 20.0, 40.0, 80.0))
    ),
    Case(VANISHED, False, TurnState.FAILED, FAILED, told=True, tries=5),
    Case(VANISHED, False, TurnState.FAILED, FAILED, told=True, tries=6),
    Case(SILENT, False, TurnState.VANISHED, PENDING, 5.0, counts=True),
    Case(SILENT, False, TurnState.FAILED, FAILED, told=True, tries=1),
    Case(STALLED, False, TurnState.VANISHED, PENDING, 5.0, counts=True),
    Case(STALLED, False, TurnState.FAILED, FAILED, told=True, tries=1),
    # T5 c, after the first event
    *(
        Case(end, True, TurnState.FAILED, FAILED, told=True, tries=tries)
        for end in (VANISHED, SILENT, STALLED)
        for tries in (0, 5)
    ),
    # T5 d, cut off
    Case(SHUTDOWN, None, TurnState.INTERRUPTED, PENDING, counts=True),
    Case(SHUTDOWN, None, TurnState.INTERRUPTED, PENDING, counts=True, tries=4),
    Case(SHUTDOWN, None, TurnState.INTERRUPTED, FAILED, told=True, tries=5),
    Case(SHUTDOWN, None, TurnState.INTERRUPTED, FAILED, told=True, retry=False),
]


def settled(case: Case, *, first_event: bool) -> Verdict:
    return settle(
        case.end,
        first_event=first_event,
        rows=[inbound(1, tries=case.tries), inbound(2, tries=case.tries)],
        now_ms=NOW_MS,
        stop_reason=case.said,
        on_interrupted_retry=case.retry,
    )


# T2, T5, D8: the whole table.
@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.end}-{case.tries}")
def test_the_table(case: Case) -> None:
    for first_event in (True, False) if case.first_event is None else (case.first_event,):
        verdict = settled(case, first_event=first_event)
        due = None if case.delay is None else NOW_MS + round(case.delay * 1000)
        assert verdict.turn_state is case.turn
        assert verdict.message_state is case.message
        assert verdict.stop_reason == case.stop_reason
        assert verdict.tell_sender is case.told
        assert verdict.retry_at == due
        assert set(verdict.settlements) == {"m1", "m2"}
        for message in verdict.settlements.values():
            assert (message.state, message.not_before) == (case.message, due)
            assert message.count_try is case.counts
            assert (message.reason is None) is (case.message is DONE or case.end is SUPERSEDED)
        assert (verdict.error is None) is (case.message is DONE or case.end is SUPERSEDED)


# T2: total, and never silent about a loss.
@pytest.mark.parametrize("first_event", [True, False])
@pytest.mark.parametrize("end", TurnEnd)
def test_every_end_is_settled(end: TurnEnd, first_event: bool) -> None:
    for tries, retry in product((0, 1, 4, 5, 99), (True, False)):
        case = Case(end, None, TurnState.DONE, DONE, tries=tries, retry=retry)
        verdict = settled(case, first_event=first_event)
        assert verdict.tell_sender is (verdict.message_state is FAILED)
        assert verdict.turn_state is not TurnState.RUNNING
        if verdict.message_state is PENDING:
            assert end in {VANISHED, SILENT, STALLED, SHUTDOWN, SUPERSEDED}
            assert not first_event or end is SHUTDOWN


# T5 a, d: no message is tried without end.
@pytest.mark.parametrize("end", [VANISHED, SILENT, SHUTDOWN])
@pytest.mark.parametrize("max_tries", [0, 1, 5])
def test_tries_come_to_an_end(end: TurnEnd, max_tries: int) -> None:
    row, prompts = inbound(1), 0
    while row.state is PENDING:
        verdict = settle(end, first_event=False, rows=[row], now_ms=NOW_MS, max_tries=max_tries)
        prompts += 1
        assert prompts < 10
        again = list(verdict.requeued([row]))
        if not again:
            break
        row = again[0]
    assert prompts == 1 + (min(max_tries, 1) if end is SILENT else max_tries)
    assert row.tries == prompts - 1


def test_the_messages_of_a_turn_share_its_fate() -> None:  # T5
    rows = [inbound(1, tries=0), inbound(2, tries=5)]
    verdict = settle(VANISHED, first_event=False, rows=rows, now_ms=NOW_MS)
    assert verdict.message_state is FAILED
    assert {message.state for message in verdict.settlements.values()} == {FAILED}
    verdict = settle(VANISHED, first_event=False, rows=[*rows[:1], inbound(2, tries=2)], now_ms=0)
    assert verdict.settlements["m1"] == verdict.settlements["m2"]
    assert verdict.retry_at == 20_000


# T5: one clear message that names the cause.
def test_the_sender_learns_the_cause_and_that_it_was_given_up() -> None:
    cause = TurnError("agent_gone", "The agent went away: exit code 1.")
    verdict = settle(VANISHED, first_event=False, rows=[inbound(1, tries=5)], now_ms=0, error=cause)
    assert verdict.error is not None
    assert verdict.error.code == "agent_gone"
    assert verdict.error.message == (
        "The agent went away: exit code 1. That was try 6, and there will be no other by itself:"
        " send the message again to have it tried again."
    )
    assert verdict.settlements["m1"].reason == "agent_gone"
    verdict = settle(
        TurnEnd.ANSWERED_ERROR, first_event=True, rows=[inbound(1)], now_ms=0, error=cause
    )
    assert verdict.error == cause


@pytest.mark.parametrize(
    "end, tries, retry, said",
    [
        (VANISHED, 5, True, True),
        (SILENT, 1, True, True),  # T4: once
        (SHUTDOWN, 5, True, True),
        (SHUTDOWN, 5, False, False),  # it was not tried for the last time, it is not tried at all
        (SHUTDOWN, 0, False, False),
        (TurnEnd.ANSWERED_ERROR, 5, True, False),
    ],
)
def test_what_was_tried_in_vain_is_said_to_be(
    end: TurnEnd, tries: int, retry: bool, said: bool
) -> None:  # T5
    case = Case(end, False, TurnState.FAILED, FAILED, tries=tries, retry=retry)
    error = settled(case, first_event=False).error
    assert error is not None
    assert (f"That was try {tries + 1}, and" in error.message) is said


def test_where_nothing_is_tried_again_nothing_is_said_of_tries() -> None:  # T5
    cause = TurnError("agent_gone", "The agent went away.")
    rows = [inbound(1)]
    verdict = settle(VANISHED, first_event=False, rows=rows, now_ms=0, max_tries=0, error=cause)
    assert verdict.error == TurnError(
        "agent_gone", "The agent went away. Send the message again to have it tried again."
    )


LOOK = "Part of it may have been done: look before you send it again."
AGAIN = "Send the message again to have it tried again."


@pytest.mark.parametrize(
    "end, first_event, said",
    [
        (VANISHED, True, f"gone. {LOOK}"),
        (STALLED, True, f"gone. {LOOK}"),
        (SHUTDOWN, True, f"gone. {LOOK}"),
        (SHUTDOWN, False, f"gone. {AGAIN}"),
        (TurnEnd.RAISED, True, f"gone. The runtime's log says more. {LOOK}"),
        (TurnEnd.RAISED, False, f"gone. The runtime's log says more. {AGAIN}"),
        (TurnEnd.ANSWERED_ERROR, True, "gone"),  # these are the agent's own words
        (TurnEnd.ANSWERED_ERROR, False, "gone"),
    ],
)
def test_the_sender_is_told_what_to_do(end: TurnEnd, first_event: bool, said: str) -> None:
    # T5
    verdict = settle(
        end,
        first_event=first_event,
        rows=[inbound(1)],
        now_ms=0,
        error=TurnError("c", "gone"),
        on_interrupted_retry=False,
    )
    assert verdict.error == TurnError("c", said)


def test_what_a_program_printed_is_followed_by_a_line_of_its_own() -> None:  # T5
    printed = TurnError("agent_gone", "It ended; it said:\nno such model\n")
    assert printed.followed_by("Look.") == "It ended; it said:\nno such model\nLook."
    assert TurnError("c", "Gone!").followed_by("Look.") == "Gone! Look."


@pytest.mark.parametrize("first_event", [True, False])
def test_what_is_withdrawn_is_dropped(first_event: bool) -> None:  # H3
    verdict = settle(
        TurnEnd.WITHDRAWN, first_event=first_event, rows=[inbound(1, tries=5)], now_ms=0
    )
    assert verdict == Verdict(
        TurnState.CANCELLED,
        "cancelled",
        InboundState.DROPPED,
        {"m1": MessageVerdict(InboundState.DROPPED, reason="cleared")},
    )


@pytest.mark.parametrize("end", [VANISHED, SILENT, STALLED, SHUTDOWN, TurnEnd.ANSWERED_ERROR])
def test_every_failure_has_words_of_its_own(end: TurnEnd) -> None:  # T5
    case = Case(end, None, TurnState.FAILED, FAILED, tries=9, retry=False)
    messages = set()
    for first_event in (True, False):
        error = settled(case, first_event=first_event).error
        assert error is not None
        assert error.code
        messages.add(error.message)
    assert all(message.endswith((".", "again.")) for message in messages)


# T5, D8: how a message waits for its next try.
def test_what_is_requeued() -> None:
    row = inbound(1, tries=2, state=InboundState.CLAIMED, interrupted=True)
    verdict = settle(VANISHED, first_event=False, rows=[row], now_ms=0)
    (again,) = verdict.requeued([row])
    assert (again.state, again.tries, again.not_before) == (PENDING, 3, 20_000)
    assert (again.interrupted, again.reason) == (True, "vanished")
    verdict = settle(SHUTDOWN, first_event=True, rows=[row], now_ms=0)
    (again,) = verdict.requeued([row])
    assert (again.state, again.tries, again.not_before) == (PENDING, 3, None)
    assert again.reason == "shutdown"
    verdict = settle(SHUTDOWN, first_event=True, rows=[inbound(1)], now_ms=0)
    assert [row.interrupted for row in verdict.requeued([inbound(1)])] == [True]
    verdict = settle(VANISHED, first_event=False, rows=[inbound(1)], now_ms=0)
    assert [row.interrupted for row in verdict.requeued([inbound(1)])] == [False]
    verdict = settle(TurnEnd.DONE, first_event=True, rows=[row], now_ms=0)
    assert list(verdict.requeued([row])) == []
    assert verdict.settlements == {"m1": MessageVerdict(DONE)}


def test_a_turn_without_messages_is_settled_too() -> None:  # T2
    verdict = settle(VANISHED, first_event=False, rows=[], now_ms=0)
    assert verdict.settlements == {}
    assert verdict.retry_at is None
    verdict = settle(SILENT, first_event=False, rows=[], now_ms=0)
    assert verdict.turn_state is TurnState.VANISHED
