"""The index of files, case by case: whose a file is, and what may go (H1, H2, M4, M5)."""

from __future__ import annotations

import pytest

from runtime.sessions.handover import ImpossibleStep, Lease, Owner
from runtime.sessions.ledger import Blob, Ledger, Usage
from runtime.sessions.media import BlobRow, Claimed, Ended, HandedOver, Leased, SessionEnded


def row(
    file: str,
    *,
    session_id: str = "s",
    size: int = 10,
    used_at: int = 1,
    handed_at: int | None = None,
) -> BlobRow:
    return BlobRow(session_id, file, f"hash of {file}", size, 1, 1, used_at, handed_at=handed_at)


def opened(*rows: BlobRow) -> Ledger:
    """The index at a start at which nothing waits."""
    ledger = Ledger()
    ledger.load(rows)
    ledger.settle()
    return ledger


def owned(*files: str, size: int = 10) -> Ledger:
    """Files that were handed over long ago, the first one used first."""
    return opened(
        *(row(file, size=size, used_at=n, handed_at=n) for n, file in enumerate(files, 1))
    )


def accept(ledger: Ledger, message_id: str, *files: str) -> None:
    """A message whose files are new and staged is accepted."""
    for file in files:
        ledger.stage(f"token {file}", "s", file, f"hash of {file}", 10, 1)
    ledger.apply([Leased("s", message_id, files, tuple(map(row, files)))])
    for file in files:
        ledger.unstage(f"token {file}", "s", file)


def blob(ledger: Ledger, file: str) -> Blob:
    found = ledger.blob("s", file)
    assert found is not None
    return found


def names(blobs: list[Blob]) -> list[str]:
    return [each.file for each in blobs]


# -- one file's way --------------------------------------------------------------------------------


def test_a_staged_file_stays_until_it_is_let_go_of() -> None:  # M3, H2
    ledger = Ledger()
    ledger.stage("t", "s", "f", "h", 10, 5)
    assert (blob(ledger, "f").owner, blob(ledger, "f").handed_over) == (Owner.IN_FLIGHT, False)
    assert ledger.take_discarded() == []
    ledger.unstage("another", "s", "f")
    ledger.unstage("t", "s", "another")
    ledger.unstage("t", "another", "f")
    assert ledger.take_discarded() == []
    ledger.unstage("t", "s", "f")
    assert ledger.has_discarded
    assert names(ledger.take_discarded()) == ["f"]


def test_a_file_that_is_worked_on_stays_meanwhile() -> None:  # H5
    ledger = owned("f")
    assert ledger.keep("work", "s", "f")
    assert ledger.take_evictable(1) == []
    ledger.unstage("work", "s", "f")
    assert names(ledger.take_evictable(1)) == ["f"]
    assert not any(ledger.keep("work", "s", file) for file in ("f", "another"))


@pytest.mark.parametrize("cap, expected", [(20, False), (19, True), (0, True)])
def test_over_the_cap_is_too_much_once_it_may_go(cap: int, expected: bool) -> None:  # M5
    ledger = Ledger()
    accept(ledger, "m", "a", "b")  # of 10 bytes each
    assert not ledger.has_too_much(cap)
    ledger.apply([Claimed("s", "m"), HandedOver("s", "m", ("a", "b"), 7)])
    assert ledger.has_too_much(cap) is expected
    assert names(ledger.take_evictable(20 - cap)) == ["a", "b"][: 2 - cap // 10]
    assert not ledger.has_too_much(cap)


def test_a_file_of_one_byte_may_be_too_much() -> None:  # M5
    ledger = owned("a", size=1)
    assert ledger.has_too_much(0)
    assert not ledger.has_too_much(1)


def test_a_message_takes_its_files_over_from_who_brought_them() -> None:  # H2
    ledger = Ledger()
    accept(ledger, "m", "f")
    assert blob(ledger, "f").leases == {"m": Lease.QUEUED}
    ledger.apply([Claimed("s", "m")])
    assert blob(ledger, "f").leases == {"m": Lease.OFFERED}
    assert not ledger.has_discarded
    ledger.apply([Ended("s", "m")])
    assert blob(ledger, "f").leases == {}
    assert names(ledger.take_discarded()) == ["f"]


def test_the_first_event_makes_it_the_sessions_own() -> None:  # H1
    ledger = Ledger()
    accept(ledger, "m", "f")
    ledger.apply([Claimed("s", "m"), HandedOver("s", "m", ("f",), 7)])
    assert blob(ledger, "f").owner is Owner.SESSION
    assert blob(ledger, "f").leases == {"m": Lease.OWNED}
    assert blob(ledger, "f").used_at == 7
    ledger.apply([Ended("s", "m")])
    assert blob(ledger, "f").owner is Owner.SESSION
    assert ledger.take_discarded() == []
    assert names(ledger.take_evictable(1)) == ["f"]


def test_files_of_one_turn_are_not_handed_over_with_the_others() -> None:  # H5
    ledger = Ledger()
    accept(ledger, "m", "kept", "voice")
    ledger.apply([Claimed("s", "m"), HandedOver("s", "m", ("kept",), 7)])
    assert blob(ledger, "voice").owner is Owner.IN_FLIGHT
    ledger.apply([Ended("s", "m")])
    assert names(ledger.take_discarded()) == ["voice"]
    assert not ledger.has_discarded


def test_a_message_that_waits_again_keeps_its_files() -> None:  # T5, H6
    ledger = Ledger()
    accept(ledger, "m", "f")
    ledger.apply([Claimed("s", "m"), HandedOver("s", "m", ("f",), 7), Leased("s", "m", ("f",))])
    assert blob(ledger, "f").owner is Owner.IN_FLIGHT
    assert ledger.take_evictable(100) == []
    ledger.apply([Ended("s", "m")])
    assert blob(ledger, "f").owner is Owner.SESSION


def test_a_use_is_never_earlier_than_what_is_known() -> None:
    ledger = opened(row("f", used_at=50, handed_at=1))
    ledger.apply([HandedOver("s", "m", ("f",), 7)])
    assert blob(ledger, "f").used_at == 50


def test_a_handover_of_a_message_that_nobody_knows_holds() -> None:  # H1
    ledger = Ledger()
    accept(ledger, "m", "f")
    ledger.apply([HandedOver("s", "other", ("no such file", "f"), 7), Ended("s", "m")])
    assert blob(ledger, "f").owner is Owner.SESSION
    assert blob(ledger, "f").leases == {}


def test_two_messages_with_one_file() -> None:  # M4: it is in flight while any of its leases is
    ledger = Ledger()
    accept(ledger, "m1", "f")
    ledger.apply([Leased("s", "m2", ("f",)), Claimed("s", "m1")])
    ledger.apply([HandedOver("s", "m1", ("f",), 7), Ended("s", "m1")])
    assert blob(ledger, "f").owner is Owner.IN_FLIGHT
    ledger.apply([Ended("s", "m2")])
    assert blob(ledger, "f").owner is Owner.SESSION


def test_one_message_with_the_same_file_twice() -> None:  # M4
    ledger = Ledger()
    ledger.stage("t", "s", "f", "h", 10, 1)
    ledger.apply([Leased("s", "m", ("f", "f"), (row("f"),)), Claimed("s", "m")])
    ledger.unstage("t", "s", "f")
    ledger.apply([Ended("s", "m")])
    assert names(ledger.take_discarded()) == ["f"]


def test_what_cannot_be_is_told() -> None:
    ledger = Ledger()
    accept(ledger, "m", "f")
    blob(ledger, "f").leases["m"] = Lease.DISCARDED
    with pytest.raises(ImpossibleStep):
        ledger.apply([Claimed("s", "m")])


# -- what is not known here ------------------------------------------------------------------------


def test_messages_without_a_file_here_change_nothing() -> None:
    ledger = Ledger()
    ledger.apply(
        [
            Leased("s", "m", ("gone",)),
            Claimed("s", "m"),
            HandedOver("s", "m", ("gone",), 1),
            Ended("s", "m"),
            SessionEnded("s"),
        ]
    )
    assert len(ledger) == 0
    assert not ledger.has_session("s")
    accept(ledger, "n", "f")
    ledger.apply([Leased("s", "m", ("gone", "f")), Claimed("s", "m"), Ended("s", "m")])
    ledger.apply([Claimed("s", "unknown"), Ended("s", "unknown")])
    assert blob(ledger, "f").leases == {"n": Lease.QUEUED}


def test_a_file_whose_row_is_new_here_is_taken_in() -> None:
    ledger = Ledger()
    ledger.apply([Leased("s", "m", ("f",), (row("f", size=4),))])
    assert ledger.usage == Usage(1, 4, 4, 0)
    ledger.apply([Leased("s", "n", ("f",), (row("f", size=9),))])
    assert ledger.usage == Usage(1, 4, 4, 0)


def test_it_says_what_it_knows() -> None:
    ledger = owned("a", "b")
    assert ledger.knows("s", "a")
    assert not ledger.knows("s", "c")
    assert not ledger.knows("other", "a")
    assert ledger.blob("other", "a") is None
    assert ledger.blob("s", "c") is None
    assert ledger.has_session("s")
    assert names(list(ledger)) == ["a", "b"]
    assert repr(blob(ledger, "a")) == "<s/a session {}>"
    assert ledger.usage_of("other") == Usage()


# -- what goes first -------------------------------------------------------------------------------


def test_what_was_used_longest_ago_goes_first() -> None:  # M5
    ledger = opened(*(row(f"f{n}", used_at=n, handed_at=1) for n in (3, 1, 2)))
    assert names(ledger.take_evictable(10)) == ["f1"]
    assert names(ledger.take_evictable(11)) == ["f2", "f3"]


def test_across_all_sessions() -> None:  # M5
    rows = [row("f", session_id=session, used_at=n, handed_at=1) for n, session in enumerate("bac")]
    taken = opened(*rows).take_evictable(20)
    assert [each.session_id for each in taken] == ["b", "a"]


def test_what_is_sent_again_goes_last() -> None:  # M4, M5
    ledger = owned("a", "b")
    assert ledger.reuse("t", "s", "hash of a") == "a"
    ledger.unstage("t", "s", "a")
    assert names(ledger.take_evictable(20)) == ["b", "a"]


@pytest.mark.parametrize(
    "size, limit, expected", [(-5, 9, 0), (0, 9, 0), (1, 9, 1), (10, 9, 1), (99, 9, 3), (99, 2, 2)]
)
def test_no_more_goes_than_is_needed(size: int, limit: int, expected: int) -> None:  # M5, M7
    assert len(owned("a", "b", "c").take_evictable(size, limit)) == expected


@pytest.mark.parametrize("limit, expected", [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_what_nobody_wants_goes_in_pieces(limit: int, expected: int) -> None:  # H2
    ledger = opened(row("a"), row("b"))
    assert len(ledger.take_discarded(limit)) == expected
    assert ledger.has_discarded is (expected < 2)


def test_a_piece_has_a_usual_size() -> None:
    files = [str(n) for n in range(1_001)]
    assert len(opened(*map(row, files)).take_discarded()) == 1_000
    assert len(owned(*files).take_evictable(1_000_000)) == 1_000


def test_one_file_is_taken_when_it_may_be() -> None:  # S43
    ledger = owned("a", "b")
    accept(ledger, "m", "flies")
    assert ledger.take("s", "flies") is None
    assert ledger.take("s", "no such") is None
    taken = ledger.take("s", "b")
    assert taken is not None
    assert taken.file == "b"
    assert ledger.take("s", "b") is None
    assert names(ledger.leaving) == ["b"]


# -- on the way out --------------------------------------------------------------------------------


def test_a_taken_file_counts_until_it_is_gone() -> None:  # M5
    ledger = owned("a", "b", size=10)
    (taken,) = ledger.take_evictable(1)
    assert ledger.usage == Usage(files=2, size=20, in_flight=0, evictable=10)
    assert (ledger.total, ledger.excess(0, 0), ledger.excess(1, 5)) == (20, 10, 6)
    ledger.gone(taken)
    assert ledger.usage == Usage(files=1, size=10, in_flight=0, evictable=10)
    assert not ledger.knows("s", "a")
    assert ledger.usage_of("s") == ledger.usage
    ledger.gone(taken)
    assert ledger.total == 10


def test_a_taken_file_is_not_used_for_the_same_bytes() -> None:  # M4
    ledger = owned("a")
    (taken,) = ledger.take_evictable(1)
    assert ledger.reuse("t", "s", "hash of a") is None
    ledger.stay(taken)
    assert ledger.reuse("t", "s", "hash of a") == "a"
    assert ledger.take_evictable(1) == []
    ledger.unstage("t", "s", "a")
    assert names(ledger.take_evictable(1)) == ["a"]


def test_a_taken_file_leaves_another_with_the_same_bytes_usable() -> None:  # M4
    ledger = owned("a")
    (taken,) = ledger.take_evictable(1)
    ledger.stage("t", "s", "b", "hash of a", 10, 1)
    ledger.stay(taken)
    assert ledger.reuse("u", "s", "hash of a") == "b"
    assert names(ledger.take_evictable(1)) == ["a"]
    assert ledger.reuse("v", "s", "hash of a") == "b"


def test_a_file_with_other_bytes_is_not_used_for_those_it_had() -> None:  # M4
    ledger = owned("a")
    assert ledger.reuse("t", "s", "hash of a") == "a"
    ledger.changed("t", "s", "a")
    ledger.changed("t", "s", "unknown")
    assert ledger.usage == Usage(files=1, size=10, evictable=10)
    assert ledger.reuse("u", "s", "hash of a") is None
    ledger.stage("u", "s", "b", "hash of a", 10, 1)
    assert ledger.reuse("v", "s", "hash of a") == "b"


def test_a_file_that_was_written_to_counts_as_it_is() -> None:  # M5 M7
    ledger = owned("a", "b", "c")
    (leaving,) = ledger.take_evictable(1)
    assert ledger.measured("s", "b", 25)
    assert ledger.measured("s", leaving.file, 4)
    assert not ledger.measured("s", "b", 25)
    assert not ledger.measured("s", "unknown", 25)
    assert ledger.usage == Usage(files=3, size=39, evictable=35)
    assert ledger.usage_of("s").size == 39
    ledger.gone(leaving)
    assert names(ledger.take_evictable(30)) == ["b", "c"]
    assert ledger.usage == Usage(files=2, size=35)


def test_what_was_taken_in_vain_is_the_first_to_go_again() -> None:  # M5
    ledger = owned("a", "b", "c")
    for blob in reversed(ledger.take_evictable(20)):
        ledger.stay(blob)
    assert names(ledger.take_evictable(30)) == ["a", "b", "c"]


def test_what_happens_to_a_taken_file_holds_when_it_stays() -> None:  # M5, H6
    ledger = owned("a")
    (taken,) = ledger.take_evictable(1)
    ledger.apply([Leased("s", "m", ("a",))])
    assert ledger.usage == Usage(files=1, size=10)
    assert ledger.usage_of("s") == Usage(files=1, size=10)
    ledger.stay(taken)
    assert ledger.take_evictable(1) == []
    assert ledger.usage.in_flight == 10
    ledger.stay(taken)
    assert ledger.usage.in_flight == 10


def test_nothing_is_shared_between_sessions() -> None:  # M4
    ledger = owned("a")
    assert ledger.reuse("t", "other", "hash of a") is None
    assert not ledger.has_session("other")
    assert ledger.reuse("t", "s", "another hash") is None


# -- the end of a session --------------------------------------------------------------------------


def test_a_closed_sessions_files_are_nobodys() -> None:  # S43
    ledger = owned("a")
    accept(ledger, "m", "b")
    ledger.stage("t", "s", "c", "hash of c", 10, 1)
    ledger.apply([SessionEnded("s")])
    assert blob(ledger, "a").handed_over is False
    assert sorted(names(ledger.take_discarded())) == ["a", "b"]
    ledger.unstage("t", "s", "c")
    assert names(ledger.take_discarded()) == ["c"]
    for taken in ledger.leaving:
        ledger.gone(taken)
    assert not ledger.has_session("s")
    assert ledger.usage == Usage()
    assert ledger.largest(5, ledger.sessions) == []


def test_nothing_is_kept_of_a_session_without_files() -> None:
    ledger = Ledger()
    accept(ledger, "m", "f")
    ledger.apply([Claimed("s", "m"), HandedOver("s", "m", ("f",), 1)])
    (taken,) = ledger.take_evictable(1)
    ledger.gone(taken)
    assert ledger.has_session("s")  # a message of it is not at its end
    ledger.apply([Ended("s", "m")])
    assert not ledger.has_session("s")


# -- figures ---------------------------------------------------------------------------------------


def test_what_is_neither_in_flight_nor_evictable_is_on_its_way_out() -> None:
    ledger = opened(row("nobodys", size=1), row("own", size=2, handed_at=1))
    ledger.stage("t", "s", "flies", "h", 4, 1)
    assert ledger.usage == Usage(files=3, size=7, in_flight=4, evictable=2)
    assert ledger.usage_of("s") == ledger.usage
    assert ledger.evictable == 2


def test_the_largest_sessions_come_first() -> None:
    ledger = opened(
        *(row(f"f{n}", session_id=f"s{n}", size=10 - n) for n in (3, 1, 2)),
        row("g3", session_id="s3", size=5),
    )
    assert ledger.largest(2, ledger.sessions) == [("s3", 2, 12), ("s1", 1, 9)]
    assert len(ledger.largest(9, ledger.sessions)) == 3
