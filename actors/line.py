"""Who comes first goes first, however long each takes to get ready (Q7)."""

from __future__ import annotations

from collections.abc import Hashable

import trio


class Line:
    """A line for each of several counters; one that nobody stands in takes no memory."""

    def __init__(self) -> None:
        self._last: dict[Hashable, Place] = {}

    @property
    def counters(self) -> int:
        """At how many somebody stands."""
        return len(self._last)

    def join(self, counter: Hashable) -> Place:
        """Stand behind all who are in this line."""
        place = self._last[counter] = Place(self, counter, self._last.get(counter))
        return place

    def left(self, place: Place, counter: Hashable) -> None:
        """Somebody has gone, at its turn or before."""
        if self._last.get(counter) is not place:
            return
        before = place.before
        while before is not None and before.gone.is_set():
            before = before.before
        if before is None:
            del self._last[counter]
        else:
            self._last[counter] = before


class Place:
    """A place in a line. Whoever has it leaves in the end, at its turn or before."""

    def __init__(self, line: Line, counter: Hashable, before: Place | None) -> None:
        self._line = line
        self._counter = counter
        self.before = before
        self.gone = trio.Event()

    async def turn(self) -> None:
        """Wait until all who stood before have left."""
        while self.before is not None:
            await self.before.gone.wait()
            # It may have left before its turn: those that stood before it go first all the same.
            self.before = self.before.before

    def leave(self) -> None:
        """The next one may go, as soon as whoever leaves waits for something."""
        self.gone.set()
        self._line.left(self, self._counter)
