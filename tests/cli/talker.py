"""``chat`` in a process of its own, for turns that are under way while something else happens."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .conftest import PATIENCE, CommandLine, environment

BUSY = "[agents.echo]\nkind = 'echo'\ndelay = '1h'"
"""Settings with an agent that takes an hour for its first word."""


@contextmanager
def chatting(data_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "chat", "--data-dir", str(data_dir)],
        env=environment(data_dir.parent),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def wait_for_turn(cli: CommandLine, data_dir: Path) -> None:
    while ", turn " not in cli("sessions", "show", "main", "--data-dir", data_dir).out:
        pass
