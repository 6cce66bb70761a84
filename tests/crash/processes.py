"""The real runtime as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import trio

ROOT = Path(__file__).parent.parent.parent
START_LIMIT = 60.0
STOP_LIMIT = 60.0
LOOK_EVERY = 0.01


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process of ours lives, and does nothing: from when it has stopped, not from when it was
    told to.
    """
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class DidNotRun(Exception):
    """The process ended by itself, or did not begin to serve, or did not stop."""


class RuntimeProcess:
    """``python -m runtime serve`` on a data directory."""

    def __init__(self, process: trio.Process, data_dir: Path, log: Path) -> None:
        self._process = process
        self._endpoint = data_dir / "endpoint.json"
        self._log = log

    @classmethod
    async def start(
        cls, data_dir: Path, settings: Path, log: Path, program: Sequence[str] = ("-m", "runtime")
    ) -> RuntimeProcess:
        """Start it; what it says goes to the log.

        Args:
            data_dir: where it works.
            settings: its settings file.
            log: is appended to.
            program: what Python runs.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RUNTIME_")}
        with log.open("ab") as file:
            process = await trio.lowlevel.open_process(
                [
                    *(sys.executable, *program, "serve", "--port", "0"),
                    *("--config", str(settings), "--data-dir", str(data_dir)),
                ],
                cwd=ROOT,
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        return cls(process, data_dir, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def serving(self) -> None:
        """Wait until it serves. Raises DidNotRun."""
        mark = f'"pid":{self._process.pid}'
        with trio.move_on_after(START_LIMIT):
            while self._process.returncode is None:
                try:
                    if mark in self._endpoint.read_text():
                        return
                except OSError:
                    pass
                if self._process.poll() is None:
                    await trio.sleep(LOOK_EVERY)
        raise DidNotRun(f"it did not serve ({self._process.returncode}): {self._last_words()}")

    @property
    def url(self) -> str:
        """Where its clients connect, once it serves."""
        endpoint: dict[str, str] = json.loads(self._endpoint.read_text())
        return endpoint["url"]

    async def kill(self) -> None:
        """SIGKILL. Raises DidNotRun when it had ended before."""
        ended = self._process.poll()
        self.end()
        await self._process.wait()
        if ended is not None:
            raise DidNotRun(f"it ended by itself ({ended}): {self._last_words()}")

    async def stop(self) -> int:
        """SIGTERM; the exit code. Raises DidNotRun."""
        self.tell_to_stop()
        return await self.ended()

    def tell_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for the end; the exit code. Raises DidNotRun."""
        with trio.move_on_after(STOP_LIMIT):
            return await self._process.wait()
        raise DidNotRun(f"it did not stop within {STOP_LIMIT:g} s: {self._last_words()}")

    def paused(self) -> AbstractContextManager[None]:
        """It lives, and does nothing."""
        return paused(self._process.pid)

    def end(self) -> None:
        """Make sure that it does not live on."""
        if self._process.poll() is None:
            self._process.kill()

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2_000:]
