"""Which processes belong to a child, and how they are ended (P5).

A process belongs to the family when it

- carries the marker in its environment: it inherits it through everything but a program that
  empties its environment,
- is in the group or in the session of the child, or
- descends from one that belongs to it,

now or when somebody looked before. Of groups and sessions one can be sure only while their leader
is there and is the process that was started, which id and start time prove: otherwise the number
may have been used again, by somebody else's group. The leader that this runtime started stays, as a
zombie at least, until its family was ended. The leader of an earlier run may be gone; then the
marker has to do, and a process that cannot be proven to belong to it is left alone.

Never part of it: this process and its ancestors. A runtime may have been started by a process of an
earlier one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from io import FileIO

import msgspec
import trio

from runtime.processes.scan import Scanner, Seen, Snapshot, see

TERMINATE_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL (P5)."""

KILL_GRACE = 1.0
"""Seconds that the kernel gets to end what got SIGKILL; longer only takes a process that hangs in a
system call, and nothing can be done about that."""

RESCAN = 0.05
"""Seconds between two looks where the end of a process cannot be waited for (no pidfd_open)."""


HELD = 256
"""How many processes are waited for at a time; the others are looked for again afterwards."""


class Family:
    """The processes that belong together.

    Args:
        marked: whether a marker is one of theirs.
        leaders: start times of the leaders of their groups, by process id.
    """

    def __init__(self, marked: Callable[[str], bool], leaders: Mapping[int, int]) -> None:
        self._marked = marked
        self._leaders = leaders
        self._known: set[tuple[int, int]] = set()

    def find(self, processes: Snapshot) -> list[Seen]:
        """Those who live, and remember them."""
        spared = _ancestry(processes)
        led = {
            pid
            for pid, started in self._leaders.items()
            if pid in processes and processes[pid].started == started
        }
        found = {
            pid
            for pid, seen in processes.items()
            if pid not in spared
            and (
                (pid, seen.started) in self._known
                or not led.isdisjoint((pid, seen.group, seen.session))
                or (seen.marker is not None and self._marked(seen.marker))
            )
        }
        members = [processes[pid] for pid in _with_descendants(found, processes, spared)]
        self._known.update((seen.pid, seen.started) for seen in members)
        return [seen for seen in members if not seen.dead]


def _ancestry(processes: Snapshot) -> set[int]:
    spared = {0, 1, os.getpid()}
    pid = os.getppid()
    while pid not in spared:
        spared.add(pid)
        seen = processes.get(pid) or see(pid)
        pid = seen.parent if seen else 0
    return spared


def _with_descendants(found: set[int], processes: Snapshot, spared: set[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, seen in processes.items():
        children.setdefault(seen.parent, []).append(pid)
    todo = list(found)
    while todo:
        born = children.get(todo.pop(), ())
        new = [pid for pid in born if pid not in found and pid not in spared]
        found.update(new)
        todo += new
    return found


def _hold(seen: Seen) -> FileIO | None:
    """A descriptor of exactly this process; None when it is gone.

    The id is compared after the descriptor was opened: from then on it names this process, whoever
    gets its number.
    """
    try:
        pidfd = FileIO(os.pidfd_open(seen.pid), "r")
    except OSError:
        return None
    now = see(seen.pid)
    if now is None or now.started != seen.started:
        pidfd.close()
        return None
    return pidfd


def signal_one(seen: Seen, number: signal.Signals) -> FileIO | None:
    """Send a signal to exactly this process.

    Returns:
        A descriptor that can be read when the process has ended; None when it is gone or when
        there are no such descriptors.
    """
    if not hasattr(os, "pidfd_open"):
        now = see(seen.pid)
        if now is not None and now.started == seen.started:
            with suppress(OSError):
                os.kill(seen.pid, number)
        return None
    pidfd = _hold(seen)
    if pidfd is not None:
        with suppress(OSError):
            signal.pidfd_send_signal(pidfd.fileno(), number)
    return pidfd


class Ended(msgspec.Struct, frozen=True):
    """How it went.

    Args:
        told: how many processes were sent a signal.
        left: those that are still there.
    """

    told: int
    left: tuple[Seen, ...]


async def end_family(family: Family, scanner: Scanner, group: int | None = None) -> Ended:
    """Send SIGTERM to everybody, wait up to `TERMINATE_GRACE`, then SIGKILL to whoever is left.

    Takes at most about `TERMINATE_GRACE` + `KILL_GRACE`, and returns as soon as nobody is left.

    Args:
        family: who is ended.
        scanner: finds them.
        group: a process group whose leader was not reaped, hence which cannot be anybody else's: it
            is told first and at once, so that nobody forks away in between.
    """
    told: set[tuple[int, int]] = set()
    left: Iterable[Seen] = ()
    for number, grace in ((signal.SIGTERM, TERMINATE_GRACE), (signal.SIGKILL, KILL_GRACE)):
        left = await _tell(family, scanner, group, number, trio.current_time() + grace, told)
        if not left:
            break
    return Ended(told=len(told), left=tuple(left))


async def _tell(
    family: Family,
    scanner: Scanner,
    group: int | None,
    number: signal.Signals,
    deadline: float,
    told: set[tuple[int, int]],
) -> list[Seen]:
    """Send a signal once to each, those included who appear meanwhile, until nobody is left."""
    members = family.find(await scanner.scan())
    got_it: set[tuple[int, int]] = set()
    if group is not None and any(seen.group == group for seen in members):
        with suppress(OSError):
            os.killpg(group, number)
            got_it.update((seen.pid, seen.started) for seen in members if seen.group == group)
    told |= got_it
    while members:
        with trio.move_on_at(deadline) as patience:
            await _tell_and_wait(members, number, got_it)
        told |= got_it
        members = family.find(await scanner.scan())
        if patience.cancelled_caught:
            break
    return members


async def _tell_and_wait(
    members: list[Seen], number: signal.Signals, got_it: set[tuple[int, int]]
) -> None:
    held: list[FileIO] = []
    try:
        for seen in members:
            name = (seen.pid, seen.started)
            pidfd = signal_one(seen, number) if name not in got_it else _hold_if_possible(seen)
            got_it.add(name)
            if pidfd is not None and len(held) < HELD:
                held.append(pidfd)
            elif pidfd is not None:
                pidfd.close()
        if not held:
            await trio.sleep(RESCAN)
        for pidfd in held:
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        for pidfd in held:
            pidfd.close()


def _hold_if_possible(seen: Seen) -> FileIO | None:
    return _hold(seen) if hasattr(os, "pidfd_open") else None
