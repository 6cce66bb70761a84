"""When an answer in the making is shown in a chat, and what of it (R3).

A draft is a message that shows the answer while it is written. There is at most one request for it
in flight and one snapshot that waits, which the next one replaces; requests begin at least an
interval apart, and later where the network asks for that. What is shown is the beginning that fits
into one message, without what may still become ``NO_REPLY`` (R6).

Drafts are cosmetic: a request that fails is not an error of the turn. After a few in a row, or one
that the network refused for good, the turn goes on without. The same holds when nobody knows
whether the first request made a message: a second one might put another beside it.

=================================  ==============================================
a request                          what follows
=================================  ==============================================
succeeded                          the snapshot that waits, an interval later
failed for now                     the same again, an interval later or when asked to
failed for now, the third in a row no more drafts
refused for good                   no more drafts
unknown, a message exists          as failed for now: to show it again changes nothing
unknown, there was no message yet  no more drafts
=================================  ==============================================

Times are given, in seconds of any clock that does not run backwards.
"""

from __future__ import annotations

import math

from runtime.sessions.silence import presentable
from runtime.sessions.split import Counting, beginning

FAILURES = 3
"""So many requests may fail in a row."""

PAUSES_KEPT = 1_000
"""So many are kept without asking whether their time has passed."""

LONGEST_PAUSE = 3_600.0
"""Seconds that a network may ask to wait at most, as far as it is believed."""


def pause_asked_for(retry_after: float | None) -> float:
    """The seconds that a network asked to wait, within reason; 0 when it did not say."""
    if retry_after is None or not math.isfinite(retry_after):
        return 0.0
    return min(max(0.0, retry_after), LONGEST_PAUSE)


class Pauses:
    """Until when networks want to be left alone, by conversation, which may outlast a turn."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._enough = PAUSES_KEPT

    def until(self, conversation: str) -> float:
        """When something may be shown there again; long ago when nobody asked to wait."""
        return self._until.get(conversation, -math.inf)

    def asked(self, conversation: str, now: float, retry_after: float | None) -> None:
        """A network asked to wait. Those whose time has passed are forgotten when there are many,
        and then again when there are twice as many, so that to forget costs little.
        """
        until = now + pause_asked_for(retry_after)
        if until <= max(now, self.until(conversation)):
            return
        if len(self._until) >= self._enough:
            self._until = {name: at for name, at in self._until.items() if at > now}
            self._enough = max(PAUSES_KEPT, 2 * len(self._until))
        self._until[conversation] = until


class Drafting:
    """The drafts of one turn.

    Args:
        limit: the longest text of one message.
        counting: how the channel counts that.
        interval: seconds between the beginnings of two requests at least.
        exists: whether the message is there already, from an earlier try of the same turn.
        not_before: when the first request may begin.
    """

    def __init__(
        self,
        limit: int,
        counting: Counting,
        interval: float,
        *,
        exists: bool = False,
        not_before: float = -math.inf,
    ) -> None:
        self._limit = limit
        self._counting = counting
        self._interval = interval
        self._exists = exists
        self._newest = ""
        self._shown: str | None = None
        self._in_flight: str | None = None
        self._not_before = not_before
        self._failures = 0
        self._over = False

    @property
    def over(self) -> bool:
        """Whether no draft is shown any more."""
        return self._over

    @property
    def visible(self) -> bool:
        """Whether the chat has seen one."""
        return self._shown is not None

    @property
    def enough(self) -> int:
        """How many characters of an answer `say` looks at."""
        return 2 * self._limit

    @property
    def due_at(self) -> float | None:
        """When the snapshot that waits may be sent; None when none waits, or one is in flight."""
        waits = bool(self._newest) and self._newest != self._shown
        return self._not_before if waits and self._in_flight is None and not self._over else None

    def say(self, text: str) -> None:
        """The answer so far, or its first `enough` characters: the snapshot that waits from now
        on.
        """
        if not self._over:
            self._newest = beginning(presentable(text[: self.enough]), self._limit, self._counting)

    def take(self, now: float) -> str | None:
        """The snapshot to send now: from here on it is in flight. None when none is due."""
        due = self.due_at
        if due is None or now < due:
            return None
        self._in_flight = self._newest
        self._not_before = now + self._interval
        return self._in_flight

    def later(self, at: float) -> None:
        """No request begins before then."""
        self._not_before = max(self._not_before, at)

    def arrived(self) -> None:
        """The one in flight is shown."""
        if self._in_flight is not None:
            self._shown = self._in_flight
        self._in_flight = None
        self._exists = True
        self._failures = 0

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """The one in flight was not taken; ``retry_after`` seconds were asked for."""
        self._in_flight = None
        self._failures += 1
        self._not_before = max(self._not_before, now + pause_asked_for(retry_after))
        self._over = self._over or self._failures >= FAILURES

    def unknown(self, now: float) -> None:
        """Nobody knows what became of the one in flight."""
        self.failed(now)
        self._over = self._over or not self._exists

    def refused(self) -> None:
        """The network will not have it."""
        self._in_flight = None
        self._over = True

    def close(self) -> None:
        """The final message comes: what waits is dropped."""
        self._over = True
