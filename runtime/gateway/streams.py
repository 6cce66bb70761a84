"""The stream between a WebSocket and its socket."""

from __future__ import annotations

import struct

import trio

from runtime.gateway.frames import Frames, TooManyFragments

HIGH_WATER = 64 * 1024
"""Bytes that may wait for the socket before writers have to wait too."""

LINGER = 1.0
"""Seconds to let the peer read what was sent last before the socket goes."""

_TEXT = 0x81
_CLOSE = b"\x88"


class BufferedStream(trio.abc.Stream):
    """A transport that one task alone writes to, and that gives back what was read too early.

    ``send_all`` puts its bytes into a bounded buffer as a whole or, when cancelled, not at all; the
    task in `write_forever` sends what has gathered. So a cancelled sender never leaves half a
    WebSocket frame on the wire, and many small frames cost one system call. What comes in goes
    through `Frames`.

    Args:
        transport: the stream underneath.
        head: bytes to give to the first reader, before anything else.
        early: bytes that came after ``head``; given out after `release`, before the transport's.
    """

    def __init__(self, transport: trio.abc.Stream, head: bytes, early: bytes) -> None:
        self._transport = transport
        self._head = head
        self._early = early
        self._released = trio.Event()
        self._frames = Frames()
        self._refused = False
        self._pending = bytearray()
        self._changed: trio.Event | None = None
        self._closing = False
        self._closed = False
        self._broken = False

    @property
    def refused(self) -> bool:
        """Whether the peer sent what nobody should have to put together."""
        return self._refused

    def release(self) -> None:
        """Let the bytes after the head through: the handshake was answered."""
        self._released.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes: the head, what came early, then what the transport has.

        Raises:
            TooManyFragments: see `Frames`; also `refused` says so from then on.
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: the stream was closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("the connection was closed here")
        if self._head:
            await trio.lowlevel.checkpoint()
            data, self._head = self._head, b""
            return data
        await self._released.wait()
        while True:
            data = await self._received(max_bytes)
            try:
                ready = self._frames.feed(data)
            except TooManyFragments:
                self._refused = True
                raise
            if ready or not data:
                return ready

    async def _received(self, max_bytes: int | None) -> bytes:
        if self._early:
            await trio.lowlevel.checkpoint()
            data, self._early = self._early, b""
            return data
        return bytes(await self._transport.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes; waits while more than `HIGH_WATER` of them are unsent.

        Raises:
            trio.BrokenResourceError: the peer is gone.
            trio.ClosedResourceError: the stream was closed.
        """
        await trio.lowlevel.checkpoint()
        await self._wait_until_below(HIGH_WATER)
        self._closing = self._closing or data[:1] == _CLOSE
        self._pending += data
        self._notify()

    async def send_text(self, text: bytes) -> None:
        """Queue a text message of the server's as a frame of its own; waits as `send_all` does.

        While there is room it does not wait at all, not even for a checkpoint: to send a message
        to many clients costs each of them little more than the copy.

        Args:
            text: UTF-8.

        Raises:
            trio.BrokenResourceError: the peer is gone.
            trio.ClosedResourceError: the stream was closed, or a close frame was sent, after which
                nothing may follow (RFC 6455, section 5.5.1).
        """
        await self._wait_until_below(HIGH_WATER)
        if self._closing:
            raise trio.ClosedResourceError("a close frame was sent")
        self._pending += _head(len(text))
        self._pending += text
        self._notify()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room in the buffer."""
        await self._wait_until_below(HIGH_WATER)

    async def write_forever(self) -> None:
        """Send what is queued, until cancelled or the peer is gone."""
        try:
            while True:
                while not self._pending:
                    await self._change()
                data = bytes(self._pending)
                await self._transport.send_all(data)
                del self._pending[: len(data)]
                self._notify()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._broken = True
            self._notify()

    async def aclose(self) -> None:
        """Send what is queued and close as `close_gently` does; cancelled, close at once."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            with trio.move_on_after(LINGER):
                while self._pending and not self._broken:
                    await self._change()
            await close_gently(self._transport)
        finally:
            self._broken = True
            self._notify()

    async def _wait_until_below(self, size: int) -> None:
        while True:
            if self._closed:
                raise trio.ClosedResourceError("the connection was closed here")
            if self._broken:
                raise trio.BrokenResourceError("the peer is gone")
            if len(self._pending) < size:
                return
            await self._change()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _head(size: int) -> bytes:
    """What comes before a text of so many bytes (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((_TEXT, size))
    if size < 1 << 16:
        return struct.pack("!BBH", _TEXT, 126, size)
    return struct.pack("!BBQ", _TEXT, 127, size)


async def close_gently(transport: trio.abc.Stream) -> None:
    """Say that nothing follows, give the peer `LINGER` seconds to read, and close.

    Closed at once, a socket with unread bytes of the peer is reset, and the peer may never see what
    was sent last (RFC 9112, section 9.6). Cancelled, it closes at once.
    """
    try:
        with trio.move_on_after(LINGER):
            if isinstance(transport, trio.abc.HalfCloseableStream):
                await transport.send_eof()
                while await transport.receive_some(HIGH_WATER):
                    pass
            else:
                await transport.aclose()
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
        pass
    finally:
        await trio.aclose_forcefully(transport)
