"""How a child ended, learnt without reaping it.

A child that has ended stays a zombie until the end of its `Processes.run` block. For so long its
process id, which is its group's and its session's number too, cannot be given to anybody else, and
signals to the group reach nobody but those whom the child started.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import msgspec
import trio


class ExitStatus(msgspec.Struct, frozen=True):
    """How a process ended: an exit code, or the signal that ended it.

    Neither, when somebody else in this process waits for all children and took the answer.
    """

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(self.signal).name}"
            return f"was ended by signal {self.signal}"
        return "ended" if self.code is None else f"ended with exit code {self.code}"


async def wait_for_exit(pid: int, pidfd: int | None) -> ExitStatus:
    """Wait until a child has ended.

    Args:
        pid: its id.
        pidfd: its descriptor; without one, a thread waits.
    """
    if pidfd is not None:
        await trio.lowlevel.wait_readable(pidfd)
        return _peek(pid)
    wait = _peek if hasattr(os, "waitid") else _reap_with_group
    return await trio.to_thread.run_sync(
        wait, pid, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
    )


def _peek(pid: int) -> ExitStatus:
    try:
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return ExitStatus()
    if result is None:
        return ExitStatus()
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(signal=result.si_status)


def _reap_with_group(pid: int) -> ExitStatus:
    """For systems that cannot look without reaping: what is left of the group ends right now, for
    afterwards its number may be somebody else's.
    """
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return ExitStatus()
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    return ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)
