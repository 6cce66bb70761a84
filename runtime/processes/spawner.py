"""The one thread that starts all children.

The kernel sends the signal of PR_SET_PDEATHSIG when the *thread* that started a child ends
(prctl(2)), and Trio's worker threads end when they had nothing to do for a while. Hence this thread
stays from the first child until no more may run. Starting one takes milliseconds, none of them the
loop's.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from runtime.processes import launch
from runtime.processes.programs import CannotStart, cannot_start, enter_folder, find_program
from runtime.processes.register import Register
from runtime.processes.scan import see

STOP_DEADLINE = 5.0
"""Seconds that the end waits for the thread. It is busy for longer only when a disk hangs."""


class Launch(msgspec.Struct, frozen=True):
    """What to start.

    Args:
        command: the program and its arguments.
        cwd: where it runs.
        env: its environment.
        marker: the value of the variable that marks it.
    """

    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    marker: str


class Started(msgspec.Struct, frozen=True):
    """A child that was started, and the descriptors that belong to it.

    Args:
        pid: its process id, and its group's.
        started: its start time, see `runtime.processes.scan.Seen`; 0 without ``/proc``.
        stdin: to write to.
        stdout: to read from.
        stderr: to read from.
        status: says whether the program could be executed, see `runtime.processes.launch`; None
            when that is known already.
        pidfd: can be read when it has ended; None where there are no such descriptors.
        marker: the value of the variable that marks it.
    """

    pid: int
    started: int
    stdin: int
    stdout: int
    stderr: int
    status: int | None
    pidfd: int | None
    marker: str


class _Job:
    """A child to start, and the task that waits for it."""

    def __init__(self, order: Launch, task: trio.lowlevel.Task) -> None:
        self.order = order
        self.task = task
        self._outcome: Started | CannotStart | None = None
        self._lock = threading.Lock()
        self._taken = False

    def take(self) -> bool:
        """Decide once who has the child: the thread when it is done, or the task that gave up.

        Returns:
            Whether the caller was first.
        """
        with self._lock:
            first, self._taken = not self._taken, True
            return first

    def run(self, start: Callable[[Launch], Started]) -> Started | None:
        """Start it, in the thread."""
        try:
            self._outcome = started = start(self.order)
        except (OSError, ValueError) as error:
            self._outcome = cannot_start(self.order.command[0], error)
            return None
        except CannotStart as error:
            self._outcome = error
            return None
        return started

    def started(self) -> Started:
        """The child, for the task."""
        if not isinstance(self._outcome, Started):
            ended = "the thread that starts processes has ended"
            raise self._outcome or CannotStart(ended, for_good=False)
        return self._outcome


class Spawner:
    """Starts children in a thread of its own.

    Args:
        register: told of each child as soon as it is there.
    """

    def __init__(self, register: Register) -> None:
        self._register = register
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._stopped = trio.Event()
        self._unreaped: set[int] = set()
        self._token = trio.lowlevel.current_trio_token()
        # A daemon: a disk that hangs must not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self._work, name="process-spawner", daemon=True)

    async def stop(self) -> None:
        """Let the thread end. All children must have ended: the kernel would end them now."""
        if self._thread.ident is None:
            return
        self._jobs.put(None)
        with trio.move_on_after(STOP_DEADLINE, shield=True):
            await self._stopped.wait()
            # Its last act was to say so.
            self._thread.join(STOP_DEADLINE)

    async def launch(self, order: Launch) -> Started:
        """Start a child.

        Cancelled, there is no child: one that was started meanwhile is ended by the thread.

        Raises:
            CannotStart: it could not be started.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._thread.ident is None:  # who starts no child has no thread
            self._thread.start()
        job = _Job(order, trio.lowlevel.current_task())
        self._jobs.put(job)

        def abort(_: object) -> trio.lowlevel.Abort:
            return trio.lowlevel.Abort.SUCCEEDED if job.take() else trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)
        return job.started()

    def reap_later(self, pid: int) -> None:
        """A child did not even end on SIGKILL: its exit status is read when there is occasion."""
        self._unreaped.add(pid)

    def _work(self) -> None:
        while self._do(self._jobs.get()):
            pass  # nothing here keeps a job, with its task and environment, until the next one
        self._reap()
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._stopped.set)

    def _do(self, job: _Job | None) -> bool:
        """Start a child; False when there is to be none any more."""
        if job is None:
            return False
        self._reap()
        started = job.run(self._start)
        if job.take():
            self._token.run_sync_soon(trio.lowlevel.reschedule, job.task)
        elif started is not None:
            self._undo(started)
        return True

    def _reap(self) -> None:
        for pid in tuple(self._unreaped):
            if reap(pid):
                self._unreaped.discard(pid)

    def _start(self, order: Launch) -> Started:
        name = order.command[0]
        enter_folder(name, order.cwd)
        program = find_program(name, order.cwd, order.env)
        pipes: list[int] = []
        try:
            for _ in range(4):
                pipes += os.pipe()
            stdin, to_stdin, from_stdout, stdout, from_stderr, stderr, from_status, status = pipes
            pid, is_launched = _execute(program, order, stdin, stdout, stderr, status)
        except BaseException:
            for descriptor in pipes:
                os.close(descriptor)
            raise
        for descriptor in (stdin, stdout, stderr, status):
            os.close(descriptor)
        if not is_launched:
            os.close(from_status)
        seen = see(pid)
        started = Started(
            pid=pid,
            started=seen.started if seen else 0,
            stdin=to_stdin,
            stdout=from_stdout,
            stderr=from_stderr,
            status=from_status if is_launched else None,
            pidfd=_open_pidfd(pid),
            marker=order.marker,
        )
        self._register.add(pid, started.started, order.marker)
        return started

    def _undo(self, started: Started) -> None:
        with suppress(OSError):
            os.killpg(started.pid, signal.SIGKILL)
        close_all(started)
        with suppress(ChildProcessError):
            os.waitpid(started.pid, 0)
        self._register.remove(started.marker)


def _execute(
    program: str, order: Launch, stdin: int, stdout: int, stderr: int, status: int
) -> tuple[int, bool]:
    """Start the program.

    Returns:
        Its process id, and whether `runtime.processes.launch` stands before it.
    """
    command = list(order.command)
    launched = _can_launch()
    if launched:
        # -I: nothing in the environment, which is the child's, changes what this Python does.
        command = [
            *(sys.executable, "-I", "-S", "-B", launch.__file__),
            *(str(status), str(os.getpid()), order.env.get("LC_CTYPE", ""), program, *command),
        ]
        program = sys.executable
    process = subprocess.Popen(
        command,
        executable=program,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=order.cwd,
        env=order.env,
        close_fds=True,
        pass_fds=(status,) if launched else (),
        start_new_session=True,
    )
    # Its end is waited for elsewhere; `Popen` would complain, and wait for it as well.
    process.returncode = 0
    return process.pid, launched


def _can_launch() -> bool:
    """Whether there is something to gain from `runtime.processes.launch`, and a Python to run it.

    Inside of another program `sys.executable` may be that program, and the file may be in an
    archive. Then a child that outlives a killed runtime is found at the next start only.
    """
    return (
        sys.platform == "linux"
        and Path(sys.executable or "").name.startswith(("python", "pypy"))
        and Path(launch.__file__).is_file()
    )


def _open_pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def close_all(started: Started) -> None:
    """Close the descriptors of a child that nobody has taken over."""
    owned = (started.stdin, started.stdout, started.stderr, started.status, started.pidfd)
    for descriptor in owned:
        if descriptor is not None:
            os.close(descriptor)


def reap(pid: int) -> bool:
    """Read the exit status of a child that has ended, after which its id may be used again.

    Returns:
        Whether nothing is left of it.
    """
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # somebody in this process waits for all children
        return True
