"""The fate of messages: whatever happens to its actor, each message has exactly one.

It was handled, it became a dead letter once, or its sender was told that it was not accepted. Those
that were handled were handled in the order in which they were sent; only a `send` that waits for
room is overtaken by what makes its own room.
"""

from collections import Counter
from itertools import combinations
from typing import Literal

import hypothesis.strategies as st
import msgspec
import trio
from hypothesis import example, given

from runtime.kernel import (
    Actor,
    ActorRef,
    AskTimeout,
    Backoff,
    Intensity,
    KernelError,
    MailboxSpec,
    Overflow,
    Request,
    Restart,
    System,
    open_system,
)
from runtime.kernel.events import DeadLetter
from runtime.kernel.testkit import run

What = Literal["work", "wait", "crash", "stop"]


class Numbered(Request[int], frozen=True):
    """A message that can be told from all others."""

    number: int
    what: What


class Step(msgspec.Struct, frozen=True):
    """What the test does, and how long it waits then."""

    how: Literal["tell", "send", "ask", "stop"]
    what: What
    pause: float


class Injected(Exception):
    """The crashes of this test."""


class Fates:
    """What became of each message."""

    def __init__(self) -> None:
        self.sent = 0
        self.handled: list[int] = []
        self.dead: Counter[int] = Counter()
        self.refused: set[int] = set()
        self.lined_up: set[int] = set()
        """Messages that wait if there is no room."""
        self.unknown: set[int] = set()
        """Asks whose asker gave up: they may have had no place in the mailbox."""

    def next(self, what: What) -> Numbered:
        self.sent += 1
        return Numbered(self.sent, what)

    def check(self, policy: Overflow) -> None:
        for first, second in combinations(self.handled, 2):
            overtakes = (
                policy is Overflow.DROP_OLDEST
                and first not in self.lined_up
                and second in self.lined_up
            )
            assert first < second or overtakes, f"{first} overtook {second}"
        for number in range(1, self.sent + 1):
            fates = (number in self.handled) + self.dead[number]
            if number in self.refused:
                # The sender knows. There may be a dead letter too, for those who do not look.
                assert number not in self.handled
                assert self.dead[number] <= 1
            elif number in self.unknown:
                assert fates <= 1
            else:
                assert fates == 1, f"message {number} has {fates} fates"


class Subject(Actor[Numbered]):
    """Handles messages in several ways; a message counts as handled when its handler returns."""

    def __init__(self, fates: Fates) -> None:
        self.fates = fates

    async def on_message(self, message: Numbered) -> int:
        match message.what:
            case "crash":
                raise Injected
            case "wait":
                await trio.sleep(1)
            case "stop":
                self.stop()
            case "work":
                pass
        self.fates.handled.append(message.number)
        return message.number


async def play(system: System, ref: ActorRef[Numbered], steps: list[Step], fates: Fates) -> None:
    async with trio.open_nursery() as nursery:
        for step in steps:
            match step.how:
                case "tell":
                    message = fates.next(step.what)
                    if not ref.tell(message):
                        fates.refused.add(message.number)
                case "send":
                    message = fates.next(step.what)
                    fates.lined_up.add(message.number)
                    nursery.start_soon(send, ref, message, fates)
                case "ask":
                    nursery.start_soon(ask, ref, fates.next(step.what), fates)
                case "stop":
                    nursery.start_soon(ref.stop)
            if step.how != "tell":
                # Let it reach the mailbox before the next one does, to know the order.
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(step.pause)


async def send(ref: ActorRef[Numbered], message: Numbered, fates: Fates) -> None:
    try:
        await ref.send(message)
    except KernelError:
        fates.refused.add(message.number)


async def ask(ref: ActorRef[Numbered], message: Numbered, fates: Fates) -> None:
    try:
        assert await ref.ask(message, timeout=2.5) == message.number
    except AskTimeout:
        fates.unknown.add(message.number)
    except Injected:
        pass
    except KernelError:
        fates.refused.add(message.number)


steps = st.builds(
    Step,
    how=st.sampled_from(["tell", "tell", "tell", "send", "ask", "stop"]),
    what=st.sampled_from(["work", "work", "wait", "crash", "stop"]),
    pause=st.sampled_from([0.0, 0.0, 0.3, 2.0]),
)


# K3 K4 K6


@given(
    restart=st.sampled_from(Restart),
    policy=st.sampled_from(Overflow),
    capacity=st.integers(1, 3),
    grace=st.sampled_from([0.0, 0.5, 10.0]),
    delay=st.sampled_from([0.0, 0.5]),
    plan=st.lists(steps, max_size=25),
)
@example(
    restart=Restart.TRANSIENT,
    policy=Overflow.DROP_OLDEST,
    capacity=1,
    grace=10.0,
    delay=0.0,
    plan=[
        Step("tell", "wait", 0.3),
        Step("tell", "work", 0.0),
        Step("send", "work", 0.0),
        Step("tell", "work", 0.0),
    ],
)
def test_each_message_has_one_fate(
    restart: Restart,
    policy: Overflow,
    capacity: int,
    grace: float,
    delay: float,
    plan: list[Step],
) -> None:
    fates = Fates()

    async def scenario() -> None:
        async with open_system() as system:
            letters = system.events.subscribe(DeadLetter, capacity=10_000)
            ref = system.spawn(
                lambda: Subject(fates),
                name="subject",
                restart=restart,
                mailbox=MailboxSpec(capacity, policy),
                grace=grace,
                intensity=Intensity(3, 10),
                backoff=Backoff(initial=delay, jitter=0),
            )
            await play(system, ref, plan, fates)
        for event in letters.take():
            assert isinstance(event, DeadLetter)
            assert isinstance(event.message, Numbered)
            fates.dead[event.message.number] += 1

    run(scenario)
    fates.check(policy)
