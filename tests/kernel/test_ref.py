"""References: telling, sending, stopping, watching."""

from typing import Any, assert_never

import pytest
import trio

from runtime.kernel import (
    Actor,
    ActorRef,
    ActorStopped,
    MailboxSpec,
    Message,
    Restart,
    StopKind,
    StopReason,
    UnhandledMessageError,
    open_system,
)
from runtime.kernel.events import Cause, UnhandledMessage
from runtime.kernel.testkit import Probe, assert_dead_letters, assert_no_dead_letters, settle
from tests.kernel.cast import (
    AT_ONCE,
    Broken,
    Echo,
    Fail,
    Finish,
    Gate,
    Note,
    Scribe,
    Unfit,
    Wait,
)

# K3


async def test_tell_says_whether_it_was_accepted() -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="scribe")
        assert ref.tell(Note("a"))
        await settle(system)
        await ref.stop()
        assert not ref.tell(Note("b"))
        assert_dead_letters(system, Note("b"))
    assert page == ["start", "a", "stop shutdown"]


@pytest.mark.parametrize("act", ["tell", "send", "ask"])
async def test_a_message_without_a_handler_is_never_silent(act: str) -> None:  # K2
    async with open_system() as system:
        # What a caller without a type checker might do.
        ref: ActorRef[Any] = system.spawn(lambda: Scribe([]), name="scribe")
        with system.events.subscribe(UnhandledMessage) as events:
            if act == "tell":
                assert not ref.tell(Unfit())
            else:
                with pytest.raises(UnhandledMessageError, match="does not handle Unfit"):
                    await (ref.send(Unfit()) if act == "send" else ref.ask(Unfit(), 1))
            assert events.take() == [UnhandledMessage("system/scribe", Unfit())]
        assert system.dead_letters.by_cause == {Cause.UNHANDLED: 1}


async def test_a_reference_stays_valid_across_restarts() -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="scribe", backoff=AT_ONCE)
        for _ in range(3):
            ref.tell(Fail())
            assert await ref.ask(Echo("there"), timeout=1) == "there"
        assert ref.alive
    assert page.count("start") == 4


async def test_references_to_the_same_actor_are_equal() -> None:
    class Mirror(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            seen.append(self.ref)

    seen: list[ActorRef[Note]] = []
    async with open_system() as system:
        ref = system.spawn(Mirror, name="mirror")
        ref.tell(Note(""))
        await settle(system)
        assert seen == [ref]
        assert {ref: 1}[seen[0]] == 1
        assert "system/mirror" in repr(ref)


# Sending


async def test_send_waits_for_room_in_order() -> None:  # K4
    async def send(text: str) -> None:
        await ref.send(Note(text))
        sent.append(text)

    page: list[str] = []
    sent: list[str] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        gate = Gate(page)
        ref = system.spawn(lambda: gate, name="gate", mailbox=MailboxSpec(capacity=1))
        for number in range(5):
            nursery.start_soon(send, str(number))
            await settle(system)
        # One is being handled, one waits in the mailbox, three wait for room.
        assert sent == ["0", "1"]
        assert not ref.tell(Note("no room"))
        gate.opened.set()
    assert page == sent == ["0", "1", "2", "3", "4"]


async def test_a_cancelled_send_has_sent_nothing() -> None:
    page: list[str] = []
    async with open_system() as system:
        gate = Gate(page)
        ref = system.spawn(lambda: gate, name="gate", mailbox=MailboxSpec(capacity=1))
        ref.tell(Note("in hand"))
        await settle(system)
        ref.tell(Note("waits"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.send, Note("cancelled"))
            await settle(system)
            nursery.cancel_scope.cancel()
        gate.opened.set()
        await settle(system)
    assert page == ["in hand", "waits"]


async def test_send_fails_when_the_actor_stops_first() -> None:
    async def send() -> None:
        with pytest.raises(ActorStopped):
            await ref.send(Note("too late"))
        refused.append(True)

    refused: list[bool] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(lambda: Gate([]), name="gate", mailbox=MailboxSpec(capacity=1), grace=0)
        ref.tell(Note("in hand"))
        await settle(system)
        ref.tell(Note("waits"))
        nursery.start_soon(send)
        await settle(system)
        await ref.stop()
    assert refused == [True]


# Stopping and watching


async def test_stop_lets_the_message_in_hand_finish(autojump_clock: trio.testing.MockClock) -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="scribe", grace=10)
        ref.tell(Wait(3))
        ref.tell(Note("queued"))
        await settle(system)
        await ref.stop()
        assert trio.current_time() == 3
        assert (await ref.stopped()).kind is StopKind.SHUTDOWN
        assert_dead_letters(system, Note("queued"))
    assert page == ["start", "waited", "stop shutdown"]


@pytest.mark.parametrize("grace", [0.0, 2.0])
async def test_stop_cancels_the_message_in_hand_after_the_grace(
    grace: float, autojump_clock: trio.testing.MockClock
) -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="scribe", grace=10)
        ref.tell(Wait(1000))
        await settle(system)
        await ref.stop(grace)
        assert trio.current_time() == grace
        assert (await ref.stopped()).kind is StopKind.CANCELLED
        assert system.dead_letters.by_cause == {Cause.INTERRUPTED: 1}
    assert page == ["start", "stop cancelled"]


async def test_a_stopping_actor_accepts_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        ref.tell(Wait(1))
        await settle(system)
        nursery.start_soon(ref.stop)
        await settle(system)
        assert ref.alive
        assert not ref.tell(Note("late"))
        with pytest.raises(ActorStopped):
            await ref.send(Note("late"))


async def test_a_cancelled_stop_still_stops(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe", grace=10)
        ref.tell(Wait(5))
        await settle(system)
        with trio.move_on_after(1):
            await ref.stop()
        assert (await ref.stopped()).kind is StopKind.SHUTDOWN
        assert trio.current_time() == 5


class Ended(Message, frozen=True):
    """Somebody who was watched has ended."""

    who: str
    reason: StopReason


async def test_a_watcher_is_told_of_the_final_stop_only() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system)
        ref = system.spawn(lambda: Scribe([]), name="scribe", backoff=AT_ONCE)
        ref.watch(probe.ref, lambda reason: Ended(ref.path, reason))
        ref.tell(Fail())
        await settle(system)
        assert probe.received == []
        ref.tell(Finish())
        await settle(system)
        assert probe.received == [Ended("system/scribe", StopReason(StopKind.NORMAL))]


async def test_watching_the_dead_brings_the_notice_at_once() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system)
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        await ref.stop()
        ref.watch(probe.ref, lambda reason: Ended("gone", reason))
        assert await probe.expect(Ended) == Ended("gone", StopReason(StopKind.SHUTDOWN))


async def test_a_watch_can_be_taken_back() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system)
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        ref.watch(probe.ref, lambda reason: Ended("gone", reason)).cancel()
        await ref.stop()
        await settle(system)
        assert probe.received == []


async def test_a_notice_overtakes_a_full_mailbox() -> None:  # K4
    class Watcher(Actor[Note | Ended]):
        async def on_message(self, message: Note | Ended) -> None:
            match message:
                case Note(text):
                    await opened.wait()
                    page.append(text)
                case Ended(who):
                    page.append(who)
                case _:
                    assert_never(message)

    page: list[str] = []
    opened = trio.Event()
    async with open_system() as system:
        watcher = system.spawn(Watcher, name="watcher", mailbox=MailboxSpec(capacity=2))
        watched = system.spawn(lambda: Scribe([]), name="watched")
        watched.watch(watcher, lambda reason: Ended("gone", reason))
        watcher.tell(Note("in hand"))
        await settle(system)
        while watcher.tell(Note("waits")):
            pass
        await watched.stop()
        assert watcher.mailbox_depth == 3
        opened.set()
        await settle(system)
    assert page == ["in hand", "gone", "waits", "waits"]


async def test_a_notice_that_cannot_be_made_is_a_crash_of_the_watcher() -> None:
    def fail(_: StopReason) -> Note:
        raise Broken("in the notice")

    async with open_system() as system:
        watcher = system.spawn(lambda: Scribe([]), name="watcher", restart=Restart.TEMPORARY)
        watched = system.spawn(lambda: Scribe([]), name="watched")
        watched.watch(watcher, fail)
        await watched.stop()
        assert isinstance((await watcher.stopped()).error, Broken)


async def test_watches_end_with_the_watcher() -> None:
    async with open_system() as system:
        watched = system.spawn(lambda: Scribe([]), name="watched")
        for number in range(3):
            watcher = system.spawn(lambda: Scribe([]), name=str(number))
            watched.watch(watcher, lambda reason: Note("gone"))
            await watcher.stop()
        assert not watched._cell.watches
        await watched.stop()
        assert_no_dead_letters(system)
