"""When an agent that could not be started is started again, and when not any more (P3)."""

from __future__ import annotations

MAX_FAILURES = 5
"""Consecutive failed starts after which a session is blocked until somebody reconnects it."""

FIRST_DELAY = 5.0
LONGEST_DELAY = 60.0


def delay_after(failures: int) -> float | None:
    """Seconds until the next start after so many failures in a row; None: the session is blocked.

    5 s · 2ⁿ up to 60 s, n being the failures before the last one.
    """
    if failures >= MAX_FAILURES:
        return None
    if failures <= 0:
        return 0.0
    return min(FIRST_DELAY * 2.0 ** (failures - 1), LONGEST_DELAY)
