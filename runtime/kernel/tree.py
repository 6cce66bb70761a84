"""Snapshots of a system's actors."""

from itertools import chain, islice
from typing import TYPE_CHECKING

import msgspec
import trio

from runtime.kernel.reasons import State
from runtime.kernel.scheduler import activity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.kernel.cell import Cell
    from runtime.kernel.scheduler import Scheduler


class MailboxDepths(msgspec.Struct, frozen=True):
    """How many messages wait in some mailboxes: in the fullest one, and in all of them."""

    deepest: int = 0
    total: int = 0


class TreeNode(msgspec.Struct, frozen=True):
    """What is known of one actor at one moment.

    Attributes:
        path: Its path.
        type: The name of its class; empty while it has no instance.
        state: Where it is in its life.
        depth: Messages that wait.
        peak: The most that ever waited.
        handled: Messages that it began to handle, over all its instances.
        restarts: How often it was started again.
        last_error: The latest error that ended it or disturbed its end.
        uptime: Seconds since the present instance started; 0 if it does not run.
        current: The type of the message that its handler waits in, or the hook; None if it waits
            for messages.
        current_seconds: For how long the handler has been waiting.
        helpers: Its helper tasks, by name.
        children: Its children, in start order.
    """

    path: str
    type: str
    state: State
    depth: int
    peak: int
    handled: int
    restarts: int
    last_error: str | None
    uptime: float
    current: str | None
    current_seconds: float
    helpers: tuple[str, ...]
    children: tuple["TreeNode", ...]

    def walk(self) -> "Iterator[TreeNode]":
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, path: str) -> "TreeNode | None":
        """The node with a path, or None."""
        return next((node for node in self.walk() if node.path == path), None)


def snapshot(cell: "Cell") -> TreeNode:
    """Describe an actor and all below it, without asking any of them.

    Takes time proportional to the number of actors. Depth-first with a stack of its own, because a
    tree may be deeper than Python's recursion limit.
    """
    now = trio.current_time()
    # Children are described before their parents: visit in reverse of parents-first order.
    order: list[tuple[Cell, str]] = [(cell, cell.path)]
    for parent, path in order:
        if parent.family is not None:
            order.extend(
                (child, f"{path}/{child.name}") for child in parent.family.children.values()
            )
    nodes: dict[Cell, TreeNode] = {}
    for each, path in reversed(order):
        nodes[each] = _describe(each, path, now, nodes)
    return nodes[cell]


def _describe(cell: "Cell", path: str, now: float, nodes: "dict[Cell, TreeNode]") -> TreeNode:
    worker, family = cell.worker, cell.family
    current = activity(cell)
    waits = worker is not None and current is not None and worker in worker.scheduler.waiting
    return TreeNode(
        path=path,
        type="" if cell.actor is None else type(cell.actor).__qualname__,
        state=cell.state,
        depth=cell.depth,
        peak=cell.peak,
        handled=cell.handled,
        restarts=cell.restarts,
        last_error=cell.last_error,
        uptime=now - cell.since if cell.state is State.RUNNING else 0.0,
        current=current,
        current_seconds=now - worker.since if waits and worker is not None else 0.0,
        helpers=() if family is None else tuple(helper.name for helper in family.helpers),
        children=()
        if family is None
        else tuple(nodes.pop(child) for child in family.children.values()),
    )


def depths(root: "Cell", scheduler: "Scheduler", limit: int) -> dict[str, MailboxDepths]:
    """See `System.mailbox_depths`."""
    tops = tuple(root.family.children.values()) if root.family is not None else ()
    found = {top.name: MailboxDepths(top.depth, top.depth) for top in tops}
    drained = (worker.cell for worker in scheduler.workers.values())
    busy = islice(chain(scheduler.ready, drained), limit)
    for cell in dict.fromkeys(busy):
        if cell is None or cell.parent is None or cell.parent is root:
            continue
        top = cell.parent
        while top.parent is not None and top.parent is not root:
            top = top.parent
        name = f"{top.name}/*"
        before = found.get(name, MailboxDepths())
        found[name] = MailboxDepths(max(before.deepest, cell.depth), before.total + cell.depth)
    return found
