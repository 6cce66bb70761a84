"""What happened in a system: events, their subscribers, and dead letters.

Publishing costs one comparison while nobody subscribes. A subscriber that does not keep up loses
the oldest events and can see how many.
"""

import enum
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import msgspec
import trio

from runtime.kernel.reasons import StopReason

log = logging.getLogger("runtime.kernel")
"""Crashes with their tracebacks, slow handlers, and a sample of the dead letters."""


class Cause(enum.Enum):
    """Why a message became a dead letter."""

    STOPPED = "stopped"
    """Its actor had stopped, or stopped before it was handled."""
    CRASHED = "crashed"
    """Handling it ended its actor."""
    INTERRUPTED = "interrupted"
    """Its actor was cancelled while handling it."""
    OVERFLOW = "overflow"
    """The mailbox was full and its policy chose this message."""
    UNHANDLED = "unhandled"
    """Its type is not among those that the actor handles."""


class Event(msgspec.Struct, frozen=True):
    """Base of events.

    Attributes:
        path: The actor that it is about.
    """

    path: str


class Started(Event, frozen=True):
    """An actor runs: its `on_start` has returned."""


class Stopped(Event, frozen=True):
    """An actor ended for good."""

    reason: StopReason


class Restarted(Event, frozen=True):
    """An actor ended and will be started again after a delay in seconds."""

    reason: StopReason
    restarts: int
    delay: float


class GivenUp(Event, frozen=True):
    """An actor crashed more often than its intensity allows and is not started again."""

    error: BaseException


class Escalated(Event, frozen=True):
    """An actor fails because a child did, which the error's notes name."""

    error: BaseException


class DeadLetter(Event, frozen=True):
    """A message that nobody will handle, or whose handling was cut short."""

    message: object
    cause: Cause


class MailboxOverflow(Event, frozen=True):
    """A message met a full mailbox."""

    capacity: int


class SlowHandler(Event, frozen=True):
    """A handler has been waiting for longer than the system's threshold.

    Attributes:
        message_type: What it handles, or the name of the hook that it runs.
        seconds: For how long.
    """

    message_type: str
    seconds: float


class UnhandledMessage(Event, frozen=True):
    """A message was sent to an actor that does not handle its type."""

    message: object


class CleanupFailed(Event, frozen=True):
    """`on_stop` or a helper failed, or took too long, while its actor was ending."""

    error: BaseException


class Subscription:
    """A bounded queue of events: a context manager and an asynchronous iterator.

    ``with system.events.subscribe() as events: async for event in events: ...`` The iteration ends
    when the subscription is closed or the system ends, after the events that are still queued.

    Args:
        stream: Where the events come from.
        types: The events that are wanted; none means all.
        capacity: Events that may wait; one more pushes the oldest out.
    """

    def __init__(self, stream: "EventStream", types: tuple[type[Event], ...], capacity: int):
        if capacity < 1:
            raise ValueError("a subscription holds at least one event")
        self.dropped = 0
        """Events that were pushed out because nobody took them in time."""
        self._stream = stream
        self._types = types or (Event,)
        self._queue: deque[Event] = deque(maxlen=capacity)
        self._waiting: trio.lowlevel.Task | None = None
        self._open = True

    def put(self, event: Event) -> None:
        """Add an event, if it is of a wanted type."""
        if not isinstance(event, self._types):
            return
        if len(self._queue) == self._queue.maxlen:
            self.dropped += 1
        self._queue.append(event)
        self._wake()

    def take(self) -> list[Event]:
        """Everything that has arrived, without waiting."""
        events = list(self._queue)
        self._queue.clear()
        return events

    def close(self) -> None:
        """Take no more events; an iteration ends after those that are queued."""
        self._open = False
        self._stream.remove(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None

    def _leave(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next event; a cancelled wait loses none.

        Raises:
            trio.BusyResourceError: Another task waits already.
        """
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if not self._open:
                raise StopAsyncIteration
            if self._waiting is not None:
                raise trio.BusyResourceError("another task reads this subscription")
            self._waiting = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._leave)
        return self._queue.popleft()


class EventStream:
    """Hands each event to its subscribers."""

    def __init__(self) -> None:
        self._subscriptions: tuple[Subscription, ...] = ()
        self._open = True

    @property
    def wanted(self) -> bool:
        """Whether anybody listens, so that an event need not be made for nobody."""
        return bool(self._subscriptions)

    def subscribe(self, *types: type[Event], capacity: int = 1024) -> Subscription:
        """Receive events from now on.

        Args:
            types: The events that are wanted; none means all.
            capacity: Events that may wait; one more pushes the oldest out.

        Returns:
            The subscription; close it, or use it as a context manager.
        """
        subscription = Subscription(self, types, capacity)
        if self._open:
            self._subscriptions += (subscription,)
        else:
            subscription.close()
        return subscription

    def publish(self, event: Event) -> None:
        """Hand an event to those who want it."""
        for subscription in self._subscriptions:
            subscription.put(event)

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def close(self) -> None:
        """End every subscription."""
        self._open = False
        for subscription in self._subscriptions:
            subscription.close()


class DeadLetters:
    """Counts dead letters, keeps the latest, and logs a sample of them.

    Args:
        events: Where each one is published.
        keep: How many are kept.
    """

    def __init__(self, events: EventStream, keep: int = 64) -> None:
        self.by_cause: Counter[Cause] = Counter()
        """How many there were of each cause."""
        self._events = events
        self._latest: deque[DeadLetter] = deque(maxlen=keep)

    @property
    def count(self) -> int:
        """How many there were."""
        return self.by_cause.total()

    @property
    def latest(self) -> tuple[DeadLetter, ...]:
        """The latest ones, oldest first."""
        return tuple(self._latest)

    def add(self, letter: DeadLetter) -> None:
        """Record one."""
        self.by_cause[letter.cause] += 1
        self._latest.append(letter)
        self._events.publish(letter)
        count = self.count
        # The 1st, 2nd, 4th, 8th … of a system: visible at once, and a flood cannot fill the log.
        if count & (count - 1) == 0:
            log.warning(
                "dead letter %d: %s for %s (%s)",
                count,
                type(letter.message).__qualname__,
                letter.path,
                letter.cause.value,
            )
