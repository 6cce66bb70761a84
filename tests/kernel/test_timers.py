"""Timers, on Trio's clock."""

import math
from typing import assert_never

import pytest
import trio

from runtime.kernel import (
    Actor,
    MailboxSpec,
    Message,
    Overflow,
    Restart,
    Timer,
    UnhandledMessageError,
    open_system,
)
from runtime.kernel.testkit import assert_no_dead_letters, settle
from runtime.kernel.timers import AlarmClock
from tests.kernel.cast import AT_ONCE, Broken, Fail, Note

# K8


class After(Message, frozen=True):
    """Sets a timer."""

    seconds: float


class Every(Message, frozen=True):
    """Sets a repeating timer."""

    seconds: float


class Nap(Message, frozen=True):
    """Makes the handler wait."""

    seconds: float


class Ring(Message, frozen=True):
    """What the timers deliver."""


class Cancel(Message, frozen=True):
    """Cancels the latest timer."""


class Clock(Actor[After | Every | Nap | Ring | Cancel | Fail]):
    """Sets timers and writes down when they ring."""

    def __init__(self, rings: list[float]) -> None:
        self.rings = rings
        self.timer: Timer

    async def on_message(self, message: After | Every | Nap | Ring | Cancel | Fail) -> None:
        match message:
            case After(seconds):
                self.timer = self.after(seconds, Ring())
            case Every(seconds):
                self.timer = self.every(seconds, Ring())
            case Nap(seconds):
                await trio.sleep(seconds)
            case Ring():
                self.rings.append(trio.current_time())
            case Cancel():
                self.timer.cancel()
                assert not self.timer.active
            case Fail():
                raise Broken
            case _:
                assert_never(message)


async def test_a_timer_rings_once_at_its_time(autojump_clock: trio.testing.MockClock) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock")
        for seconds in (3, 1, 2, 0):
            ref.tell(After(seconds))
        await trio.sleep(10)
    assert rings == [0, 1, 2, 3]


async def test_a_repeating_timer_keeps_its_rhythm(autojump_clock: trio.testing.MockClock) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock")
        ref.tell(Every(2))
        await trio.sleep(7)
        assert rings == [2, 4, 6]


async def test_an_actor_that_is_late_finds_one_tick(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock")
        ref.tell(Every(2))
        ref.tell(Nap(7))
        await trio.sleep(6.5)
        assert ref.mailbox_depth == 1
        await trio.sleep(4)
        # The tick of 2 waited until 7; those of 4 and 6 were not piled up behind it.
        assert rings == [7, 8, 10]


async def test_a_clock_that_jumps_skips_ticks_and_keeps_the_rhythm(
    mock_clock: trio.testing.MockClock,
) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock")
        ref.tell(Every(2))
        await settle(system)
        for jump in (7, 0.5, 0.5, 2):
            mock_clock.jump(jump)
            await settle(system)
    assert rings == [7, 8, 10]


async def test_a_cancelled_timer_does_not_ring(autojump_clock: trio.testing.MockClock) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock")
        ref.tell(After(2))
        ref.tell(Cancel())
        ref.tell(Every(3))
        await trio.sleep(4)
        ref.tell(Cancel())
        await trio.sleep(10)
    assert rings == [3]


async def test_cancelling_withdraws_a_message_that_waits_already(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock")
        ref.tell(After(1))
        ref.tell(Nap(3))
        await trio.sleep(0.5)
        ref.watch(ref, lambda _: Ring())
        ref.tell(Cancel())
        await trio.sleep(1)
        # The tick is in the mailbox, behind the order to cancel its timer.
        assert ref.mailbox_depth == 2
        await trio.sleep(10)
        assert_no_dead_letters(system)
    assert rings == []


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_timers_end_with_their_instance(
    restart: Restart, autojump_clock: trio.testing.MockClock
) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock", backoff=AT_ONCE, restart=restart)
        ref.tell(After(1))
        ref.tell(Every(2))
        ref.tell(Fail())
        await trio.sleep(10)
        assert len(system.alarms) == 0
        assert system.dead_letters.count == 1
    assert rings == []


async def test_a_stopped_actor_leaves_no_timer_message_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Clock([]), name="clock", grace=100)
        ref.tell(After(1))
        ref.tell(Nap(3))
        await trio.sleep(2)
        assert ref.mailbox_depth == 1
        await ref.stop()
        assert_no_dead_letters(system)


async def test_the_system_waits_for_no_timer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Clock([]), name="clock")
        ref.tell(After(1000))
        ref.tell(Every(1000))
        await settle(system)
    assert trio.current_time() == 0


async def test_a_timer_finds_a_place_in_a_full_mailbox(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rings: list[float] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Clock(rings), name="clock", mailbox=MailboxSpec(2))
        ref.tell(Every(2))
        ref.tell(Nap(7))
        await trio.sleep(1)
        while ref.tell(Nap(0)):
            pass
        await trio.sleep(4)
        assert ref.mailbox_depth == 3
        assert not ref.tell(Nap(0))
        await trio.sleep(2.5)
    assert rings == [7]


async def test_a_timer_s_message_is_not_dropped_for_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rings: list[float] = []
    async with open_system() as system:
        mailbox = MailboxSpec(2, Overflow.DROP_OLDEST)
        ref = system.spawn(lambda: Clock(rings), name="clock", mailbox=mailbox)
        ref.tell(After(1))
        ref.tell(Nap(3))
        await trio.sleep(2)
        for _ in range(5):
            assert ref.tell(Nap(1))
        assert ref.mailbox_depth == 2
        assert system.dead_letters.count == 4
        await trio.sleep(5)
    assert rings == [3]


async def test_a_timer_needs_a_message_that_the_actor_handles() -> None:
    class Careless(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            self.after(1, Ring())  # type: ignore[arg-type]

    async with open_system() as system:
        ref = system.spawn(Careless, name="careless", restart=Restart.TEMPORARY)
        ref.tell(Note(""))
        assert isinstance((await ref.stopped()).error, UnhandledMessageError)


@pytest.mark.parametrize("message", [After(-1), After(math.inf), After(math.nan), Every(0)])
async def test_a_timer_needs_a_time(message: After | Every) -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Clock([]), name="clock", restart=Restart.TEMPORARY)
        ref.tell(message)
        assert isinstance((await ref.stopped()).error, ValueError)


async def test_cancelled_alarms_do_not_pile_up(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        alarms = AlarmClock(nursery.start_soon)
        kept = alarms.at(1000, lambda: calls.append("kept"))
        calls: list[str] = []
        for _ in range(10_000):
            alarms.cancel(alarms.at(2000, lambda: calls.append("cancelled")))
            assert len(alarms._heap) < 200
        assert len(alarms) == 1
        alarms.cancel(kept)
        alarms.cancel(kept)
        assert len(alarms) == 0
    # The nursery has ended: no task sleeps for nobody.
    assert trio.current_time() == 0
    assert calls == []


async def test_one_task_serves_all_alarms(autojump_clock: trio.testing.MockClock) -> None:
    def add_one_that_is_due() -> None:
        alarms.at(0, lambda: calls.append(0))

    calls: list[int] = []
    async with trio.open_nursery() as nursery:
        alarms = AlarmClock(nursery.start_soon)
        before = trio.lowlevel.current_statistics().tasks_living
        for number in (5, 3, 4, 1, 2):
            alarms.at(number, lambda number=number: calls.append(number))  # type: ignore[misc]
        assert trio.lowlevel.current_statistics().tasks_living == before + 1
        await trio.sleep(2.5)
        alarms.at(2.75, add_one_that_is_due)
    assert calls == [1, 2, 0, 3, 4, 5]
    assert trio.current_time() == 5
