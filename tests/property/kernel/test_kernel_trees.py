"""Random trees under random crashes, stops and cancellations.

Whatever happens: no task is left, no ask is left without an answer, children have ended before
their parent and later siblings before earlier ones, and no actor handles two messages at once.
Each example is one Trio run on a virtual clock, made from a plan that hypothesis draws and shrinks.
"""

from collections import Counter
from itertools import count
from typing import Any, Literal, assert_never

import hypothesis.strategies as st
import msgspec
import trio
from hypothesis import given

from runtime.kernel import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    Intensity,
    KernelError,
    MailboxSpec,
    Message,
    Overflow,
    Request,
    Restart,
    StopKind,
    StopReason,
    Strategy,
    System,
    open_system,
)
from runtime.kernel.testkit import run

Doing = Literal["work", "wait", "crash", "stop", "defer", "helper crash", "child", "bad child"]


class Do(Request[str], frozen=True):
    """Makes an actor do something."""

    what: Doing


class Tick(Message, frozen=True):
    """What the actors' timers deliver."""


class Branch(msgspec.Struct, frozen=True):
    """What an actor is like, and its children."""

    restart: Restart
    strategy: Strategy
    static: bool
    grace: float
    slow_stop: bool
    children: tuple["Branch", ...]


class Step(msgspec.Struct, frozen=True):
    """One thing that the test does: to which actor, what, and how long it waits then."""

    target: int
    act: Doing | Literal["end", "end now", "tell"]
    pause: float


class Injected(Exception):
    """The crashes of this test."""


ORDERED = (StopKind.SHUTDOWN, StopKind.CANCELLED)


class Ledger:
    """What is observed in one run."""

    def __init__(self) -> None:
        self.refs: list[ActorRef[Any]] = []
        self.inside: Counter[str] = Counter()
        self.up: dict[str, int] = {}
        """Actors whose `on_start` has begun and that have not ended, and when they began."""
        self.began = 0
        self.numbers = count()
        self.asked = 0
        self.answered = 0
        self.ending = False
        """Whether the block of the system has ended."""
        self.told: set[str] = set()
        """Actors that the test has told to stop."""
        self.wrong: list[str] = []


class Node(Actor[Do | Tick]):
    """One actor of the random tree, which checks what it can see from within."""

    def __init__(self, branch: Branch, ledger: Ledger) -> None:
        self.branch = branch
        self.ledger = ledger

    def spec(self, number: int, child: Branch) -> ChildSpec:
        return ChildSpec(
            factory=lambda: Node(child, self.ledger),
            name=f"c{number}",
            restart=child.restart,
            grace=child.grace,
            backoff=Backoff(initial=0.25, maximum=1),
            mailbox=MailboxSpec(3, Overflow.DROP_OLDEST),
        )

    async def on_start(self) -> None:
        ledger = self.ledger
        if self.path in ledger.up:
            ledger.wrong.append(f"{self.path} began twice")
        ledger.began += 1
        ledger.up[self.path] = ledger.began
        ledger.refs.append(self.ref)
        self.every(0.5, Tick())
        try:
            await self.raise_children()
        except BaseException:
            # `on_stop` belongs to a start that succeeded.
            del ledger.up[self.path]
            raise

    async def raise_children(self) -> None:
        specs = [self.spec(number, child) for number, child in enumerate(self.branch.children)]
        if self.branch.static:
            await self.spawn_all(specs, self.branch.strategy, Intensity(2, 5))
        else:
            for spec in specs:
                self.spawn(
                    spec.factory,
                    name=spec.name,
                    restart=spec.restart,
                    grace=spec.grace,
                    backoff=spec.backoff,
                    mailbox=MailboxSpec(3, Overflow.WAIT),
                    intensity=Intensity(2, 5),
                )

    async def on_message(self, message: Do | Tick) -> object:
        inside = self.ledger.inside
        inside[self.path] += 1
        try:
            if inside[self.path] > 1:
                self.ledger.wrong.append(f"{self.path} handles two messages at once")
            match message:
                case Tick():
                    return None
                case Do(what):
                    return await self.do(what, message)
                case _:
                    assert_never(message)
        finally:
            inside[self.path] -= 1

    async def do(self, what: Doing, message: Do) -> str:
        match what:
            case "work":
                await trio.lowlevel.checkpoint()
            case "wait":
                await trio.sleep(2)
            case "crash":
                raise Injected
            case "stop":
                self.stop()
            case "defer":
                self.defer(message)
            case "helper crash":
                self.start(self.fail)
                await trio.sleep(2)
            case "child" | "bad child":
                branch = Branch(Restart.TRANSIENT, Strategy.ONE_FOR_ONE, False, 0, False, ())
                ref = self.spawn(
                    lambda: Node(branch, self.ledger), name=f"d{next(self.ledger.numbers)}", grace=1
                )
                if what == "bad child":
                    ref.tell(Do("crash"))
            case _:
                assert_never(what)
        return what

    async def fail(self) -> None:
        await trio.sleep(0.1)
        raise Injected

    async def on_stop(self, reason: StopReason) -> None:
        path = self.path
        below = [other for other in self.ledger.up if other.startswith(path + "/")]
        if below:
            self.ledger.wrong.append(f"{path} ends before {below}")
        try:
            if self.branch.slow_stop:
                await trio.sleep(0.1)
        finally:
            told = self.ledger.told
            later = [other for other in self.ledger.up if _is_later_sibling(other, path)]
            # Only the end of the system must keep the order; an actor may also crash before its
            # turn, or have been told to stop by the test.
            if later and self.ledger.ending and reason.kind in ORDERED and path not in told:
                self.ledger.wrong.append(f"{path} ends before {later}")
            del self.ledger.up[path]


def _is_later_sibling(other: str, path: str) -> bool:
    """Whether both were started by the test at the top of the tree, the other one later."""
    return other.count("/") == path.count("/") == 1 and other > path


async def play(branches: list[Branch], steps: list[Step], ending: str, ledger: Ledger) -> None:
    """Run one plan."""
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        try:
            async with trio.open_nursery() as outer, open_system() as system:
                await populate(system, branches, ledger)
                for step in steps:
                    await take(step, ledger, outer)
                ledger.ending = True
                if ending == "cancel":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                if ending == "raise":
                    raise Injected
        except* Injected:
            pass
        except* KernelError:
            pass
    after = trio.lowlevel.current_statistics().tasks_living
    if after != before:
        ledger.wrong.append(f"{after - before} tasks are left")
    ledger.wrong += [f"{ref.path} is still {ref.state.value}" for ref in ledger.refs if ref.alive]


async def populate(system: System, branches: list[Branch], ledger: Ledger) -> None:
    for number, branch in enumerate(branches):
        ref = system.spawn(
            lambda branch=branch: Node(branch, ledger),  # type: ignore[misc]
            name=f"r{number}",
            restart=branch.restart,
            grace=branch.grace,
            backoff=Backoff(initial=0.25, maximum=1),
        )
        ledger.refs.append(ref)


async def take(step: Step, ledger: Ledger, outer: trio.Nursery) -> None:
    ref = ledger.refs[step.target % len(ledger.refs)]
    if step.act in ("end", "end now"):
        ledger.told.add(ref.path)
    match step.act:
        case "end":
            outer.start_soon(ref.stop)
        case "end now":
            outer.start_soon(ref.stop, 0)
        case "tell":
            ref.tell(Do("work"))
        case what:
            outer.start_soon(ask, ref, what, ledger)
    await trio.sleep(step.pause)


async def ask(ref: ActorRef[Do], what: Doing, ledger: Ledger) -> None:
    """Ask, and count the answer: any answer but none."""
    ledger.asked += 1
    began = trio.current_time()
    try:
        await ref.ask(Do(what), timeout=20)
    except (KernelError, Injected):
        pass
    finally:
        ledger.answered += 1
    if trio.current_time() - began > 20:
        ledger.wrong.append(f"an ask of {ref.path} took too long")


branches = st.recursive(
    st.builds(
        Branch,
        restart=st.sampled_from(Restart),
        strategy=st.sampled_from(Strategy),
        static=st.booleans(),
        grace=st.sampled_from([0.0, 0.5, 5.0]),
        slow_stop=st.booleans(),
        children=st.just(()),
    ),
    lambda below: st.builds(
        Branch,
        restart=st.sampled_from(Restart),
        strategy=st.sampled_from(Strategy),
        static=st.booleans(),
        grace=st.sampled_from([0.0, 0.5, 5.0]),
        slow_stop=st.booleans(),
        children=st.lists(below, max_size=3).map(tuple),
    ),
    max_leaves=6,
)
acts: list[Any] = [
    *("work", "wait", "crash", "stop", "defer", "helper crash", "child", "bad child"),
    *("end", "end now", "tell"),
]
steps = st.builds(
    Step,
    target=st.integers(0, 20),
    act=st.sampled_from(acts),
    pause=st.sampled_from([0.0, 0.0, 0.1, 0.5, 3.0]),
)


# K1 K2 K3 K5 K6 K7


@given(
    trees=st.lists(branches, min_size=1, max_size=3),
    plan=st.lists(steps, max_size=12),
    ending=st.sampled_from(["leave", "raise", "cancel"]),
)
def test_whatever_happens(trees: list[Branch], plan: list[Step], ending: str) -> None:
    ledger = Ledger()

    async def scenario() -> None:
        with trio.fail_after(10_000):
            await play(trees, plan, ending, ledger)

    run(scenario)
    assert ledger.wrong == []
    assert ledger.answered == ledger.asked
