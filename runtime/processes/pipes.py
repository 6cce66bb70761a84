"""The ends of pipes to a child: one that gives up waiting, one that writes whole records.

Both own their descriptor.
"""

from __future__ import annotations

import math
import os

import trio

CHUNK = 64 * 1024
"""Bytes that are read at a time: what a pipe holds on Linux (pipe(7))."""


class ReadEnd:
    """The end of a pipe that is read.

    Descendants of a child keep its pipes open after it ended, hence the end of the stream may never
    come: see `give_up_at`.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._closed = False
        self._deadline = math.inf
        self._waiting: trio.CancelScope | None = None

    async def read(self) -> bytes:
        """What there is, at most `CHUNK` bytes; nothing at the end.

        Waits for as long as the writer is silent. Cancelled, it has taken nothing out of the pipe.

        Raises:
            trio.BusyResourceError: another task is reading.
        """
        await trio.lowlevel.checkpoint()
        while not self._closed:
            try:
                return os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                pass
            with trio.CancelScope(deadline=self._deadline) as self._waiting:
                try:
                    await trio.lowlevel.wait_readable(self._descriptor)
                except trio.ClosedResourceError:
                    return b""
            if self._waiting.cancelled_caught:
                return b""
        return b""

    def give_up_at(self, deadline: float) -> None:
        """From then on (Trio's clock, seconds) silence is the end. What is there is still read."""
        self._deadline = deadline
        if self._waiting is not None:
            self._waiting.deadline = deadline

    def close(self) -> None:
        """Close it; whoever waits for something to read is told that this was the end."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)


class RecordWriter:
    """The end of a pipe that is written, by one task that takes one record at a time.

    A writer that is cancelled in the middle of a record would leave half of it in the pipe, and the
    next record would be glued to it. So callers hand over whole records and only this task writes.
    """

    def __init__(self, descriptor: int) -> None:
        self._stream = trio.lowlevel.FdStream(descriptor)
        self._running = trio.CancelScope()
        # No buffer: a record is handed over when the one before is in the pipe.
        self._sender, self._receiver = trio.open_memory_channel[bytes](0)

    async def run(self) -> None:
        """Write what is handed over, until `close` was called or nobody reads any more."""
        with self._running:
            async with self._stream, self._receiver:
                async for record in self._receiver:
                    try:
                        await self._stream.send_all(record)
                    except trio.BrokenResourceError:
                        return

    async def write(self, record: bytes) -> None:
        """Hand over a record. Cancelled while it waits, nothing of it is written.

        Raises:
            trio.BrokenResourceError: nobody reads any more.
            trio.ClosedResourceError: `close` was called.
        """
        await self._sender.send(record + b"\n")

    def close(self) -> None:
        """Take no more records; `run` writes what it has and then closes the pipe."""
        self._sender.close()

    def abandon(self) -> None:
        """Write nothing more at all: descendants may keep the other end open, nobody reads it."""
        self._sender.close()
        self._running.cancel()
