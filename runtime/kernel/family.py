"""What lives in an actor's nursery: its helper tasks and its children.

An actor has no nursery until it starts the first helper or child. Then a host task, which lives in
the nursery of its supervisor, opens one and holds it open until the actor ends.
"""

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from runtime.kernel import lifecycle
from runtime.kernel.cell import Cell
from runtime.kernel.context import current_actor
from runtime.kernel.options import Options

if TYPE_CHECKING:
    from runtime.kernel.actor import Actor
    from runtime.kernel.supervisor import Group


class Helper:
    """A task of an actor, started with `Actor.start`. It ends with the actor.

    Args:
        name: What it is called in errors and task names.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.finished = False
        """Whether it has ended, in whatever way."""
        self._scope = trio.CancelScope()
        self._done = trio.Event()

    def __repr__(self) -> str:
        return f"<Helper {self.name} {'finished' if self.finished else 'running'}>"

    def cancel(self) -> None:
        """Cancel it. Does nothing after it finished."""
        self._scope.cancel()

    async def wait(self) -> None:
        """Wait until it has finished. An error in it is the actor's, not the waiter's."""
        await self._done.wait()

    async def run(
        self, cell: Cell, function: Callable[..., Awaitable[object]], *args: object
    ) -> None:
        """Run the function; an error in it ends the actor."""
        current_actor.set(cell.actor)
        try:
            with self._scope:
                # A helper whose actor ended before it could begin does not begin.
                if not self._scope.cancel_called:
                    await function(*args)
        except trio.Cancelled:
            raise
        except BaseException as error:
            lifecycle.helper_failed(cell, self.name, error)
        finally:
            self.finished = True
            self._done.set()
            if cell.family is not None:
                cell.family.helpers.pop(self, None)


Pending: TypeAlias = tuple[Context, Callable[..., Awaitable[object]], tuple[Any, ...], str]


class Family:
    """An actor's nursery, its helpers, and its children in start order.

    Args:
        nursery: The nursery, if it is open already.
    """

    __slots__ = ("_closed", "_closing", "_nursery", "_pending", "children", "helpers")

    def __init__(self, nursery: trio.Nursery | None = None) -> None:
        self.children: dict[str, Cell] = {}
        self.helpers: dict[Helper, None] = {}
        self._nursery = nursery
        self._pending: list[Pending] = []
        self._closing = trio.Event()
        self._closed = trio.Event()

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: Any, name: str) -> None:
        """Start a task in the nursery, as soon as there is one."""
        if self._nursery is None:
            self._pending.append((copy_context(), function, args, name))
        else:
            self._nursery.start_soon(function, *args, name=name)

    @trio.lowlevel.enable_ki_protection
    async def host(self, cell: Cell) -> None:
        """Open the nursery and hold it open until `close`."""
        current_actor.set(cell.actor)
        # Shielded, because an actor ends by the rules of its supervisor, in order, and not all at
        # once; a cancelled scope around the system reaches it through them.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for context, function, args, name in self._pending:
                    # As if it had been started then: with the starter's context variables.
                    context.run(partial(nursery.start_soon, function, *args, name=name))
                self._pending.clear()
                await self._closing.wait()
        self._closed.set()

    async def close(self) -> None:
        """Wait until the last task has left the nursery, and close it."""
        self._closing.set()
        await self._closed.wait()


def family_of(cell: Cell) -> Family:
    """The family of an actor, founded now if it had none."""
    family = cell.family
    if family is None:
        family = cell.family = Family()
        if cell.parent is not None:
            family_of(cell.parent).start_soon(family.host, cell, name=f"nursery of {cell.path}")
    return family


@trio.lowlevel.enable_ki_protection
def create_child(
    parent: Cell,
    factory: "Callable[[], Actor[Any]]",
    name: str,
    options: Options,
    group: "Group | None" = None,
) -> Cell:
    """Create a child of an actor and begin it.

    Raises:
        ActorStopped: The parent is ending.
        ValueError: The name is taken by a sibling, empty, or contains a slash.
    """
    lifecycle.require_open(parent)
    if not name or "/" in name:
        raise ValueError(f"{name!r} cannot be an actor's name: it is empty or contains a slash")
    children = family_of(parent).children
    if name in children:
        raise ValueError(f"{parent.path} has a child called {name!r} already")
    cell = children[name] = Cell(parent.system, parent, factory, name, options, group)
    try:
        lifecycle.begin(cell)
    except BaseException:
        del children[name]
        raise
    return cell


@trio.lowlevel.enable_ki_protection
def start_helper(
    cell: Cell, function: Callable[..., Awaitable[object]], args: tuple[object, ...], name: str
) -> Helper:
    """Start a helper task of an actor."""
    lifecycle.require_open(cell)
    family = family_of(cell)
    helper = Helper(name)
    family.helpers[helper] = None
    family.start_soon(helper.run, cell, function, *args, name=f"{cell.path}: {name}")
    return helper
