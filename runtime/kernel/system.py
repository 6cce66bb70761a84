"""Systems: a tree of actors inside a Trio block."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec
import trio

from runtime.kernel import lifecycle
from runtime.kernel.cell import Cell
from runtime.kernel.events import DeadLetters, EventStream
from runtime.kernel.family import Family, create_child
from runtime.kernel.mailbox import MailboxSpec
from runtime.kernel.options import Options
from runtime.kernel.policy import Backoff, Intensity, Restart, Strategy
from runtime.kernel.reasons import State, StopKind, StopReason
from runtime.kernel.ref import ActorRef
from runtime.kernel.scheduler import Scheduler
from runtime.kernel.supervisor import ChildSpec, Group
from runtime.kernel.timers import AlarmClock
from runtime.kernel.tree import MailboxDepths, TreeNode, depths, snapshot

if TYPE_CHECKING:
    from runtime.kernel.actor import Actor

N = TypeVar("N", bound=msgspec.Struct)


class System:
    """A tree of actors. Made by `open_system`.

    Attributes:
        name: The first part of every path.
        events: What happens; see `EventStream.subscribe`.
        dead_letters: Messages that nobody handled: counts and the latest ones.
        cancelled: Whether the end leaves no grace, because a scope around the system was cancelled,
            its block raised, or a failure was escalated to it.
    """

    def __init__(self, name: str, nursery: trio.Nursery, slow_after: float) -> None:
        self.name = name
        self.events = EventStream()
        self.dead_letters = DeadLetters(self.events)
        self.cancelled = False
        self.trio_token = trio.lowlevel.current_trio_token()
        self.alarms = AlarmClock(self.start_soon)
        self.scheduler = Scheduler(self, slow_after)
        self._nursery = nursery
        self._context = copy_context()
        self._root = Cell(self, None, _no_actor, name, Options(), None)
        self._family = self._root.family = Family(nursery)
        self._root.since = trio.current_time()
        self._root.state = State.RUNNING
        self._left = trio.Event()
        self._canary = trio.CancelScope()

    def spawn(
        self,
        factory: "Callable[[], Actor[N]]",
        *,
        name: str,
        restart: Restart = Restart.TRANSIENT,
        mailbox: MailboxSpec = MailboxSpec(),  # noqa: B008 - frozen
        grace: float = 5.0,
        intensity: Intensity = Intensity(),  # noqa: B008
        backoff: Backoff = Backoff(),  # noqa: B008
    ) -> ActorRef[N]:
        """Start a dynamic actor at the top of the tree. See `Actor.spawn`."""
        options = Options(restart, mailbox, grace, intensity, backoff)
        return self.ref_to(create_child(self._root, factory, name, options))

    async def spawn_all(
        self,
        specs: Sequence[ChildSpec],
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity = Intensity(),  # noqa: B008
    ) -> tuple[ActorRef[Any], ...]:
        """Start static actors at the top of the tree, in order. See `Actor.spawn_all`.

        If they need more restarts than the intensity allows, the system ends, and its block raises
        the last error in an exception group.
        """
        return await self.start_group(self._root, specs, strategy, intensity)

    def tree(self) -> TreeNode:
        """A snapshot of all actors, without asking them, in time proportional to their number."""
        return snapshot(self._root)

    def mailbox_depths(self, limit: int = 5_000) -> dict[str, MailboxDepths]:
        """How many messages wait, at a cost that does not grow with the number of actors.

        The actors at the top of the tree are there by name. All below one of them are taken
        together, under ``name/*``; of those only the ones that have something to do are looked at,
        since in the others nothing waits. (Not in view is what waits for one that is just starting
        or waits for its restart.)

        Args:
            limit: How many of them are looked at.
        """
        return depths(self._root, self.scheduler, limit)

    # For the kernel

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: Any, name: str) -> None:
        """Start a task of the system, with the context variables of the system's opener.

        Not with those of whoever happens to send the message for which a worker is needed.
        """
        self._context.run(partial(self._nursery.start_soon, function, *args, name=name))

    def ref_to(self, cell: Cell) -> ActorRef[Any]:
        """The reference to an actor."""
        if cell.ref is None:
            cell.ref = ActorRef(cell)
        return cell.ref

    async def start_group(
        self, parent: Cell, specs: Sequence[ChildSpec], strategy: Strategy, intensity: Intensity
    ) -> tuple[ActorRef[Any], ...]:
        """Start static children of an actor."""
        cells = await Group(parent, strategy, intensity).start(specs)
        return tuple(self.ref_to(cell) for cell in cells)

    def handling(self) -> Cell | None:
        """The actor whose handler or hook is running in this very task, if any."""
        worker = self.scheduler.workers.get(trio.lowlevel.current_task())
        return None if worker is None else worker.cell

    def fail(self, error: BaseException) -> None:
        """End the system with an error, which leaves its block."""
        self._nursery.start_soon(_raise, error, name=f"failure of {self.name}")

    def leave(self, *, cancelled: bool = False) -> None:
        """The block has ended: stop everything."""
        self.cancelled = self.cancelled or cancelled
        self._left.set()

    async def reign(self) -> None:
        """Wait for the end of the block, and stop everything in reverse order."""
        with trio.CancelScope(shield=True):
            await self._left.wait()
            kind = StopKind.CANCELLED if self.cancelled else StopKind.SHUTDOWN
            self._root.reason = StopReason(kind)
            await lifecycle.end_family(self._root, self._family)
            self._root.enter(State.STOPPED)
            self.scheduler.close()
            self.alarms.close()
            self.events.close()
            self._canary.cancel()

    async def notice_cancellation(self) -> None:
        """Wait to be cancelled from outside, and then leave nobody any grace."""
        with self._canary:
            try:
                await trio.sleep_forever()
            finally:
                if self._root.state is not State.STOPPED:
                    self.leave(cancelled=True)
                    self._hurry()

    def _hurry(self) -> None:
        """Cancel the handlers of those that are ending and have been given a grace."""
        cells = [self._root]
        for cell in cells:
            if cell.reason is not None and cell.parent is not None:
                lifecycle.cancel(cell)
            if cell.family is not None:
                cells.extend(cell.family.children.values())


async def _raise(error: BaseException) -> NoReturn:
    raise error


def _no_actor() -> NoReturn:
    raise AssertionError("the root of a system is not an actor")


@asynccontextmanager
async def open_system(name: str = "system", *, slow_after: float = 5.0) -> AsyncIterator[System]:
    """Open a system of actors, as a block in the caller's task.

    When the block ends, all actors are stopped, in reverse start order, each with its grace. If the
    block raises or is cancelled, they are stopped in the same order but without grace: handlers are
    cancelled, `on_stop` runs. Nothing is left behind.

    Args:
        name: The first part of every path.
        slow_after: Seconds after which a handler that waits is reported with `SlowHandler`.

    Raises:
        BaseException: What the block raised, as it is.
        BaseExceptionGroup: Failures that were escalated to the system, with actors' paths in their
            notes, together with what the block raised.
    """
    if not name or "/" in name:
        raise ValueError(f"{name!r} cannot be a system's name: it is empty or contains a slash")
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            system = System(name, nursery, slow_after)
            nursery.start_soon(system.reign, name=f"system {name}")
            nursery.start_soon(system.notice_cancellation, name=f"canary of {name}")
            try:
                yield system
            except BaseException as error:
                raised = error
                system.leave(cancelled=True)
                raise
            else:
                system.leave()
    except BaseExceptionGroup as group:
        # A nursery wraps even a lone exception. What the block raised leaves as it is, so that
        # opening a system does not change how its block's errors are caught.
        if raised is not None and group.exceptions == (raised,):
            raise raised from raised.__cause__
        raise
