"""Order among the requests of one connection.

Each request is its own task, so that a prompt may wait for minutes while others are answered. But
what a client says to one session takes effect in the order in which it was said: a request that
names a session waits for its turn in that session's lane, and leaves the lane when its effect is
certain, for a prompt when the message was accepted.
"""

from __future__ import annotations

import trio


class Lanes:
    """One lane per name, as long as somebody is in it."""

    def __init__(self) -> None:
        self._last: dict[str, Place] = {}

    def join(self, name: str) -> Place:
        """Take the next place in a lane. It must be left, whatever happens."""
        place = Place(self, name, self._last.get(name))
        self._last[name] = place
        return place

    def forget(self, place: Place) -> None:
        """Drop a lane whose last place was left."""
        if self._last.get(place.name) is place:
            del self._last[place.name]


class Place:
    """A place in a lane."""

    def __init__(self, lanes: Lanes, name: str, before: Place | None) -> None:
        self.name = name
        self._lanes = lanes
        self._before = before
        self._left = trio.Event()

    async def wait(self) -> None:
        """Wait until everyone before has left. May be cancelled."""
        if self._before is not None:
            await self._before.wait_until_left()
            self._before = None

    async def wait_until_left(self) -> None:
        """Wait until this place was left."""
        await self._left.wait()

    def leave(self) -> None:
        """Let the next one go on. Leaving twice is the same as once."""
        self._left.set()
        self._lanes.forget(self)
