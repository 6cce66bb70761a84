"""What waits while files of messages are on their way (Q7)."""

import pytest

from runtime.sessions.media import MediaItem
from runtime.sessions.modes import QueueMode
from runtime.sessions.queueing import Idle, WaitUntil
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


def test_a_batch_waits_for_the_files_of_its_rows_so_long_and_no_longer() -> None:
    waiting = Waiting()
    waiting.add(inbound(1), 2.0, debounced=True)
    waiting.add(inbound(2, media=FETCHING), 3.0, debounced=True)
    waiting.add(inbound(3), 4.0, debounced=True)
    assert waiting.look(9.0) == WaitUntil(12.0)  # debounce_max after the first
    assert ids(waiting.look(12.0)) == ["m1"]
    waiting.remove(["m1"])
    assert waiting.look(1_000.0) == Idle()


def test_a_batch_with_a_window_of_its_own_waits_for_the_later_of_both() -> None:
    waiting = Waiting()
    scheduled = inbound(1, tries=1, not_before=NOW_MS + 30_000)
    waiting.add(scheduled, 0.0, debounced=False)
    waiting.add(inbound(2, tries=1, media=FETCHING), 0.0, debounced=False)
    assert waiting.look(1.0) == WaitUntil(30.0)
    assert waiting.look(20.0) == WaitUntil(30.0)
    assert ids(waiting.look(30.0)) == ["m1"]


def test_a_file_that_has_come_ends_the_waiting_for_it() -> None:
    waiting = queue(inbound(1), inbound(2, media=FETCHING))
    assert waiting.look(0.0) == WaitUntil(10.0)
    waiting.replace(inbound(2))
    assert ids(waiting.look(0.0)) == ["m1", "m2"]
