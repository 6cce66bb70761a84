"""What the runtime adds to a turn: the same agent by itself, and behind the runtime."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

import runtime
from actors.agents.acp import AcpAgent
from actors.agents.acp import Options as AcpOptions
from actors.agents.echo import EchoAgent
from bench.admission import FEW_SESSIONS, MANY_SESSIONS, make_sessions
from bench.clients import initialized, said
from bench.harness import Question
from bench.processes import ROOT, serving
from runtime.ports.agent import Agent, AgentContext, PromptTurn
from runtime.sessions.content import text_content
from runtime.sessions.ids import wall_clock_ms
from runtime.settings import Settings, StorageSettings
from runtime.storage.sqlite import open_sqlite

TURNS = 500
FIRST = 20
"""Turns that come before, so that what is loaded or made once is not in the figure."""

MANY_TURNS = 2_000
"""Turns of one conversation, before those that are measured in it."""

MILLISECONDS = 1_000
TEXT = "A message of the usual length, about as long as this sentence is."
ACP_COMMAND = (sys.executable, "-m", "bench.acp_agent")
ACP_OPTIONS = AcpOptions(command=ACP_COMMAND, cwd=ROOT)
ECHO_SETTINGS = """
[agents.echo]
kind = "echo"
"""
ACP_SETTINGS = f"""
[agents.bench]
kind = "acp"
command = {msgspec.json.encode(ACP_COMMAND).decode()}
cwd = {msgspec.json.encode(str(ROOT)).decode()}
"""

TakeTurn = Callable[[], Awaitable[object]]
Opened = Callable[[], AbstractAsyncContextManager[TakeTurn]]


@asynccontextmanager
async def echo_directly() -> AsyncIterator[TakeTurn]:
    """The built-in agent, asked as the runtime asks it."""
    async with EchoAgent().open(AgentContext("session", "echo", "key", 1)) as handle:

        async def turn() -> None:
            prompt = PromptTurn("turn", text_content(TEXT), ("message",))
            async with aclosing(handle.prompt(prompt)) as events:  # type: ignore[type-var]
                async for _ in events:
                    pass

        yield turn


@asynccontextmanager
async def process_directly() -> AsyncIterator[TakeTurn]:
    """An agent in a process of its own, over its standard input and output."""
    process = await trio.lowlevel.open_process(
        ACP_COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdout:
        async with process.stdin:
            call = Lines(process.stdin, process.stdout).call
            await call("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
            session = (await call("session/new", {"cwd": str(ROOT), "mcpServers": []}))["sessionId"]
            yield partial(call, "session/prompt", said(session, TEXT))
        await process.wait()


class Lines:
    """Requests to a process, one at a time, and what it says."""

    def __init__(self, send: trio.abc.SendStream, receive: trio.abc.ReceiveStream) -> None:
        self._send = send
        self._receive = receive
        self._buffer = b""
        self._calls = 0

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a request; the lines before it are read, and that is all."""
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        await self._send.send_all(msgspec.json.encode(request) + b"\n")
        while True:
            message = msgspec.json.decode(await self._line())
            if message.get("id") == self._calls:
                return message["result"]

    async def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            data = await self._receive.receive_some()
            if not data:
                raise RuntimeError("the agent has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


@asynccontextmanager
async def embedded(
    agents: Callable[[], Mapping[str, Agent]], sessions: int = 0
) -> AsyncIterator[TakeTurn]:
    """The runtime in this process, with its store on disk, which has so many sessions already."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(storage=StorageSettings(data_dir=Path(folder)))
        async with open_sqlite(Path(folder), wall_clock_ms) as store:
            await make_sessions(store, sessions)
        async with runtime.open_runtime(settings, agents=agents()) as rt:
            session = await rt.session("bench")

            async def turn() -> None:
                taken = await session.prompt(TEXT)
                async for _ in taken:
                    pass
                await taken.result()

            yield turn


@asynccontextmanager
async def through_the_gateway(settings: str) -> AsyncIterator[TakeTurn]:
    """The runtime in a process of its own, over a WebSocket."""
    with serving(settings) as server:
        async with initialized(server.url) as client:
            session = await client.new_session()
            yield partial(client.call, "session/prompt", said(session, TEXT))


def figure(opened: Opened, percentile: int) -> Callable[[float], float]:
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


def processor_time(sessions: int, before: int) -> Callable[[float], float]:
    """Milliseconds of processor time, of all threads, that a turn takes in a store of so many
    sessions, after so many turns of the same conversation.
    """

    async def main(count: int) -> float:
        async with embedded(lambda: {"echo": EchoAgent()}, sessions) as turn:
            for _ in range(before):
                await turn()
            began = time.process_time()
            for _ in range(count):
                await turn()
            return (time.process_time() - began) / count * MILLISECONDS

    return lambda scale: trio.run(main, max(2, round(TURNS * scale)))


ECHO: dict[str, Opened] = {
    "agent directly": echo_directly,
    "embedded": partial(embedded, lambda: {"echo": EchoAgent()}),
    "gateway": partial(through_the_gateway, ECHO_SETTINGS),
}
PROCESS: dict[str, Opened] = {
    "agent directly": process_directly,
    "embedded": partial(embedded, lambda: {"bench": AcpAgent("bench", ACP_OPTIONS)}),
    "gateway": partial(through_the_gateway, ACP_SETTINGS),
}


def question(name: str, ways: Mapping[str, Opened], percentile: int) -> Question:
    return Question(
        name=name,
        unit="ms",
        higher_is_better=False,
        variants={way: figure(opened, percentile) for way, opened in ways.items()},
    )


QUESTIONS = (
    question("turn, median", ECHO, 50),
    question("turn, 99th percentile", ECHO, 99),
    question("turn of a process, median", PROCESS, 50),
    question("turn of a process, 99th percentile", PROCESS, 99),
    Question(
        name="processor time of a turn",
        unit="ms",
        higher_is_better=False,
        variants={
            f"{FEW_SESSIONS} sessions": processor_time(FEW_SESSIONS, FIRST),
            f"{MANY_SESSIONS} sessions": processor_time(MANY_SESSIONS, FIRST),
            f"after {MANY_TURNS} turns": processor_time(FEW_SESSIONS, MANY_TURNS),
        },
    ),
)
