"""The index of files: those that agents send, beside those that people sent (M5, R7, S43)."""

from __future__ import annotations

import pytest

from runtime.sessions.handover import Owner
from runtime.sessions.ledger import Ledger
from runtime.sessions.media import BlobRow, OutboxFile, Owed, SessionEnded, Settled, is_outgoing

NOW = 1_000_000


def file(path: str = "a.txt", at: int = 0, size: int = 10, inode: int = 1) -> OutboxFile:
    """A file that was written at a time in ms."""
    return OutboxFile(path, size, at * 1_000_000, inode)


def owed(of: OutboxFile, delivery: str = "d1") -> Owed:
    return Owed("s", delivery, of, NOW)


def settled(of: OutboxFile, delivery: str = "d1", *, delivered: bool) -> Settled:
    return Settled("s", delivery, of, delivered)


def media(name: str, used_at: int, size: int = 10) -> BlobRow:
    """A file of a person that an agent was given."""
    return BlobRow("s", name, f"hash of {name}", size, 0, 0, used_at, handed_at=used_at)


def evicted(ledger: Ledger, size: int = 10**9) -> list[str]:
    taken = ledger.take_evictable(size)
    return [blob.file if blob.outgoing is None else blob.outgoing.path for blob in taken]


def discarded(ledger: Ledger) -> list[str]:
    return [blob.file for blob in ledger.take_discarded()]


def test_a_file_that_is_found_is_the_sessions() -> None:  # M5
    ledger = Ledger()
    blob = ledger.found("s", file(at=5), NOW)
    assert (blob.owner, blob.hash, blob.size, blob.used_at) == (Owner.SESSION, "", 10, 5)
    assert ledger.found("s", file(at=5), NOW) is blob
    assert (ledger.total, ledger.evictable, len(ledger)) == (10, 10, 1)
    assert [each.outgoing for each in ledger.outgoing("s")] == [file(at=5)]
    assert ledger.outgoing("another") == []
    assert not ledger.has_session("s")  # nothing is in its media folder
    assert evicted(ledger) == ["a.txt"]


def test_no_file_was_used_later_than_now() -> None:  # M5
    assert Ledger().found("s", file(at=NOW + 1), NOW).used_at == NOW


def test_times_are_whole_milliseconds() -> None:  # M5
    blob = Ledger().found("s", OutboxFile("a.txt", 10, 1_999_999, 1), NOW)
    assert (blob.used_at, type(blob.used_at)) == (1, int)


def test_it_is_not_found_by_its_bytes() -> None:  # M4
    ledger = Ledger()
    ledger.found("s", file(), NOW)
    assert ledger.reuse("token", "s", "") is None
    (blob,) = ledger.take_evictable(1)
    ledger.stay(blob)
    assert ledger.reuse("token", "s", "") is None


def test_its_name_is_none_of_a_media_folder() -> None:  # A2
    assert is_outgoing(file().key)
    assert is_outgoing(file("a/b").key)
    assert not is_outgoing("0198-name.png")


def test_what_is_owed_stays_and_counts() -> None:  # M5 R7
    ledger = Ledger()
    ledger.found("s", file(), NOW)
    ledger.apply([owed(file()), owed(file("b.txt"), "d2")])  # one was seen before, one was not
    assert ledger.evictable == 0
    assert ledger.usage.in_flight == ledger.total == 20
    assert evicted(ledger) == []
    assert ledger.take("s", file().key) is None


def test_what_was_delivered_is_nobodys() -> None:  # R7
    ledger = Ledger()
    ledger.apply([owed(file()), settled(file(), delivered=True)])
    assert [blob.handed_over for blob in ledger] == [False]
    assert discarded(ledger) == [file().key]


def test_what_failed_is_the_sessions_own() -> None:  # R7 M5
    ledger = Ledger()
    ledger.apply([owed(file()), settled(file(), delivered=False)])
    assert discarded(ledger) == []
    assert evicted(ledger) == ["a.txt"]


@pytest.mark.parametrize("delivered", [True, False])
def test_what_is_not_there_does_not_come_back_with_its_end(delivered: bool) -> None:  # M7
    ledger = Ledger()
    ledger.apply([settled(file(), delivered=delivered)])
    assert len(ledger) == 0


@pytest.mark.parametrize("change", [{"at": 7}, {"size": 11}, {"inode": 2}])
def test_what_is_written_anew_is_another_file(change: dict[str, int]) -> None:  # A3 R7
    ledger = Ledger()
    anew = file(**change)  # type: ignore[arg-type]
    ledger.apply([owed(file()), owed(anew, "d2"), settled(file(), delivered=True)])
    assert discarded(ledger) == [file().key]
    blob = ledger.blob("s", anew.key)
    assert blob is not None
    assert blob.owner is Owner.IN_FLIGHT


def test_a_file_that_may_be_owed_soon_is_not_taken_meanwhile() -> None:  # M5
    ledger = Ledger()
    ledger.found("s", file(), NOW)
    assert ledger.hold("look", "s", file(), NOW)
    assert ledger.hold("look", "s", file("b.txt"), NOW)
    assert evicted(ledger) == []
    ledger.apply([owed(file())])
    for each in (file(), file("b.txt")):
        ledger.unstage("look", "s", each.key)
    assert evicted(ledger) == ["b.txt"]


def test_a_file_on_its_way_out_is_not_owed() -> None:  # M5
    ledger = Ledger()
    ledger.found("s", file(), NOW)
    (blob,) = ledger.take_evictable(1)
    assert not ledger.hold("look", "s", file(), NOW)
    ledger.gone(blob)
    assert len(ledger) == 0


def test_the_end_of_a_session_takes_what_is_its_own() -> None:  # S43
    ledger = Ledger()
    ledger.found("s", file(), NOW)
    ledger.apply([owed(file("b.txt")), owed(file("c.txt"), "d2"), SessionEnded("s")])
    assert discarded(ledger) == [file().key]
    ledger.apply([settled(file("b.txt"), delivered=True)])
    assert discarded(ledger) == [file("b.txt").key]
    ledger.apply([settled(file("c.txt"), "d2", delivered=False)])  # it is kept for nobody
    assert discarded(ledger) == [file("c.txt").key]


def test_the_oldest_goes_first_wherever_it_is() -> None:  # M5
    ledger = Ledger()
    ledger.load([media("m1", 10), media("m3", 30)])
    ledger.found("s", file("o4", at=40), NOW)
    ledger.found("s", file("o2", at=20), NOW)
    ledger.settle()
    assert evicted(ledger, 25) == ["m1", "o2", "m3"]
    ledger.found("s", file("o5", at=50), NOW)
    assert evicted(ledger) == ["o4", "o5"]
