"""What a mailbox holds, how much of it, and what happens to one message too many."""

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import trio

from runtime.kernel.errors import ActorStopped

if TYPE_CHECKING:
    from runtime.kernel.cell import Cell
    from runtime.kernel.reasons import StopReason
    from runtime.kernel.timers import Timer


class Overflow(enum.Enum):
    """What a full mailbox does with a `tell` or an `ask`; a `send` always waits for room.

    Tasks that wait get the places that become free in the order in which they came.
    """

    REJECT = "reject"
    """Refuses it: `tell` returns False, `ask` raises `MailboxFull`."""
    DROP_OLDEST = "drop oldest"
    """Makes room: the oldest waiting message becomes a dead letter.

    The newcomer takes its place at once, before the messages of tasks that wait for one.
    """
    DROP_NEWEST = "drop newest"
    """The newcomer becomes a dead letter; `tell` returns False, `ask` raises `MailboxFull`."""
    WAIT = "wait"
    """`ask` waits for room within its timeout; `tell`, which cannot wait, returns False."""


class MailboxSpec(msgspec.Struct, frozen=True):
    """The bounds of a mailbox.

    Attributes:
        capacity: Messages that may wait, at least 1.
        when_full: What happens to one more.
    """

    capacity: int = 1000
    when_full: Overflow = Overflow.REJECT

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError("a mailbox holds at least one message")


class Envelope:
    """A message in a mailbox that is more than the message itself."""

    __slots__ = ("message",)

    def __init__(self, message: object) -> None:
        self.message = message

    def open(self) -> object | None:
        """The message to handle, or None if there is nothing left to handle."""
        return self.message


class Ask(Envelope):
    """A request on its way, and the place where its asker waits.

    It is settled once: by the handler's reply or error, or by the end of the actor. After the
    asker left, settling it changes nothing.

    Args:
        message: The request.
        target: The actor that was asked.
    """

    __slots__ = ("_error", "_task", "_value", "deferred", "settled", "target")

    def __init__(self, message: object, target: "Cell") -> None:
        super().__init__(message)
        self.target = target
        self.deferred = False
        self.settled = False
        self._task: trio.lowlevel.Task | None = None
        self._value: object = None
        self._error: BaseException | None = None

    def reply(self, value: object) -> None:
        """Answer with a value."""
        if not self.settled:
            self._value = value
            self._settle()

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        if not self.settled:
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self.settled = True
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Wait until it is settled; a cancelled wait leaves it as it is."""
        if not self.settled:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._leave)

    def _leave(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        if self.deferred:
            self.target.forget_deferred(self)
        return trio.lowlevel.Abort.SUCCEEDED

    def result(self) -> object:
        """The reply of a settled ask.

        Raises:
            BaseException: The error it was settled with.
        """
        if self._error is not None:
            raise self._error
        return self._value


class Tick(Envelope):
    """A timer's message, which is not handled if the timer was cancelled meanwhile.

    Args:
        message: The message.
        timer: Whose message it is.
    """

    __slots__ = ("timer",)

    def __init__(self, message: object, timer: "Timer") -> None:
        super().__init__(message)
        self.timer = timer

    def open(self) -> object | None:
        """The message, unless its timer was cancelled after it fired."""
        return self.message if self.timer.collect() else None


class Notice(Envelope):
    """The end of a watched actor, turned into a message when the watcher gets to it.

    Args:
        make: Makes the message; it is the watcher's code, so it runs, and fails, in its turn.
        reason: Why the watched actor ended.
        watcher: Who is told.
    """

    __slots__ = ("_make", "_reason", "_watcher")

    def __init__(
        self, make: "Callable[[StopReason], object]", reason: "StopReason", watcher: "Cell"
    ) -> None:
        super().__init__(None)
        self._make = make
        self._reason = reason
        self._watcher = watcher

    def open(self) -> object | None:
        """The watcher's own message about the end."""
        self.message = self._make(self._reason)
        if not self._watcher.handles(self.message):
            self._watcher.turn_away(self.message)
            return None
        return self.message


class Sender:
    """A task that waits for room in a mailbox.

    Args:
        item: The message, or its envelope.
        target: The actor whose mailbox it is.
    """

    __slots__ = ("_error", "_task", "item", "target")

    def __init__(self, item: object, target: "Cell") -> None:
        self.item = item
        self.target = target
        self._task = trio.lowlevel.current_task()
        self._error: ActorStopped | None = None

    async def wait(self) -> None:
        """Wait for a place; a cancelled wait has not sent the message.

        Raises:
            ActorStopped: The actor ended first.
        """
        await trio.lowlevel.wait_task_rescheduled(self._leave)
        if self._error is not None:
            raise self._error

    def admit(self) -> None:
        """The message got its place."""
        trio.lowlevel.reschedule(self._task)

    def refuse(self, error: ActorStopped) -> None:
        """There will be no place."""
        self._error = error
        trio.lowlevel.reschedule(self._task)

    def _leave(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self.target.forget_sender(self)
        return trio.lowlevel.Abort.SUCCEEDED
