"""What fails where: constructors, starts, helpers; which error counts, and what is reported."""

from typing import Any

import pytest
import trio

from runtime.kernel import (
    Actor,
    ActorRef,
    Intensity,
    MailboxSpec,
    Restart,
    StopKind,
    StopReason,
    lifecycle,
    open_system,
)
from runtime.kernel.events import (
    Cause,
    CleanupFailed,
    Event,
    Restarted,
    Started,
    UnhandledMessage,
)
from runtime.kernel.testkit import assert_stops, settle
from tests.kernel.cast import AT_ONCE, Broken, Fail, Finish, Note, Scribe, Unfit

# K5 K6


class Fragile(Actor[Note]):
    """Fails at its start."""

    async def on_start(self) -> None:
        raise Broken("at the start")

    async def on_message(self, message: Note) -> None:
        pass

    async def on_stop(self, reason: StopReason) -> None:
        raise AssertionError("on_stop belongs to a start that succeeded")


class Unmade(Actor[Note]):
    """Fails before its start."""

    def __init__(self) -> None:
        raise Broken("in the constructor")

    async def on_message(self, message: Note) -> None:
        pass


@pytest.mark.parametrize("kind", [Fragile, Unmade])
async def test_failing_to_start_is_a_crash_of_the_child(kind: type[Actor[Note]]) -> None:
    async with open_system() as system:
        with system.events.subscribe() as events:
            ref = system.spawn(kind, name="s", backoff=AT_ONCE, intensity=Intensity(2, 10))
            assert ref.tell(Note("waits for a start that never comes"))
            await assert_stops(ref, StopKind.GIVEN_UP)
            kinds: list[type[Event]] = [type(event) for event in events.take()]
        assert kinds.count(Restarted) == 2
        assert Started not in kinds
        assert CleanupFailed not in kinds
        assert system.dead_letters.by_cause == {Cause.STOPPED: 1}


async def test_messages_from_before_the_types_were_known_are_checked_then() -> None:
    def make() -> Scribe:
        attempts.append(1)
        if len(attempts) == 1:
            raise Broken("the first time")
        return Scribe(page)

    attempts: list[int] = []
    page: list[str] = []
    async with open_system() as system:
        with system.events.subscribe(UnhandledMessage) as events:
            ref: ActorRef[Any] = system.spawn(
                make, name="s", backoff=AT_ONCE, mailbox=MailboxSpec(2)
            )
            assert ref.tell(Note("a"))
            assert ref.tell(Unfit())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ref.send, Unfit())
                nursery.start_soon(ref.send, Note("b"))
            await settle(system)
            assert len(events.take()) == 2
        assert page == ["start", "a", "b"]


async def test_an_error_in_a_helper_ends_the_actor_and_cancels_its_handler() -> None:  # K6
    class Torn(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            self.start(self.fail)
            try:
                await trio.sleep_forever()
            finally:
                page.append("handler cancelled")

        async def fail(self) -> None:
            raise Broken("in a helper")

        async def on_stop(self, reason: StopReason) -> None:
            page.append(str(reason))

    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(Torn, name="torn", restart=Restart.TEMPORARY)
        ref.tell(Note("go"))
        reason = await ref.stopped()
        assert isinstance(reason.error, Broken)
        assert "in helper fail of actor system/torn" in reason.error.__notes__
        assert system.dead_letters.by_cause == {Cause.INTERRUPTED: 1}
    assert page == ["handler cancelled", "crashed: Broken('in a helper')"]


async def test_a_crash_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="s", restart=Restart.TEMPORARY)
        ref.tell(Fail("look here"))
        await ref.stopped()
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "system/s crashed"
    assert record.exc_info is not None
    assert "look here" in str(record.exc_info[1])


async def test_the_first_error_is_the_cause() -> None:
    class Twice(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            self.start(self.fail)
            try:
                await trio.sleep_forever()
            finally:
                raise Broken("second, in the handler")

        async def fail(self) -> None:
            raise Broken("first, in a helper")

    async with open_system() as system:
        with system.events.subscribe(CleanupFailed) as events:
            ref = system.spawn(Twice, name="twice", restart=Restart.TEMPORARY)
            ref.tell(Note(""))
            reason = await ref.stopped()
            [event] = events.take()
        assert str(reason.error) == "first, in a helper"
        assert isinstance(event, CleanupFailed)
        assert "second" in repr(event.error)


async def test_an_error_in_a_helper_ends_an_idle_actor() -> None:
    class Idle(Actor[Note]):
        async def on_start(self) -> None:
            self.start(self.fail_later)

        async def fail_later(self) -> None:
            await opened.wait()
            raise Broken

        async def on_message(self, message: Note) -> None:
            pass

    opened = trio.Event()
    async with open_system() as system:
        ref = system.spawn(Idle, name="idle", restart=Restart.TEMPORARY)
        await settle(system)
        opened.set()
        await assert_stops(ref, StopKind.CRASHED)


async def test_a_defect_of_the_kernel_ends_the_system_instead_of_hanging_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def defect(*_: object) -> None:
        raise RuntimeError("a defect")

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what is tested
        async with open_system() as system:
            ref = system.spawn(lambda: Scribe([]), name="s")
            await settle(system)
            monkeypatch.setattr(lifecycle, "conclude", defect)
            ref.tell(Finish())
            await trio.sleep_forever()
    assert [str(error) for error in caught.value.exceptions] == ["a defect"]
    assert not ref.alive


async def test_ctrl_c_in_the_constructor_of_a_restart_ends_the_system() -> None:  # K7
    def make() -> Scribe:
        attempts.append(1)
        if len(attempts) == 2:
            raise KeyboardInterrupt
        return Scribe([])

    attempts: list[int] = []
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - the block is what is tested
        async with open_system() as system:
            ref = system.spawn(make, name="s", backoff=AT_ONCE)
            ref.tell(Fail())
            await trio.sleep_forever()
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
