"""One child process: what to start, its records in and out, its standard error, its end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from runtime.processes.exits import ExitStatus, wait_for_exit
from runtime.processes.family import KILL_GRACE, TERMINATE_GRACE, Family, end_family
from runtime.processes.pipes import ReadEnd, RecordWriter
from runtime.processes.records import RecordSplitter
from runtime.processes.scan import Scanner
from runtime.processes.spawner import Started
from runtime.processes.stderr import StandardError

CLOSE_GRACE = 1.0
"""Seconds between the end of standard input and SIGTERM. Programs that end by themselves when they
have nothing to read need less."""

DRAIN_GRACE = 1.0
"""Seconds after the end of a process in which its pipes may still have something to say, when
descendants keep them open."""

log = logging.getLogger("runtime.processes")


class ProcessSpec(msgspec.Struct, frozen=True):
    """What to start.

    Args:
        command: the program and its arguments; the program is looked for on ``PATH`` of the child's
            environment, or, when its name has a slash, from ``cwd``.
        cwd: where it runs; made when it is not there.
        env: variables beside those of the allow-list (P1).
        pass_env: names of this process' variables that are passed on beside the allow-list; none of
            ``RUNTIME_*``.
        log: a file for what it writes to standard error, rotated; None keeps only the tail. Only
            one process at a time may have it.
        max_record: bytes of the longest record that is read from it.
    """

    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = {}
    pass_env: tuple[str, ...] = ()
    log: Path | None = None
    max_record: int = 32 * 1024 * 1024


class ProcessGone(Exception):
    """The process ended, or does not take what is written to it. The text says how it ended, with
    the tail of its standard error.

    Args:
        text: for people.
        for_good: it could not be started, and cannot be before somebody changes something.
    """

    def __init__(self, text: str, *, for_good: bool = False) -> None:
        super().__init__(text)
        self.for_good = for_good


class ChildProcess:
    """A running child. Made by `Processes.run`.

    After the end of its block there is nothing more to read and nothing takes what is written, but
    how it ended can still be asked.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        started: Started,
        *,
        scanner: Scanner,
        log_threads: trio.CapacityLimiter,
    ) -> None:
        self._name = Path(spec.command[0]).name
        self._started = started
        self._scanner = scanner
        self._splitter = RecordSplitter(spec.max_record)
        self._stdin = RecordWriter(started.stdin)
        self._stdout = ReadEnd(started.stdout)
        self._stderr_pipe = ReadEnd(started.stderr)
        self._stderr = StandardError(self._stderr_pipe, spec.log, log_threads)
        self._status = None if started.status is None else ReadEnd(started.status)
        self._tending = trio.CancelScope(shield=True)
        self._logged = trio.Event()
        self._exited = trio.Event()
        self._exit_status: ExitStatus | None = None
        self._exited_at = 0.0
        self._ended_by_us = False
        self._family = Family(started.marker.__eq__, {started.pid: started.started})

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return self._started.pid

    @property
    def exit_status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._exit_status

    @property
    def ended_by_us(self) -> bool:
        """Whether the runtime sent it a signal while it ran. Then its end is no crash (P3)."""
        return self._ended_by_us

    @property
    def skipped(self) -> int:
        """Records that were skipped because they were too long."""
        return self._splitter.skipped

    async def read_record(self) -> bytes | None:
        """The next record without its newline; None when the process will say nothing more.

        Records end at a newline byte and nowhere else, or with the stream. One that is too long is
        skipped and counted. Nothing is read ahead beyond one pipe's content: a process that says
        more than is read has to wait.

        Waits for as long as the process is silent: the deadline is the caller's. Cancelled, nothing
        is lost. One task reads at a time.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if (record := self._splitter.next_record()) is not None:
                return record
            if data := await self._stdout.read():
                self._splitter.feed(data)
            else:
                return self._splitter.last_record()

    async def read_some(self) -> bytes:
        """What it has written, as it comes and whatever it is, at most 64 KiB; nothing at the end.

        For a process whose output is no records; not to be mixed with `read_record`. Waits and is
        cancelled as that.
        """
        return await self._stdout.read()

    async def write(self, record: bytes) -> None:
        """Write one record and a newline, as a whole or, when cancelled, not at all.

        Returns when the record before it is in the pipe, so it waits while the process does not
        read: the deadline is the caller's. Several tasks may write at a time.

        Raises:
            ProcessGone: it does not read any more.
        """
        try:
            await self._stdin.write(record)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Most often it is ending at this moment: then how it ended says more.
            with trio.move_on_after(DRAIN_GRACE):
                await self.wait()
            raise ProcessGone(self.describe_exit()) from None

    def close_stdin(self) -> None:
        """Let it read the end of its input after what was written."""
        self._stdin.close()

    async def wait(self) -> ExitStatus:
        """Wait until it has ended and all of its standard error was read.

        Standard error that a descendant keeps open is waited for for `DRAIN_GRACE`. Otherwise the
        deadline is the caller's.
        """
        await self._exited.wait()
        with trio.move_on_at(self._exited_at + DRAIN_GRACE):
            await self._stderr.drained.wait()
        return self._exit_status or ExitStatus()

    def stderr_tail(self) -> str:
        """The last lines that it wrote to standard error."""
        return self._stderr.tail()

    def describe_exit(self) -> str:
        """How it ended, for people: exit code or signal, and the tail of its standard error."""
        status = self._exit_status
        text = f"{self._name} {status or 'does not read its standard input any more'}"
        tail = self.stderr_tail()
        return f"{text}; it said:\n{tail}" if tail else text

    # What follows is for `Processes.run`.

    async def tend(self) -> None:
        """Watch its exit, write its input and read its standard error, until it is over.

        Shielded: whoever leaves the block still needs all three. `end` ends it.
        """
        with self._tending:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                nursery.start_soon(self._stdin.run)
                nursery.start_soon(self._log)

    async def _watch(self) -> None:
        self._exit_status = await wait_for_exit(self.pid, self._started.pidfd)
        self._exited_at = trio.current_time()
        self._stdin.abandon()
        self._stdout.give_up_at(self._exited_at + DRAIN_GRACE)
        self._exited.set()

    async def _log(self) -> None:
        await self._stderr.run()
        self._logged.set()

    async def executed(self) -> OSError | None:
        """Wait until it is known whether the program could be executed; the error, if not."""
        number = b"" if self._status is None else await self._status.read()
        return OSError(int(number), os.strerror(int(number))) if number else None

    async def end(self) -> bool:
        """End it and whatever it started (P5), and let go of everything.

        Shield it: it takes about 6 s at most, and more only when the kernel does not answer.

        Returns:
            Whether nothing is left of it.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._discard)
                await self._end_all()
                nursery.cancel_scope.cancel()
        finally:
            self._close()
        return self._exited.is_set()

    async def _end_all(self) -> None:
        processes = await self._scanner.scan()
        self._family.find(processes)  # remembered: orphans do not tell whose they were
        self._stdin.close()
        with trio.move_on_after(CLOSE_GRACE):
            await self._exited.wait()
        if processes:
            await self._end_family()
        else:
            await self._end_group()
        with trio.move_on_after(DRAIN_GRACE):
            await self._logged.wait()

    async def _discard(self) -> None:
        """Nobody listens any more, and a full pipe must not keep it from ending by itself."""
        with suppress(trio.BusyResourceError):  # or somebody does
            while await self._stdout.read():
                pass

    def _is_unreaped(self) -> bool:
        """Whether its process id and group are certainly its own."""
        return not self._exited.is_set() or (
            hasattr(os, "waitid") and self._exit_status != ExitStatus()
        )

    async def _end_family(self) -> None:
        self._ended_by_us |= not self._exited.is_set()
        group = self.pid if self._is_unreaped() else None
        ended = await end_family(self._family, self._scanner, group)
        if ended.left:
            log.error(
                "processes that do not end on SIGKILL: %s",
                ", ".join(str(seen.pid) for seen in ended.left),
            )
        if not ended.told and not self._exited.is_set():
            await self._end_group()  # it hides from us
        with trio.move_on_after(KILL_GRACE):
            await self._exited.wait()

    async def _end_group(self) -> None:
        """What can be done when nobody can be seen."""
        self._ended_by_us |= not self._exited.is_set()
        for number, grace in ((signal.SIGTERM, TERMINATE_GRACE), (signal.SIGKILL, KILL_GRACE)):
            if self._is_unreaped():
                with suppress(OSError):
                    os.killpg(self.pid, number)
            with trio.move_on_after(grace):
                await self._exited.wait()

    def _close(self) -> None:
        self._tending.cancel()
        self._stdout.close()
        self._stderr_pipe.close()
        if self._status is not None:
            self._status.close()
        if self._started.pidfd is not None:
            trio.lowlevel.notify_closing(self._started.pidfd)
            os.close(self._started.pidfd)
