"""Servers as processes of their own, and what they use: processor time and memory.

What is measured here serves in one process while the load comes from another, the one of the
measurement, so that the figures of the server are its own. Linux says what a process uses in
``/proc`` (see proc(5)); nothing here works without it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0
"""How long a server may take to listen."""

QUIET = """
[log]
level = "warning"

[gateway]
handshakes_per_second = 1_000_000
max_connections = 10_000
"""
"""Settings of a runtime that is measured: whoever measures it is one address with many clients."""

_LOOK_SECONDS = 0.01
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_USER_TIME = 11
_SYSTEM_TIME = 12


class Used(NamedTuple):
    """Processor time that a process used, in seconds: the event loop's thread, and the others."""

    loop: float
    others: float

    @property
    def total(self) -> float:
        """All of it; at least a tick, the least that the system counts."""
        return max(_TICK_SECONDS, self.loop + self.others)

    def since(self, before: Used) -> Used:
        """What was used between two readings."""
        return Used(self.loop - before.loop, self.others - before.others)


class Server(NamedTuple):
    """A server that listens."""

    pid: int
    url: str

    def used(self) -> Used:
        """The processor time so far. The event loop runs in the main thread."""
        process = Path("/proc") / str(self.pid)
        loop = _processor_time(process / "task" / str(self.pid) / "stat")
        return Used(loop, _processor_time(process / "stat") - loop)

    def resident(self) -> int:
        """Bytes of memory that it has now."""
        return resident(str(self.pid))


def resident(process: str = "self") -> int:
    """Bytes of memory that a process has, this one by default."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell what a process's memory is")


@contextmanager
def serving(settings: str) -> Iterator[Server]:
    """The real runtime on a new data directory, killed at the end of the block.

    Args:
        settings: TOML, in addition to `QUIET`.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        config = Path(folder) / "runtime.toml"
        config.write_text(QUIET + settings, encoding="utf-8")
        data = Path(folder) / "data"
        command = ["-m", "runtime", "serve", "--port", "0"]
        with _process(*command, "--config", str(config), "--data-dir", str(data)) as process:
            yield Server(process.pid, _announced(process, data / "endpoint.json"))


@contextmanager
def program(module: str, *arguments: str) -> Iterator[Server]:
    """Another program of this package that prints its URL when it listens."""
    with _process("-m", module, *arguments) as process:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        url = process.stdout.readline().strip() if ready else ""
        if not url:
            raise RuntimeError(f"{module} does not listen")
        yield Server(process.pid, url)


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _announced(process: subprocess.Popen[str], endpoint: Path) -> str:
    """Wait until the runtime has written where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return str(msgspec.json.decode(endpoint.read_bytes())["url"])
        except (FileNotFoundError, msgspec.DecodeError):
            time.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"the runtime does not serve (exit code {process.returncode})")


def _processor_time(stat: Path) -> float:
    # The name, the second field, may have blanks and brackets in it.
    fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) * _TICK_SECONDS
