"""The children of one runtime."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio

from runtime.processes.environment import child_environment
from runtime.processes.family import end_family
from runtime.processes.process import ChildProcess, ProcessGone, ProcessSpec
from runtime.processes.programs import CannotStart, cannot_start
from runtime.processes.register import Register
from runtime.processes.scan import Scanner
from runtime.processes.spawner import Launch, Spawner, Started, reap

EXECUTE_DEADLINE = 10.0
"""Seconds for each of two steps: until there is a process, and until it is the program (P2)."""

LOG_THREADS = 8
"""How many logs of standard error are written at a time."""

log = logging.getLogger("runtime.processes")


class Processes:
    """Starts processes, and knows which ones live. Made by `open_processes`.

    Args:
        register: writes down which ones run.
        spawner: starts them.
        scanner: sees them.
        reaped: how many of earlier runs were ended.
    """

    def __init__(
        self, register: Register, spawner: Spawner, scanner: Scanner, *, reaped: int
    ) -> None:
        self._register = register
        self._spawner = spawner
        self._scanner = scanner
        self._reaped = reaped
        self._children: set[ChildProcess] = set()
        self._log_threads = trio.CapacityLimiter(LOG_THREADS)
        self._open = True

    @property
    def live(self) -> int:
        """How many processes run now, without what they started themselves."""
        return sum(child.exit_status is None for child in self._children)

    @property
    def reaped(self) -> int:
        """How many processes of earlier runs were found and ended at the start."""
        return self._reaped

    def run(self, spec: ProcessSpec) -> AbstractAsyncContextManager[ChildProcess]:
        """Start a process that lives at most as long as the block.

        At the end of the block its standard input is closed, then SIGTERM and after 5 s SIGKILL go
        to its group and to whatever else it started (P5), also when it has ended by itself before.
        The way out is shielded, takes no longer than the processes need, and about 6 s at most.

        Cancelled while it starts, nothing is left of it.

        Raises:
            ProcessGone: it cannot be started; the text says why and what to do.
        """
        return self._run(spec)

    @asynccontextmanager
    async def _run(self, spec: ProcessSpec) -> AsyncIterator[ChildProcess]:
        started = await self._start(spec)
        # From here to `try` nothing waits: the child and its descriptors always have an owner.
        child = ChildProcess(spec, started, scanner=self._scanner, log_threads=self._log_threads)
        self._children.add(child)
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.tend)
            try:
                await self._executed(child, spec)
                yield child
            except BaseException as error:
                # Kept from the nursery, which would wrap it in a group.
                failure = error
            # The nursery would replace what the block raised by a cancellation from outside.
            nursery.cancel_scope.shield = True
            with trio.CancelScope(shield=True):
                await self._end(child, started)
        if failure is not None:
            raise failure

    async def _start(self, spec: ProcessSpec) -> Started:
        if not self._open:
            raise ProcessGone(f"{spec.command[0]} is not started: the runtime is ending")
        marker = self._register.new_marker()
        env = child_environment(os.environ, spec.pass_env, spec.env, marker)
        try:
            with trio.move_on_after(EXECUTE_DEADLINE):
                return await self._spawner.launch(Launch(spec.command, spec.cwd, env, marker))
        except CannotStart as error:
            raise ProcessGone(str(error), for_good=error.for_good) from error
        raise ProcessGone(str(_too_late(spec)))

    async def _executed(self, child: ChildProcess, spec: ProcessSpec) -> None:
        error: OSError | None = None
        with trio.move_on_after(EXECUTE_DEADLINE) as patience:
            error = await child.executed()
        if patience.cancelled_caught:
            raise ProcessGone(str(_too_late(spec)))
        if error is not None:
            reason = cannot_start(spec.command[0], error)
            raise ProcessGone(str(reason), for_good=reason.for_good)

    async def _end(self, child: ChildProcess, started: Started) -> None:
        try:
            if await child.end() and reap(started.pid):
                await trio.to_thread.run_sync(self._register.remove, started.marker)
            else:
                log.error("process %d does not end", started.pid)
                self._spawner.reap_later(started.pid)
        finally:
            self._children.discard(child)

    def close(self) -> None:
        """Start nothing more."""
        self._open = False


def _too_late(spec: ProcessSpec) -> CannotStart:
    return cannot_start(spec.command[0], OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))


@asynccontextmanager
async def open_processes(folder: Path | None) -> AsyncIterator[Processes]:
    """Make ready to start processes; ends those that an earlier run left behind.

    That takes about 6 s when they do not end on SIGTERM, and milliseconds otherwise. All blocks of
    `Processes.run` have to end before this one. Without a folder there is no thread and nothing to
    wait for before the first child.

    Args:
        folder: where it is written down which processes run, so that a later run can find them.
            The caller holds the lock of the data directory that it belongs to. None: nothing is
            written, and nothing is found later.

    Raises:
        OSError: the folder cannot be used.
    """
    scanner = Scanner()
    reaped = 0
    if folder is None:
        register = Register(None)
    else:
        register = await trio.to_thread.run_sync(Register, folder)
        reaped = await _end_earlier(register, scanner)
    spawner = Spawner(register)
    processes = Processes(register, spawner, scanner, reaped=reaped)
    try:
        yield processes
    finally:
        processes.close()
        await spawner.stop()


async def _end_earlier(register: Register, scanner: Scanner) -> int:
    family = await trio.to_thread.run_sync(register.earlier)
    ended = await end_family(family, scanner)
    if ended.told:
        log.warning("processes of an earlier run, ended at the start: %d", ended.told)
    if ended.left:
        log.error("processes of an earlier run that do not end on SIGKILL: %d", len(ended.left))
    else:
        await trio.to_thread.run_sync(register.forget_earlier)
    return ended.told
