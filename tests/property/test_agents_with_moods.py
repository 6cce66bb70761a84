"""Whatever an agent's process does, every accepted message ends once, and nothing is kept.

Random histories of several sessions that share a few places for processes: starts that fail, hang
or take long, agents that vanish, ask, and are closed for others; mixed with what people can do,
changed settings, crashes of actors and power cuts. Then the agent is mended, and all is counted.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.front import ActorFront
from actors.queue import Arrived
from actors.services import Services
from actors.sessions import FindLive
from runtime.app import Runtime
from runtime.embedding import Session
from runtime.ports.agent import (
    Agent,
    AgentCapabilities,
    AgentContext,
    AgentGone,
    AgentHandle,
    PromptTurn,
)
from runtime.ports.front import FrontError
from runtime.sessions.content import PromptContent
from runtime.sessions.modes import QueueMode
from runtime.sessions.rows import InboundRow, InboundState
from runtime.sessions.updates import (
    AgentEvent,
    PermissionOption,
    PermissionRequest,
    PermissionSettled,
    Result,
    ToolCallUpdate,
)
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store
from tests.actors.stage import chunk, clock, stage
from tests.actors.stage import settings as runtime_settings

KEYS = ("one", "two", "three")
PLACES = 2
OPTIONS = (
    PermissionOption("yes", "Allow", "allow_once"),
    PermissionOption("no", "Refuse", "reject_once"),
)
COMMANDS = (
    *("/stop", "/status", "/reconnect", "/queue", "/queue clear", "/queue steer cap:3"),
    *("/queue nonsense", "/queue default", "/new", "/new and more"),
)
CALM = ["send"] * 8 + [
    *["answer", "command", "command", "cancel", "withdraw", "clear", "reset", "close", "reconnect"],
    *["choose", "mode", "mode", "reload", "wait", "wait", "wait long", "power cut", "stop"],
]


@dataclass
class Moody(Agent):
    """An agent of which each start and each prompt goes another way."""

    choose: random.Random
    mended: bool = False
    open_now: int = 0
    most: int = 0
    uses_process = True

    @property
    def idle_limit(self) -> float | None:
        return 300.0

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        try:
            mood = 1.0 if self.mended else self.choose.random()
            await trio.sleep(self.choose.choice([0, 0.1, 3]))
            if mood < 0.35:
                raise AgentGone("no such program")
            if mood < 0.4:
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                if mood < 0.5:
                    nursery.start_soon(self._die_later)
                yield _Handle(self)
                nursery.cancel_scope.cancel()
            await trio.sleep(self.choose.choice([0, 0, 0.5]))
        finally:
            self.open_now -= 1

    async def _die_later(self) -> None:
        await trio.sleep(self.choose.choice([0, 1, 10, 100]))
        raise AgentGone("it died")


class _Handle(AgentHandle):
    def __init__(self, agent: Moody) -> None:
        self._agent = agent
        self._choose = agent.choose
        self._told: trio.Event | None = None
        self._cancelled = trio.Event()
        self.capabilities = AgentCapabilities(steer=agent.choose.random() < 0.7)

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        self._cancelled = trio.Event()
        mood = 1.0 if self._agent.mended else self._choose.random()
        await trio.sleep(self._choose.choice([0, 0, 0.5, 3]))
        if mood < 0.1:
            raise AgentGone("before it began")
        if 0.3 < mood < 0.6:
            self._told = trio.Event()
            yield PermissionRequest(f"q-{turn.turn_id}", ToolCallUpdate("t", title="rm"), OPTIONS)
            with trio.move_on_after(self._choose.choice([1, 20, 400])):
                await self._told.wait()
            yield PermissionSettled(f"q-{turn.turn_id}", None)
        yield chunk("so: ")
        with trio.move_on_after(self._choose.choice([0, 0, 1, 5, 50])):
            await self._cancelled.wait()
        if self._cancelled.is_set() and mood < 0.8:
            yield Result("cancelled")
            return
        if mood < 0.2:
            raise AgentGone("in the middle")
        yield chunk(turn.turn_id)
        yield Result()

    async def answer_permission(self, request_id: str, option_id: str | None) -> bool:
        if self._told is not None:
            self._told.set()
        return True

    async def steer(self, content: PromptContent) -> bool:
        await trio.sleep(self._choose.choice([0, 0.1, 3, 20]))
        return self._choose.random() < 0.6

    async def choose(self, option_id: str, value: str | bool) -> None:
        await trio.sleep(self._choose.choice([0, 1, 20]))

    async def cancel(self) -> None:
        self._cancelled.set()


@dataclass
class World:
    """What was promised to whom."""

    choose: random.Random
    store: Store
    accepted: dict[str, str] = field(default_factory=dict)
    serial: int = 0

    async def step(self, name: str, rt: Runtime) -> None:
        """One thing happens, in one of the sessions. What is refused in words was not promised."""
        with suppress(FrontError):
            session = await rt.session(self.choose.choice(KEYS))
            await self._step(name, rt, session)

    async def _step(self, name: str, rt: Runtime, session: Session) -> None:
        match name:
            case "send":
                self.serial += 1
                receipt = await session.send(f"say {self.serial}", message_id=f"m{self.serial}")
                self.accepted[receipt.message_id] = session.id
            case "command" | "answer":
                texts = COMMANDS if name == "command" else ("1", "Refuse")
                receipt = await session.send(self.choose.choice(texts))
                self.accepted[receipt.message_id] = session.id
            case "withdraw" if self.accepted:
                message_id = self.choose.choice(list(self.accepted))
                await rt.front.cancel(self.accepted[message_id], message_id=message_id)
            case "choose":
                await session.choose("model", "large")
            case "mode":
                await session.set_queue(mode=self.choose.choice(list(QueueMode)))
            case "reload":
                rt.reconfigure(SETTINGS)
            case "wait":
                await trio.sleep(self.choose.choice([0, 0.1, 1, 4]))
            case "wait long":
                await trio.sleep(self.choose.choice([11, 59.9, 61, 310, 700]))
            case "crash":
                await _crash(rt, session)
            case _ if hasattr(session, name):
                await getattr(session, name)()


SETTINGS = runtime_settings(
    queue={"cap": 5},
    sessions={
        "max_tries": 3,
        "max_agent_processes": PLACES,
        "permission_limit": 60.0,
        "shutdown_grace": 3.0,
    },
)


async def _crash(rt: Runtime, session: Session) -> None:
    """A bug in a session's actor, or in its queue."""
    assert isinstance(rt.front, ActorFront)
    live = await rt.front._sessions.ask(FindLive((session.id,)), timeout=60)
    for ref in live.values():
        family = ref._cell.family
        queue = family.children.get("queue") if family is not None else None
        target = ref if queue is None or rt.agents == () else rt.system.ref_to(queue)
        target.tell(Arrived(rows=(cast("InboundRow", None),)))


@contextmanager
def _crashes() -> Iterator[list[str]]:
    """What actors crashed of, meanwhile."""
    seen: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                seen.append(self.format(record))

    handler, logger = Collect(), logging.getLogger("runtime.kernel")
    logger.addHandler(handler)
    try:
        yield seen
    finally:
        logger.removeHandler(handler)


async def history(seed: int, steps: list[str]) -> None:
    with _crashes() as crashes:
        async with open_memory(clock) as store:
            world = World(random.Random(seed), store)
            remaining = list(steps)
            while remaining:
                await _play(world, remaining)
            await _settle(world)
    if "crash" not in steps:
        assert crashes == [], crashes[0]


async def _play(world: World, remaining: list[str]) -> None:
    """One life of the runtime: until it is stopped, or until the power goes."""
    agent = Moody(world.choose)
    with trio.CancelScope() as power:
        async with (
            stage(agent=agent, store=world.store, settings=SETTINGS) as rt,
            trio.open_nursery() as nursery,
        ):
            while remaining:
                step = remaining.pop(0)
                if step == "stop":
                    break
                if step == "power cut":
                    power.cancel()
                    await trio.sleep_forever()
                nursery.start_soon(world.step, step, rt)
                await trio.sleep(world.choose.choice([0, 0, 0.05, 2]))
            nursery.cancel_scope.deadline = trio.current_time() + 40
    assert agent.open_now == 0
    assert agent.most <= PLACES


async def _settle(world: World) -> None:
    """The agent works again, and people connect again: everything comes to its end."""
    agent = Moody(world.choose)
    async with stage(agent=agent, store=world.store, settings=SETTINGS) as rt:
        sessions = [await rt.session(key) for key in KEYS]
        for session in sessions:
            with suppress(FrontError):
                await session.send("to wake it")
        await trio.sleep(100)
        agent.mended = True
        for session in sessions:
            await session.reconnect()
        with trio.fail_after(3_000):
            for message_id in world.accepted:
                outcome = await rt.front.outcome(message_id)
                assert outcome.state is not InboundState.PENDING
                assert outcome.stop_reason is not None or outcome.error is not None
        await trio.sleep(800)
        assert agent.open_now == 0  # all sleep
        slots = _services(rt).slots
        assert (slots.taken, slots.waiting) == (0, 0)
        assert _services(rt).watchers.blocked_sessions == 0
        for session in sessions:
            lines = Counter(line.id for line in await world.store.journal(session.id, limit=1_000))
            assert set(lines.values()) <= {1}
            assert await world.store.pending_messages(session.id) == ()


def _services(rt: Runtime) -> Services:
    assert isinstance(rt.front, ActorFront)
    return rt.front._services


def _run(work: Callable[[int, list[str]], Awaitable[None]], seed: int, steps: list[str]) -> None:
    trio.run(work, seed, steps, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=16, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.sampled_from(CALM), min_size=1, max_size=40),
)
def test_every_message_ends_once_whatever_its_agent_does(seed: int, steps: list[str]) -> None:
    # P2 P3 P6 T2 T4 T5 T6 D8 S18 S36 S42 S45 G11 H3
    _run(history, seed, steps)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.sampled_from([*CALM, "crash", "crash"]), min_size=1, max_size=40),
)
def test_crashes_of_actors_change_nothing_about_it(seed: int, steps: list[str]) -> None:
    # P6 T5 D8 K5 K6
    _run(history, seed, steps)
