"""The ready queue and the workers that drain it.

An idle actor has no task. Actors with something to do wait in one queue; a worker takes the first,
handles up to `BATCH` of its messages, and puts it back at the end if there are more. The worker
runs the handler by hand. A handler that returns without waiting costs no task switch; one that
waits keeps its worker, and another worker carries on with the queue. So tasks exist only for
handlers that wait, and no ready actor waits behind more than one batch of each other ready actor.

Each worker holds a cancel scope. It serves whichever actor is being drained, and is replaced once
it has been cancelled, because entering a scope for each drain would cost more than the drain.
"""

import types
from collections import deque
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

import trio

from runtime.kernel import lifecycle
from runtime.kernel.context import current_actor
from runtime.kernel.events import SlowHandler, log
from runtime.kernel.mailbox import Ask, Envelope
from runtime.kernel.reasons import State

if TYPE_CHECKING:
    from runtime.kernel.actor import Actor
    from runtime.kernel.cell import Cell
    from runtime.kernel.system import System

BATCH = 64
"""Messages of one actor that are handled before the next actor, and before Trio, gets a turn."""

SPARE_WORKERS = 16
"""Idle workers that are kept; a burst of waiting handlers needs more for a moment only."""


class Scheduler:
    """The ready queue of one system, and its workers.

    Args:
        system: Whose actors it runs.
        slow_after: Seconds after which a waiting handler is reported.
    """

    def __init__(self, system: "System", slow_after: float) -> None:
        self.ready: deque[Cell] = deque()
        self.running = 0
        """Workers that are draining, or about to; not those whose handler waits."""
        self.waiting: dict[Worker, None] = {}
        """Workers whose handler waits, those that have waited longest first."""
        self.spare: list[Worker] = []
        self.workers: dict[trio.lowlevel.Task, Worker] = {}
        self.closed = False
        self._system = system
        self._slow_after = slow_after
        self._watching = False

    def push(self, cell: "Cell") -> None:
        """Put an actor at the end of the ready queue."""
        cell.claimed = True
        self.ready.append(cell)
        if not self.running:
            self.wake()

    def wake(self) -> None:
        """Let one more worker drain."""
        self.running += 1
        if self.spare:
            self.spare.pop().resume()
        else:
            self._system.start_soon(Worker(self, self._system).run, name="worker")

    def close(self) -> None:
        """Send the workers home; there are no actors left."""
        self.closed = True
        while self.spare:
            self.running += 1
            self.spare.pop().resume()

    def handler_waits(self, worker: "Worker") -> None:
        """A worker stops draining, because its handler waits."""
        self.running -= 1
        self.waiting[worker] = None
        if self.ready and not self.running:
            self.wake()
        if not self._watching:
            self._watching = True
            self._system.alarms.at(worker.since + self._slow_after, self._report_slow)

    def handler_resumes(self, worker: "Worker") -> None:
        """A worker's handler has finished waiting."""
        self.running += 1
        del self.waiting[worker]

    def _report_slow(self) -> None:
        """Report handlers that have waited for too long, and look again when the next one may."""
        self._watching = False
        now = trio.current_time()
        for worker in self.waiting:
            if worker.reported:
                continue
            if worker.since + self._slow_after > now:
                self._watching = True
                self._system.alarms.at(worker.since + self._slow_after, self._report_slow)
                return
            worker.reported = True
            if worker.cell is not None:
                slow = SlowHandler(
                    worker.cell.path, activity(worker.cell) or "", now - worker.since
                )
                log.warning("%s has waited %g s in %s", slow.path, slow.seconds, slow.message_type)
                self._system.events.publish(slow)


def activity(cell: "Cell") -> str | None:
    """What an actor is doing: the type of its message, or the hook that runs."""
    if cell.worker is None:
        return None
    if cell.state is State.STARTING:
        return "on_start"
    if cell.state is State.STOPPING:
        return "on_stop"
    current = cell.current
    message = current.message if isinstance(current, Envelope) else current
    return None if message is None else type(message).__qualname__


class Worker:
    """A task that drains ready actors."""

    __slots__ = ("_scope", "_system", "cell", "reported", "scheduler", "since", "task")

    task: trio.lowlevel.Task

    def __init__(self, scheduler: Scheduler, system: "System") -> None:
        self.scheduler = scheduler
        self._system = system
        self._scope = trio.CancelScope(shield=True)
        self.cell: Cell | None = None
        """The actor that is being drained."""
        self.since = 0.0
        """When the handler began to wait."""
        self.reported = False
        """Whether it was reported as slow."""

    def interrupt(self) -> None:
        """Cancel the handler if it waits; otherwise it is cancelled when it begins to."""
        if self in self.scheduler.waiting:
            self._scope.cancel()

    def resume(self) -> None:
        """Wake a spare worker."""
        trio.lowlevel.reschedule(self.task)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Drain until the system closes, or until there are enough others."""
        task = self.task = trio.lowlevel.current_task()
        self.scheduler.workers[task] = self
        try:
            going = True
            while going:
                with self._scope:
                    going = await self._work()
                self._scope = trio.CancelScope(shield=True)
        finally:
            del self.scheduler.workers[task]

    async def _work(self) -> bool:
        """Drain until the scope is spent.

        Returns:
            Whether to go on with a fresh scope.
        """
        scheduler = self.scheduler
        ready = scheduler.ready
        handled = 0
        while True:
            while ready:
                cell = ready.popleft()
                try:
                    handled += await self._drain(cell) or 1
                except BaseException as error:  # a defect must not hang the system
                    cell.worker = self.cell = None
                    lifecycle.broken(cell, error)
                del cell  # an idle worker must not keep the last one alive, with its factory
                if handled >= BATCH:
                    handled = 0
                    await trio.lowlevel.cancel_shielded_checkpoint()
                if self._scope.cancel_called:
                    return True
            scheduler.running -= 1
            if scheduler.closed or len(scheduler.spare) >= SPARE_WORKERS:
                return False
            # Nor the last actor.
            current_actor.set(None)
            scheduler.spare.append(self)
            await trio.lowlevel.wait_task_rescheduled(_never_abort)

    async def _drain(self, cell: "Cell") -> int:
        """Let one actor start, handle up to `BATCH` messages, or end.

        Returns:
            How many messages it handled.
        """
        cell.worker = self
        self.cell = cell
        actor = cell.actor
        current_actor.set(actor)
        handled = 0
        if actor is not None:
            if cell.state is State.STARTING and cell.reason is None:
                await self._start(cell, actor)
            receive = actor.on_message
            while handled < BATCH and cell.reason is None:
                item = cell.take()
                if item is None:
                    break
                handled += 1
                cell.current = item
                try:
                    message = item.open() if isinstance(item, Envelope) else item
                    if message is None:
                        continue
                    coroutine = receive(message)
                    try:
                        trap = coroutine.send(None)
                    except StopIteration as done:
                        value = done.value
                    else:
                        value = await self._wait(cell, coroutine, trap)
                except BaseException as error:
                    lifecycle.message_failed(cell, item, error)
                else:
                    if isinstance(item, Ask) and not item.deferred:
                        item.reply(value)
            cell.current = None
        await self._leave(cell)
        return handled

    async def _start(self, cell: "Cell", actor: "Actor[Any]") -> None:
        try:
            await self._call(cell, actor.on_start())
        except BaseException as error:
            lifecycle.message_failed(cell, None, error)
        else:
            lifecycle.running(cell)

    async def _leave(self, cell: "Cell") -> None:
        """Put an actor back into the queue, let it rest, or end it."""
        if cell.reason is not None and lifecycle.must_wind_down(cell):
            await self._call(cell, lifecycle.wind_down(cell, cell.reason))
        cell.worker = None
        self.cell = None
        if cell.reason is not None:
            lifecycle.conclude(cell, cell.reason)
        elif cell.queue or cell.control:
            self.scheduler.ready.append(cell)
        else:
            # An empty deque is larger than all the rest of an idle actor.
            cell.queue = cell.control = None
            cell.claimed = False

    async def _call(self, cell: "Cell", coroutine: Coroutine[Any, Any, object]) -> object:
        """Run a hook to its end."""
        try:
            trap = coroutine.send(None)
        except StopIteration as done:
            return done.value
        return await self._wait(cell, coroutine, trap)

    @types.coroutine
    def _wait(
        self, cell: "Cell", coroutine: Coroutine[Any, Any, object], trap: object
    ) -> Generator[Any, Any, object]:
        """Run a coroutine to its end, in this task, from where it began to wait."""
        self.since = trio.current_time()
        self.reported = False
        self.scheduler.handler_waits(self)
        if cell.interrupted and cell.state is not State.STOPPING:
            self._scope.cancel()
        try:
            while True:
                try:
                    sent = yield trap
                except BaseException as error:
                    trap = coroutine.throw(error)
                else:
                    trap = coroutine.send(sent)
        except StopIteration as done:
            return done.value
        finally:
            self.scheduler.handler_resumes(self)
            current_actor.set(cell.actor)


def _never_abort(_raise_cancel: object) -> trio.lowlevel.Abort:
    # A spare worker's own scope is shielded and fresh: only `resume` wakes it.
    return trio.lowlevel.Abort.FAILED
