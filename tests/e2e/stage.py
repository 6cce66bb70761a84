"""What the tests with real processes share."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from trio_websocket import ConnectionClosed

from tests.crash.processes import ROOT, RuntimeProcess
from tests.gateway.client import AcpClient, connected

LIMIT = 60.0
LOOK_EVERY = 0.02

QUICK = "[agents.echo]\nkind = 'echo'\n"
SLOW = "[agents.echo]\nkind = 'echo'\ndelay = '100ms'\npace = '1h'\n"


class House:
    """A data directory with its settings, and the runtimes that work on it."""

    def __init__(self, data_dir: Path, folder: Path, processes: list[RuntimeProcess]) -> None:
        self.data_dir = data_dir
        self._settings = folder / "runtime.toml"
        self._log = folder / "runtime.log"
        self._processes = processes

    @property
    def log(self) -> str:
        """What all of them wrote to standard error."""
        return self._log.read_text(errors="replace")

    async def begin(self, settings: str = QUICK, program: str = "runtime") -> RuntimeProcess:
        """Start a runtime, or a program that is one with something changed, without waiting."""
        self._settings.write_text(settings)
        process = await RuntimeProcess.start(
            self.data_dir, self._settings, self._log, ("-m", program)
        )
        self._processes.append(process)
        return process

    async def serve(self, settings: str = QUICK, program: str = "runtime") -> RuntimeProcess:
        """Start a runtime and wait until it serves."""
        process = await self.begin(settings, program)
        await process.serving()
        return process


@asynccontextmanager
async def housed(folder: Path) -> AsyncIterator[House]:
    """A house in a folder; its runtimes are ended with the block."""
    processes: list[RuntimeProcess] = []
    yield House(folder / "data", folder, processes)
    for process in processes:
        process.end()
        await process.ended()


@asynccontextmanager
async def client_of(process: RuntimeProcess) -> AsyncIterator[AcpClient]:
    """A client that does not mind when the runtime goes away first."""
    try:
        async with connected(process.url) as client:
            yield client
    except* ConnectionClosed:
        pass


async def close_code(client: AcpClient) -> int:
    """Read until the runtime closes the connection; the code with which it does."""
    reason = None
    try:
        while True:
            await client.receive()
    except ConnectionClosed as closed:
        reason = closed.reason
    assert reason is not None
    return int(reason.code)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that nobody announces. Raises trio.TooSlowError."""
    with trio.fail_after(LIMIT):
        while not condition():  # noqa: ASYNC110 - it happens in another process
            await trio.sleep(LOOK_EVERY)


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


async def serve_in_vain(*arguments: object, cwd: Path) -> Said:
    """Run ``serve`` when it cannot start."""
    return await ran("serve", *arguments, cwd=cwd)


async def ran(*command: object, cwd: Path) -> Said:
    """Run a command to its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}
    with trio.fail_after(LIMIT):
        done = await trio.run_process(
            [sys.executable, "-m", "runtime", *map(str, command)],
            cwd=cwd,
            env={**kept, "HOME": str(cwd), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def everything_in(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Each file and folder: kind and mode; of files also the time of the last change and the
    content. (A folder in which something was made and removed again is as it was.)
    """
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        found[str(path)] = (oct(status.st_mode),)
        if stat.S_ISREG(status.st_mode):
            found[str(path)] += (status.st_mtime_ns, path.read_bytes())
    return found


class SmallDisk:
    """A file system of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        """Take all space."""
        with self._filler.open("ab", buffering=0) as file:
            size = 64 * 1024
            while size:
                try:
                    if file.write(b"x" * size) < size:
                        size //= 2
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()

    def forbid_writing(self) -> None:
        """Make it a file system that can only be read, for root as well."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.root)], check=True)


@contextmanager
def small_disk(root: Path, size: str) -> Iterator[SmallDisk]:
    """Mount one; skips the test where that is not allowed."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    root.mkdir()
    command = [mount, "-t", "tmpfs", "-o", f"mode=755,size={size}", "tmpfs", str(root)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.decode().strip()}")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
