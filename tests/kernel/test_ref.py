"""References: telling, sending, asking, stopping, watching."""

from typing import Any, assert_never

import pytest
import trio

from runtime.kernel import (
    Actor,
    ActorRef,
    ActorStopped,
    AskTimeout,
    Deadlock,
    MailboxFull,
    MailboxSpec,
    Message,
    Overflow,
    Reply,
    Request,
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
    FailRequest,
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


async def test_ask_returns_the_reply() -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        assert await ref.ask(Echo("hello"), timeout=1) == "hello"


async def test_ask_raises_the_error_of_the_handler() -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe", backoff=AT_ONCE)
        with pytest.raises(Broken) as caught:
            await ref.ask(FailRequest(), timeout=1)
        assert caught.value.__notes__ == ["in actor system/scribe"]
        assert await ref.ask(Echo("again"), timeout=1) == "again"


async def test_ask_gives_up_after_its_timeout(autojump_clock: trio.testing.MockClock) -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="scribe")
        with pytest.raises(AskTimeout) as caught:
            await ref.ask(Wait(3), timeout=2)
        assert isinstance(caught.value, trio.TooSlowError)
        assert trio.current_time() == 2
        # The late reply is discarded, and the next one is not mistaken for it.
        assert await ref.ask(Echo("next"), timeout=2) == "next"
        assert_no_dead_letters(system)
    assert page == ["start", "waited", "stop shutdown"]


async def test_a_cancelled_ask_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        with trio.move_on_after(1):
            await ref.ask(Wait(3), timeout=10)
        assert trio.current_time() == 1
        assert await ref.ask(Echo("next"), timeout=10) == "next"


async def test_an_ask_of_an_actor_that_stopped_fails_at_once() -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="scribe")
        await ref.stop()
        with pytest.raises(ActorStopped) as caught:
            await ref.ask(Echo("late"), timeout=1)
    assert caught.value.path == "system/scribe"
    assert caught.value.reason == StopReason(StopKind.SHUTDOWN)


async def test_asks_that_wait_fail_when_the_actor_stops() -> None:
    async def expect_stopped(request: Request[str]) -> None:
        with pytest.raises(ActorStopped):
            await ref.ask(request, timeout=60)
        failed.append(request)

    failed: list[Request[str]] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(lambda: Scribe([]), name="scribe", grace=0)
        nursery.start_soon(expect_stopped, Wait(1000))
        await settle(system)
        nursery.start_soon(expect_stopped, Echo("queued"))
        await settle(system)
        await ref.stop()
    assert sorted(failed, key=repr) == [Echo("queued"), Wait(1000)]


async def test_asks_that_wait_survive_a_restart_and_the_one_in_hand_does_not() -> None:  # K6
    async def ask(request: Request[str]) -> None:
        try:
            outcomes[request] = await ref.ask(request, timeout=60)
        except Broken as error:
            outcomes[request] = error

    class Fragile(Actor[Echo]):
        async def on_message(self, message: Echo) -> str:
            await opened.wait()
            if message.text == "bad":
                raise Broken
            return message.text

    opened = trio.Event()
    outcomes: dict[Request[str], object] = {}
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Fragile, name="fragile", backoff=AT_ONCE)
        nursery.start_soon(ask, Echo("bad"))
        await settle(system)
        nursery.start_soon(ask, Echo("good"))
        await settle(system)
        opened.set()
    assert isinstance(outcomes[Echo("bad")], Broken)
    assert outcomes[Echo("good")] == "good"


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


# Deferred replies


class Later(Request[str], frozen=True):
    """A request whose reply is deferred."""

    how: str


class Deferring(Actor[Later]):
    """Defers its replies in several ways."""

    async def on_message(self, message: Later) -> object:
        reply = self.defer(message)
        match message.how:
            case "now":
                reply.set("now")
            case "helper":
                self.start(self.answer, reply)
            case "fail":
                reply.fail(Broken("declined"))
            case "crash":
                raise Broken("crashed")
            case "stop":
                self.stop()
            case "twice":
                with pytest.raises(RuntimeError, match="deferred already"):
                    self.defer(message)
                reply.set("once")
                with pytest.raises(RuntimeError, match="had its reply"):
                    reply.set("twice")
            case "other":
                with pytest.raises(RuntimeError, match="only the request that is being handled"):
                    self.defer(Later("another"))
                reply.set("other")
            case _:
                pass
        return "ignored"

    async def answer(self, reply: Reply[str]) -> None:
        await trio.lowlevel.checkpoint()
        reply.set("helper")


@pytest.mark.parametrize(
    "how, answer", [("now", "now"), ("helper", "helper"), ("twice", "once"), ("other", "other")]
)
async def test_a_deferred_reply_comes_later(how: str, answer: str) -> None:
    async with open_system() as system:
        ref = system.spawn(Deferring, name="deferring")
        assert await ref.ask(Later(how), timeout=1) == answer


async def test_an_actor_may_decline_a_request_and_live() -> None:
    async with open_system() as system:
        ref = system.spawn(Deferring, name="deferring")
        with pytest.raises(Broken, match="declined"):
            await ref.ask(Later("fail"), timeout=1)
        assert system.tree().children[0].restarts == 0


@pytest.mark.parametrize(
    "how, error", [("crash", Broken), ("stop", ActorStopped)], ids=["crash", "stop"]
)
async def test_a_deferred_reply_fails_when_the_actor_ends(
    how: str, error: type[Exception]
) -> None:  # K6
    async with open_system() as system:
        ref = system.spawn(Deferring, name="deferring")
        with pytest.raises(error):
            await ref.ask(Later(how), timeout=60)


async def test_a_crash_fails_replies_that_were_deferred_before() -> None:
    async def ask() -> None:
        with pytest.raises(ActorStopped):
            await ref.ask(Later("never"), timeout=60)
        failed.append(True)

    failed: list[bool] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Deferring, name="deferring", backoff=AT_ONCE)
        nursery.start_soon(ask)
        await settle(system)
        with pytest.raises(Broken):
            await ref.ask(Later("crash"), timeout=1)
    assert failed == [True]


async def test_deferring_what_was_told_discards_the_reply() -> None:
    async with open_system() as system:
        ref = system.spawn(Deferring, name="deferring")
        assert ref.tell(Later("now"))
        await settle(system)
        assert system.tree().children[0].restarts == 0


# Waiting in circles


class Poke(Request[str], frozen=True):
    """Makes the handler ask somebody."""

    whom: ActorRef["Poke"]


class Poker(Actor[Poke]):
    """Asks whom it is told to, naming itself as the next."""

    async def on_message(self, message: Poke) -> str:
        try:
            return await message.whom.ask(Poke(self.ref), timeout=60)
        except Deadlock:
            return f"{self.path} noticed"


async def test_an_actor_that_asks_itself_learns_it_at_once() -> None:
    async with open_system() as system:
        ref = system.spawn(Poker, name="a")
        assert await ref.ask(Poke(ref), timeout=1) == "system/a noticed"


async def test_a_circle_of_asks_is_noticed_by_who_closes_it() -> None:
    async with open_system() as system:
        first = system.spawn(Poker, name="a")
        second = system.spawn(Poker, name="b")
        assert await first.ask(Poke(second), timeout=1) == "system/b noticed"


async def test_a_handler_cannot_wait_for_its_own_end() -> None:
    class Confused(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            if message.text == "stop":
                await self.ref.stop()
            else:
                await self.ref.stopped()

    async with open_system() as system:
        for text in ("stop", "stopped"):
            ref = system.spawn(Confused, name=text, restart=Restart.TEMPORARY)
            ref.tell(Note(text))
            assert isinstance((await ref.stopped()).error, Deadlock)


async def test_a_handler_cannot_wait_for_room_in_its_own_mailbox() -> None:
    class Flooding(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            for _ in range(2):
                await self.ref.send(message)

    async with open_system() as system:
        ref = system.spawn(
            Flooding, name="flood", mailbox=MailboxSpec(capacity=1), restart=Restart.TEMPORARY
        )
        ref.tell(Note(""))
        assert isinstance((await ref.stopped()).error, Deadlock)


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
        await watched.stop()
        assert_no_dead_letters(system)


async def test_an_ask_of_a_full_mailbox_says_so() -> None:
    async with open_system() as system:
        gate = Gate([])
        ref = system.spawn(
            lambda: gate, name="gate", mailbox=MailboxSpec(1, Overflow.REJECT), grace=0
        )
        ref.tell(Note("in hand"))
        await settle(system)
        ref.tell(Note("waits"))
        with pytest.raises(UnhandledMessageError):
            await ref.ask(Echo("unfit"), timeout=1)
        gate.opened.set()
        scribe = system.spawn(lambda: Scribe([]), name="s", mailbox=MailboxSpec(1), grace=0)
        scribe.tell(Wait(1000))
        await settle(system)
        scribe.tell(Note("waits"))
        with pytest.raises(MailboxFull):
            await scribe.ask(Echo("no room"), timeout=1)
