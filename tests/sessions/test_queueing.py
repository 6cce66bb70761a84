from typing import Any

import pytest

from runtime.sessions.modes import QueueMode
from runtime.sessions.queueing import (
    CONTEXT_ROWS,
    Decision,
    Idle,
    Interrupt,
    QueuePolicy,
    Run,
    Running,
    Steer,
    WaitingQueue,
    WaitUntil,
    conversation_of,
)
from runtime.sessions.rows import InboundRow
from tests.sessions.rows import address, inbound

NOW_MS = 1_000_000
POLICIES = {mode: QueuePolicy(mode, debounce=1.0, debounce_max=10.0) for mode in QueueMode}
COLLECT = POLICIES[QueueMode.COLLECT]


class Waiting(WaitingQueue):
    """A queue whose wall clock goes with its monotonic one, which begins at 0."""

    def look(
        self,
        now: float,
        mode: QueueMode = QueueMode.COLLECT,
        *,
        busy: bool = False,
        running: Running | None = None,
    ) -> Decision:
        running = Running() if busy else running
        return self.decide(now, NOW_MS + round(now * 1000), running, POLICIES[mode])


def queue(*rows: InboundRow, debounced: bool = False) -> Waiting:
    waiting = Waiting()
    for row in rows:
        waiting.add(row, 0.0, debounced=debounced)
    return waiting


def ids(decision: Decision) -> list[str]:
    assert isinstance(decision, Run)
    return [row.id for row in decision.rows]


# Q1: the window restarts with each message, and ends after the longest time in any case.
@pytest.mark.parametrize(
    "arrivals, ready_at",
    [
        ([0.0], 1.0),
        ([0.0, 0.5], 1.5),
        ([0.0, 0.9, 1.8, 2.7], 3.7),
        ([0.0, 9.5], 10.0),
        ([0.9 * number for number in range(14)], 10.0),
        ([3.0, 3.5], 4.5),
    ],
)
def test_the_debounce_window(arrivals: list[float], ready_at: float) -> None:
    waiting = Waiting()
    for seq, arrived in enumerate(arrivals):
        waiting.add(inbound(seq, reply_to=address()), arrived, debounced=True)
    now = min(arrivals[-1], ready_at - 0.01)
    decision = waiting.look(now)
    assert isinstance(decision, WaitUntil)
    assert decision.at == pytest.approx(ready_at)
    assert len(ids(waiting.look(ready_at + 1e-9))) == len(arrivals)


def test_a_policy_without_a_window_waits_for_nobody() -> None:  # Q1
    waiting = queue(inbound(1), debounced=True)
    assert waiting.decide(0.0, NOW_MS, None, QueuePolicy(debounce=0.0)) == Run((inbound(1),))


def test_the_window_follows_the_policy_as_it_is_now() -> None:  # Q1, Q3
    waiting = queue(inbound(1), debounced=True)
    assert waiting.decide(2.0, NOW_MS, None, QueuePolicy(debounce=3.0)) == WaitUntil(3.0)
    assert ids(waiting.decide(2.0, NOW_MS, None, QueuePolicy(debounce=2.0))) == ["m1"]


def test_a_client_that_submits_whole_prompts_does_not_wait() -> None:  # Q1
    assert ids(queue(inbound(1)).look(0.0)) == ["m1"]


# Q1, Q7: the head decides.
def test_a_head_that_is_not_debounced_takes_its_batch_along() -> None:
    waiting = queue(inbound(1))
    waiting.add(inbound(2), 0.0, debounced=True)
    assert ids(waiting.look(0.0)) == ["m1", "m2"]


def test_a_row_that_is_not_debounced_keeps_no_window_open() -> None:  # Q1
    waiting = queue(inbound(1), debounced=True)
    waiting.add(inbound(2), 0.9, debounced=False)
    assert waiting.look(0.9) == WaitUntil(1.0)
    assert ids(waiting.look(1.0)) == ["m1", "m2"]


def test_another_conversation_keeps_no_window_open() -> None:  # Q1, Q2
    waiting = queue(inbound(1, reply_to=address("c1")), debounced=True)
    waiting.add(inbound(2, reply_to=address("c2")), 0.9, debounced=True)
    assert ids(waiting.look(1.0)) == ["m1"]
    waiting.remove(["m1"])
    assert waiting.look(1.0) == WaitUntil(1.9)


# Q2: what waits is collected, by conversation, in order.
@pytest.mark.parametrize(
    "chats, batches",
    [
        (["a", "a", "a"], [["m0", "m1", "m2"]]),
        (["a", "b", "a"], [["m0"], ["m1"], ["m2"]]),
        (["a", "a", "b", "b", "a"], [["m0", "m1"], ["m2", "m3"], ["m4"]]),
        ([None, None, "a"], [["m0", "m1"], ["m2"]]),
    ],
)
@pytest.mark.parametrize("mode", [mode for mode in QueueMode if mode is not QueueMode.FOLLOWUP])
def test_conversations_are_not_merged(
    mode: QueueMode, chats: list[str | None], batches: list[list[str]]
) -> None:
    waiting = Waiting()
    for seq, chat in enumerate(chats):
        reply_to = None if chat is None else address(chat, f"platform-{seq}")
        waiting.add(inbound(seq, reply_to=reply_to), 0.0, debounced=False)
    assert drained(waiting, mode) == batches


def drained(waiting: Waiting, mode: QueueMode) -> list[list[str]]:
    batches = []
    while waiting.waiting:
        batches.append(ids(waiting.look(100.0, mode)))
        assert not isinstance(waiting.look(100.0, mode, busy=True), Interrupt)
        waiting.remove(batches[-1])
    assert waiting.look(100.0, mode) == Idle()
    return batches


def test_followup_runs_one_at_a_time_and_waits_for_no_company() -> None:  # Q3
    waiting = queue(inbound(1), inbound(2), inbound(3), debounced=True)
    assert waiting.look(0.0, QueueMode.FOLLOWUP) == Run((inbound(1),))
    assert drained(waiting, QueueMode.FOLLOWUP) == [["m1"], ["m2"], ["m3"]]


@pytest.mark.parametrize("mode", [mode for mode in QueueMode if mode is not QueueMode.INTERRUPT])
@pytest.mark.parametrize("debounced", [True, False])
def test_nothing_happens_while_a_turn_runs(mode: QueueMode, debounced: bool) -> None:  # Q2, Q3, T1
    waiting = queue(inbound(1), inbound(2, not_before=NOW_MS + 5_000), debounced=debounced)
    assert waiting.look(100.0, mode, busy=True) == Idle()


# Q3: interrupt.
def test_what_arrives_interrupts_when_it_is_ready_and_nothing_is_dropped() -> None:
    waiting = queue(inbound(1))
    assert ids(waiting.look(0.0, QueueMode.INTERRUPT)) == ["m1"]
    waiting.remove(["m1"])
    assert waiting.look(5.0, QueueMode.INTERRUPT, busy=True) == Idle()
    waiting.add(inbound(2), 5.0, debounced=True)
    waiting.add(inbound(3), 5.5, debounced=True)
    assert waiting.look(5.5, QueueMode.INTERRUPT, busy=True) == WaitUntil(6.5)
    assert waiting.look(6.5, QueueMode.INTERRUPT, busy=True) == Interrupt()
    assert ids(waiting.look(6.5, QueueMode.INTERRUPT)) == ["m2", "m3"]


def test_the_rows_of_the_run_itself_do_not_interrupt_it() -> None:  # Q3
    waiting = queue(inbound(1), inbound(2))
    assert ids(waiting.look(0.0, QueueMode.INTERRUPT)) == ["m1", "m2"]
    assert waiting.look(0.0, QueueMode.INTERRUPT, busy=True) == Idle()


def test_what_was_left_over_when_a_turn_began_does_not_interrupt_it() -> None:  # Q2, Q3
    waiting = queue(inbound(1, reply_to=address("c1")), inbound(2, reply_to=address("c2")))
    assert ids(waiting.look(0.0, QueueMode.INTERRUPT)) == ["m1"]
    waiting.remove(["m1"])
    assert waiting.look(60.0, QueueMode.INTERRUPT, busy=True) == Idle()
    waiting.add(inbound(3, reply_to=address("c3")), 60.0, debounced=False)
    assert waiting.look(60.0, QueueMode.INTERRUPT, busy=True) == Interrupt()
    assert ids(waiting.look(60.0, QueueMode.INTERRUPT)) == ["m2"]


# Q3: steer.
STEERING = (QueueMode.STEER, QueueMode.STEER_BACKLOG)
BEGUN = Running(steerable=True)


@pytest.mark.parametrize("mode", STEERING)
@pytest.mark.parametrize("debounced", [True, False])
def test_what_arrives_is_handed_to_the_turn_in_order_and_at_once(
    mode: QueueMode, debounced: bool
) -> None:
    waiting = queue(inbound(2), inbound(1), debounced=debounced)
    assert waiting.look(0.0, mode, running=BEGUN) == Steer(inbound(1))
    assert waiting.look(0.0, mode, running=Running(steerable=False)) == Idle()
    assert len(waiting) == 2
    waiting.remove(["m1"])
    assert waiting.look(0.0, mode, running=BEGUN) == Steer(inbound(2))
    waiting.remove(["m2"])
    assert waiting.look(0.0, mode, running=BEGUN) == Idle()


@pytest.mark.parametrize("mode", STEERING)
def test_only_the_turns_own_conversation_is_handed_to_it(mode: QueueMode) -> None:  # Q2
    elsewhere, here = inbound(1, reply_to=address("c1")), inbound(2, reply_to=address("c2"))
    waiting = queue(elsewhere, inbound(3), here)
    in_c2 = Running(conversation_of(here), steerable=True)
    assert waiting.look(0.0, mode, running=in_c2) == Steer(here)
    assert waiting.look(0.0, mode, running=BEGUN) == Steer(inbound(3))
    waiting.remove(["m2", "m3"])
    assert waiting.look(0.0, mode, running=in_c2) == Idle()
    assert waiting.look(0.0, mode, running=BEGUN) == Idle()


@pytest.mark.parametrize("mode", STEERING)
def test_what_was_refused_is_not_overtaken_in_its_conversation(mode: QueueMode) -> None:  # Q7
    there = inbound(3, reply_to=address())
    waiting = queue(inbound(1), inbound(2), there)
    refused = Running(steerable=True, refused=frozenset({"m1"}))
    assert waiting.look(0.0, mode, running=refused) == Idle()
    assert ids(waiting.look(0.0, mode)) == ["m1", "m2"]
    other = Running(conversation_of(there), steerable=True, refused=frozenset({"m1"}))
    assert waiting.look(0.0, mode, running=other) == Steer(there)


@pytest.mark.parametrize("mode", STEERING)
def test_what_was_told_is_not_told_again_and_waits(mode: QueueMode) -> None:
    waiting = queue(inbound(1), inbound(2))
    told = Running(steerable=True, told=frozenset({"m1"}))
    assert waiting.look(0.0, mode, running=told) == Steer(inbound(2))
    both = Running(steerable=True, told=frozenset({"m1", "m2"}))
    assert waiting.look(0.0, mode, running=both) == Idle()
    assert ids(waiting.look(0.0, mode)) == ["m1", "m2"]


@pytest.mark.parametrize("mode", STEERING)
@pytest.mark.parametrize(
    "tried", [{"tries": 1}, {"turn_id": "t1"}, {"reason": "store_unavailable"}]
)
def test_what_was_tried_before_is_handed_to_no_other_turn(
    mode: QueueMode, tried: dict[str, Any]
) -> None:  # T5
    waiting = queue(inbound(1, **tried), inbound(2))
    assert waiting.look(0.0, mode, running=BEGUN) == Idle()


@pytest.mark.parametrize("mode", STEERING)
def test_a_scheduled_row_is_handed_over_when_its_time_has_come(mode: QueueMode) -> None:  # Q7
    scheduled = inbound(1, not_before=NOW_MS + 5_000)
    waiting = queue(scheduled, inbound(2), inbound(3, trigger=False))
    assert waiting.look(0.0, mode, running=BEGUN) == Steer(inbound(2))
    waiting.remove(["m2"])
    assert waiting.look(0.0, mode, running=BEGUN) == WaitUntil(5.0)
    assert waiting.look(5.0, mode, running=BEGUN) == Steer(scheduled)


# Q7: order is the order of admission, however rows arrive.
def test_rows_are_in_the_order_of_admission() -> None:
    waiting = queue(inbound(3), inbound(1), inbound(2))
    assert [row.seq for row in waiting.waiting] == [1, 2, 3]
    assert ids(waiting.look(0.0)) == ["m1", "m2", "m3"]


@pytest.mark.parametrize("mode", QueueMode)
def test_a_scheduled_row_holds_nobody_up(mode: QueueMode) -> None:  # Q7
    waiting = queue(inbound(1, not_before=NOW_MS + 60_000), inbound(2))
    assert ids(waiting.look(0.0, mode)) == ["m2"]
    waiting.remove(["m2"])
    assert waiting.look(0.0, mode) == WaitUntil(60.0)
    assert ids(waiting.look(60.0, mode)) == ["m1"]


def test_a_scheduled_row_stands_at_its_place_from_its_time_on() -> None:  # Q7
    waiting = queue(inbound(1, not_before=NOW_MS + 500))
    waiting.add(inbound(2), 0.0, debounced=True)
    assert waiting.look(0.0) == WaitUntil(0.5)
    assert ids(waiting.look(0.5)) == ["m1", "m2"]


def test_the_earliest_moment_is_waited_for() -> None:  # Q1, Q7
    waiting = queue(inbound(1), debounced=True)
    waiting.add(inbound(2, not_before=NOW_MS + 5_000), 0.0, debounced=False)
    assert waiting.look(0.0) == WaitUntil(1.0)


# Q7, T5: what is tried again keeps its place.
@pytest.mark.parametrize(
    "tried",
    [{"tries": 1}, {"turn_id": "t1"}, {"reason": "start_failed"}],
    ids=["a try", "a turn", "a failed start"],
)
@pytest.mark.parametrize("mode", QueueMode)
def test_a_row_that_is_tried_again_is_not_overtaken(mode: QueueMode, tried: dict[str, Any]) -> None:
    waiting = queue(inbound(1, not_before=NOW_MS + 5_000, **tried), inbound(2))
    assert waiting.look(0.0, mode) == WaitUntil(5.0)
    assert ids(waiting.look(5.0, mode))[0] == "m1"


def test_a_batch_that_is_tried_again_stays_as_it_was() -> None:  # Q2, T5
    again = [inbound(seq, tries=1, turn_id="t1", not_before=NOW_MS + 5_000) for seq in (1, 2)]
    waiting = queue(*again, inbound(3))
    assert drained(waiting, QueueMode.COLLECT) == [["m1", "m2"], ["m3"]]


def test_a_row_before_the_head_may_come_due_first() -> None:  # Q7
    waiting = queue(
        inbound(1, not_before=NOW_MS + 2_000), inbound(2, tries=1, not_before=NOW_MS + 5_000)
    )
    assert waiting.look(0.0) == WaitUntil(2.0)
    assert ids(waiting.look(2.0)) == ["m1"]


# Q8: a cache of rows.
def test_a_row_that_is_there_is_ignored() -> None:
    waiting = queue(inbound(1), debounced=True)
    waiting.add(inbound(1), 0.9, debounced=True)
    assert len(waiting) == 1
    assert "m1" in waiting
    assert waiting.look(0.9) == WaitUntil(1.0)


def test_rows_stay_until_they_are_removed() -> None:  # Q8
    waiting = queue(inbound(1), inbound(2))
    assert ids(waiting.look(0.0)) == ids(waiting.look(0.0)) == ["m1", "m2"]
    waiting.remove(["m1", "unknown"])
    assert "m1" not in waiting
    assert ids(waiting.look(0.0)) == ["m2"]
    waiting.add(inbound(1), 0.0, debounced=False)
    assert ids(waiting.look(0.0)) == ["m1", "m2"]


def test_clear_forgets_everything() -> None:  # Q8
    waiting = queue(inbound(1), inbound(2, trigger=False))
    waiting.clear()
    assert (waiting.waiting, waiting.context, len(waiting)) == ((), (), 0)
    waiting.add(inbound(1), 0.0, debounced=False)
    assert ids(waiting.look(0.0)) == ["m1"]


def test_a_row_that_changed_keeps_its_place_and_its_window() -> None:  # Q7, Q8
    waiting = queue(inbound(1), inbound(2), inbound(3, trigger=False), debounced=True)
    waiting.add(inbound(4, trigger=False), 0.0, debounced=True)
    for changed in (inbound(2, "new"), inbound(4, "new", trigger=False), inbound(5, "unknown")):
        waiting.replace(changed)
    assert waiting.waiting == (inbound(1), inbound(2, "new"))
    assert waiting.context == (inbound(3, trigger=False), inbound(4, "new", trigger=False))
    assert "m5" not in waiting
    assert waiting.look(0.5) == WaitUntil(1.0)


# Q2: collected while a turn ran, or said in one go.
@pytest.mark.parametrize("behind", [(False, False), (True, False), (False, True), (True, True)])
def test_a_batch_says_whether_it_was_collected(behind: tuple[bool, bool]) -> None:
    waiting = Waiting()
    for seq, each in enumerate(behind, 1):
        waiting.add(inbound(seq), 0.0, debounced=False, behind=each)
    assert waiting.look(0.0) == Run((inbound(1), inbound(2)), collected=any(behind))
    usual = Waiting()
    usual.add(inbound(1), 0.0, debounced=False)
    assert usual.look(0.0) == Run((inbound(1),), collected=False)


def test_a_message_that_is_there_when_a_turn_begins_without_the_queue_interrupts_it() -> None:
    # Q3: after a restart, say
    assert queue(inbound(1)).look(0.0, QueueMode.INTERRUPT, busy=True) == Interrupt()


# S31
def test_context_rows_wake_nobody_and_only_the_newest_are_kept() -> None:
    waiting = Waiting()
    for seq in range(CONTEXT_ROWS):
        assert waiting.add(inbound(seq, trigger=False), 0.0, debounced=True) is None
    assert waiting.look(100.0) == Idle()
    oldest = waiting.add(inbound(CONTEXT_ROWS, trigger=False), 0.0, debounced=True)
    assert oldest is not None
    assert oldest.id == "m0"
    assert [row.seq for row in waiting.context] == list(range(1, CONTEXT_ROWS + 1))
    assert "m0" not in waiting
    waiting.remove([f"m{seq}" for seq in range(CONTEXT_ROWS)])
    assert [row.seq for row in waiting.context] == [CONTEXT_ROWS]
