"""Ids that sort by time (S7)."""

from __future__ import annotations

import threading
import uuid

import pytest

from runtime.sessions.ids import IdSource, is_id


def test_ids_are_version_7_and_rise_within_a_millisecond() -> None:
    # S7
    source = IdSource(lambda: 1_800_000_000_000)
    ids = [source.new() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    parsed = [uuid.UUID(text) for text in ids[:100]]
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert parsed[0].int >> 80 == 1_800_000_000_000


def test_ids_rise_when_the_clock_goes_back() -> None:
    # S7
    times = iter([5_000, 4_000, 4_000, 6_000])
    source = IdSource(lambda: next(times))
    ids = [source.new() for _ in range(4)]
    assert ids == sorted(ids)


def test_ids_of_two_sources_differ_at_the_same_instant() -> None:
    # S7
    one, two = IdSource(lambda: 1), IdSource(lambda: 1)
    assert {one.new() for _ in range(500)}.isdisjoint({two.new() for _ in range(500)})


def test_ids_made_in_many_threads_never_collide() -> None:
    # S7
    source = IdSource()
    made: list[list[str]] = [[] for _ in range(8)]

    def make(into: list[str]) -> None:
        into.extend(source.new() for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for some in made for one in some}) == 16_000
    assert all(some == sorted(some) for some in made)


@pytest.mark.parametrize(
    "text", ["", "cat.png", "01a22297", "01A22297-82F6-71E6-8F46-A3176672F47D", "x" * 36]
)
def test_other_texts_are_told_from_ids(text: str) -> None:  # M8
    assert is_id(IdSource().new())
    assert not is_id(text)
