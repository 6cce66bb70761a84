"""What is asked of the index about all files, a piece at a time."""

from __future__ import annotations

import pytest

from tests.sessions.test_ledger import names, opened, row


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_all_files_are_given_a_page_at_a_time(size: int) -> None:  # M7
    ledger = opened(*(row(f"f{n}", session_id=f"s{n % 3}") for n in range(10)))
    pages = [*ledger.pages(size)]
    assert all(0 < len(page) <= size for page in pages)
    assert sorted(names([blob for page in pages for blob in page])) == sorted(names([*ledger]))


def test_there_may_be_changes_between_two_pages() -> None:  # M7
    ledger = opened(*(row(f"f{n}", session_id=f"s{n}", handed_at=1) for n in range(4)))
    pages = ledger.pages(1)
    seen = next(pages)
    for taken in ledger.take_evictable(ledger.evictable):
        ledger.gone(taken)
    ledger.load([row("new", session_id="new")])
    assert names([*seen, *(blob for page in pages for blob in page)]) == ["f0"]
    assert names([blob for page in ledger.pages(9) for blob in page]) == ["new"]


def test_of_sessions_that_are_gone_nothing_is_the_largest() -> None:  # M5
    ledger = opened(row("a", session_id="s", size=3))
    assert ledger.largest(2, ["gone", "s"]) == [("s", 1, 3)]


def test_a_file_is_known_by_its_id() -> None:  # M5
    ledger = opened(
        row("a.png", session_id="s"), row("b.tar.gz", session_id="s"), row("c", session_id="t")
    )
    assert ledger.ids("s") == {"a", "b"}
    assert ledger.ids("nobody") == set()
