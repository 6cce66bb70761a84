"""Room for a file on its way in (M3, M5, M7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.ledger import Ledger
from runtime.sessions.media import BlobRow
from runtime.sessions.reservation import STEP, Reservation

MUCH = 100 * STEP


def keeping(*sizes: int) -> Ledger:
    """A ledger of files that were handed over."""
    ledger = Ledger()
    ledger.load(
        BlobRow("s", f"kept-{n}", f"hash-{n}", size, 1, n, n, handed_at=n)
        for n, size in enumerate(sizes)
    )
    ledger.settle()
    return ledger


def test_room_is_counted_before_it_is_taken() -> None:  # M3
    ledger = keeping(10)
    ledger.incoming.reserve(20)
    ledger.incoming.reserve(10)
    assert (ledger.on_disk, ledger.incoming.reserved, ledger.total) == (10, 30, 40)
    assert ledger.excess(5, 45) == 0
    assert ledger.excess(5, 44) == 1
    ledger.incoming.release(10, arrived=0)
    assert (ledger.incoming.reserved, ledger.total) == (20, 30)


def test_a_step_is_counted_while_there_is_room_for_it() -> None:  # M3
    room = Reservation(Ledger(), MUCH)
    assert room.step(1, MUCH, None) == STEP
    assert room.step(3 * STEP, MUCH, None) == 3 * STEP
    assert room.step(1, STEP, None) == STEP


def test_nothing_more_is_counted_than_the_file_may_have() -> None:  # M3
    room = Reservation(Ledger(), STEP + 5)
    assert room.step(1, MUCH, None) == STEP
    room.add(STEP)
    assert room.step(1, MUCH, None) == 5


def test_nothing_goes_for_what_may_never_come() -> None:  # M3 M5
    room = Reservation(keeping(10), MUCH)
    assert room.step(7, STEP + 10, None) == STEP
    assert room.step(7, STEP + 9, None) == 7


def test_the_floor_is_a_second_cap() -> None:  # M7
    room = Reservation(Ledger(), MUCH)
    assert room.step(7, MUCH, STEP) == STEP
    assert room.step(7, MUCH, STEP - 1) == 7
    assert room.step(7, MUCH, -1) == 7


def test_room_is_lacking_before_a_byte_is_written_without_it() -> None:  # M3
    ledger = Ledger()
    room = Reservation(ledger, MUCH)
    assert room.lack(10) == 10
    room.add(15)
    assert (room.lack(10), room.lack(15), room.lack(16)) == (0, 0, 1)
    room.wrote(10)
    assert (room.lack(5), room.lack(6)) == (0, 1)
    assert (ledger.incoming.reserved, ledger.incoming.to_come, ledger.total) == (15, 5, 15)


def test_in_the_end_nothing_is_counted() -> None:  # M3
    ledger = keeping(10)
    room, other = Reservation(ledger, MUCH), Reservation(ledger, MUCH)
    other.add(3)
    room.add(20)
    room.wrote(12)
    for _ in range(2):  # the second time changes nothing
        room.end()
        assert (ledger.incoming.reserved, ledger.incoming.to_come, ledger.total) == (3, 3, 13)


@given(
    cap=st.integers(1, 4 * STEP),
    kept=st.lists(st.integers(1, STEP // 2), max_size=8),
    sizes=st.lists(st.lists(st.integers(1, STEP), max_size=4), min_size=1, max_size=8),
)
def test_files_that_grow_at_once_do_not_overshoot(
    cap: int, kept: list[int], sizes: list[list[int]]
) -> None:
    """Each in its turn, one chunk at a time, as the library does it."""
    # M3 M5
    ledger = keeping(*kept)
    rooms = [Reservation(ledger, 4 * STEP) for _ in sizes]
    for turn in range(4):
        for room, chunks in zip(rooms, sizes, strict=True):
            if turn >= len(chunks):
                continue
            lack = room.lack(chunks[turn])
            step = room.step(lack, cap, None) if lack else 0
            assert step >= lack
            excess = ledger.excess(step, cap) if lack else 0
            assert not excess or step == lack, "others go for more than is needed"
            for blob in ledger.take_evictable(excess):
                ledger.gone(blob)
            if lack and ledger.total + step > cap:
                assert ledger.evictable == 0, "refused, although others could have gone"
                continue
            room.add(step)
            room.wrote(chunks[turn])
            assert ledger.total <= cap or not lack
    for room in rooms:
        room.end()
    assert (ledger.incoming.reserved, ledger.incoming.to_come, ledger.total) == (
        0,
        0,
        ledger.on_disk,
    )
