"""How an actor begins, ends, and begins again. Functions on cells, none of which waits, except
`wind_down`.

    begin → on_start → messages → (reason set) → wind_down → conclude → restart, or finish
"""

from typing import TYPE_CHECKING

import trio

from runtime.kernel import events
from runtime.kernel.errors import ActorStopped
from runtime.kernel.mailbox import Ask, Envelope
from runtime.kernel.policy import History, StopOrder
from runtime.kernel.reasons import State, StopKind, StopReason

if TYPE_CHECKING:
    from runtime.kernel.cell import Cell
    from runtime.kernel.family import Family

_CHECKPOINT_EVERY = 64
"""Children that are told to stop between two checkpoints."""


def require_open(cell: "Cell") -> None:
    """Raise if an actor can have no more children, helpers and timers.

    Raises:
        ActorStopped: It is ending.
    """
    if cell.reason is not None:
        raise ActorStopped(cell.path, cell.reason)


def begin(cell: "Cell") -> None:
    """Make a fresh instance and let it start."""
    cell.state = State.STARTING
    cell.reason = None
    cell.interrupted = False
    cell.alarm = None
    scheduler = cell.system.scheduler
    try:
        actor = cell.factory()
        actor._attach(cell)  # noqa: SLF001 - the kernel's half of the class
    except Exception as error:
        crash(cell, error)
        scheduler.push(cell)
        return
    cell.adopt(actor)
    if actor.has_on_start or cell.queue or cell.control:
        scheduler.push(cell)
    else:
        cell.claimed = False
    if not actor.has_on_start:
        running(cell)


def running(cell: "Cell") -> None:
    """Its start is complete."""
    cell.since = trio.current_time()
    cell.enter(State.RUNNING)
    if cell.group is not None:
        cell.group.started(cell)
    if cell.system.events.wanted:
        cell.system.events.publish(events.Started(cell.path))


# Ending


def crash(cell: "Cell", error: BaseException) -> None:
    """An error ends the instance: record it and fail what waits for this instance."""
    if cell.reason is not None and cell.reason.kind is StopKind.CRASHED:
        # The first error is the cause; one that its consequences raise is only reported.
        report(cell, error)
        return
    if f"in actor {cell.path}" not in getattr(error, "__notes__", ()):
        error.add_note(f"in actor {cell.path}")
    cell.last_error = repr(error)
    cell.reason = StopReason(StopKind.CRASHED, error)
    cell.fail_deferred()
    if isinstance(error, Exception):
        events.log.error("%s crashed", cell.path, exc_info=error)
    else:
        # KeyboardInterrupt and its like are not for supervisors to repair.
        cell.ordered = True
        cell.system.fail(error)
    if cell.ordered or not cell.options.restart.wants(StopKind.CRASHED):
        cell.close_mailbox()


@trio.lowlevel.enable_ki_protection
def fail(cell: "Cell", error: BaseException) -> None:
    """End an actor because of an error outside its handler: a helper's or a child's."""
    if cell.parent is None:
        cell.system.fail(error)
    elif cell.reason is not None:
        report(cell, error)
    else:
        crash(cell, error)
        _end_now(cell)


def report(cell: "Cell", error: BaseException) -> None:
    """An error met an actor that is ending anyway: let it be seen."""
    cell.last_error = repr(error)
    cell.system.events.publish(events.CleanupFailed(cell.path, error))
    if isinstance(error, Exception):
        events.log.error("%s failed while it ended", cell.path, exc_info=error)
    else:
        cell.ordered = True
        cell.system.fail(error)


def _end_now(cell: "Cell") -> None:
    """See to the end of an actor without waiting for its handler."""
    if cell.worker is not None:
        interrupt(cell)
    elif not cell.claimed:
        cell.system.scheduler.push(cell)


def helper_failed(cell: "Cell", name: str, error: BaseException) -> None:
    """A helper's error ends its actor."""
    error.add_note(f"in helper {name} of actor {cell.path}")
    fail(cell, error)


def message_failed(cell: "Cell", item: object, error: BaseException) -> None:
    """The handler raised: settle the message, and end the instance unless that is under way."""
    message = item.message if isinstance(item, Envelope) else item
    remaining = without_cancelled(error) if cell.interrupted else error
    if isinstance(item, Ask):
        item.fail(remaining or ActorStopped(cell.path, cell.reason))
    if remaining is not None:
        crash(cell, remaining)
        cause = events.Cause.CRASHED
    else:
        cause = events.Cause.INTERRUPTED
    if message is not None:
        cell.system.dead_letters.add(events.DeadLetter(cell.path, message, cause))


def without_cancelled(error: BaseException) -> BaseException | None:
    """An error without the `trio.Cancelled` in it; None if nothing else is left."""
    if isinstance(error, trio.Cancelled):
        return None
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return error


def interrupt(cell: "Cell") -> None:
    """Cancel the handler, or the start, that is under way."""
    cell.interrupted = True
    if cell.worker is not None and cell.state in (State.STARTING, State.RUNNING):
        cell.worker.interrupt()


@trio.lowlevel.enable_ki_protection
def stop(cell: "Cell") -> None:
    """End an actor at its own wish, after the message that it handles."""
    if cell.reason is None:
        cell.reason = StopReason(StopKind.NORMAL)
        if not cell.options.restart.wants(StopKind.NORMAL):
            cell.close_mailbox()
        if not cell.claimed:
            # Called from a helper, while no message was being handled.
            cell.system.scheduler.push(cell)


def halt(cell: "Cell") -> None:
    """End the present instance so that its siblings' repair can begin it again."""
    if cell.reason is None:
        cell.reason = StopReason(StopKind.SHUTDOWN)
        _end_soon(cell, cell.reason, StopKind.SHUTDOWN, cell.options.grace)


@trio.lowlevel.enable_ki_protection
def order_stop(cell: "Cell", kind: StopKind, grace: float | None = None) -> None:
    """End an actor for good.

    Args:
        cell: The actor.
        kind: SHUTDOWN, or CANCELLED, which leaves no grace.
        grace: Seconds for the message that it handles; None for its own grace.
    """
    if cell.state is State.STOPPED:
        return
    cell.ordered = True
    if cell.state is State.RESTARTING:
        cell.cancel_alarm()
        finish(cell, StopReason(kind, None if cell.reason is None else cell.reason.error))
        return
    if cell.reason is None:
        cell.reason = StopReason(kind)
    cell.close_mailbox()
    _end_soon(cell, cell.reason, kind, cell.options.grace if grace is None else grace)


def _end_soon(cell: "Cell", reason: StopReason, kind: StopKind, grace: float) -> None:
    """See to the end of an actor after its handler, if that is quick enough."""
    if cell.worker is not None:
        _limit(cell, kind, grace)
    elif not cell.claimed:
        if must_wind_down(cell):
            cell.system.scheduler.push(cell)
        else:
            conclude(cell, reason)


def _limit(cell: "Cell", kind: StopKind, grace: float) -> None:
    """Let the handler go on for the grace, and then cancel it."""
    if cell.state is State.STOPPING:
        return
    if kind is StopKind.CANCELLED or cell.system.cancelled:
        grace = 0
    cell.cancel_alarm()
    if grace == 0:
        cancel(cell)
    elif grace != float("inf"):
        cell.alarm = cell.system.alarms.at(trio.current_time() + grace, lambda: cancel(cell))


def cancel(cell: "Cell") -> None:
    """The grace is over: cancel the handler."""
    if cell.state in (State.STARTING, State.RUNNING) and cell.reason is not None:
        if cell.reason.kind is not StopKind.CRASHED:
            cell.reason = StopReason(StopKind.CANCELLED)
        interrupt(cell)


def must_wind_down(cell: "Cell") -> bool:
    """Whether ending takes more than forgetting the actor."""
    if cell.family is not None:
        return True
    return cell.state is State.RUNNING and cell.actor is not None and cell.actor.has_on_stop


async def wind_down(cell: "Cell", reason: StopReason) -> None:
    """End helpers and children, then run `on_stop`. Shielded; a deadline guards `on_stop`."""
    actor = cell.actor if cell.state is State.RUNNING else None
    cell.enter(State.STOPPING)
    cell.cancel_timers()
    if cell.family is not None:
        with trio.CancelScope(shield=True):
            await end_family(cell, cell.family)
            await cell.family.close()
        cell.family = None
    if actor is not None and actor.has_on_stop:
        try:
            with trio.fail_after(cell.options.grace, shield=True):
                await actor.on_stop(reason)
        except BaseException as error:
            cleanup_failed(cell, error)


def cleanup_failed(cell: "Cell", error: BaseException) -> None:
    """`on_stop` raised or took too long."""
    error.add_note(f"in on_stop of actor {cell.path}")
    report(cell, error)
    reason = cell.reason
    if reason is None or reason.kind is StopKind.NORMAL:
        cell.reason = StopReason(StopKind.CRASHED, error)
    elif reason.error is None:
        cell.reason = StopReason(reason.kind, error)


async def end_family(cell: "Cell", family: "Family") -> None:
    """Cancel an actor's helpers, stop its children in reverse start order, and wait for them."""
    for helper in list(family.helpers):
        helper.cancel()
    hurry = cell.reason is not None and cell.reason.kind is StopKind.CANCELLED
    kind = StopKind.CANCELLED if hurry else StopKind.SHUTDOWN
    together = cell.actor is not None and cell.actor.stop_order is StopOrder.TOGETHER
    children = list(reversed(family.children.values()))
    for number, child in enumerate(children):
        order_stop(child, kind)
        if not together:
            await child.until(State.STOPPED)
        if number % _CHECKPOINT_EVERY == 0:
            # Idle children end without waiting: a hundred thousand would stop the loop.
            await trio.lowlevel.checkpoint()
    for child in children:
        await child.until(State.STOPPED)


def conclude(cell: "Cell", reason: StopReason) -> None:
    """The instance has ended: restart the actor, or finish it."""
    cell.cancel_alarm()
    cell.cancel_timers()
    cell.fail_deferred()
    cell.actor = None
    cell.claimed = True
    if cell.ordered or (cell.parent is not None and cell.parent.reason is not None):
        finish(cell, reason)
    elif cell.group is not None:
        cell.group.ended(cell, reason)
    elif not cell.options.restart.wants(reason.kind):
        finish(cell, reason)
    else:
        if cell.history is None:
            cell.history = History(cell.options.intensity)
        earlier = cell.history.record(trio.current_time())
        if earlier is None:
            give_up(cell, reason)
        else:
            restart_after(cell, reason, cell.options.backoff.delay(earlier))


def give_up(cell: "Cell", reason: StopReason) -> None:
    """It ended too often."""
    error = reason.error or ActorStopped(cell.path, reason)
    cell.system.events.publish(events.GivenUp(cell.path, error))
    finish(cell, StopReason(StopKind.GIVEN_UP, error))


def restart_after(cell: "Cell", reason: StopReason, delay: float) -> None:
    """Begin again after a delay in seconds."""
    hold(cell, reason, delay)
    cell.alarm = cell.system.alarms.at(trio.current_time() + delay, lambda: revive(cell))


def hold(cell: "Cell", reason: StopReason, delay: float) -> None:
    """Hold an ended actor until it begins again; messages keep waiting."""
    cell.restarts += 1
    cell.enter(State.RESTARTING)
    if cell.system.events.wanted:
        cell.system.events.publish(events.Restarted(cell.path, reason, cell.restarts, delay))


def revive(cell: "Cell") -> None:
    """Begin again, outside anybody's task."""
    try:
        begin(cell)
    except BaseException as error:
        broken(cell, error)


def broken(cell: "Cell", error: BaseException) -> None:
    """Something failed that no actor answers for: end this actor, and the system."""
    cell.ordered = True
    cell.system.fail(error)
    if cell.state is not State.STOPPED:
        finish(cell, StopReason(StopKind.CRASHED, error))


def finish(cell: "Cell", reason: StopReason) -> None:
    """It has ended for good: tell everybody who waits for that."""
    cell.reason = reason
    cell.close_mailbox()
    cell.claimed = True
    if cell.parent is not None and cell.parent.family is not None:
        cell.parent.family.children.pop(cell.name, None)
    if cell.group is not None:
        cell.group.remove(cell)
    cell.enter(State.STOPPED)
    watching, cell.watching = cell.watching, None
    for watch in watching or ():
        watch.cancel()
    watches, cell.watches = cell.watches, None
    for watch in watches or ():
        watch.notify(reason)
    if cell.system.events.wanted:
        cell.system.events.publish(events.Stopped(cell.path, reason))
