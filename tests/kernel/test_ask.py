"""Asking: replies, errors, deadlines, deferred replies, and waiting in circles."""

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
    Overflow,
    Reply,
    Request,
    Restart,
    StopKind,
    StopReason,
    UnhandledMessageError,
    open_system,
)
from runtime.kernel.testkit import assert_no_dead_letters, settle
from tests.kernel.cast import (
    AT_ONCE,
    Broken,
    Echo,
    FailRequest,
    Gate,
    Note,
    Scribe,
    Wait,
)


# K3
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
                assert reply.wanted
                reply.set("now")
                assert not reply.wanted
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


async def test_a_crash_fails_them_before_the_clean_up(
    autojump_clock: trio.testing.MockClock,
) -> None:  # K6
    class Tidy(Deferring):
        async def on_stop(self, reason: StopReason) -> None:
            await trio.sleep(3)

    async def ask() -> None:
        with pytest.raises(ActorStopped):
            await ref.ask(Later("never"), timeout=60)
        failed.append(trio.current_time())

    failed: list[float] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Tidy, name="tidy", backoff=AT_ONCE)
        nursery.start_soon(ask)
        await settle(system)
        with pytest.raises(Broken):
            await ref.ask(Later("crash"), timeout=60)
        await ref.stop()
    assert failed == [0]


async def test_a_deferred_reply_that_nobody_waits_for_is_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system() as system:
        ref = system.spawn(Deferring, name="deferring")
        for _ in range(3):
            with pytest.raises(AskTimeout):
                await ref.ask(Later("never"), timeout=1)
        assert not ref._cell.deferred


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
