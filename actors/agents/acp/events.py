"""The events of a running prompt, on their way from the agent's process to the turn."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from trio.lowlevel import ParkingLot

MOST_BYTES = 1024 * 1024
"""Bytes of events that wait. When there are more, the process is not read until some were taken; a
single event may be larger.
"""

EventT = TypeVar("EventT")


class EventQueue(Generic[EventT]):
    """A queue for one who puts and one who takes, bounded by the size of what is in it."""

    def __init__(self) -> None:
        self._events: deque[tuple[EventT, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._room = ParkingLot()
        self._arrived = ParkingLot()

    async def put(self, event: EventT, size: int) -> bool:
        """Put an event behind the others, as soon as there is room.

        Returns:
            Whether anybody will take it.
        """
        while self._bytes and self._bytes + size > MOST_BYTES and not self._closed:
            await self._room.park()
        return self.put_now(event, size)

    def put_now(self, event: EventT, size: int = 0) -> bool:
        """Put an event behind the others at once; for what is small and comes seldom."""
        if self._closed:
            return False
        self._events.append((event, size))
        self._bytes += size
        self._arrived.unpark_all()
        return True

    async def take(self) -> EventT:
        """Wait for the next event."""
        while not self._events:
            await self._arrived.park()
        event, size = self._events.popleft()
        self._bytes -= size
        self._room.unpark_all()
        return event

    def close(self) -> None:
        """Nobody takes any more: what waits is dropped."""
        self._closed = True
        self._events.clear()
        self._bytes = 0
        self._room.unpark_all()
