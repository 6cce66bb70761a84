"""The block of a system, and how it ends."""

import signal
from collections.abc import Awaitable, Callable

import pytest
import trio

from runtime.kernel import (
    Actor,
    ActorRef,
    ActorStopped,
    Restart,
    StopKind,
    StopReason,
    System,
    open_system,
)
from runtime.kernel.lifecycle import order_stop
from runtime.kernel.testkit import settle
from tests.kernel.cast import Broken, Echo, Note, Scribe, Wait


class Ctrl(Actor[Note]):
    """Raises what a terminal's user may cause."""

    async def on_message(self, message: Note) -> None:
        if message.text == "signal":
            signal.raise_signal(signal.SIGINT)
            while True:
                pass
        raise KeyboardInterrupt


def tasks() -> int:
    """How many tasks this Trio run has."""
    return trio.lowlevel.current_statistics().tasks_living


def populate(system: System, page: list[str]) -> list[ActorRef[Echo | Note | Wait]]:
    """Three actors, of which one waits in its handler and one has a child and a helper."""

    class Parent(Actor[Note]):
        async def on_start(self) -> None:
            self.spawn(lambda: Scribe(page, "child "), name="child").tell(Wait(1000))
            self.start(trio.sleep_forever)
            self.every(1, Note("tick"))

        async def on_message(self, message: Note) -> None:
            pass

        async def on_stop(self, reason: StopReason) -> None:
            await trio.lowlevel.checkpoint()
            page.append(f"parent stop {reason.kind.value}")

    refs = [system.spawn(lambda: Scribe(page, "first "), name="first", grace=0.01)]
    system.spawn(Parent, name="parent")
    refs.append(system.spawn(lambda: Scribe(page, "last "), name="last"))
    refs[0].tell(Wait(1000))
    return list(refs)


# K1


async def test_a_system_leaves_nothing_behind_when_its_block_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    before = tasks()
    page: list[str] = []
    async with open_system() as system:
        populate(system, page)
        await settle(system)
        assert tasks() > before
    assert tasks() == before
    assert [line for line in page if "stop" in line] == [
        "last stop shutdown",
        "child stop cancelled",
        "parent stop shutdown",
        "first stop cancelled",
    ]


async def test_a_system_leaves_nothing_behind_when_its_block_raises() -> None:
    before = tasks()
    page: list[str] = []
    with pytest.raises(Broken):  # noqa: PT012 - as it is, not in a group
        async with open_system() as system:
            populate(system, page)
            await settle(system)
            raise Broken
    assert tasks() == before
    assert [line for line in page if "stop" in line] == [
        "last stop cancelled",
        "child stop cancelled",
        "parent stop cancelled",
        "first stop cancelled",
    ]


async def test_a_system_leaves_nothing_behind_when_it_is_cancelled() -> None:  # K7
    before = tasks()
    page: list[str] = []
    with trio.CancelScope() as scope:
        async with open_system() as system:
            populate(system, page)
            await settle(system)
            scope.cancel()
    assert scope.cancelled_caught
    assert tasks() == before
    assert [line.split(" stop ")[0] for line in page if "stop" in line] == [
        "last",
        "child",
        "parent",
        "first",
    ]


async def test_a_cancellation_during_the_end_takes_away_the_grace(
    autojump_clock: trio.testing.MockClock,
) -> None:  # K7
    page: list[str] = []
    with trio.move_on_after(3):
        async with open_system() as system:
            for name in ("a", "b"):
                ref = system.spawn(
                    lambda name=name: Scribe(page, f"{name} "),  # type: ignore[misc]
                    name=name,
                    grace=100,
                )
                ref.tell(Wait(1000))
            await settle(system)
    assert trio.current_time() == 3
    assert page[2:] == ["b stop cancelled", "a stop cancelled"]


async def test_a_block_that_is_empty_or_quick_is_fine() -> None:
    before = tasks()
    async with open_system():
        pass
    async with open_system() as system:
        system.spawn(lambda: Scribe([]), name="unstarted")
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_system() as system:
            system.spawn(lambda: Scribe([]), name="unstarted")
            await trio.lowlevel.checkpoint()
    assert tasks() == before


async def test_two_systems_live_side_by_side() -> None:
    async with open_system("one") as one, open_system("two") as two:
        page: list[str] = []
        first = one.spawn(lambda: Scribe(page, "1 "), name="same")
        second = two.spawn(lambda: Scribe(page, "2 "), name="same")
        assert (first.path, second.path) == ("one/same", "two/same")
        assert await first.ask(Echo("1"), 1) == "1"
        assert await second.ask(Echo("2"), 1) == "2"


@pytest.mark.parametrize("name", ["", "a/b"])
async def test_a_system_needs_a_name(name: str) -> None:
    with pytest.raises(ValueError):
        async with open_system(name):
            pass


async def test_a_reference_outlives_its_system_quietly() -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe")
    assert not ref.alive
    assert not ref.tell(Note("late"))
    with pytest.raises(ActorStopped):
        await ref.ask(Echo("late"), timeout=1)
    with pytest.raises(ActorStopped):
        await ref.send(Note("late"))
    await ref.stop()
    assert system.tree().children == ()


# K7


@pytest.mark.parametrize("how", ["raise", "signal"])
def test_ctrl_c_in_a_handler_leaves_with_its_path(how: str) -> None:
    async def main() -> None:
        async with open_system() as system:
            system.spawn(lambda: Scribe(page), name="other")
            system.spawn(Ctrl, name="ctrl", restart=Restart.PERMANENT).tell(Note(how))
            await trio.sleep_forever()

    page: list[str] = []
    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    [error] = caught.value.exceptions
    assert isinstance(error, KeyboardInterrupt)
    assert error.__notes__ == ["in actor system/ctrl"]
    assert page == ["start", "stop cancelled"]


async def raises_interrupt() -> None:
    raise KeyboardInterrupt


class Interrupted(Actor[Note]):
    """Raises KeyboardInterrupt wherever it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    async def on_start(self) -> None:
        if self.where == "on_start":
            raise KeyboardInterrupt
        if self.where == "helper":
            self.start(raises_interrupt)

    async def on_message(self, message: Note) -> None:
        pass

    async def on_stop(self, reason: StopReason) -> None:
        if self.where == "on_stop":
            raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["on_start", "helper", "on_stop"])
async def test_ctrl_c_is_not_for_supervisors_to_repair(where: str) -> None:
    before = tasks()
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the block is what is tested
        async with open_system() as system:
            ref = system.spawn(lambda: Interrupted(where), name="x", restart=Restart.PERMANENT)
            await settle(system)
            await ref.stop()
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
    assert tasks() == before


async def test_ctrl_c_in_a_constructor_reaches_the_spawner() -> None:
    def interrupted() -> Scribe:
        raise KeyboardInterrupt

    async with open_system() as system:
        with pytest.raises(KeyboardInterrupt):
            system.spawn(interrupted, name="x")
        assert system.tree().children == ()


async def test_a_failure_and_an_error_of_the_block_leave_together() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the block is what is tested
        async with open_system() as system:
            system.spawn(Ctrl, name="ctrl").tell(Note("raise"))
            try:
                await trio.sleep_forever()
            finally:
                raise Broken
    assert {type(error) for error in caught.value.exceptions} == {KeyboardInterrupt, Broken}


async def test_a_handler_may_use_scopes_and_nurseries_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Scoped(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            with trio.move_on_after(2) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    await trio.sleep_forever()
            page.append(f"{message.text} {scope.cancelled_caught} {trio.current_time()}")

    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(Scoped, name="scoped", grace=100)
        ref.tell(Note("a"))
        ref.tell(Note("b"))
        await trio.sleep(5)
    assert page == ["a True 2.0", "b True 4.0"]


async def test_a_handler_that_was_cancelled_before_it_waits_does_not_wait() -> None:
    class Eager(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            order_stop(self._cell, StopKind.SHUTDOWN, grace=0)
            page.append("waits")
            await trio.sleep_forever()

    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(Eager, name="eager")
        ref.tell(Note(""))
        assert (await ref.stopped()).kind is StopKind.CANCELLED
    assert page == ["waits"]


async def test_errors_beside_a_cancellation_are_not_lost() -> None:
    class Messy(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.untidy)
                await trio.sleep_forever()

        async def untidy(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Broken("untidy")

    async with open_system() as system:
        ref = system.spawn(Messy, name="messy")
        ref.tell(Note(""))
        await settle(system)
        await ref.stop(grace=0)
        reason = await ref.stopped()
    assert isinstance(reason.error, ExceptionGroup)
    assert [str(error) for error in reason.error.exceptions] == ["untidy"]


async def test_awaiting_something_foreign_is_a_crash_of_the_actor() -> None:
    class Alien:
        def __await__(self) -> object:
            yield "not for Trio"

    class Confused(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            wait: Callable[[], Awaitable[None]] = Alien  # type: ignore[assignment]
            await wait()

    async with open_system() as system:
        ref = system.spawn(Confused, name="confused", restart=Restart.TEMPORARY)
        ref.tell(Note(""))
        assert isinstance((await ref.stopped()).error, TypeError)
        other = system.spawn(lambda: Scribe([]), name="other")
        assert await other.ask(Echo("well"), timeout=1) == "well"
