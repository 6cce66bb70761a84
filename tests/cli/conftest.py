"""A real runtime in a process of its own, and the command line to talk to it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import pytest

from runtime.cli.main import run
from runtime.endpoint import Endpoint, read
from tests.e2e.stage import House, housed

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class CommandLine(Protocol):
    """Runs a command line in this process."""

    def __call__(self, *arguments: str | Path, typed: str = "") -> Said: ...


class Served:
    """``python -m runtime serve`` on a data directory."""

    def __init__(self, data_dir: Path, process: subprocess.Popen[str], greeting: str) -> None:
        self.data_dir = data_dir
        self.process = process
        self.greeting = greeting

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        endpoint = read(self.data_dir)
        assert endpoint is not None
        return endpoint

    def stop(self, number: int = signal.SIGTERM) -> Said:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Said(self.process.returncode, self.greeting + out, err)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that finds nothing of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **more}


def start(
    data_dir: Path,
    *arguments: str,
    toml: str | None = "",
    variables: Mapping[str, str] | None = None,
) -> Served:
    """Start a runtime on any free port, wait until it serves; without toml it looks for a file."""
    named: tuple[str, ...] = ()
    if toml is not None:
        settings = data_dir.with_suffix(".toml")
        settings.write_text(toml, encoding="utf-8")
        named = ("--config", str(settings))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "runtime", "serve", "--port", "0"),
            *(*named, "--data-dir", str(data_dir)),
            *arguments,
        ],
        cwd=data_dir.parent,
        env=environment(data_dir.parent, **(variables or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    greeting = ""
    while "chat" not in greeting.rpartition("\n  ")[2]:
        line = process.stdout.readline()
        if not line:
            _, err = process.communicate(timeout=PATIENCE)
            pytest.fail(f"the runtime did not start: {err}")
        greeting += line
    return Served(data_dir, process, greeting)


class Start(Protocol):
    """Starts a runtime that is stopped at the end of the test."""

    def __call__(
        self,
        data_dir: Path,
        *arguments: str,
        toml: str | None = "",
        variables: Mapping[str, str] | None = None,
    ) -> Served: ...


@pytest.fixture
def serve() -> Iterator[Start]:
    """Start runtimes for one test."""
    started: list[Served] = []

    def start_one(
        data_dir: Path,
        *arguments: str,
        toml: str | None = "",
        variables: Mapping[str, str] | None = None,
    ) -> Served:
        started.append(start(data_dir, *arguments, toml=toml, variables=variables))
        return started[-1]

    yield start_one
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One runtime for the tests of a module that leave it as it was."""
    served = start(tmp_path_factory.mktemp("served") / "data")
    yield served
    assert served.stop().code == 0


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> CommandLine:
    """The command line, run in this process by a person without any settings."""
    for name in [name for name in os.environ if name.startswith("RUNTIME_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)

    def command_line(*arguments: str | Path, typed: str = "") -> Said:
        capfd.readouterr()
        keyboard: IO[str] = io.TextIOWrapper(io.BytesIO(typed.encode()))
        monkeypatch.setattr(sys, "stdin", keyboard)
        code = run([str(argument) for argument in arguments])
        return Said(code, *capfd.readouterr())

    return command_line


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Real runtimes on one data directory."""
    async with housed(tmp_path) as made:
        yield made
