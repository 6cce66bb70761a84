"""Long lists, worked on a piece at a time, so that everybody else gets their turn (M7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

PAGE = 1_000
"""How many rows, or files, are worked on at a stretch."""


def batched(items: Sequence[T], size: int = PAGE) -> Iterator[Sequence[T]]:
    """Pieces of a sequence, each of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))
