"""Whose a file is: the whole table, and the handover that happens once (H1–H4)."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.handover import (
    Handover,
    ImpossibleStep,
    Lease,
    Owner,
    Step,
    after,
    is_in_flight,
    owner,
)

# As in the module's description: a line for each lease, a column for each step, "-" for what
# cannot be.
TABLE = """
none       queued  -        -      -       discarded
staged     queued  -        -      -       discarded
queued     queued  offered  owned  queued  discarded
offered    queued  offered  owned  queued  discarded
owned      queued  owned    owned  queued  owned
discarded  queued  -        -      -       discarded
"""
CASES = [
    (None if before == "none" else Lease(before), step, None if now == "-" else Lease(now))
    for before, *places in map(str.split, TABLE.strip().splitlines())
    for step, now in zip(Step, places, strict=True)
]
IN_FLIGHT = {Lease.STAGED, Lease.QUEUED, Lease.OFFERED}


def test_every_case_is_in_the_table() -> None:  # H1, H2
    assert {(before, step) for before, step, _ in CASES} == set(product([None, *Lease], Step))
    assert [step.value for step in Step] == [
        "admitted",
        "claimed",
        "first_event",
        "returned",
        "ended",
    ]


@pytest.mark.parametrize("before, step, now", CASES)
def test_each_step_of_a_message(before: Lease | None, step: Step, now: Lease | None) -> None:
    # H1 H2 H6
    if now is not None:
        assert after(before, step) is now
        return
    with pytest.raises(ImpossibleStep) as raised:
        after(before, step)
    named = "unknown" if before is None else before.value
    assert str(raised.value) == f"{step.value} of a message whose file is {named}"
    assert raised.value.__suppress_context__


@given(st.lists(st.sampled_from(Step)))
def test_what_is_owned_stays_so_unless_the_message_waits_again(steps: list[Step]) -> None:
    # H1: not a failed delivery, not an error later in the same turn
    lease = Lease.OWNED
    for step in steps:
        lease = after(lease, step)
        if step in (Step.ADMITTED, Step.RETURNED):
            return
        assert lease is Lease.OWNED


@given(st.lists(st.sampled_from([Step.ADMITTED, Step.CLAIMED, Step.RETURNED])))
def test_without_a_first_event_nothing_is_handed_over(steps: list[Step]) -> None:  # H4
    lease = after(Lease.STAGED, Step.ADMITTED)
    for step in steps:
        lease = after(lease, step)
        assert lease in (Lease.QUEUED, Lease.OFFERED)
    assert after(lease, Step.ENDED) is Lease.DISCARDED


@pytest.mark.parametrize("lease", Lease)
def test_which_leases_keep_a_file(lease: Lease) -> None:  # M5, H6
    assert is_in_flight(lease) is (lease in IN_FLIGHT)


@given(st.lists(st.sampled_from(Lease), max_size=4), st.booleans())
def test_whose_a_file_is(leases: list[Lease], handed_over: bool) -> None:  # H1, H2, M4
    found = owner(iter(leases), handed_over=handed_over)
    if IN_FLIGHT & set(leases):
        assert found is Owner.IN_FLIGHT
    elif handed_over:
        assert found is Owner.SESSION
    else:
        assert found is Owner.NOBODY


# -- the handover of one turn ----------------------------------------------------------------------


def test_the_first_event_hands_over_once() -> None:  # H1
    handover = Handover()
    assert (handover.at, handover.withdrawn) == (None, False)
    assert handover.first_event(0) is True
    assert (handover.at, handover.withdrawn) == (0, False)
    assert handover.first_event(7) is False
    assert handover.at == 0


def test_once_it_has_happened_it_cannot_be_called_off() -> None:  # H3
    handover = Handover()
    handover.first_event(5)
    assert handover.withdraw() is False
    assert (handover.at, handover.withdrawn) == (5, False)


def test_an_event_after_it_was_called_off_changes_nothing() -> None:  # H3
    handover = Handover()
    assert handover.withdraw() is True
    assert handover.first_event(5) is False
    assert (handover.at, handover.withdrawn) == (None, True)
    assert handover.withdraw() is True


@given(st.lists(st.sampled_from(["event", "withdraw"]), min_size=1))
def test_whichever_is_first_wins(calls: list[str]) -> None:  # H1, H3
    handover = Handover()
    answers = [
        handover.first_event(number) if call == "event" else handover.withdraw()
        for number, call in enumerate(calls)
    ]
    begun = calls[0] == "event"
    assert (handover.at, handover.withdrawn) == ((0, False) if begun else (None, True))
    for call, answer in list(zip(calls, answers, strict=True))[1:]:
        assert answer is (call == "withdraw" and not begun)
