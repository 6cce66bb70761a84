"""A store and an agent that take their time, so that other things happen meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from actors.agents.echo import EchoAgent
from runtime.ports.agent import Agent, AgentContext, AgentHandle
from runtime.storage.sqlite import SqliteStore, open_memory
from tests.actors.stage import clock
from tests.actors.test_stubborn_disk import Refusing


class Slow(Refusing):
    """Takes its time with an operation, once: before it is done, or before it is told."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store)
        self.delays: dict[str, float] = {}
        self.late: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        operation = super().__getattr__(name)
        if name not in {**self.__dict__["delays"], **self.__dict__["late"]}:
            return operation

        async def slowly(*args: Any, **options: Any) -> Any:
            await trio.sleep(self.delays.pop(name, 0))
            done = await operation(*args, **options)
            await trio.sleep(self.late.pop(name, 0))
            return done

        return slowly


@asynccontextmanager
async def slow() -> AsyncIterator[Any]:
    async with open_memory(clock) as store:
        yield Slow(store)


class Starting(Agent):
    """Takes its time to start; says what it was opened with."""

    uses_process = True

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self.contexts: list[AgentContext] = []
        self.open_now = 0

    @property
    def idle_limit(self) -> float | None:
        return 100_000.0

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        self.contexts.append(context)
        await trio.sleep(self.seconds)
        async with EchoAgent().open(context) as handle:
            self.open_now += 1
            try:
                yield handle
            finally:
                self.open_now -= 1
