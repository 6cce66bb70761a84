"""Standard input and output as pipes of lines, for a protocol that has them for itself.

Both are read and written in threads: that works for pipes, sockets, files and terminals alike, and
leaves the mode of a terminal that others use as well (``O_NONBLOCK`` belongs to all of them) alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio

READ_SIZE = 64 * 1024

HIGH_WATER = 1024 * 1024
"""Unwritten bytes at which senders wait."""


class LineTooLong(Exception):
    """A line was longer than allowed; all of it was skipped."""


@contextmanager
def taken() -> Iterator[tuple[int, int]]:
    """Have standard input and output to oneself; as descriptors, until the end of the block.

    Meanwhile whatever else this process or one of its children prints goes to standard error, and
    nobody else can read the input.

    Raises:
        OSError: one of them is closed.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        yield source, sink
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(source, 0)
        os.dup2(sink, 1)
        os.close(source)
        os.close(sink)


class LineReader:
    """Lines of a descriptor, ended by a line feed and by nothing else.

    Args:
        descriptor: where they come from.
        longest: bytes that a line may have.
    """

    def __init__(self, descriptor: int, longest: int) -> None:
        self._descriptor = descriptor
        self._longest = longest
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False
        self._ended = False
        self._one_thread = trio.CapacityLimiter(1)

    async def next(self) -> bytes | None:
        """The next line without its end, None after the last one.

        Raises:
            LineTooLong: in place of a line that is.

        To be called by one task. When cancelled it leaves its thread behind, which may take input
        that then is lost: only for the end of a program.
        """
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0 or (self._ended and self._buffer):
                return self._take(end if end >= 0 else len(self._buffer))
            if self._ended:
                if self._skipping:
                    self._skipping = False
                    raise LineTooLong
                return None
            if len(self._buffer) > self._longest:
                self._skipping = True
                self._buffer.clear()
            self._searched = len(self._buffer)
            data = await trio.to_thread.run_sync(
                _read, self._descriptor, abandon_on_cancel=True, limiter=self._one_thread
            )
            self._ended = not data
            self._buffer += data

    def _take(self, end: int) -> bytes:
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        if self._skipping or len(line) > self._longest:
            self._skipping = False
            raise LineTooLong
        return line


class LineWriter:
    """Writes lines to a descriptor, in one task; senders wait while too much is unwritten."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending: deque[bytes] = deque()
        self._bytes = 0
        self._broken = False
        self._changed = trio.Event()

    async def send(self, line: bytes) -> None:
        """Queue a line, given without its end. Lines keep their order.

        Once nobody reads any more, lines are dropped in silence: `write_forever` says so.
        """
        while self._bytes > HIGH_WATER and not self._broken:
            await self._changed.wait()
        if not self._broken:
            self._pending.append(line)
            self._bytes += len(line) + 1
            self._notify()

    async def write_forever(self) -> None:
        """Write what is queued until cancelled.

        Raises:
            BrokenPipeError: nobody reads any more.

        When cancelled in mid-write it leaves its thread behind: only for the end of a program.
        """
        while True:
            while not self._pending:
                await self._changed.wait()
            data = b"".join(line + b"\n" for line in self._pending)
            self._pending.clear()
            try:
                await trio.to_thread.run_sync(
                    _write, self._descriptor, data, abandon_on_cancel=True
                )
            except OSError as error:
                self._broken = True
                self._pending.clear()
                raise BrokenPipeError(*error.args) from None
            finally:
                self._bytes -= len(data)
                self._notify()

    async def flush(self) -> None:
        """Wait until all that was sent is written, or nobody reads it."""
        while self._bytes and not self._broken:
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, READ_SIZE)
        except BlockingIOError:
            select.select([descriptor], [], [])
        except OSError:  # a terminal that is gone, a socket that was reset
            return b""


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
