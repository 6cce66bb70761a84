"""References: the only thing that others hold of an actor."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import msgspec
import trio

from runtime.kernel import lifecycle
from runtime.kernel.errors import ActorStopped, AskTimeout, Deadlock, MailboxFull
from runtime.kernel.mailbox import Ask, Notice, Overflow, Sender
from runtime.kernel.messages import Request
from runtime.kernel.reasons import State, StopKind, StopReason

if TYPE_CHECKING:
    from runtime.kernel.cell import Cell

M_contra = TypeVar("M_contra", bound=msgspec.Struct, contravariant=True)
W = TypeVar("W", bound=msgspec.Struct)
R = TypeVar("R")


class Reply(Generic[R]):
    """The reply of a deferred request. See `Actor.defer`.

    Args:
        ask: Whose reply it is.
    """

    __slots__ = ("_ask", "_given")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._given = False

    @property
    def wanted(self) -> bool:
        """Whether no reply was given yet and the actor has not ended."""
        return not self._given and not self._ask.settled

    def set(self, value: R) -> None:
        """Reply. If the asker has left meanwhile, nothing happens.

        Raises:
            RuntimeError: A reply was given already.
        """
        self._give()
        self._ask.reply(value)

    def fail(self, error: BaseException) -> None:
        """Reply with an error, which the asker's `ask` raises. The actor goes on.

        Raises:
            RuntimeError: A reply was given already.
        """
        self._give()
        self._ask.fail(error)

    def _give(self) -> None:
        if self._given:
            raise RuntimeError("this request has had its reply")
        self._given = True
        self._ask.target.forget_deferred(self._ask)


class Watch:
    """A standing wish to be told of an actor's end. See `ActorRef.watch`."""

    __slots__ = ("_make", "_watched", "_watcher")

    def __init__(
        self, watched: "Cell", watcher: "Cell", make: Callable[[StopReason], object]
    ) -> None:
        self._watched = watched
        self._watcher = watcher
        self._make = make
        if watched.state is State.STOPPED and watched.reason is not None:
            self.notify(watched.reason)
        elif watcher.state is not State.STOPPED:
            watched.watches = watched.watches or {}
            watched.watches[self] = None
            watcher.watching = watcher.watching or set()
            watcher.watching.add(self)

    def cancel(self) -> None:
        """Be told nothing. A notice that is in the mailbox already is still handled."""
        if self._watched.watches is not None:
            self._watched.watches.pop(self, None)
        if self._watcher.watching is not None:
            self._watcher.watching.discard(self)

    def notify(self, reason: StopReason) -> None:
        """Called by the kernel at the end of the watched actor."""
        if self._watcher.watching is not None:
            self._watcher.watching.discard(self)
        self._watcher.overtake(Notice(self._make, reason, self._watcher))


class ActorRef(Generic[M_contra]):
    """A reference to an actor. It stays valid across restarts.

    After the actor's final stop, messages become dead letters. Two references to the same actor are
    equal. Except for the methods that say so, it may be used from Trio's thread only.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell

    def __repr__(self) -> str:
        return f"<ActorRef {self.path} {self._cell.state.value}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    @property
    def path(self) -> str:
        """The names from the system down to the actor, separated by slashes."""
        return self._cell.path

    @property
    def alive(self) -> bool:
        """Whether it has not ended for good."""
        return self._cell.state is not State.STOPPED

    @property
    def state(self) -> State:
        """Where it is in its life."""
        return self._cell.state

    @property
    def mailbox_depth(self) -> int:
        """Messages that wait, notices included."""
        return self._cell.depth

    def tell(self, message: M_contra) -> bool:
        """Send a message without waiting.

        Returns:
            Whether it was accepted. It was not if the mailbox is full (see `Overflow`), or, leaving
            a dead letter, if the actor has stopped or does not handle messages of this type.
        """
        return self._cell.offer(message)

    async def send(self, message: M_contra) -> None:
        """Send a message, waiting for room in the mailbox whatever its policy.

        Those who wait are served in order. A cancelled wait has sent nothing.

        Raises:
            ActorStopped: The actor has stopped, or stopped before there was room.
            UnhandledMessageError: It does not handle messages of this type.
            Deadlock: The mailbox is full, and its actor waits for the handler that sends this.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        cell = self._cell
        cell.require(message)
        asker = cell.system.handling()
        if asker is not None and cell.full:
            _require_no_circle(asker, cell)
        sender = cell.line_up(message)
        if sender is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await _wait(asker, sender)

    async def ask(self, request: Request[R], timeout: float) -> R:
        """Send a request and wait for its reply.

        A request that was sent is handled even if nobody waits for its reply any more: after a
        timeout or a cancellation its outcome is unknown. A late reply is discarded.

        Args:
            request: The request.
            timeout: Seconds to wait at most, for room in the mailbox and for the reply.

        Returns:
            The reply.

        Raises:
            AskTimeout: There was no reply in time.
            ActorStopped: The actor has stopped, or stopped before it replied.
            MailboxFull: The mailbox is full, and its policy is not to wait.
            UnhandledMessageError: The actor does not handle messages of this type.
            Deadlock: The actor asks itself, or one that waits for it.
            Exception: What the handler raised.
        """
        cell = self._cell
        ask = Ask(request, cell)
        asker = cell.system.handling()
        if asker is not None:
            _require_no_circle(asker, cell)
        with trio.CancelScope(deadline=trio.current_time() + timeout):
            sender = _submit(cell, ask)
            if sender is not None:
                await _wait(asker, sender)
            await _wait(asker, ask)
        if not ask.settled:
            raise AskTimeout(cell.path, timeout)
        return cast("R", ask.result())

    async def stop(self, grace: float | None = None) -> None:
        """Stop the actor for good, and wait until it has.

        It accepts no more messages at once; those that wait become dead letters. It may finish the
        one that it handles within the grace, and is cancelled then. If this wait is cancelled, the
        actor stops all the same.

        Args:
            grace: Seconds; the actor's own grace by default.

        Raises:
            Deadlock: An actor's handler stops itself this way; `Actor.stop` is meant for that.
        """
        if grace is not None and not grace >= 0:
            raise ValueError("a grace is a number of seconds, 0 or more")
        self._require_other("Actor.stop ends an actor from within")
        lifecycle.order_stop(self._cell, StopKind.SHUTDOWN, grace)
        await self._end()

    async def stopped(self) -> StopReason:
        """Wait until the actor has ended for good; a restart is not an end.

        Returns:
            Why it ended.

        Raises:
            Deadlock: An actor's handler waits for its own end.
        """
        self._require_other("it would wait for its own end")
        return await self._end()

    def watch(self, watcher: "ActorRef[W]", make: Callable[[StopReason], W]) -> Watch:
        """Have an actor told when this one has ended for good; at once if it has already.

        The notice overtakes the messages in the watcher's mailbox and needs no room in it.

        Args:
            watcher: Who is told.
            make: Makes the watcher's message from the reason. It runs when the watcher handles it.

        Returns:
            A handle to take the wish back. It ends with the watcher, too.
        """
        return Watch(self._cell, watcher._cell, make)  # noqa: SLF001 - its own class

    def tell_from_thread(self, message: M_contra) -> bool:
        """`tell`, from any thread that is not Trio's. Waits for Trio's thread to take it.

        Returns:
            Whether it was accepted; False also if Trio's run is over.
        """
        try:
            return trio.from_thread.run_sync(
                self.tell, message, trio_token=self._cell.system.trio_token
            )
        except trio.RunFinishedError:
            return False

    def ask_from_thread(self, request: Request[R], timeout: float) -> R:
        """`ask`, from any thread that is not Trio's.

        Raises:
            ActorStopped: Also if Trio's run is over.
            Exception: As `ask`.
        """
        try:
            return trio.from_thread.run(
                self.ask, request, timeout, trio_token=self._cell.system.trio_token
            )
        except trio.RunFinishedError:
            raise ActorStopped(self.path, self._cell.reason) from None

    async def _end(self) -> StopReason:
        if not self.alive:
            await trio.lowlevel.checkpoint()
        return await self._cell.end()

    def _require_other(self, hint: str) -> None:
        if self._cell.system.handling() is self._cell:
            raise Deadlock(f"{self.path} cannot wait for its own end: {hint}")


def _submit(cell: "Cell", ask: Ask) -> Sender | None:
    """Put an ask into a mailbox, or into the line before it."""
    cell.require(ask)
    if cell.options.mailbox.when_full is Overflow.WAIT:
        return cell.line_up(ask)
    if not cell.offer(ask):
        raise MailboxFull(cell.path, cell.capacity)
    return None


async def _wait(asker: "Cell | None", waiting: Ask | Sender) -> None:
    """Wait, and while an actor's handler does, let circles be seen."""
    if asker is None:
        await waiting.wait()
        return
    asker.blocked_on = waiting
    try:
        await waiting.wait()
    finally:
        asker.blocked_on = None


def _require_no_circle(asker: "Cell", asked: "Cell") -> None:
    """Follow who waits for whom; a circle of handlers can never be resolved.

    An ask whose reply was deferred can still be answered by a helper, so it closes no circle.
    """
    cell: Cell | None = asked
    while cell is not None:
        if cell is asker:
            raise Deadlock(
                f"the handler of {asker.path} would wait for itself"
                + ("" if asked is asker else f", because {asked.path} waits for it")
            )
        waiting = cell.blocked_on
        answerable = isinstance(waiting, Ask) and waiting.deferred
        cell = None if waiting is None or answerable else waiting.target
