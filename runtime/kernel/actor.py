"""Actors: what one writes."""

import inspect
import types
from collections.abc import Awaitable, Callable, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    TypeVar,
    TypeVarTuple,
    Union,
    get_args,
    get_origin,
)

import msgspec
import trio

from runtime.kernel import family, lifecycle
from runtime.kernel.cell import Cell
from runtime.kernel.mailbox import Ask, MailboxSpec
from runtime.kernel.messages import Request
from runtime.kernel.options import Options
from runtime.kernel.policy import Backoff, Intensity, Restart, StopOrder, Strategy
from runtime.kernel.reasons import StopReason
from runtime.kernel.ref import ActorRef, Reply
from runtime.kernel.timers import Timer

if TYPE_CHECKING:
    from runtime.kernel.supervisor import ChildSpec
    from runtime.kernel.system import System

M_contra = TypeVar("M_contra", bound=msgspec.Struct, contravariant=True)
N = TypeVar("N", bound=msgspec.Struct)
R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


class Actor(Generic[M_contra]):
    """Something with a mailbox, that handles one message at a time.

    Subclass it with the union of the message types that it handles, and write `on_message` as a
    ``match`` that ends with ``case _: assert_never(message)``, so that a type checker finds a
    forgotten message::

        class Greeter(Actor[Hello | Status]):
            async def on_message(self, message: Hello | Status) -> object:
                match message:
                    case Hello(name):
                        print("Hello", name)
                    case Status():
                        return self.count
                    case _:
                        assert_never(message)

    The methods that concern the actor's place in a system (`ref`, `spawn`, `after` …) work from
    `on_start` on, not in ``__init__``.

    Raises:
        TypeError: When the class is created: there is no message type, one of them is not a frozen
            `msgspec.Struct`, or a hook is not an ``async def``.
    """

    __slots__ = ("_cell", "_log_context")

    message_types: ClassVar[frozenset[type]] = frozenset()
    """The types that it handles, read from the class's type argument."""
    stop_order: ClassVar[StopOrder] = StopOrder.REVERSE
    """How its children stop when it ends."""
    has_on_start: ClassVar[bool] = False
    has_on_stop: ClassVar[bool] = False
    _message_form: ClassVar[Any] = None

    _cell: Cell
    _log_context: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._message_form = _message_form(cls)
        if getattr(cls._message_form, "__parameters__", ()) or isinstance(
            cls._message_form, TypeVar
        ):
            cls.message_types = frozenset()
        else:
            cls.message_types = _message_types(cls, cls._message_form)
        for hook in ("on_start", "on_message", "on_stop"):
            if not inspect.iscoroutinefunction(getattr(cls, hook)):
                raise TypeError(f"{cls.__qualname__}.{hook} must be an async def")
            if hook in cls.__dict__:
                # Workers are protected, so that Ctrl-C cannot interrupt their bookkeeping; the
                # code of an actor is not, so that it can interrupt a handler that never waits.
                trio.lowlevel.disable_ki_protection(cls.__dict__[hook])
        cls.has_on_start = cls.on_start is not Actor.on_start
        cls.has_on_stop = cls.on_stop is not Actor.on_stop

    # What one overrides

    async def on_start(self) -> None:
        """Runs before the first message. An exception is a crash.

        The handler's cancellation rules apply: it is cancelled when the actor is told to stop and
        the grace is over.
        """

    async def on_message(self, message: M_contra) -> object:
        """Handle a message; the next one waits until this returns.

        Args:
            message: One of the types of the class's type argument.

        Returns:
            The reply, if the message was an `ActorRef.ask`; otherwise it is ignored.

        Raises:
            Exception: Ends the actor; the asker gets the error, the supervisor decides.
        """
        raise NotImplementedError

    async def on_stop(self, reason: StopReason) -> None:
        """Runs after the helpers and the children have ended, if `on_start` had returned.

        It is shielded from cancellation, with the actor's grace as its deadline.

        Args:
            reason: Why the actor ends.
        """

    # Its place

    def _attach(self, cell: Cell) -> None:
        if not self.message_types:
            raise TypeError(f"{type(self).__qualname__} is generic: name its message types")
        if hasattr(self, "_cell"):
            raise TypeError(f"a factory must make a fresh {type(self).__qualname__} each time")
        self._cell = cell

    def _place(self) -> Cell:
        try:
            return self._cell
        except AttributeError:
            raise RuntimeError(
                f"this {type(self).__qualname__} is in no system yet: use on_start, not __init__"
            ) from None

    @property
    def ref(self) -> ActorRef[M_contra]:
        """A reference to this actor, to hand to others."""
        cell = self._place()
        return cell.system.ref_to(cell)

    @property
    def path(self) -> str:
        """The names from the system down to this actor, separated by slashes."""
        return self._place().path

    @property
    def system(self) -> "System":
        """The system it lives in."""
        return self._place().system

    @property
    def log_context(self) -> dict[str, Any]:
        """What log lines should say while this actor's code runs; see `current_actor`."""
        try:
            return self._log_context
        except AttributeError:
            self._log_context = {}
            return self._log_context

    # What it does

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
        """Start a dynamic child, in constant time. Messages wait until its `on_start` has returned.

        A child that crashes more often than its intensity allows is given up; neither its siblings
        nor this actor are affected.

        Args:
            factory: Makes a fresh instance, now and at each restart. An exception in it is a crash
                of the child.
            name: Its name among its siblings.
            restart: When it is started again.
            mailbox: The bounds of its mailbox.
            grace: Seconds that it may take to finish its message when it is stopped, and again for
                its `on_stop`.
            intensity: How many restarts are tolerated.
            backoff: How long to wait before a restart.

        Returns:
            A reference that stays valid across restarts.

        Raises:
            ActorStopped: This actor is ending.
            ValueError: A sibling has the name, or it is empty or contains a slash.
        """
        cell = self._place()
        options = Options(restart, mailbox, grace, intensity, backoff)
        return cell.system.ref_to(family.create_child(cell, factory, name, options))

    async def spawn_all(
        self,
        specs: "Sequence[ChildSpec]",
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity = Intensity(),  # noqa: B008
    ) -> tuple[ActorRef[Any], ...]:
        """Start static children in order; each one's `on_start` has returned before the next.

        They stop in reverse order when this actor ends. If they need more restarts than the
        intensity allows, this actor fails with the last one's error.

        Args:
            specs: The children.
            strategy: Which of them are restarted when one fails.
            intensity: How many restarts they may have together.

        Returns:
            References to the children, in order.

        Raises:
            Exception: What the first child that failed to start raised. Those before it have been
                stopped again, in reverse order; the same if this is cancelled.
            ActorStopped: This actor is ending.
        """
        cell = self._place()
        return await cell.system.start_group(cell, specs, strategy, intensity)

    def start(
        self,
        function: Callable[[*Arguments], Awaitable[object]],
        *args: *Arguments,
        name: str | None = None,
    ) -> family.Helper:
        """Start a helper task in this actor's nursery. An exception in it ends the actor.

        Args:
            function: An async function.
            args: Its arguments.
            name: For errors and task names; the function's name by default.

        Returns:
            A handle to cancel it or to wait for it.

        Raises:
            ActorStopped: This actor is ending.
        """
        label = name or str(getattr(function, "__name__", "helper"))
        return family.start_helper(self._place(), function, args, label)

    def after(self, seconds: float, message: M_contra) -> Timer:
        """Send oneself a message after a delay in seconds; it is cancelled with the actor."""
        return self._timer(seconds, message, repeat=False)

    def every(self, seconds: float, message: M_contra) -> Timer:
        """Send oneself a message at an interval in seconds; it is cancelled with the actor.

        At most one such message waits: an actor that is late finds one tick, not a pile.
        """
        return self._timer(seconds, message, repeat=True)

    def _timer(self, seconds: float, message: M_contra, *, repeat: bool) -> Timer:
        cell = self._place()
        lifecycle.require_open(cell)
        cell.require(message)
        timer = Timer(cell, message, seconds, repeat=repeat)
        if cell.timers is None:
            cell.timers = set()
        cell.timers.add(timer)
        return timer

    def defer(self, message: Request[R]) -> Reply[R]:
        """Take over the reply of the request that is being handled.

        What the handler returns is then ignored. If the actor ends first, the asker gets
        `ActorStopped`.

        Args:
            message: The request that is being handled.

        Returns:
            Where to set the reply, now or later, from the actor or its helpers.

        Raises:
            RuntimeError: This is not the message being handled, or its reply was deferred already.
        """
        cell = self._place()
        current = cell.current
        if isinstance(current, Ask) and current.message is message:
            if current.deferred:
                raise RuntimeError("the reply of this request has been deferred already")
            current.deferred = True
            if not current.settled:
                if cell.deferred is None:
                    cell.deferred = set()
                cell.deferred.add(current)
            return Reply(current)
        if current is message:
            # It was told, not asked: nobody waits for the reply.
            return Reply(Ask(message, cell))
        raise RuntimeError("only the request that is being handled can be deferred")

    def stop(self) -> None:
        """End after the current message. Messages that still wait become dead letters, unless the
        actor is `Restart.PERMANENT`: then they wait for the next instance.
        """
        lifecycle.stop(self._place())


def _message_form(cls: type[Actor[Any]]) -> Any:
    """The type argument of a subclass, in terms of its own type variables."""
    # From the class's own dictionary: the attribute would be the one of a generic base.
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if not (isinstance(origin, type) and issubclass(origin, Actor)):
            continue
        form = origin._message_form  # noqa: SLF001
        arguments = get_args(base)
        if not arguments:
            if form is None:
                raise TypeError(f"{cls.__qualname__} must name its messages: Actor[Some | Other]")
            return form
        if origin is Actor:
            return arguments[0]
        parameters: tuple[Any, ...] = getattr(origin, "__parameters__", ())
        if isinstance(form, TypeVar):
            return arguments[parameters.index(form)]
        wanted = getattr(form, "__parameters__", ())
        return form[tuple(arguments[parameters.index(p)] for p in wanted)] if wanted else form
    raise TypeError(f"{cls.__qualname__} does not derive from Actor")


def _message_types(cls: type[Actor[Any]], form: Any) -> frozenset[type]:
    """The message types that a type argument names, checked."""
    origin = get_origin(form)
    members = get_args(form) if origin is Union or origin is types.UnionType else (form,)
    found = set()
    for member in members:
        kind = get_origin(member) or member
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if not kind.__struct_config__.frozen:
                raise TypeError(f"{cls.__qualname__}: message {kind.__qualname__} is not frozen")
            found.add(kind)
        else:
            raise TypeError(f"{cls.__qualname__}: {member!r} is not a frozen msgspec.Struct")
    return frozenset(found)
