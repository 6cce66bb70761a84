"""Which processes there are, from ``/proc`` (proc(5)). Without one, there is nothing to see.

Only processes of this user are listed: others may not be ended, and their environment is their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import trio

from runtime.processes.environment import MARKER

PROC = Path("/proc")

SCAN_DEADLINE = 1.0
"""Seconds that a look at all processes may take; reading of a process that hangs in the kernel may
hang as well. Without a result, only the process group is known."""


class Seen(msgspec.Struct, frozen=True):
    """A process, as it was when it was looked at.

    Args:
        started: its start time in clock ticks since boot. The kernel gives an id to another process
            only after the one before is gone, so id and start time together name one process for
            as long as the machine runs.
        dead: nothing is left of it but its exit status, which its parent did not read yet.
        marker: the value of `MARKER` in the environment it was started with.
    """

    pid: int
    parent: int
    group: int
    session: int
    started: int
    dead: bool
    marker: str | None = None


Snapshot = Mapping[int, Seen]
"""Processes by id."""


def see(pid: int) -> Seen | None:
    """Look at one process, without its environment; None if it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The name of the program stands in brackets and may contain anything, brackets too.
    state, parent, group, session, *rest = text[text.rindex(")") + 2 :].split()
    return Seen(pid, int(parent), int(group), int(session), int(rest[15]), state in "ZX")


def take_snapshot() -> dict[int, Seen]:
    """Look at all processes of this user; empty where there is no ``/proc``."""
    try:
        pids = [int(name) for name in os.listdir(PROC) if name.isdecimal()]  # noqa: PTH208
    except OSError:
        return {}
    return {pid: seen for pid in pids if (seen := _see_with_marker(pid)) is not None}


def _see_with_marker(pid: int) -> Seen | None:
    folder = PROC / str(pid)
    try:
        if folder.stat().st_uid != os.geteuid():
            return None
        environ = (folder / "environ").read_bytes()
    except OSError:  # gone, or one that hides its memory
        environ = b""
    seen = see(pid)
    if seen is None:
        return None
    name = f"{MARKER}=".encode()
    for variable in environ.split(b"\0"):
        if variable.startswith(name):
            return msgspec.structs.replace(
                seen, marker=variable[len(name) :].decode("utf-8", "replace")
            )
    return seen


def boot_id() -> str:
    """What names the time since the last boot; start times of others mean nothing."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text("utf-8").strip()
    except OSError:
        return ""


class _Look:
    """One look that several wait for."""

    result: dict[int, Seen] | None = None


class Scanner:
    """Looks at all processes in a thread, one look at a time.

    When many processes end together, those who ask while a look is being taken share the next one:
    theirs has to begin after they asked.
    """

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._next: _Look | None = None
        self._limiter = trio.CapacityLimiter(1)

    async def scan(self) -> Snapshot:
        """Look at all processes, within `SCAN_DEADLINE`; empty when that did not work."""
        if self._next is None:
            self._next = _Look()
        look = self._next
        with trio.move_on_after(SCAN_DEADLINE):
            async with self._turn:
                if look.result is None:
                    if self._next is look:
                        self._next = None
                    look.result = await trio.to_thread.run_sync(
                        take_snapshot, abandon_on_cancel=True, limiter=self._limiter
                    )
        return look.result or {}
