"""How many agents may be open at a time, who waits, and who has to go for them (P6).

===========================  =====================================================================
when                         then
===========================  =====================================================================
a place is free              whoever waits for longest has it
no place is free             the place that is idle for longest is asked to leave, one per waiter
every place is busy          nobody is asked; the first one to become idle is
somebody stops waiting       the others move up
the limit falls              nobody has to go before somebody waits
===========================  =====================================================================
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio


class _Claim:
    """What is known of one who has a place or waits for one."""

    __slots__ = ("asked", "busy", "granted", "leave")

    def __init__(self, leave: Callable[[], None]) -> None:
        self.leave = leave
        self.granted = trio.Event()
        self.busy = True
        self.asked = False


class Place:
    """One of the places. It is busy when it is taken. Made by `Slots.place`.

    Both methods may be called at any time and any number of times; after the end of the block they
    change nothing.
    """

    __slots__ = ("_became_idle", "_claim", "_reconsider")

    def __init__(
        self, claim: _Claim, became_idle: Callable[[_Claim], None], reconsider: Callable[[], None]
    ) -> None:
        self._claim = claim
        self._became_idle = became_idle
        self._reconsider = reconsider

    def busy(self) -> None:
        """It is used: nobody is asked to leave it.

        If it was asked already, it has to leave when it is done, and somebody else is asked now.
        """
        if not self._claim.busy:
            self._claim.busy = True
            self._reconsider()

    def idle(self) -> None:
        """It is not used at the moment: it may be asked to leave, perhaps at once."""
        if self._claim.busy:
            self._claim.busy = False
            self._became_idle(self._claim)


class Slots:
    """Places, taken in the order in which they were asked for.

    Args:
        limit: how many there are now; asked each time, since settings change. Call `reconsider`
            when it rose, otherwise those who wait notice at the next change of any place.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        # Dicts as ordered sets. The idle ones among the taken stand in the order in which they
        # became idle, since `_became_idle` puts them last.
        self._taken: dict[_Claim, None] = {}
        self._waiting: dict[_Claim, None] = {}

    @property
    def taken(self) -> int:
        """How many are taken."""
        return len(self._taken)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    def place(self, leave: Callable[[], None]) -> AbstractAsyncContextManager[Place]:
        """Wait for a place, and have it for the length of the block.

        The wait is as long as others keep their places: its deadline is the caller's. Cancelled, it
        leaves no gap in the line; a place that was asked to leave meanwhile leaves nevertheless.

        Args:
            leave: called at most once, when somebody waits and this place was idle for longest: the
                block is to end as soon as it can, even if it got busy again since. Must neither
                block nor raise; it may be called from within `Place.idle`.
        """
        return self._place(_Claim(leave))

    @asynccontextmanager
    async def _place(self, claim: _Claim) -> AsyncIterator[Place]:
        self._waiting[claim] = None
        try:
            self.reconsider()
            await claim.granted.wait()
            yield Place(claim, self._became_idle, self.reconsider)
        finally:
            # Cancelled while it waited, or granted and cancelled in the same instant, or done.
            self._waiting.pop(claim, None)
            self._taken.pop(claim, None)
            self.reconsider()

    def reconsider(self) -> None:
        """Give out the places that are free, and ask for those that are needed."""
        limit = self._limit()
        while self._waiting and len(self._taken) < limit:
            first = next(iter(self._waiting))
            del self._waiting[first]
            self._taken[first] = None
            first.granted.set()
        while self._waiting and self._missing(limit) > 0:
            longest_idle = next((c for c in self._taken if not (c.busy or c.asked)), None)
            if longest_idle is None:
                return
            longest_idle.asked = True  # before the call, which may come back here
            longest_idle.leave()

    def _missing(self, limit: int) -> int:
        """How many more have to leave before everybody who waits has a place."""
        leaving = sum(claim.asked and not claim.busy for claim in self._taken)
        return len(self._taken) + len(self._waiting) - limit - leaving

    def _became_idle(self, claim: _Claim) -> None:
        if claim in self._taken:
            self._taken[claim] = self._taken.pop(claim)
            self.reconsider()
