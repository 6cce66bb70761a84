"""What the kernel costs, beside what one writes by hand: a Trio task with a memory channel."""

import gc
import time
from collections.abc import Awaitable, Callable
from typing import assert_never

import trio
import trio.testing

from bench.harness import Question
from bench.processes import resident
from runtime.kernel import Actor, ActorRef, MailboxSpec, Message, Request, System, open_system

BATCH = 64
MESSAGES = 200_000
ASKS = 20_000
ASKERS = 100
ACTORS = 10_000
ROUNDS = 20
SPAWNS = 20_000
IDLE = 20_000


class Add(Message, frozen=True):
    """Adds to the total."""

    number: int


class Total(Request[int], frozen=True):
    """Is answered with the total."""


class Leave(Message, frozen=True):
    """Makes the actor stop."""


class Adder(Actor[Add | Total | Leave]):
    """The least that an actor can do."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    async def on_message(self, message: Add | Total | Leave) -> int | None:
        match message:
            case Add(number):
                self.total += number
                return None
            case Total():
                return self.total
            case Leave():
                self.stop()
                return None
            case _:
                assert_never(message)


class Call:
    """A request to a hand-made actor, with the place for its reply."""

    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answer = 0
        self.answered = trio.Event()


class TaskAdder:
    """The same, made by hand: a task that reads a memory channel."""

    __slots__ = ("receiving", "sending", "total")

    def __init__(self, capacity: int = 1000) -> None:
        self.total = 0
        self.sending, self.receiving = trio.open_memory_channel[Add | Call](capacity)

    async def run(self) -> None:
        async with self.receiving:
            async for message in self.receiving:
                if isinstance(message, Add):
                    self.total += message.number
                else:
                    message.answer = self.total
                    message.answered.set()

    async def ask(self) -> int:
        call = Call()
        self.sending.send_nowait(call)
        await call.answered.wait()
        return call.answer


ADD = Add(1)
TOTAL = Total()
LEAVE = Leave()
ROOM = MailboxSpec(capacity=MESSAGES)


def spawn_adder(system: System, name: str) -> ActorRef[Add | Total | Leave]:
    return system.spawn(Adder, name=name, mailbox=ROOM)


def per_second(work: Callable[[int], Awaitable[float]], amount: int, scale: float) -> float:
    """Run one Trio program that does an amount of work and returns the seconds it took."""
    count = max(1, round(amount * scale))
    return count / trio.run(work, count)


# One actor, many messages


def tell(scale: float) -> float:
    async def work(count: int) -> float:
        async with open_system() as system:
            adder = spawn_adder(system, "adder")
            began = time.perf_counter()
            for start in range(0, count, BATCH):
                for _ in range(min(BATCH, count - start)):
                    adder.tell(ADD)
                await trio.lowlevel.checkpoint()
            assert await adder.ask(TOTAL, timeout=60) == count
            return time.perf_counter() - began

    return per_second(work, MESSAGES, scale)


def tell_by_hand(scale: float) -> float:
    async def work(count: int) -> float:
        async with trio.open_nursery() as nursery:
            adder = TaskAdder(count + 1)
            nursery.start_soon(adder.run)
            began = time.perf_counter()
            for start in range(0, count, BATCH):
                for _ in range(min(BATCH, count - start)):
                    adder.sending.send_nowait(ADD)
                await trio.lowlevel.checkpoint()
            assert await adder.ask() == count
            adder.sending.close()
            return time.perf_counter() - began

    return per_second(work, MESSAGES, scale)


# One actor, many askers


async def askers(count: int, ask: Callable[[], Awaitable[int]], together: int) -> float:
    async def one() -> None:
        for _ in range(count // together):
            await ask()

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(together):
            nursery.start_soon(one)
    return time.perf_counter() - began


def ask(scale: float, together: int = 1) -> float:
    async def work(count: int) -> float:
        async with open_system() as system:
            adder = spawn_adder(system, "adder")
            return await askers(count, lambda: adder.ask(TOTAL, timeout=60), together)

    return per_second(work, ASKS, scale)


def ask_by_hand(scale: float, together: int = 1) -> float:
    async def work(count: int) -> float:
        async def request() -> int:
            with trio.fail_after(60):
                return await adder.ask()

        async with trio.open_nursery() as nursery:
            adder = TaskAdder()
            nursery.start_soon(adder.run)
            seconds = await askers(count, request, together)
            adder.sending.close()
            return seconds

    return per_second(work, ASKS, scale)


# Many actors, one message each, again and again


def fan_out(scale: float) -> float:
    async def work(count: int) -> float:
        async with open_system() as system:
            adders = [spawn_adder(system, str(number)) for number in range(count // ROUNDS)]
            handled = len(adders) * ROUNDS
            began = time.perf_counter()
            for _ in range(ROUNDS):
                for adder in adders:
                    adder.tell(ADD)
                await trio.lowlevel.checkpoint()
            for adder in adders:
                while adder.mailbox_depth:
                    await trio.lowlevel.checkpoint()
            seconds = time.perf_counter() - began
            nodes = system.tree().children
            assert sum(node.handled for node in nodes) == handled
            return seconds

    return per_second(work, ACTORS * ROUNDS, scale)


def fan_out_by_hand(scale: float) -> float:
    async def work(count: int) -> float:
        async with trio.open_nursery() as nursery:
            adders = [TaskAdder() for _ in range(count // ROUNDS)]
            for adder in adders:
                nursery.start_soon(adder.run)
            await trio.testing.wait_all_tasks_blocked()
            began = time.perf_counter()
            for _ in range(ROUNDS):
                for adder in adders:
                    adder.sending.send_nowait(ADD)
                await trio.lowlevel.checkpoint()
            for adder in adders:
                while adder.total < ROUNDS:
                    await trio.lowlevel.checkpoint()
            seconds = time.perf_counter() - began
            nursery.cancel_scope.cancel()
            return seconds

    return per_second(work, ACTORS * ROUNDS, scale)


# Coming and going


def spawn_stop(scale: float) -> float:
    async def work(count: int) -> float:
        async with open_system() as system:
            began = time.perf_counter()
            for start in range(0, count, 100):
                adders = [spawn_adder(system, str(start + number)) for number in range(100)]
                for adder in adders:
                    adder.tell(ADD)
                    adder.tell(LEAVE)
                await adders[-1].stopped()
            return time.perf_counter() - began

    return per_second(work, SPAWNS, scale)


def spawn_stop_by_hand(scale: float) -> float:
    async def work(count: int) -> float:
        async with trio.open_nursery() as nursery:
            began = time.perf_counter()
            for _ in range(0, count, 100):
                adders = [TaskAdder() for _ in range(100)]
                for adder in adders:
                    nursery.start_soon(adder.run)
                    adder.sending.send_nowait(ADD)
                    adder.sending.close()
                await trio.testing.wait_all_tasks_blocked()
            return time.perf_counter() - began

    return per_second(work, SPAWNS, scale)


# Waiting for messages


async def growth(make: Callable[[int], object], count: int) -> float:
    gc.collect()
    before = resident()
    kept = []
    for number in range(count):
        kept.append(make(number))
        if not number % BATCH:
            # Let them handle their message, or its place in a mailbox would be counted too.
            await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    grown = resident() - before
    assert len(kept) == count
    return grown / count


def idle_memory(scale: float) -> float:
    async def work() -> float:
        async with open_system() as system:

            def make(number: int) -> object:
                adder = spawn_adder(system, str(number))
                adder.tell(ADD)
                return adder

            return await growth(make, round(IDLE * scale))

    return trio.run(work)


def idle_memory_by_hand(scale: float) -> float:
    async def work() -> float:
        async with trio.open_nursery() as nursery:

            def make(_: int) -> object:
                adder = TaskAdder()
                nursery.start_soon(adder.run)
                adder.sending.send_nowait(ADD)
                return adder

            per_actor = await growth(make, round(IDLE * scale))
            nursery.cancel_scope.cancel()
            return per_actor

    return trio.run(work)


QUESTIONS = (
    Question(
        name="tell",
        unit="messages/s",
        higher_is_better=True,
        variants={"kernel": tell, "task and channel": tell_by_hand},
        baseline="task and channel",
    ),
    Question(
        name="ask",
        unit="asks/s",
        higher_is_better=True,
        variants={"kernel": ask, "task and channel": ask_by_hand},
        baseline="task and channel",
    ),
    Question(
        name="ask, 100 at once",
        unit="asks/s",
        higher_is_better=True,
        variants={
            "kernel": lambda scale: ask(scale, ASKERS),
            "task and channel": lambda scale: ask_by_hand(scale, ASKERS),
        },
        baseline="task and channel",
    ),
    Question(
        name="fan out to 10 000 actors",
        unit="messages/s",
        higher_is_better=True,
        variants={"kernel": fan_out, "task and channel": fan_out_by_hand},
        baseline="task and channel",
    ),
    Question(
        name="spawn, handle one message, stop",
        unit="actors/s",
        higher_is_better=True,
        variants={"kernel": spawn_stop, "task and channel": spawn_stop_by_hand},
        baseline="task and channel",
    ),
    Question(
        name="memory of an idle actor",
        unit="bytes",
        higher_is_better=False,
        variants={"kernel": idle_memory, "task and channel": idle_memory_by_hand},
        baseline="task and channel",
    ),
)
