"""Events, dead letters, and the snapshot of the tree."""

import logging

import pytest
import trio

from runtime.kernel import (
    Actor,
    Request,
    Restart,
    State,
    StopKind,
    StopReason,
    open_system,
)
from runtime.kernel.events import (
    Cause,
    DeadLetter,
    DeadLetters,
    Event,
    EventStream,
    Restarted,
    SlowHandler,
    Started,
    Stopped,
)
from runtime.kernel.testkit import settle
from tests.kernel.cast import AT_ONCE, Broken, Fail, Note, Scribe, Wait

# K9


async def test_the_life_of_an_actor_in_events() -> None:
    async with open_system() as system:
        with system.events.subscribe() as events:
            ref = system.spawn(lambda: Scribe([]), name="scribe", backoff=AT_ONCE)
            ref.tell(Fail())
            await settle(system)
            await ref.stop()
            ref.tell(Note("late"))
            started, killed, restarted, again, stopped, late = events.take()
    assert started == again == Started("system/scribe")
    assert killed == DeadLetter("system/scribe", Fail(), Cause.CRASHED)
    assert isinstance(restarted, Restarted)
    assert isinstance(restarted.reason.error, Broken)
    assert (restarted.restarts, restarted.delay) == (1, 0)
    assert stopped == Stopped("system/scribe", StopReason(StopKind.SHUTDOWN))
    assert late == DeadLetter("system/scribe", Note("late"), Cause.STOPPED)


async def test_a_subscription_is_an_iterator_that_ends_with_the_system() -> None:
    async def listen() -> None:
        async for event in subscription:
            seen.append(event)

    seen: list[Event] = []
    async with trio.open_nursery() as nursery, open_system() as system:
        subscription = system.events.subscribe(Started, Stopped)
        nursery.start_soon(listen)
        system.spawn(lambda: Scribe([]), name="scribe").tell(Note("not an event"))
        await settle(system)
        assert seen == [Started("system/scribe")]
    assert [type(event) for event in seen] == [Started, Stopped]


async def test_a_subscriber_that_lags_loses_the_oldest_and_knows() -> None:
    stream = EventStream()
    with stream.subscribe(capacity=2) as subscription:
        for number in range(5):
            stream.publish(Started(str(number)))
        assert subscription.dropped == 3
        assert [event.path for event in subscription.take()] == ["3", "4"]
    stream.publish(Started("nobody listens"))
    assert subscription.take() == []
    assert not stream.wanted


async def test_a_subscription_is_read_by_one_task() -> None:
    stream = EventStream()
    with stream.subscribe() as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subscription.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await anext(subscription)
            nursery.cancel_scope.cancel()
        # The cancelled reader has taken nothing.
        stream.publish(Started("a"))
        assert await anext(subscription) == Started("a")


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_subscription_has_room_for_one(capacity: int) -> None:
    with pytest.raises(ValueError):
        EventStream().subscribe(capacity=capacity)


def test_dead_letters_are_counted_and_a_sample_is_kept_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:  # K3
    letters = DeadLetters(EventStream(), keep=10)
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            letters.add(DeadLetter("a", Note(str(number)), Cause.STOPPED))
    assert letters.count == letters.by_cause[Cause.STOPPED] == 1000
    assert [letter.message for letter in letters.latest] == [
        Note(str(number)) for number in range(990, 1000)
    ]
    assert len(caplog.records) == 10  # the 1st, 2nd, 4th … 512th
    assert caplog.records[0].getMessage() == "dead letter 1: Note for a (stopped)"


async def test_the_tree_tells_what_is_going_on(autojump_clock: trio.testing.MockClock) -> None:
    class Parent(Actor[Note | Fail]):
        async def on_start(self) -> None:
            self.spawn(lambda: Scribe([]), name="child").tell(Wait(100))
            self.start(trio.sleep_forever, name="idling")

        async def on_message(self, message: Note | Fail) -> None:
            if isinstance(message, Fail):
                raise Broken("once")

    async with open_system() as system:
        ref = system.spawn(Parent, name="parent", backoff=AT_ONCE, grace=0)
        ref.tell(Fail())
        await settle(system)
        ref.tell(Note("a"))
        await trio.sleep(3)
        child = system.tree().find("system/parent/child")
        assert child is not None
        assert (child.current, child.current_seconds) == ("Wait", 3)
        assert (child.type, child.state, child.handled) == ("Scribe", State.RUNNING, 1)
        parent = system.tree().children[0]
        assert parent.type.endswith("Parent")
        assert (parent.handled, parent.restarts, parent.depth) == (2, 1, 0)
        assert (parent.current, parent.current_seconds) == (None, 0)
        assert (parent.uptime, parent.last_error) == (3, "Broken('once')")
        assert parent.helpers == ("idling",)
        assert [node.path for node in system.tree().walk()] == [
            "system",
            "system/parent",
            "system/parent/child",
        ]


class Look(Request[str], frozen=True):
    """Asks for the current message as the tree shows it."""


async def test_the_tree_works_from_within_and_while_actors_hang() -> None:
    class Stuck(Actor[Look]):
        async def on_start(self) -> None:
            if self.path.endswith("hanging"):
                await trio.sleep_forever()

        async def on_message(self, message: Look) -> str:
            node = self.system.tree().find(self.path)
            assert node is not None
            return str(node.current)

    async with open_system() as system:
        hanging = system.spawn(Stuck, name="hanging", grace=0)
        ref = system.spawn(Stuck, name="looking")
        assert await ref.ask(Look(), timeout=1) == "Look"
        node = system.tree().find(hanging.path)
        assert node is not None
        assert (node.state, node.current) == (State.STARTING, "on_start")


async def test_a_deep_tree_can_be_described() -> None:
    class Deeper(Actor[Note]):
        def __init__(self, depth: int) -> None:
            self.depth = depth

        async def on_start(self) -> None:
            if self.depth:
                self.spawn(lambda: Deeper(self.depth - 1), name="x")

        async def on_message(self, message: Note) -> None:
            pass

    async with open_system() as system:
        system.spawn(lambda: Deeper(60), name="x")
        await settle(system)
        assert sum(1 for _ in system.tree().walk()) == 62


async def test_a_handler_that_waits_too_long_is_reported_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system(slow_after=2) as system:
        with system.events.subscribe(SlowHandler) as events:
            slow = system.spawn(lambda: Scribe([]), name="slow")
            quick = system.spawn(lambda: Scribe([]), name="quick")
            slow.tell(Wait(10))
            for _ in range(10):
                quick.tell(Wait(1))
            await trio.sleep(1.5)
            late = system.spawn(lambda: Scribe([]), name="late", restart=Restart.TEMPORARY)
            late.tell(Wait(10))
            await trio.sleep(20)
            assert events.take() == [
                SlowHandler("system/slow", "Wait", 2),
                SlowHandler("system/late", "Wait", 2),
            ]
        # Nothing waits any more, so nothing is watched any more.
        assert len(system.alarms) == 0
