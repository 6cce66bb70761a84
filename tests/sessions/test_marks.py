"""What says that a message may have come before (O2, R5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.marks import (
    DUPLICATE_MARK,
    SHORT_MARK,
    SHORTEST_MESSAGES,
    marked,
    room_for_mark,
)
from runtime.sessions.split import Counting, split

COUNTINGS: list[Counting] = ["characters", "utf16", "bytes"]


def test_the_smallest_limit_is_the_one_that_is_documented() -> None:  # N1
    assert SHORTEST_MESSAGES == 32


@pytest.mark.parametrize(
    "text,limit,mark",
    [
        ("x", 32, SHORT_MARK),
        ("x" * 24, 32, SHORT_MARK),
        ("x", 44, SHORT_MARK),
        ("x", 45, DUPLICATE_MARK),
        ("x" * 40, 84, DUPLICATE_MARK),
        ("x" * 41, 84, SHORT_MARK),
        ("x" * 132, 176, DUPLICATE_MARK),
        ("x" * 176, 176, SHORT_MARK),  # of a time when the network took more
        ("", 176, DUPLICATE_MARK),
    ],
)
def test_the_longest_that_fits_is_taken(text: str, limit: int, mark: str) -> None:  # O2
    assert marked(text, limit, "characters") == mark + text
    assert marked(mark + text, limit, "characters") == mark + text


@given(
    st.text(st.sampled_from("a é\U0001f600\n`> "), max_size=300),
    st.integers(SHORTEST_MESSAGES, 400),
    st.sampled_from(COUNTINGS),
)
def test_each_part_of_a_text_fits_with_its_mark(text: str, limit: int, counting: Counting) -> None:
    # R5 O2
    for part in split(text, limit - room_for_mark(limit), counting):
        again = marked(part, limit, counting)
        assert split(again, limit, counting) == (again,)
        assert again.endswith(f"\n{part}")
