"""What a child writes to standard error: always read, kept in a file of bounded size (P1).

Reading never waits for the disk. What is not yet in the file waits in memory, and no more of it
than the files together hold: what is dropped beyond that, rotation would have deleted anyway.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVarTuple

import trio

from runtime.processes.folders import make_private
from runtime.processes.pipes import ReadEnd

LOG_BYTES = 1024 * 1024
"""Bytes of one log file. When it is full it gets the ending ``.1``, in place of an older one."""

LOG_FILES = 2
"""The file that is written and the one before."""

TAIL_BYTES = 4 * 1024
"""Bytes at the end that are kept in memory, for messages about errors."""

Arguments = TypeVarTuple("Arguments")

log = logging.getLogger("runtime.processes")


class RotatingFile:
    """A log file and the one before. Not for the loop: every method works on the disk.

    The file belongs to one run of one child at a time; it is opened when there is something to
    write, so that a child with nothing to say leaves no file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append data.

        Raises:
            OSError: it could not be written; the next call tries again.
        """
        rest = memoryview(data)
        while rest:
            descriptor = self._open()
            if self._size >= LOG_BYTES:
                self.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                continue
            written = os.write(descriptor, rest[: LOG_BYTES - self._size])
            self._size += written
            rest = rest[written:]

    def close(self) -> None:
        """Close the file; writing opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            make_private(self._path.parent)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor


class StandardError:
    """Reads standard error until nobody can write to it any more.

    Args:
        pipe: where it comes from.
        path: the log file, or None to keep only the tail.
        limiter: how many threads may write logs at a time.
    """

    def __init__(self, pipe: ReadEnd, path: Path | None, limiter: trio.CapacityLimiter) -> None:
        self._pipe = pipe
        self._file = None if path is None else RotatingFile(path)
        self._limiter = limiter
        self._tail = bytearray()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._news = trio.Event()
        self._complained = False
        self.drained = trio.Event()

    async def run(self) -> None:
        """Read to the end, and return when everything is in the file."""
        async with trio.open_nursery() as nursery:
            if self._file is not None:
                nursery.start_soon(self._keep, self._file)
            while data := await self._pipe.read():
                self._take(data)
            self.drained.set()
            self._news.set()

    def tail(self) -> str:
        """The last lines; the first of them may lack its beginning."""
        return self._tail.decode("utf-8", "replace").strip()

    def _take(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        if self._file is None:
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        while self._pending_bytes > LOG_BYTES * LOG_FILES:
            self._pending_bytes -= len(self._pending.popleft())
        self._news.set()

    async def _keep(self, file: RotatingFile) -> None:
        while self._pending or not self.drained.is_set():
            await self._news.wait()
            if not self.drained.is_set():
                self._news = trio.Event()
            data = b"".join(self._pending)
            self._pending.clear()
            self._pending_bytes = 0
            await self._in_thread(file.write, data)
        await self._in_thread(file.close)

    async def _in_thread(self, function: Callable[[*Arguments], None], *args: *Arguments) -> None:
        # A hung disk may keep the thread for good; whoever waits for the end has a deadline.
        try:
            await trio.to_thread.run_sync(
                function, *args, abandon_on_cancel=True, limiter=self._limiter
            )
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("standard error of a process cannot be kept: %s", error)
