"""The cell: everything the kernel knows about one actor, and its mailbox.

One object per actor that outlives restarts. References, timers, supervisors and workers are thin
views on it. An actor that waits for messages is this object, its instance and its reference;
nothing else.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from runtime.kernel.errors import ActorStopped, MailboxFull, UnhandledMessageError
from runtime.kernel.events import Cause, DeadLetter, MailboxOverflow, UnhandledMessage
from runtime.kernel.mailbox import Ask, Envelope, Notice, Overflow, Sender, Tick
from runtime.kernel.options import Options
from runtime.kernel.policy import History
from runtime.kernel.reasons import State, StopReason

if TYPE_CHECKING:
    from runtime.kernel.actor import Actor
    from runtime.kernel.family import Family
    from runtime.kernel.ref import ActorRef, Watch
    from runtime.kernel.scheduler import Worker
    from runtime.kernel.supervisor import Group
    from runtime.kernel.system import System
    from runtime.kernel.timers import Alarm, Timer


class _Anything:
    """The types that are accepted as long as an actor's own are not known."""

    def __contains__(self, _: object) -> bool:
        return True


_ANYTHING = _Anything()
_NOTHING: frozenset[type] = frozenset()


class Cell:
    """The state of one actor.

    Attributes:
        claimed: Whether somebody will see to the mailbox: the ready queue holds the actor, a worker
            drains it, or it is held back while it starts, ends or waits for its restart. Only an
            unclaimed actor is put into the ready queue when a message comes.
        reason: Why the present instance ends, or ended; None while it goes on.
        ordered: Whether somebody ordered its end, so that it is not started again.
        interrupted: Whether the present handler is cancelled.
        blocked_on: What the handler itself waits for from another actor: a reply, or room.
    """

    __slots__ = (
        "accepts",
        "actor",
        "alarm",
        "blocked_on",
        "capacity",
        "changed",
        "claimed",
        "control",
        "current",
        "deferred",
        "factory",
        "family",
        "group",
        "handled",
        "history",
        "interrupted",
        "last_error",
        "name",
        "options",
        "ordered",
        "parent",
        "peak",
        "queue",
        "reason",
        "ref",
        "restarts",
        "senders",
        "since",
        "state",
        "system",
        "timers",
        "watches",
        "watching",
        "worker",
    )

    def __init__(
        self,
        system: "System",
        parent: "Cell | None",
        factory: "Callable[[], Actor[Any]]",
        name: str,
        options: Options,
        group: "Group | None",
    ) -> None:
        self.system = system
        self.parent = parent
        self.factory = factory
        self.name = name
        self.options = options
        self.group = group
        self.actor: Actor[Any] | None = None
        self.ref: ActorRef[Any] | None = None
        self.state = State.STARTING
        self.reason: StopReason | None = None
        self.ordered = False
        self.interrupted = False
        # The mailbox.
        self.accepts: frozenset[type] | _Anything = _ANYTHING
        self.queue: deque[object] | None = None
        self.control: deque[object] | None = None
        self.senders: OrderedDict[Sender, None] | None = None
        self.capacity = options.mailbox.capacity
        self.peak = 0
        self.claimed = True
        # What it does.
        self.worker: Worker | None = None
        self.current: object = None
        self.blocked_on: Ask | Sender | None = None
        self.deferred: set[Ask] | None = None
        self.timers: set[Timer] | None = None
        self.family: Family | None = None
        # What happened to it.
        self.handled = 0
        self.restarts = 0
        self.last_error: str | None = None
        self.since = 0.0
        self.history: History | None = None
        self.alarm: Alarm | None = None
        # Who waits for it.
        self.changed: trio.Event | None = None
        self.watches: dict[Watch, None] | None = None
        self.watching: set[Watch] | None = None

    @property
    def path(self) -> str:
        """The names from the system down to here."""
        names = [self.name]
        parent = self.parent
        while parent is not None:
            names.append(parent.name)
            parent = parent.parent
        return "/".join(reversed(names))

    @property
    def depth(self) -> int:
        """Messages that wait."""
        return len(self.queue or ()) + len(self.control or ())

    def enter(self, state: State) -> None:
        """Change the state, and wake those who wait for a change."""
        self.state = state
        changed, self.changed = self.changed, None
        if changed is not None:
            changed.set()

    async def until(self, *states: State) -> None:
        """Wait until the state is one of these; a cancelled wait changes nothing."""
        while self.state not in states:
            if self.changed is None:
                self.changed = trio.Event()
            await self.changed.wait()

    async def end(self) -> StopReason:
        """Wait until it has ended for good, and say why."""
        while self.state is not State.STOPPED or self.reason is None:
            await self.until(State.STOPPED)
        return self.reason

    # Putting in

    @trio.lowlevel.enable_ki_protection
    def offer(self, item: object) -> bool:
        """Put a message, or an envelope, into the mailbox without waiting.

        Returns:
            Whether it was accepted.
        """
        message = item.message if isinstance(item, Envelope) else item
        if type(message) not in self.accepts and not self.handles(message):
            self.turn_away(item)
            return False
        queue = self.queue
        if queue is None:
            queue = self.queue = deque()
        depth = len(queue)
        if depth >= self.capacity and not self._make_room(item, queue):
            return False
        queue.append(item)
        if depth >= self.peak:
            self.peak = len(queue)
        if not self.claimed:
            self.system.scheduler.push(self)
        return True

    @property
    def full(self) -> bool:
        """Whether there is no room for another message."""
        return self.queue is not None and len(self.queue) >= self.capacity

    @trio.lowlevel.enable_ki_protection
    def line_up(self, item: object) -> Sender | None:
        """Put a message, or an envelope, into the mailbox, or into the line of those that wait.

        Returns:
            What to wait for; None if there was room.
        """
        if not self.full:
            self.offer(item)
            return None
        if self.senders is None:
            self.senders = OrderedDict()
        sender = Sender(item, self)
        self.senders[sender] = None
        return sender

    def tick(self, tick: Tick) -> None:
        """Put a timer's message into the mailbox, full or not.

        Each timer has one message waiting at most, so their number is the actor's own affair; and a
        deadline that is lost because of a crowd of messages is the worst one to lose.
        """
        if self.queue is None:
            self.queue = deque()
        self.queue.append(tick)
        self.peak = max(self.peak, len(self.queue))
        if not self.claimed:
            self.system.scheduler.push(self)

    def require(self, item: object) -> None:
        """Raise what stands in the way of a message, apart from a full mailbox."""
        message = item.message if isinstance(item, Envelope) else item
        if type(message) not in self.accepts and not self.handles(message):
            self.turn_away(item)
            if self.accepts is _NOTHING:
                raise ActorStopped(self.path, self.reason)
            raise UnhandledMessageError(self.path, message)

    @trio.lowlevel.enable_ki_protection
    def overtake(self, notice: Notice) -> None:
        """Put a notice into the control lane, which is served before the mailbox."""
        if self.accepts is _NOTHING:
            return
        if self.control is None:
            self.control = deque()
        self.control.append(notice)
        if not self.claimed:
            self.system.scheduler.push(self)

    def take(self) -> object | None:
        """The next message, or envelope, to handle; None if none waits."""
        if self.control:
            item = self.control.popleft()
        elif self.queue:
            item = self.queue.popleft()
            if self.senders:
                self.admit_senders()
        else:
            return None
        self.handled += 1
        return item

    def admit_senders(self) -> None:
        """Give the room that has become free to the tasks that have waited longest."""
        senders, queue = self.senders, self.queue
        while senders and queue is not None and len(queue) < self.capacity:
            sender, _ = senders.popitem(last=False)
            sender.admit()
            item = sender.item
            if self.handles(item.message if isinstance(item, Envelope) else item):
                queue.append(item)
            else:
                # It came before the types were known.
                self.turn_away(item)

    def forget_sender(self, sender: Sender) -> None:
        """A task no longer waits for room."""
        if self.senders is not None:
            self.senders.pop(sender, None)

    def handles(self, message: object) -> bool:
        """Whether the message is of an accepted type, or of a subclass of one."""
        accepts = self.accepts
        return isinstance(accepts, _Anything) or isinstance(message, tuple(accepts))

    def _make_room(self, item: object, queue: deque[object]) -> bool:
        events = self.system.events
        if events.wanted:
            events.publish(MailboxOverflow(self.path, self.capacity))
        match self.options.mailbox.when_full:
            case Overflow.DROP_OLDEST:
                self._drop_oldest(queue)
                return True
            case Overflow.DROP_NEWEST:
                self.discard(item, Cause.OVERFLOW, MailboxFull(self.path, self.capacity))
            case Overflow.REJECT | Overflow.WAIT:
                pass
        return False

    def _drop_oldest(self, queue: deque[object]) -> None:
        """Drop the oldest message of somebody else; a timer's is never dropped."""
        for index, item in enumerate(queue):
            if not isinstance(item, Tick):
                del queue[index]
                self.discard(item, Cause.OVERFLOW, MailboxFull(self.path, self.capacity))
                return

    # Giving up

    def turn_away(self, item: object) -> None:
        """Make a dead letter of a message that is not accepted here."""
        if self.accepts is _NOTHING:
            self.discard(item, Cause.STOPPED, ActorStopped(self.path, self.reason))
            return
        message = item.message if isinstance(item, Envelope) else item
        self.system.events.publish(UnhandledMessage(self.path, message))
        self.discard(item, Cause.UNHANDLED, UnhandledMessageError(self.path, message))

    def discard(self, item: object, cause: Cause, error: BaseException) -> None:
        """Make a dead letter of a message, failing the ask that it may be."""
        message = item
        if isinstance(item, Envelope):
            message = item.message
            if isinstance(item, Ask):
                item.fail(error)
            elif (isinstance(item, Tick) and not item.timer.collect()) or isinstance(item, Notice):
                return
        self.system.dead_letters.add(DeadLetter(self.path, message, cause))

    def close_mailbox(self) -> None:
        """Accept nothing more; what waits becomes dead letters, and its asks fail."""
        if self.accepts is _NOTHING:
            return
        self.accepts = _NOTHING
        # First, because a message of a timer is withdrawn with it: that is not a dead letter.
        self.cancel_timers()
        queue, self.queue = self.queue, None
        senders, self.senders = self.senders, None
        self.control = None
        if queue or senders:
            error = ActorStopped(self.path, self.reason)
            for item in queue or ():
                self.discard(item, Cause.STOPPED, error)
            for sender in senders or ():
                sender.refuse(error)

    def forget_deferred(self, ask: Ask) -> None:
        """The asker of a deferred reply has left, or has its reply."""
        if self.deferred is not None:
            self.deferred.discard(ask)

    def fail_deferred(self) -> None:
        """Fail the asks whose replies were deferred and have not come."""
        deferred, self.deferred = self.deferred, None
        for ask in deferred or ():
            ask.fail(ActorStopped(self.path, self.reason))

    def forget_timer(self, timer: "Timer") -> None:
        """A timer has nothing more to deliver."""
        if self.timers is not None:
            self.timers.discard(timer)

    def cancel_alarm(self) -> None:
        """Forget the end of a grace, or the restart, that was to come."""
        alarm, self.alarm = self.alarm, None
        if alarm is not None:
            self.system.alarms.cancel(alarm)

    def cancel_timers(self) -> None:
        """Cancel the timers of the present instance."""
        timers, self.timers = self.timers, None
        for timer in timers or ():
            timer.cancel()

    def adopt(self, actor: "Actor[Any]") -> None:
        """Take a fresh instance, whose message types become the ones that are accepted."""
        self.actor = actor
        before, self.accepts = self.accepts, actor.message_types
        if self.queue and before != self.accepts:
            # Messages that came before the types were known, or for another class of actor.
            waiting, self.queue = self.queue, deque()
            for item in waiting:
                if self.handles(item.message if isinstance(item, Envelope) else item):
                    self.queue.append(item)
                else:
                    self.turn_away(item)
            self.admit_senders()
