"""The agents that are processes: which of them live, and the hand that kills them."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import trio

from runtime.processes.scan import see
from tests.crash.accounting import Violation

SCRIPT = Path(__file__).with_name("agent.py")
PROC = Path("/proc")

PAUSE = (0.1, 1.2)
"""Seconds between two kills of agents."""


class Living(NamedTuple):
    """A process: its number may be given to another one, its number and start time never."""

    pid: int
    started: int


class Agents:
    """The agents of one run, all with a tag on their command line that no other process has.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.tag = f"agent-of:{folder.absolute()}"
        self.killed = 0

    @property
    def settings(self) -> str:
        """Their tables in the settings."""
        return "".join(
            f'\n[agents.{name}]\nkind = "acp"\nidle_limit = "{idle_limit}"\n'
            f"command = {[sys.executable, '-I', '-S', str(SCRIPT), self.tag, name]}\n"
            for name, idle_limit in (("acp", "1m"), ("daemons", "1s"), ("forgetful", "500ms"))
        )

    def living(self) -> set[Living]:
        """Who lives now, with those that they have started."""
        return {
            Living(seen.pid, seen.started)
            for name in os.listdir(PROC)  # noqa: PTH208 - names, not paths
            if name.isdecimal()
            and self._is_tagged(int(name))
            and (seen := see(int(name))) is not None
            and not seen.dead
        }

    def _is_tagged(self, pid: int) -> bool:
        try:
            command = (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return False
        return self.tag.encode() in command.split(b"\0")

    async def kill_some(self, choose: random.Random) -> None:
        """SIGKILL for anybody among them, again and again."""
        while True:
            await trio.sleep(choose.uniform(*PAUSE))
            living = sorted(self.living())
            if living:
                self.kill(choose.choice(living))

    def kill(self, living: Living) -> None:
        """SIGKILL for exactly this one."""
        try:
            pidfd = os.pidfd_open(living.pid)
        except ProcessLookupError:
            return
        try:
            seen = see(living.pid)
            if seen is not None and seen.started == living.started:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                self.killed += 1
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def left_of(self, earlier: set[Living], now: str) -> list[Violation]:
        """Who should be gone and is not."""
        left = earlier & self.living()
        if not left:
            return []
        commands = tuple(self._command(each.pid) for each in sorted(left))
        return [
            Violation(f"{len(left)} of them live on {now}", "agents of an earlier run", commands)
        ]

    def _command(self, pid: int) -> str:
        try:
            command = (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            command = b"gone meanwhile"
        return f"{pid} {command.replace(bytes(1), b' ').decode(errors='replace')}"

    def end(self) -> None:
        """Leave nobody behind, whatever went wrong."""
        for each in self.living():
            self.kill(each)
