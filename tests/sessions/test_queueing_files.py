"""What waits while files of messages are on their way (Q7, M10)."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.sessions.media import MediaItem
from runtime.sessions.modes import QueueMode
from runtime.sessions.queueing import Idle, Interrupt, QueuePolicy, Run, WaitingQueue, WaitUntil
from tests.sessions.rows import address, inbound
from tests.sessions.test_queueing import BEGUN, NOW_MS, Waiting, ids, queue

FETCHING = (MediaItem(reference="r"),)


@pytest.mark.parametrize("mode", QueueMode)
def test_a_head_whose_files_are_on_their_way_holds_up_all(mode: QueueMode) -> None:
    waiting = queue(inbound(1, media=FETCHING), inbound(2), inbound(3, reply_to=address("c2")))
    assert waiting.look(1_000.0, mode) == Idle()
    assert waiting.look(1_000.0, mode, running=BEGUN) == Idle()
    waiting.replace(inbound(1))
    assert ids(waiting.look(1_000.0, mode))[0] == "m1"


def test_a_batch_waits_for_the_files_of_its_rows() -> None:  # M10
    waiting = Waiting()
    waiting.add(inbound(1), 2.0, debounced=True)
    waiting.add(inbound(2, media=FETCHING), 2.5, debounced=True)
    waiting.add(inbound(3), 3.0, debounced=True)
    assert waiting.look(3.0) == WaitUntil(4.0)
    assert waiting.look(4.0) == waiting.look(1_000.0) == Idle()
    waiting.replace(inbound(2))
    assert ids(waiting.look(1_000.0)) == ["m1", "m2", "m3"]


def test_what_comes_when_its_window_has_closed_makes_the_next_batch() -> None:  # Q1 M10
    waiting = Waiting()
    waiting.add(inbound(1), 0.0, debounced=True)
    waiting.add(inbound(2, media=FETCHING), 0.5, debounced=True)
    assert waiting.look(1.5) == Idle()
    waiting.add(inbound(3), 1.6, debounced=True)
    waiting.add(inbound(4, media=FETCHING), 3.0, debounced=True)
    assert waiting.look(60.0) == Idle()
    waiting.replace(inbound(2))
    assert ids(waiting.look(60.0)) == ids(waiting.look(61.0)) == ["m1", "m2"]
    waiting.remove(["m1", "m2"])
    assert waiting.look(62.0) == Idle()
    waiting.add(inbound(5), 62.0, debounced=True)
    waiting.replace(inbound(4))
    assert ids(waiting.look(62.0)) == ["m3", "m4"]
    waiting.remove(["m3", "m4"])
    assert waiting.look(62.0) == WaitUntil(63.0)


def test_what_came_while_a_turn_ran_is_one_batch_and_waits_for_all_its_files() -> None:  # Q2 M10
    waiting = Waiting()
    waiting.add(inbound(1, media=FETCHING), 0.0, debounced=True)
    waiting.add(inbound(2), 50.0, debounced=True)
    assert waiting.look(60.0, busy=True) == Idle()
    waiting.add(inbound(3, media=FETCHING), 60.0, debounced=True)
    assert waiting.look(61.0) == Idle()
    waiting.add(inbound(4), 61.0, debounced=True)
    waiting.replace(inbound(1))
    assert waiting.look(70.0) == Idle()
    waiting.replace(inbound(3))
    assert ids(waiting.look(70.0)) == ["m1", "m2", "m3"]


def test_a_steady_talker_does_not_keep_a_batch_open() -> None:  # Q1 M10
    waiting = Waiting()
    for number in range(30):
        waiting.add(inbound(number, media=FETCHING), 0.9 * number, debounced=True)
        waiting.look(0.9 * number)
        if number == 11:  # at 9.9 s
            assert waiting.look(9.9) == WaitUntil(10.0)
            assert waiting.look(10.0) == Idle()
    for number in range(12):
        waiting.replace(inbound(number))
    assert ids(waiting.look(30.0)) == [f"m{number}" for number in range(12)]


@pytest.mark.parametrize("gone", [["m1"], ["m2"], ["m1", "m2"]])
def test_a_batch_of_which_some_are_withdrawn_stays_closed(gone: list[str]) -> None:  # H3
    waiting = queue(inbound(1, media=FETCHING), inbound(2, media=FETCHING), inbound(3))
    assert waiting.look(0.0) == Idle()
    waiting.add(inbound(4), 5.0, debounced=False)
    waiting.remove(gone)
    for seq in (1, 2):
        waiting.replace(inbound(seq))
    left = [name for name in ("m1", "m2", "m3") if name not in gone]
    assert ids(waiting.look(5.0)) == left
    waiting.remove(left)
    assert ids(waiting.look(5.0)) == ["m4"]


def test_a_batch_that_is_gone_closes_no_other() -> None:  # H3
    waiting = queue(inbound(1, media=FETCHING))
    assert waiting.look(0.0) == Idle()
    waiting.add(inbound(2), 5.0, debounced=True)
    waiting.remove(["m1"])
    assert waiting.look(5.0) == WaitUntil(6.0)
    waiting.add(inbound(3), 5.5, debounced=True)
    assert ids(waiting.look(6.5)) == ["m2", "m3"]


def test_a_queue_that_was_cleared_has_no_closed_batch() -> None:  # Q8
    waiting = queue(inbound(1, media=FETCHING))
    assert waiting.look(0.0) == Idle()
    waiting.clear()
    for seq in (1, 2):
        waiting.add(inbound(seq), 5.0, debounced=True)
    assert waiting.look(5.0) == WaitUntil(6.0)


def test_a_batch_that_ran_and_is_tried_again_is_not_closed() -> None:  # T5
    waiting = queue(inbound(1, media=FETCHING))
    assert waiting.look(0.0) == Idle()
    waiting.replace(inbound(1))
    assert ids(waiting.look(1.0)) == ["m1"]
    waiting.remove(["m1"])
    waiting.add(inbound(1, reason="start_failed"), 2.0, debounced=False)
    waiting.add(inbound(2), 2.0, debounced=False)
    assert ids(waiting.look(2.0)) == ["m1", "m2"]


def test_what_stands_in_a_closed_batch_by_its_number_belongs_to_it() -> None:  # Q7
    scheduled = inbound(2, not_before=NOW_MS + 5_000)
    waiting = queue(inbound(1, media=FETCHING), scheduled, inbound(3))
    assert waiting.look(0.0) == WaitUntil(5.0)
    waiting.add(inbound(4), 1.0, debounced=False)
    assert waiting.look(5.0) == Idle()
    waiting.replace(inbound(1))
    assert ids(waiting.look(5.0)) == ["m1", "m2", "m3"]


def test_what_is_not_due_stays_so_before_a_closed_batch() -> None:  # T5 Q3
    waiting = queue(inbound(1))
    assert ids(waiting.look(0.0, QueueMode.INTERRUPT)) == ["m1"]
    waiting.remove(["m1"])
    waiting.add(inbound(2, media=FETCHING), 1.0, debounced=False)
    assert waiting.look(1.0, QueueMode.INTERRUPT, busy=True) == Idle()
    again = inbound(1, reason="start_failed", not_before=NOW_MS + 30_000)
    waiting.add(again, 2.0, debounced=False)
    waiting.replace(inbound(2))
    assert waiting.look(2.0, QueueMode.INTERRUPT) == WaitUntil(30.0)
    assert ids(waiting.look(30.0, QueueMode.INTERRUPT)) == ["m1", "m2"]


def test_what_interrupts_does_so_when_its_files_are_here() -> None:  # Q3 M10
    waiting = Waiting()
    waiting.add(inbound(1), 0.0, debounced=True)
    waiting.add(inbound(2, media=FETCHING), 0.0, debounced=True)
    for now in (1.0, 100.0):
        assert waiting.look(now, QueueMode.INTERRUPT, busy=True) == Idle()
    waiting.add(inbound(3), 100.0, debounced=True)
    waiting.replace(inbound(2))
    assert waiting.look(100.0, QueueMode.INTERRUPT, busy=True) == Interrupt()
    assert ids(waiting.look(101.0, QueueMode.INTERRUPT)) == ["m1", "m2"]


def test_a_batch_with_a_time_of_its_own_waits_for_the_later_of_both() -> None:
    waiting = Waiting()
    tried = inbound(1, tries=1, not_before=NOW_MS + 30_000)
    waiting.add(tried, 0.0, debounced=False)
    waiting.add(inbound(2, tries=1, media=FETCHING), 0.0, debounced=False)
    assert waiting.look(1.0) == WaitUntil(30.0)
    assert waiting.look(20.0) == WaitUntil(30.0)
    assert waiting.look(30.0) == Idle()
    waiting.replace(inbound(2, tries=1))
    assert ids(waiting.look(31.0)) == ["m1", "m2"]


class Burst(msgspec.Struct, frozen=True):
    """A message: when it comes, and how long its file takes then."""

    at: int
    takes: int


BURSTS = st.lists(
    st.builds(Burst, st.integers(0, 60), st.one_of(st.just(0), st.integers(0, 60))),
    min_size=1,
    max_size=12,
).map(lambda bursts: sorted(bursts, key=lambda burst: burst.at))
WINDOW, LONGEST = 3, 10


@settings(max_examples=500, deadline=None)
@given(bursts=BURSTS)
def test_a_batch_is_what_came_in_its_window_and_runs_when_its_files_are_here(
    bursts: list[Burst],
) -> None:  # Q1 Q2 M10
    assert played(bursts) == expected(bursts)


def expected(bursts: list[Burst]) -> list[tuple[int, list[int]]]:
    """When the batches run, and of which messages; turns take no time."""
    batches, first, free = [], 0, 0
    while first < len(bursts):
        end, closes = first, max(free, bursts[first].at + WINDOW)
        while end < len(bursts) and bursts[end].at <= closes:
            quiet = min(bursts[end].at + WINDOW, bursts[first].at + LONGEST)
            closes, end = max(free, quiet), end + 1
        free = max(closes, *(burst.at + burst.takes for burst in bursts[first:end]))
        batches.append((free, list(range(first, end))))
        first = end
    return batches


def played(bursts: list[Burst]) -> list[tuple[int, list[int]]]:
    """The same with the queue itself, which looks whenever something happens."""
    policy = QueuePolicy(debounce=WINDOW, debounce_max=LONGEST)
    waiting, batches = WaitingQueue(), []
    for now in range(150):
        for seq, burst in enumerate(bursts):
            if burst.at == now:
                media = FETCHING if burst.takes else ()
                waiting.add(inbound(seq, media=media), now, debounced=True)
            if burst.at + burst.takes == now:
                waiting.replace(inbound(seq))
        while isinstance(decision := waiting.decide(now, NOW_MS, None, policy), Run):
            batches.append((now, [row.seq for row in decision.rows]))
            waiting.remove([row.id for row in decision.rows])
    return batches
