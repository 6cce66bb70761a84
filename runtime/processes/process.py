"""One child process: what to start, its records in and out, its standard error, its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import msgspec


class ProcessSpec(msgspec.Struct, frozen=True):
    """What to start.

    Args:
        command: the program and its arguments; the program is looked for on ``PATH`` of ``env``.
        cwd: where it runs; made when it is not there.
        env: variables beside those of the allow-list (P1).
        pass_env: names of this process' variables that are passed on beside the allow-list.
        log: a file for what it writes to standard error, rotated; None keeps only the tail.
        max_record: bytes of the longest record that is read from it.
    """

    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = {}
    pass_env: tuple[str, ...] = ()
    log: Path | None = None
    max_record: int = 32 * 1024 * 1024


class ExitStatus(msgspec.Struct, frozen=True):
    """How a process ended: an exit code, or the signal that ended it."""

    code: int | None = None
    signal: int | None = None


class ProcessGone(Exception):
    """The process ended, or does not take what is written to it. The text says how it ended, with
    the tail of its standard error.
    """


class ChildProcess(ABC):
    """A running child. Made by `Processes.run`."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Its process id, which is its process group's too."""

    @property
    @abstractmethod
    def exit_status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""

    @property
    @abstractmethod
    def skipped(self) -> int:
        """Records that were skipped because they were too long."""

    @abstractmethod
    async def read_record(self) -> bytes | None:
        """The next record without its newline; None when the process will say nothing more.

        Records end at a newline byte and nowhere else. One that is too long is skipped and counted.
        """

    @abstractmethod
    async def write(self, record: bytes) -> None:
        """Write one record and a newline, as a whole or, when cancelled, not at all.

        Raises:
            ProcessGone: it does not read any more.
        """

    @abstractmethod
    async def wait(self) -> ExitStatus:
        """Wait until it has ended and all of its standard error was read."""

    @abstractmethod
    def stderr_tail(self) -> str:
        """The last lines that it wrote to standard error."""

    @abstractmethod
    def describe_exit(self) -> str:
        """How it ended, for people: exit code or signal, and the tail of its standard error."""
