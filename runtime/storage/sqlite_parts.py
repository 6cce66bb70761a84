"""What the parts of the SQLite store stand on."""

# ruff: noqa: D102 - what the operations do is said by those who carry them out

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from runtime.storage.engine import Operation
from runtime.storage.media_store import MediaListener

T = TypeVar("T")

PAGE_LIMIT = 1_000
"""How many rows one question may ask for at most."""


class Writes(Protocol):
    """Where operations that write run."""

    @property
    def queued(self) -> int: ...

    async def write(self, operation: Operation[T]) -> T: ...

    async def chore(self, function: Callable[[], T]) -> T: ...

    def listen(self, listener: MediaListener) -> None: ...

    def refuse(self) -> None: ...

    async def aclose(self) -> None: ...


class Reads(Protocol):
    """Where operations that only read run."""

    async def read(self, operation: Operation[T]) -> T: ...

    async def aclose(self) -> None: ...


def bounded(limit: int) -> int:
    """A limit as it is used."""
    return min(max(limit, 1), PAGE_LIMIT)
