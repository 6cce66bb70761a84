"""What a class of actors must be, and what an actor may do and when."""

import gc
import weakref
from typing import Any, Generic, TypeVar, assert_never

import msgspec
import pytest
import trio

from runtime.kernel import (
    Actor,
    ActorStopped,
    Message,
    Request,
    Restart,
    State,
    StopKind,
    current_actor,
    open_system,
)
from runtime.kernel.testkit import Probe, assert_state, run_actor, settle
from tests.kernel.cast import Echo, Note, Scribe, Unfit

M = TypeVar("M", bound=msgspec.Struct)


class Thawed(msgspec.Struct):
    """A struct that can change."""


class Said(Message, frozen=True):
    """A message with a subclass."""


class Shouted(Said, frozen=True):
    """The subclass."""


# K2


def test_the_message_types_are_read_from_the_class() -> None:
    assert Scribe.message_types >= {Note, Echo}
    assert Unfit not in Scribe.message_types


def test_a_subclass_inherits_the_message_types() -> None:
    class Quiet(Scribe):
        pass

    assert Quiet.message_types == Scribe.message_types


def test_a_generic_base_is_filled_in_by_its_subclass() -> None:
    class Base(Actor[M | Note], Generic[M]):
        async def on_message(self, message: M | Note) -> None:
            pass

    class Concrete(Base[Echo]):
        pass

    assert Base.message_types == frozenset()
    assert Concrete.message_types == {Note, Echo}


async def test_a_generic_base_cannot_run() -> None:
    class Base(Actor[M], Generic[M]):
        async def on_message(self, message: M) -> None:
            pass

    async with open_system() as system:
        ref = system.spawn(Base[Any], name="base", restart=Restart.TEMPORARY)
        reason = await ref.stopped()
    assert isinstance(reason.error, TypeError)


def test_a_class_without_message_types_is_refused() -> None:
    with pytest.raises(TypeError, match="must name its messages"):

        class Nameless(Actor):  # type: ignore[type-arg]
            pass


def test_a_message_that_can_change_is_refused() -> None:
    with pytest.raises(TypeError, match="Thawed is not frozen"):

        class Careless(Actor[Note | Thawed]):
            pass


def test_something_that_is_no_struct_is_refused() -> None:
    with pytest.raises(TypeError, match="not a frozen"):

        class Stringly(Actor[str]):  # type: ignore[type-var]
            pass


def test_a_handler_that_is_not_async_is_refused() -> None:
    with pytest.raises(TypeError, match="must be an async def"):

        class Hasty(Actor[Note]):
            def on_message(self, message: Note) -> object:  # type: ignore[override]
                return None


def test_messages_do_not_change() -> None:
    note = Note("a")
    with pytest.raises(AttributeError):
        note.text = "b"  # type: ignore[misc]


async def test_messages_are_handled_one_at_a_time_and_in_order() -> None:
    class Slow(Actor[Note]):
        inside = 0

        async def on_message(self, message: Note) -> None:
            type(self).inside += 1
            assert self.inside == 1
            await trio.lowlevel.checkpoint()
            page.append(message.text)
            type(self).inside -= 1

    page: list[str] = []
    async with run_actor(Slow) as (ref, _, system):
        for number in range(200):
            ref.tell(Note(str(number)))
        await settle(system)
    assert page == [str(number) for number in range(200)]


async def test_a_subclass_of_a_declared_type_is_handled() -> None:
    class Listener(Actor[Said]):
        async def on_message(self, message: Said) -> None:
            heard.append(message)

    heard: list[Said] = []
    async with run_actor(Listener) as (ref, _, system):
        assert ref.tell(Shouted())
        await settle(system)
    assert heard == [Shouted()]


async def test_messages_wait_until_on_start_has_returned() -> None:
    class Late(Actor[Note]):
        async def on_start(self) -> None:
            await opened.wait()
            page.append("started")

        async def on_message(self, message: Note) -> None:
            page.append(message.text)

    page: list[str] = []
    opened = trio.Event()
    async with run_actor(Late) as (ref, _, system):
        assert ref.tell(Note("early"))
        await settle(system)
        assert_state(ref, State.STARTING)
        opened.set()
        await settle(system)
    assert page == ["started", "early"]


def test_an_actor_has_no_place_before_it_is_spawned() -> None:
    scribe = Scribe([])
    with pytest.raises(RuntimeError, match="in no system yet"):
        _ = scribe.ref


async def test_a_factory_must_make_a_fresh_instance() -> None:
    scribe = Scribe([])
    async with open_system() as system:
        system.spawn(lambda: scribe, name="first")
        second = system.spawn(lambda: scribe, name="second", restart=Restart.TEMPORARY)
        reason = await second.stopped()
    assert reason.kind is StopKind.CRASHED
    assert "fresh" in str(reason.error)


async def test_helpers_end_with_the_actor() -> None:
    class Busy(Actor[Note]):
        async def on_start(self) -> None:
            self.helper = self.start(self.work, name="work")

        async def work(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                page.append("helper ended")

        async def on_message(self, message: Note) -> None:
            self.stop()

    page: list[str] = []
    async with run_actor(Busy) as (ref, _, system):
        await settle(system)
        assert system.tree().children[1].helpers == ("work",)
        ref.tell(Note("stop"))
        await ref.stopped()
        assert page == ["helper ended"]


async def test_a_helper_can_be_cancelled_and_awaited() -> None:
    class Busy(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            helper = self.start(trio.sleep_forever)
            finished = [helper.finished]
            await trio.testing.wait_all_tasks_blocked()
            helper.cancel()
            await helper.wait()
            assert [*finished, helper.finished] == [False, True]
            probe.ref.tell(message)

    async with open_system() as system:
        probe = Probe.spawn(system)
        ref = system.spawn(Busy, name="busy")
        ref.tell(Note("go"))
        await probe.expect(Note)
        assert system.tree().children[1].helpers == ()


async def test_nothing_new_begins_in_an_actor_that_ends() -> None:
    class Ending(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            self.stop()
            for act in (
                lambda: self.start(trio.sleep_forever),
                lambda: self.spawn(Ending, name="child"),
                lambda: self.after(1, message),
            ):
                with pytest.raises(ActorStopped):
                    act()
            page.append("checked")

    page: list[str] = []
    async with run_actor(Ending) as (ref, _, _system):
        ref.tell(Note("go"))
        reason = await ref.stopped()
    assert reason.kind is StopKind.NORMAL
    assert page == ["checked"]


class Who(Request[str], frozen=True):
    """Asks for the path and the log context, as a log processor would see them."""


async def test_the_running_actor_is_bound_for_logs() -> None:  # K13
    class Logger(Actor[Who]):
        async def on_start(self) -> None:
            self.log_context["session"] = "s1"
            self.start(self.helper)

        async def helper(self) -> None:
            seen.append(describe())

        async def on_message(self, message: Who) -> str:
            match message:
                case Who():
                    await trio.lowlevel.checkpoint()
                    return describe()
                case _:
                    assert_never(message)

    def describe() -> str:
        actor = current_actor.get()
        return "nobody" if actor is None else f"{actor.path} {actor.log_context}"

    seen: list[str] = []
    async with open_system() as system:
        first = system.spawn(Logger, name="first")
        second = system.spawn(Logger, name="second")
        assert await second.ask(Who(), 1) == "system/second {'session': 's1'}"
        assert await first.ask(Who(), 1) == "system/first {'session': 's1'}"
        assert describe() == "nobody"
    assert sorted(seen) == ["system/first {'session': 's1'}", "system/second {'session': 's1'}"]


# K13: idle workers wait for more, and keep nothing of what they did last


async def test_an_ended_actor_is_forgotten_with_what_its_factory_holds() -> None:
    class Page(list[Any]):
        """A list that can be referred to weakly."""

    async with open_system() as system:
        page = Page()
        kept = weakref.ref(page)
        actor = system.spawn(lambda held=page: Scribe(held), name="mortal")  # type: ignore[misc]
        assert await actor.ask(Echo("here"), timeout=1) == "here"
        await actor.stop()
        del actor, page
        await settle(system)
        gc.collect()
        assert kept() is None
