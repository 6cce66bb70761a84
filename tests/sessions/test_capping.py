"""The words about a queue that is full."""

from __future__ import annotations

from typing import get_args

import pytest

from runtime.sessions.capping import Overflow
from runtime.sessions.rows import DropName


@pytest.mark.parametrize("which", Overflow)
def test_the_words_hold_for_a_whole_burst_and_say_what_to_do(which: Overflow) -> None:  # Q4
    assert which.notice.startswith("Too many ")
    assert "ntil " in which.notice
    assert "send " in which.notice
    assert len(which.notice) < 200


def test_there_are_words_for_each_policy() -> None:  # Q4
    assert {*get_args(DropName)} < {*Overflow}
    assert len({which.notice for which in Overflow}) == len(Overflow)
