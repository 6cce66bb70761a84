"""An editor at the other end of ``python -m runtime acp``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import trio

from tests.crash.processes import paused
from tests.gateway.client import AcpClient

from .conftest import PATIENCE, environment


class Pipes:
    """The pipes of a process, with the manners of a WebSocket."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = bytearray()

    async def send_message(self, text: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(text.encode() + b"\n")

    async def get_message(self) -> str:
        """The next line, which is a frame: nothing else may be there."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            data = await self._process.stdout.receive_some()
            if not data:
                raise EOFError
            self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer[:] = rest
        assert json.loads(line)["jsonrpc"] == "2.0"
        return line.decode()


class Editor(AcpClient):
    """Speaks to the bridge in a process of its own."""

    def __init__(self, process: trio.Process, log: Path) -> None:
        self.process = process
        self.pipes = Pipes(process)
        self._log = log
        super().__init__(cast("Any", self.pipes))

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text()

    async def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(data)

    def process_paused(self) -> AbstractContextManager[None]:
        """It lives, and does nothing."""
        return paused(self.process.pid)

    async def leave(self) -> int:
        """Close the pipe, read to the end; the exit code."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        return await self.ended()

    async def ended(self) -> int:
        """Read to the end; the exit code."""
        with trio.fail_after(PATIENCE):
            try:
                while True:
                    await self.receive()
            except EOFError:
                return await self.process.wait()


@asynccontextmanager
async def editor(
    data_dir: Path, *arguments: str, greet: bool = True, **variables: str
) -> AsyncIterator[Editor]:
    """An editor with its bridge, which does not outlive the block."""
    data_dir.parent.mkdir(exist_ok=True)
    log = data_dir.parent / f"acp-{len(list(data_dir.parent.glob('acp-*')))}.log"
    with log.open("wb") as file:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "runtime", "acp", "--data-dir", str(data_dir), *arguments],
            env=environment(data_dir.parent, **variables),
            cwd=data_dir.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
        )
    try:
        person = Editor(process, log)
        if greet:
            await person.call("initialize", {"protocolVersion": 1})
        yield person
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await trio.aclose_forcefully(process.stdio) if process.stdio else None
