"""A limit to how often something happens."""

from __future__ import annotations

import math

import trio


class Pace:
    """Lets so many through at once, and then so many in a second; who is faster waits.

    The generic cell rate algorithm (ITU-T I.371, annex A), with waiting in place of refusal.

    Args:
        burst: how many at once.
        per_second: how many in a second after that.
    """

    def __init__(self, burst: int, per_second: float) -> None:
        self._interval = 1 / per_second
        self._tolerance = burst * self._interval
        self._due = -math.inf

    async def take(self) -> None:
        """Go through."""
        now = trio.current_time()
        self._due = max(self._due, now) + self._interval
        if self._due - self._tolerance > now:
            await trio.sleep_until(self._due - self._tolerance)
