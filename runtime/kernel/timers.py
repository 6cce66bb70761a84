"""Alarms on Trio's clock: one heap and one sleeping task for the whole system."""

import heapq
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from runtime.kernel.mailbox import Tick

if TYPE_CHECKING:
    from runtime.kernel.cell import Cell

_COMPACT_ABOVE = 64
"""Cancelled alarms that are tolerated in the heap before it is worth rebuilding."""


class StartSoon(Protocol):
    """Starts a task, as `trio.Nursery.start_soon`."""

    def __call__(
        self, function: Callable[..., Awaitable[object]], /, *args: Any, name: str
    ) -> None:
        """Start it."""
        ...


class Alarm:
    """Something to call once, at a time.

    Args:
        deadline: When, on Trio's clock.
        call: What.
    """

    __slots__ = ("_order", "call", "deadline")

    def __init__(self, deadline: float, order: int, call: Callable[[], None]) -> None:
        self.deadline = deadline
        self._order = order
        self.call: Callable[[], None] | None = call

    def __lt__(self, other: "Alarm") -> bool:
        return (self.deadline, self._order) < (other.deadline, other._order)


class AlarmClock:
    """Calls alarms when they are due, from one task that exists only while there are alarms.

    Cancelled alarms stay in the heap until they are due or outnumber the others, whichever comes
    first, so that cancelling costs constant time and leaves nothing behind.

    Args:
        start_soon: Starts the sleeping task, as `trio.Nursery.start_soon`.
    """

    def __init__(self, start_soon: "StartSoon") -> None:
        self._start_soon = start_soon
        self._heap: list[Alarm] = []
        self._cancelled = 0
        self._order = 0
        self._sleep: trio.CancelScope | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    @trio.lowlevel.enable_ki_protection
    def at(self, deadline: float, call: Callable[[], None]) -> Alarm:
        """Call something at a time on Trio's clock."""
        self._order += 1
        alarm = Alarm(deadline, self._order, call)
        heapq.heappush(self._heap, alarm)
        if self._sleep is None:
            # Assigned here, not in the task, so that a second alarm does not start a second task.
            self._sleep = trio.CancelScope(shield=True)
            self._start_soon(self._run, self._sleep, name="alarm clock")
        elif self._heap[0] is alarm:
            self._sleep.deadline = deadline
        return alarm

    @trio.lowlevel.enable_ki_protection
    def cancel(self, alarm: Alarm) -> None:
        """Forget an alarm; one that has gone off or was cancelled is left alone."""
        if alarm.call is None:
            return
        alarm.call = None
        self._cancelled += 1
        if self._cancelled > _COMPACT_ABOVE and self._cancelled * 2 > len(self._heap):
            self._heap = [alarm for alarm in self._heap if alarm.call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
        if self._cancelled == len(self._heap):
            self.close()

    def close(self) -> None:
        """Forget every alarm, and end the task instead of letting it sleep for nobody."""
        for alarm in self._heap:
            alarm.call = None
        self._heap.clear()
        self._cancelled = 0
        if self._sleep is not None:
            self._sleep.deadline = -math.inf

    @trio.lowlevel.enable_ki_protection
    async def _run(self, sleep: trio.CancelScope) -> None:
        while self._advance(sleep):
            with sleep:
                await trio.sleep_forever()
            self._sleep = sleep = trio.CancelScope(shield=True)
        self._sleep = None

    def _advance(self, sleep: trio.CancelScope) -> bool:
        """Call what is due, set the next deadline, and say whether there is one."""
        now = trio.current_time()
        # Calling may add alarms that are due at once; they wait for the next pass of the loop.
        newest = self._order
        while self._heap:
            alarm = self._heap[0]
            call = alarm.call
            if call is not None and (alarm.deadline > now or alarm._order > newest):  # noqa: SLF001
                sleep.deadline = alarm.deadline
                return True
            heapq.heappop(self._heap)
            if call is None:
                self._cancelled -= 1
            else:
                alarm.call = None
                call()
        return False


class Timer:
    """A message to oneself, later, once or again and again.

    It ends with the actor that set it. Its message always has a place in the mailbox, full or not.
    After `cancel` its message is not handled any more, not even if it waits in the mailbox already.
    A repeating timer has at most one message waiting: an actor that is late finds one tick, not a
    pile.

    Args:
        cell: The actor.
        message: What to deliver.
        seconds: The delay, or the interval.
        repeat: Whether to go on.
    """

    __slots__ = ("_alarm", "_cell", "_interval", "_message", "_waiting", "deadline")

    def __init__(self, cell: "Cell", message: object, seconds: float, *, repeat: bool) -> None:
        if not (seconds > 0 if repeat else seconds >= 0) or seconds == math.inf:
            raise ValueError("a timer needs a finite delay, and a repeating one a positive one")
        self._cell = cell
        self._message = message
        self._interval = seconds if repeat else None
        self._waiting = False
        self.deadline = trio.current_time() + seconds
        """When it fires next, on Trio's clock."""
        self._alarm: Alarm | None = cell.system.alarms.at(self.deadline, self._fire)

    @property
    def active(self) -> bool:
        """Whether it will still fire, or has fired and its message waits to be handled."""
        return self._alarm is not None or self._waiting

    def cancel(self) -> None:
        """Stop it; its message is not handled any more. Does nothing after it ended."""
        self._cell.forget_timer(self)
        self._waiting = False
        if self._alarm is not None:
            self._cell.system.alarms.cancel(self._alarm)
            self._alarm = None

    def collect(self) -> bool:
        """Called when the message gets its turn: whether it is still to be handled."""
        wanted, self._waiting = self._waiting, False
        if self._alarm is None:
            self._cell.forget_timer(self)
        return wanted

    def _fire(self) -> None:
        if self._interval is None:
            self._alarm = None
        else:
            # Missed ticks are skipped, and the rhythm is kept: the next one is on the grid.
            missed = (trio.current_time() - self.deadline) // self._interval
            self.deadline += (missed + 1) * self._interval
            self._alarm = self._cell.system.alarms.at(self.deadline, self._fire)
        if not self._waiting:
            self._waiting = True
            self._cell.tick(Tick(self._message, self))
