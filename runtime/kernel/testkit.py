"""For tests of actors: a virtual clock, settling, a probe, faults, and assertions.

::

    def test_greeter() -> None:
        async def scenario() -> None:
            async with open_system() as system:
                probe = Probe.spawn(system)
                greeter = system.spawn(lambda: Greeter(probe.ref), name="greeter")
                greeter.tell(Hello("Ada"))
                assert await probe.expect(Greeted) == Greeted("Ada")
                assert_no_dead_letters(system)

        run(scenario)
"""

import types
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar

import msgspec
import trio
import trio.testing

from runtime.kernel.actor import Actor
from runtime.kernel.messages import Message, Request
from runtime.kernel.reasons import State, StopKind
from runtime.kernel.ref import ActorRef
from runtime.kernel.system import System, open_system

M = TypeVar("M", bound=msgspec.Struct)
T = TypeVar("T")


# Time


def virtual_clock() -> trio.testing.MockClock:
    """A clock that jumps to the next deadline whenever all tasks wait.

    Only for programs without threads, sockets, processes and disks: the clock cannot see that
    something outside Trio is about to happen.
    """
    return trio.testing.MockClock(autojump_threshold=0)


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    """Run an async function on a virtual clock, in a Trio run of its own."""
    return trio.run(scenario, clock=virtual_clock())


async def settle(system: System) -> None:
    """Wait until no actor is ready or running: all that is left waits for something.

    It is not a sleep: time does not advance, and it returns at the first moment at which nothing
    can happen any more without a clock, a file, or a thread.
    """
    await trio.testing.wait_all_tasks_blocked()
    while system.scheduler.ready or system.scheduler.running:
        await trio.testing.wait_all_tasks_blocked()


# Probe


class _ProbeActor(Actor[Message]):
    """Keeps what it gets."""

    message_types = frozenset({msgspec.Struct})

    def __init__(self, probe: "Probe") -> None:
        self._probe = probe

    async def on_message(self, message: msgspec.Struct) -> object:
        """Keep it, and answer what the test said."""
        return self._probe.take(message)


class Probe:
    """A stand-in for any actor: it accepts every struct, keeps it, and can be waited on.

    Make it with `Probe.spawn`.
    """

    LIMIT: ClassVar[int] = 10_000
    """Messages that it keeps for the test; one more is an error of the probe."""

    def __init__(self) -> None:
        self.ref: ActorRef[Any]
        """What to hand to the actor under test."""
        self.received: list[msgspec.Struct] = []
        """Everything that arrived and that no `expect` has taken."""
        self._replies: dict[type, object] = {}
        self._arrival = trio.Event()

    @classmethod
    def spawn(cls, system: System, name: str = "probe") -> "Probe":
        """Start a probe at the top of a system."""
        probe = cls()
        probe.ref = system.spawn(lambda: _ProbeActor(probe), name=name)
        return probe

    def reply(self, request: type[Request[T]], value: T) -> None:
        """Say what requests of a type are answered with; None is answered otherwise."""
        self._replies[request] = value

    async def expect(self, kind: type[M], timeout: float = 1.0) -> M:
        """Wait for a message of a type, and take it out of `received`.

        Args:
            kind: The type; others stay where they are.
            timeout: Seconds to wait.

        Raises:
            AssertionError: None came in time; the error says what did.
        """
        with trio.move_on_after(timeout):
            while True:
                for message in self.received:
                    if isinstance(message, kind):
                        self.received.remove(message)
                        return message
                await self._arrival.wait()
        raise AssertionError(f"no {kind.__qualname__} within {timeout:g} s, only {self.received}")

    def take(self, message: msgspec.Struct) -> object:
        """Called by the probe's actor."""
        if len(self.received) >= self.LIMIT:
            raise OverflowError(f"the probe has {self.LIMIT} messages that the test did not take")
        self.received.append(message)
        self._arrival.set()
        self._arrival = trio.Event()
        return self._replies.get(type(message))


@asynccontextmanager
async def run_actor(
    factory: Callable[[], Actor[M]], name: str = "subject"
) -> AsyncIterator[tuple[ActorRef[M], Probe, System]]:
    """Run one actor, in a system with a probe, for the length of the block.

    Args:
        factory: Makes the actor.
        name: Its name.

    Yields:
        The actor's reference, the probe, and the system.
    """
    async with open_system("test") as system:
        probe = Probe.spawn(system)
        yield system.spawn(factory, name=name), probe, system


# Faults


class InjectedFault(Exception):
    """What an injected crash raises by default."""


Fault = Callable[[], Awaitable[None]]
"""Runs in the actor's place before a message is handled."""


def crash(error: Exception | None = None) -> Fault:
    """A fault that raises."""

    async def fault() -> None:
        raise error or InjectedFault("injected")

    return fault


def hang(seconds: float = float("inf")) -> Fault:
    """A fault that waits before the message is handled."""

    async def fault() -> None:
        await trio.sleep(seconds)

    return fault


def inject(factory: Callable[[], Actor[M]], faults: Mapping[int, Fault]) -> Callable[[], Actor[M]]:
    """Make a factory whose actors fail at certain messages.

    ``inject(Worker, {3: crash()})`` crashes at the third message. Messages are counted from 1 over
    all instances that the returned factory makes, so that a restarted actor goes on.

    Args:
        factory: Makes the actor as it is.
        faults: What happens before the n-th message is handled.

    Returns:
        A factory to spawn with.
    """
    count = 0

    def make() -> Actor[M]:
        actor = factory()
        handle = type(actor).on_message

        async def on_message(self: Actor[M], message: M) -> object:
            nonlocal count
            count += 1
            if fault := faults.get(count):
                await fault()
            return await handle(self, message)

        members = {"__slots__": (), "on_message": on_message}
        # A subclass of the same layout, because an actor with slots takes no instance attribute.
        actor.__class__ = types.new_class(
            type(actor).__name__, (type(actor),), exec_body=lambda body: body.update(members)
        )
        return actor

    return make


# Assertions


def assert_tree(system: System, *paths: str) -> None:
    """Assert which actors there are.

    Args:
        system: The system.
        paths: All of them, in any order, without the system's name: ``"a"``, ``"a/b"``.
    """
    root, *nodes = system.tree().walk()
    found = sorted(node.path.removeprefix(root.path + "/") for node in nodes)
    assert found == sorted(paths), f"the tree is {found}"  # noqa: S101


def assert_state(ref: ActorRef[Any], state: State) -> None:
    """Assert where an actor is in its life."""
    assert ref.state is state, f"{ref.path} is {ref.state.value}"  # noqa: S101


async def assert_stops(ref: ActorRef[Any], kind: StopKind, timeout: float = 1.0) -> None:
    """Assert that an actor ends for good, and how.

    Args:
        ref: The actor.
        kind: How it is to end.
        timeout: Seconds to wait for it.
    """
    with trio.move_on_after(timeout):
        reason = await ref.stopped()
        assert reason.kind is kind, f"{ref.path} ended: {reason}"  # noqa: S101
        return
    raise AssertionError(f"{ref.path} is {ref.state.value} after {timeout:g} s")


def assert_dead_letters(system: System, *messages: object) -> None:
    """Assert which messages became dead letters, in any order."""
    letters = system.dead_letters
    found = [letter.message for letter in letters.latest]
    missing = [message for message in messages if message not in found]
    assert letters.count == len(messages), f"there are {letters.count} dead letters: {found}"  # noqa: S101
    assert not missing, f"no dead letters: {missing}"  # noqa: S101


def assert_no_dead_letters(system: System) -> None:
    """Assert that every message was handled or still waits."""
    assert_dead_letters(system)


__all__ = [
    "Fault",
    "InjectedFault",
    "Probe",
    "assert_dead_letters",
    "assert_no_dead_letters",
    "assert_state",
    "assert_stops",
    "assert_tree",
    "crash",
    "hang",
    "inject",
    "run",
    "run_actor",
    "settle",
    "virtual_clock",
]
