"""Static children: started in order, stopped in reverse, restarted by a strategy."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import trio

from runtime.kernel import events, lifecycle
from runtime.kernel.actor import Actor
from runtime.kernel.cell import Cell
from runtime.kernel.errors import ActorStopped
from runtime.kernel.family import create_child, start_helper
from runtime.kernel.mailbox import MailboxSpec
from runtime.kernel.messages import Message
from runtime.kernel.options import Options
from runtime.kernel.policy import Backoff, History, Intensity, Restart, Strategy
from runtime.kernel.reasons import State, StopKind, StopReason


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A static child, as data.

    Attributes:
        factory: Makes a fresh instance, at the start and at each restart.
        name: Its name among its siblings.
        restart: When it is started again.
        mailbox: The bounds of its mailbox.
        grace: Seconds that it may take to finish its message when it is stopped, and again for its
            `on_stop`.
        backoff: How long to wait before a restart.
    """

    factory: Callable[[], Actor[Any]]
    name: str
    restart: Restart = Restart.TRANSIENT
    mailbox: MailboxSpec = MailboxSpec()
    grace: float = 5.0
    backoff: Backoff = Backoff()


class Group:
    """Static siblings that were started together.

    Args:
        parent: Their supervisor.
        strategy: Which of them are restarted together.
        intensity: How many restarts they may have together before their supervisor fails.
    """

    def __init__(self, parent: Cell, strategy: Strategy, intensity: Intensity) -> None:
        self._parent = parent
        self._strategy = strategy
        self._history = History(intensity)
        self._members: list[Cell] = []
        self._booting: Cell | None = None
        self._repairing = False
        self._delay = 0.0

    async def start(self, specs: Sequence[ChildSpec]) -> list[Cell]:
        """Start the children, each after the one before has started.

        Returns:
            All of them, including any that has finished meanwhile.

        Raises:
            BaseException: What the first child that failed to start raised; those started before it
                have been stopped again, in reverse.
        """
        cells: list[Cell] = []
        try:
            for spec in specs:
                options = Options(
                    restart=spec.restart,
                    mailbox=spec.mailbox,
                    grace=spec.grace,
                    backoff=spec.backoff,
                )
                cells.append(await self._boot(spec, options))
        except BaseException:
            with trio.CancelScope(shield=True):
                for cell in reversed(self._members.copy()):
                    lifecycle.order_stop(cell, StopKind.SHUTDOWN)
                    await cell.until(State.STOPPED)
            raise
        return cells

    async def _boot(self, spec: ChildSpec, options: Options) -> Cell:
        cell = create_child(self._parent, spec.factory, spec.name, options, self)
        self._members.append(cell)
        if cell.state is not State.STARTING:
            return cell
        self._booting = cell
        try:
            await cell.until(State.RUNNING, State.STOPPED)
            self._require_started(cell)
        finally:
            self._booting = None
        return cell

    def _require_started(self, cell: Cell) -> None:
        if self._booting is cell:
            reason = cell.reason
            raise (reason and reason.error) or ActorStopped(cell.path, reason)

    def started(self, cell: Cell) -> None:
        """A child's start is complete."""
        if cell is self._booting:
            self._booting = None

    def remove(self, cell: Cell) -> None:
        """A child has ended for good."""
        if cell in self._members:
            self._members.remove(cell)

    def ended(self, cell: Cell, reason: StopReason) -> None:
        """A child's instance has ended, and nobody ordered its end: decide."""
        if reason.kind is StopKind.SHUTDOWN or reason.kind is StopKind.CANCELLED:
            # Halted for the repair of a sibling.
            if cell.options.restart is Restart.TEMPORARY:
                lifecycle.finish(cell, reason)
            else:
                lifecycle.hold(cell, reason, self._delay)
        elif cell is self._booting or not cell.options.restart.wants(reason.kind):
            lifecycle.finish(cell, reason)
        else:
            self._restart(cell, reason)

    def _restart(self, cell: Cell, reason: StopReason) -> None:
        earlier = self._history.record(trio.current_time())
        if earlier is None:
            error = reason.error or ActorStopped(cell.path, reason)
            lifecycle.give_up(cell, reason)
            self._parent.system.events.publish(events.Escalated(self._parent.path, error))
            lifecycle.fail(self._parent, error)
            return
        self._delay = cell.options.backoff.delay(earlier)
        if self._strategy is Strategy.ONE_FOR_ONE:
            lifecycle.restart_after(cell, reason, self._delay)
            return
        lifecycle.hold(cell, reason, self._delay)
        if not self._repairing:
            self._repairing = True
            start_helper(self._parent, self._repair, (), f"repair after {cell.name}")

    async def _repair(self) -> None:
        """Stop those that go down with a failed child, and start all of them again in order."""
        while True:
            down = [i for i, cell in enumerate(self._members) if cell.state is State.RESTARTING]
            if not down:
                self._repairing = False
                return
            first = 0 if self._strategy is Strategy.ONE_FOR_ALL else down[0]
            affected = self._members[first:]
            for cell in reversed(affected):
                lifecycle.halt(cell)
                await cell.until(State.RESTARTING, State.STOPPED)
            await trio.sleep(self._delay)
            for cell in affected:
                if cell.state is State.RESTARTING:
                    lifecycle.begin(cell)
                    await cell.until(State.RUNNING, State.RESTARTING, State.STOPPED)
                if cell.state is State.RESTARTING:
                    break


class _Nothing(Message, frozen=True):
    """What a supervisor is told: nothing."""


class Supervisor(Actor[_Nothing]):
    """An actor that does nothing but supervise static children.

    Args:
        children: The children, in start order.
        strategy: Which of them are restarted together.
        intensity: How many restarts they may have together before the supervisor fails.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity = Intensity(),  # noqa: B008 - frozen
    ) -> None:
        self._children = tuple(children)
        self._strategy = strategy
        self._intensity = intensity

    async def on_start(self) -> None:
        """Start the children."""
        await self.spawn_all(self._children, self._strategy, self._intensity)

    async def on_message(self, message: _Nothing) -> None:
        """Nobody has anything to tell it."""
