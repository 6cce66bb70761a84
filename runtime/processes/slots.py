"""How many agents may be open at a time, who waits, and who has to go for them (P6)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager


class Place:
    """One of the places. It is busy when it is taken."""

    def busy(self) -> None:
        """It is used: nobody is asked to leave it."""
        raise NotImplementedError

    def idle(self) -> None:
        """It is not used at the moment: it may be asked to leave."""
        raise NotImplementedError


class Slots:
    """Places, taken in the order in which they were asked for.

    Args:
        limit: how many there are now; asked each time, since settings change.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        raise NotImplementedError

    @property
    def taken(self) -> int:
        """How many are taken."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        raise NotImplementedError

    def place(self, leave: Callable[[], None]) -> AbstractAsyncContextManager[Place]:
        """Wait for a place, and have it for the length of the block.

        Args:
            leave: called once, when somebody waits and this place was idle for longest: the block
                is to end soon. Must not block.
        """
        raise NotImplementedError
