"""Agents as real processes."""

import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.agents.acp import AcpAgent, Options
from runtime.ports.agent import AgentContext, AgentHandle, PromptTurn
from runtime.processes import Processes, open_processes
from runtime.sessions.content import TextBlock, plain_text, text_content
from runtime.sessions.updates import AgentEvent, AgentMessageChunk, Announcement, Result

SCRIPTS = Path(__file__).parent / "scripts"
HOSTILE = str(SCRIPTS / "hostile_agent.py")
SDK_AGENT = str(SCRIPTS / "sdk_agent.py")
PATIENCE = 30.0
"""Seconds for what takes milliseconds, so that a hanging test says where."""


class Stage:
    """Opens agents, and keeps what they announce."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.folder = folder
        self.announced: list[Announcement] = []
        self._news = trio.Event()

    def announce(self, announcement: Announcement) -> None:
        self.announced.append(announcement)
        self._news.set()
        self._news = trio.Event()

    async def until_announced(self, kind: type[Announcement]) -> None:
        with trio.fail_after(PATIENCE):
            while not any(isinstance(each, kind) for each in self.announced):
                await self._news.wait()

    def open(
        self, *command: str, context: dict[str, Any] | None = None, **options: Any
    ) -> AbstractAsyncContextManager[AgentHandle]:
        """A script with its arguments as an agent."""
        return self.open_agent(self.agent(*command, **options), **(context or {}))

    def agent(self, *command: str, **options: Any) -> AcpAgent:
        return AcpAgent("tested", Options(command=(sys.executable, *command), **options))

    def open_agent(self, agent: AcpAgent, **context: Any) -> AbstractAsyncContextManager[Any]:
        made = AgentContext(
            session_id="s",
            agent_id="tested",
            key="k",
            epoch=0,
            folder=self.folder,
            announce=self.announce,
            processes=self.processes,
        )
        return agent.open(msgspec.structs.replace(made, **context))

    def announced_kinds(self) -> list[str]:
        return [type(announcement).__name__ for announcement in self.announced]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_processes(None) as processes:
        yield Stage(processes, tmp_path / "session")
        assert processes.live == 0


def turn(text: str, number: int = 1) -> PromptTurn:
    return PromptTurn(f"turn-{number}", text_content(text), ("m",))


async def run_turn(handle: AgentHandle, text: str = "hello", number: int = 1) -> list[AgentEvent]:
    """All events of a turn."""
    with trio.fail_after(PATIENCE):
        return [event async for event in handle.prompt(turn(text, number))]


def said(events: list[AgentEvent]) -> str:
    """What the agent answered."""
    chunks = [event.content for event in events if isinstance(event, AgentMessageChunk)]
    assert all(isinstance(chunk, TextBlock) for chunk in chunks)
    return "".join(plain_text((chunk,)) for chunk in chunks)


def result(events: list[AgentEvent]) -> Result:
    assert isinstance(events[-1], Result)
    return events[-1]


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example agents of the published package: they are in its source archive only."""
    folder = tmp_path_factory.mktemp("sdk")
    archive = f"agent-client-protocol=={version('agent-client-protocol')}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    command += ["--dest", str(folder), archive]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"the examples cannot be downloaded: {done.stderr.strip()[-500:]}")
    with tarfile.open(archives[0]) as packed:
        packed.extractall(folder, filter="data")
    (found,) = folder.glob("*/examples")
    return found
