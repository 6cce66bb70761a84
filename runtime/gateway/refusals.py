"""What the log says of those who were not let in (G8)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import msgspec

QUIET = 1.0
"""Seconds between two lines about the same reason, so that a flood does not fill the log."""

_DETAIL = 100

Reason = Literal[
    "the host name is not served here",
    "the origin is not allowed",
    "the token is missing",
    "the token is wrong",
    "too many connections",
    "too many handshakes",
]

_log = logging.getLogger("runtime.gateway")


class _Line(msgspec.Struct):
    """The last line about a reason: when, and how many were refused for it since."""

    at: float
    unsaid: int = 0


class Refusals:
    """Logs refusals: a line in `QUIET` seconds for each reason, which counts those before it.

    Args:
        clock: seconds that only rise.
        count: is told the reason of each one; must not wait.
    """

    def __init__(
        self, clock: Callable[[], float], count: Callable[[Reason], None] | None = None
    ) -> None:
        self._clock = clock
        self._count = count
        self._last: dict[Reason, _Line] = {}

    def note(self, reason: Reason, peer: str, detail: str | None = None) -> None:
        """Log one refusal, or count it for the next line.

        Args:
            reason: why.
            peer: the client's address.
            detail: what it sent, when that is no secret; the beginning is logged.
        """
        if self._count is not None:
            self._count(reason)
        now = self._clock()
        last = self._last.get(reason)
        if last is not None and now - last.at < QUIET:
            last.unsaid += 1
            return
        what = reason if detail is None else f"{reason}: {detail[:_DETAIL]!r}"
        more = f" ({last.unsaid} more since the last such line)" if last and last.unsaid else ""
        _log.warning("refused a client at %s: %s%s", peer, what, more)
        self._last[reason] = _Line(now)
