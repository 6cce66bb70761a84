"""What the runtime adds to a turn: the same agent by itself, and behind the runtime."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import trio

import runtime
from actors.agents.echo import EchoAgent
from bench.clients import initialized, said
from bench.harness import Question
from bench.processes import serving
from runtime.ports.agent import AgentContext, PromptTurn
from runtime.sessions.content import text_content
from runtime.settings import Settings, StorageSettings

TURNS = 1_000
FIRST = 20
"""Turns that come before, so that what is loaded or made once is not in the figure."""

MILLISECONDS = 1_000
TEXT = "A message of the usual length, about as long as this sentence is."
ECHO = """
[agents.echo]
kind = "echo"
"""

TakeTurn = Callable[[], Awaitable[object]]


@asynccontextmanager
async def directly() -> AsyncIterator[TakeTurn]:
    """The agent, asked as the runtime asks it."""
    async with EchoAgent().open(AgentContext("session", "echo", "key", 1)) as handle:

        async def turn() -> None:
            prompt = PromptTurn("turn", text_content(TEXT), ("message",))
            async with aclosing(handle.prompt(prompt)) as events:  # type: ignore[type-var]
                async for _ in events:
                    pass

        yield turn


@asynccontextmanager
async def embedded() -> AsyncIterator[TakeTurn]:
    """The runtime in this process, with its store on disk."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(storage=StorageSettings(data_dir=Path(folder)))
        async with runtime.open_runtime(settings, agents={"echo": EchoAgent()}) as rt:
            session = await rt.session("bench")

            async def turn() -> None:
                taken = await session.prompt(TEXT)
                async for _ in taken:
                    pass
                await taken.result()

            yield turn


@asynccontextmanager
async def through_the_gateway() -> AsyncIterator[TakeTurn]:
    """The runtime in a process of its own, over a WebSocket."""
    with serving(ECHO) as server:
        async with initialized(server.url) as client:
            session = await client.new_session()

            async def turn() -> None:
                await client.call("session/prompt", said(session, TEXT))

            yield turn


def figure(
    opened: Callable[[], AbstractAsyncContextManager[TakeTurn]], percentile: int
) -> Callable[[float], float]:
    """Milliseconds that a turn takes from the prompt to its end, one turn after the other."""

    async def main(count: int) -> float:
        taken = []
        async with opened() as turn:
            for _ in range(FIRST):
                await turn()
            for _ in range(count):
                began = time.perf_counter()
                await turn()
                taken.append(time.perf_counter() - began)
        return statistics.quantiles(taken, n=100)[percentile - 1] * MILLISECONDS

    return lambda scale: trio.run(main, max(2, round(TURNS * scale)))


def question(name: str, percentile: int) -> Question:
    return Question(
        name=name,
        unit="ms",
        higher_is_better=False,
        variants={
            "agent directly": figure(directly, percentile),
            "embedded": figure(embedded, percentile),
            "gateway": figure(through_the_gateway, percentile),
        },
    )


QUESTIONS = (question("turn, median", 50), question("turn, 99th percentile", 99))
