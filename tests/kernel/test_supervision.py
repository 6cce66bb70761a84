"""Dynamic children: restarts, intensity, backoff, and how they end."""

import pytest
import trio

from runtime.kernel import (
    Actor,
    ActorRef,
    ActorStopped,
    Backoff,
    Intensity,
    Restart,
    State,
    StopKind,
    StopOrder,
    StopReason,
    open_system,
)
from runtime.kernel.events import (
    Cause,
    CleanupFailed,
    GivenUp,
    Restarted,
    Stopped,
)
from runtime.kernel.testkit import assert_stops, assert_tree, settle
from tests.kernel.cast import AT_ONCE, Broken, Echo, Fail, Finish, Note, Scribe, Wait

# K5


@pytest.mark.parametrize(
    "restart, outcome, again",
    [
        (Restart.PERMANENT, StopKind.NORMAL, True),
        (Restart.PERMANENT, StopKind.CRASHED, True),
        (Restart.PERMANENT, StopKind.SHUTDOWN, False),
        (Restart.PERMANENT, StopKind.CANCELLED, False),
        (Restart.TRANSIENT, StopKind.NORMAL, False),
        (Restart.TRANSIENT, StopKind.CRASHED, True),
        (Restart.TRANSIENT, StopKind.SHUTDOWN, False),
        (Restart.TRANSIENT, StopKind.CANCELLED, False),
        (Restart.TEMPORARY, StopKind.NORMAL, False),
        (Restart.TEMPORARY, StopKind.CRASHED, False),
        (Restart.TEMPORARY, StopKind.SHUTDOWN, False),
        (Restart.TEMPORARY, StopKind.CANCELLED, False),
    ],
)
async def test_what_is_restarted_after_what(
    restart: Restart, outcome: StopKind, again: bool
) -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="s", restart=restart, backoff=AT_ONCE)
        await settle(system)
        match outcome:
            case StopKind.NORMAL:
                ref.tell(Finish())
            case StopKind.CRASHED:
                ref.tell(Fail())
            case StopKind.SHUTDOWN:
                await ref.stop()
            case _:
                ref.tell(Wait(1000))
                await settle(system)
                await ref.stop(grace=0)
        await settle(system)
        assert page == ["start", f"stop {outcome.value}"] + ["start"] * again
        assert ref.alive is again
        assert ref.tell(Note("more")) is again
        if not again:
            await assert_stops(ref, outcome)


async def test_a_restarted_actor_has_fresh_state_and_its_mailbox() -> None:  # K6
    class Counter(Actor[Note | Fail]):
        def __init__(self) -> None:
            self.count = 0

        async def on_message(self, message: Note | Fail) -> None:
            self.count += 1
            seen.append((message, self.count))
            if isinstance(message, Fail):
                raise Broken

    seen: list[tuple[object, int]] = []
    async with open_system() as system:
        ref = system.spawn(Counter, name="counter", backoff=AT_ONCE)
        for message in (Note("a"), Fail(), Note("b"), Note("c")):
            ref.tell(message)
        await settle(system)
        # The message that killed it is a dead letter, not a poison pill.
        assert seen == [(Note("a"), 1), (Fail(), 2), (Note("b"), 1), (Note("c"), 2)]
        [letter] = system.dead_letters.latest
        assert (letter.message, letter.cause) == (Fail(), Cause.CRASHED)


async def test_messages_wait_while_a_restart_is_pending(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system() as system:
        ref = system.spawn(
            lambda: Scribe([]), name="s", backoff=Backoff(initial=10, maximum=10, jitter=0)
        )
        ref.tell(Fail())
        await settle(system)
        assert ref.state is State.RESTARTING
        assert ref.tell(Note("waits"))
        assert await ref.ask(Echo("hello"), timeout=20) == "hello"
        assert trio.current_time() == 10


async def test_a_stop_ends_a_pending_restart(autojump_clock: trio.testing.MockClock) -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe(page), name="s", backoff=Backoff(initial=10))
        ref.tell(Fail())
        await settle(system)
        ref.tell(Note("waits"))
        await ref.stop()
        assert system.dead_letters.count == 2
    assert page == ["start", "stop crashed"]
    assert trio.current_time() == 0


async def test_backoff_grows_and_a_calm_window_resets_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system() as system:
        backoff = Backoff(initial=1, maximum=3, factor=2, jitter=0)
        with system.events.subscribe(Restarted) as events:
            ref = system.spawn(
                lambda: Scribe([]), name="s", backoff=backoff, intensity=Intensity(10, 100)
            )
            for pause in (5, 5, 5, 5, 200):
                ref.tell(Fail())
                await trio.sleep(pause)
            ref.tell(Fail())
            await settle(system)
            delays = [e.delay for e in events.take() if isinstance(e, Restarted)]
    assert delays == [1, 2, 3, 3, 3, 1]


async def test_a_child_that_crashes_too_often_is_given_up_alone() -> None:
    async with open_system() as system:
        with system.events.subscribe(GivenUp) as events:
            failing = system.spawn(
                lambda: Scribe([]), name="bad", backoff=AT_ONCE, intensity=Intensity(2, 10)
            )
            sibling = system.spawn(lambda: Scribe([]), name="good")
            for _ in range(3):
                failing.tell(Fail())
            await assert_stops(failing, StopKind.GIVEN_UP)
            [event] = events.take()
            assert isinstance(event, GivenUp)
            assert event.path == "system/bad"
            assert isinstance(event.error, Broken)
        assert await sibling.ask(Echo("unharmed"), timeout=1) == "unharmed"
        assert_tree(system, "good")


class Parent(Actor[Fail | Finish]):
    """Has three children and a helper."""

    def __init__(self, page: list[str]) -> None:
        self.page = page

    async def on_start(self) -> None:
        for name in ("a", "b", "c"):
            self.spawn(lambda name=name: Scribe(self.page, f"{name} "), name=name)  # type: ignore[misc]
        self.start(self.help)

    async def help(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.page.append("helper ended")

    async def on_message(self, message: Fail | Finish) -> None:
        if isinstance(message, Fail):
            raise Broken
        self.stop()

    async def on_stop(self, reason: StopReason) -> None:
        self.page.append(f"parent {reason.kind.value}")


@pytest.mark.parametrize("message", [Fail(), Finish()])
async def test_children_stop_in_reverse_order_before_their_parent(
    message: Fail | Finish,
) -> None:  # K6
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Parent(page), name="p", restart=Restart.TEMPORARY)
        await settle(system)
        assert_tree(system, "p", "p/a", "p/b", "p/c")
        page.clear()
        ref.tell(message)
        await ref.stopped()
        assert_tree(system)
    page.remove("helper ended")
    kind = "crashed" if isinstance(message, Fail) else "normal"
    assert page == ["c stop shutdown", "b stop shutdown", "a stop shutdown", f"parent {kind}"]


async def test_a_restarted_parent_has_new_children() -> None:
    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Parent(page), name="p", backoff=AT_ONCE)
        ref.tell(Fail())
        await settle(system)
        assert_tree(system, "p", "p/a", "p/b", "p/c")
    assert page.count("a start") == 2


@pytest.mark.parametrize("order, seconds", [(StopOrder.REVERSE, 6), (StopOrder.TOGETHER, 2)])
async def test_children_stop_one_after_another_or_together(
    order: StopOrder, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    class Several(Actor[Note]):
        stop_order = order

        async def on_start(self) -> None:
            for name in ("a", "b", "c"):
                ref = self.spawn(
                    lambda name=name: Scribe(page, f"{name} "),  # type: ignore[misc]
                    name=name,
                    grace=2,
                )
                ref.tell(Wait(1000))

        async def on_message(self, message: Note) -> None:
            pass

    page: list[str] = []
    async with open_system() as system:
        ref = system.spawn(Several, name="several")
        await settle(system)
        await ref.stop()
        assert trio.current_time() == seconds
    if order is StopOrder.REVERSE:
        assert page[3:] == ["c stop cancelled", "b stop cancelled", "a stop cancelled"]


async def test_on_stop_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:  # K7
    class Slow(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            pass

        async def on_stop(self, reason: StopReason) -> None:
            await trio.sleep_forever()

    async with open_system() as system:
        ref = system.spawn(Slow, name="slow", grace=3)
        with system.events.subscribe(CleanupFailed) as events:
            await ref.stop()
            [event] = events.take()
        assert isinstance(event, CleanupFailed)
        assert isinstance(event.error, trio.TooSlowError)
        assert trio.current_time() == 3


async def test_an_error_in_on_stop_is_reported_and_the_end_goes_on() -> None:
    class Untidy(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            self.stop()

        async def on_stop(self, reason: StopReason) -> None:
            raise Broken("untidy")

    async with open_system() as system:
        with system.events.subscribe(CleanupFailed, Stopped) as events:
            told = system.spawn(Untidy, name="told")
            await told.stop()
            own = system.spawn(Untidy, name="own", restart=Restart.TEMPORARY)
            own.tell(Note(""))
            await own.stopped()
            kinds = [type(event) for event in events.take()]
        assert kinds == [CleanupFailed, Stopped] * 2
        assert (await told.stopped()).kind is StopKind.SHUTDOWN
        assert (await own.stopped()).kind is StopKind.CRASHED


async def test_names_are_unique_among_siblings_and_free_again_after_the_end() -> None:
    async with open_system() as system:
        first = system.spawn(lambda: Scribe([]), name="same")
        with pytest.raises(ValueError, match="already"):
            system.spawn(lambda: Scribe([]), name="same")
        await first.stop()
        second = system.spawn(lambda: Scribe([]), name="same")
        assert first != second
        for name in ("", "a/b"):
            with pytest.raises(ValueError, match="cannot be an actor's name"):
                system.spawn(lambda: Scribe([]), name=name)


async def test_thousands_of_dynamic_children_come_and_go() -> None:
    async with open_system() as system:
        children: list[ActorRef[Note]] = [
            system.spawn(lambda: Scribe([]), name=str(number)) for number in range(3000)
        ]
        await settle(system)
        assert len(system.tree().children) == 3000
        for child in children[::2]:
            await child.stop()
        assert len(system.tree().children) == 1500
    assert not any(child.alive for child in children)


async def test_spawning_in_a_system_that_ended_is_refused() -> None:
    async with open_system() as system:
        pass
    with pytest.raises(ActorStopped):
        system.spawn(lambda: Scribe([]), name="late")
