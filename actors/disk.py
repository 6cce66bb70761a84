"""Where work on the disk is done: in a few threads of their own, or inline for tests that jump in
time, during which no thread may work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")

THREADS = 4
"""How many files are worked on at once."""


class Disk(Protocol):
    """Runs what blocks, to its end: cancellation is noticed afterwards."""

    async def __call__(self, work: Callable[[], T], /, *, abandon: bool = False) -> T:
        """What ``work`` returns; what it raises leaves. With ``abandon`` whoever is cancelled does
        not wait for it: for what only reads.
        """
        ...


class Threads:
    """Work in threads; what waits for one costs nothing else. What was abandoned keeps its thread
    until it ends, and those that read are others than those that write.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._limiter = trio.CapacityLimiter(threads)
        self._readers = trio.CapacityLimiter(threads)

    async def __call__(self, work: Callable[[], T], /, *, abandon: bool = False) -> T:
        if abandon:
            return await trio.to_thread.run_sync(
                work, limiter=self._readers, abandon_on_cancel=True
            )
        # Shielded: what was begun has an outcome that somebody must see, an open file for one.
        with trio.CancelScope(shield=True):
            result = await trio.to_thread.run_sync(work, limiter=self._limiter)
        return result  # noqa: RET504 - within, a scope might swallow it, for all that mypy knows


async def inline(work: Callable[[], T], /, *, abandon: bool = False) -> T:
    """Work in the calling task."""
    if abandon:
        await trio.lowlevel.checkpoint()
    else:
        await trio.lowlevel.cancel_shielded_checkpoint()
    return work()
