"""One connection of a bridge to a runtime: frames in their order, and a few calls of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec
import trio
import trio_websocket

from runtime.cli import bridge_frames as frames
from runtime.cli.bridge_frames import NOTHING, Frame
from runtime.cli.client import CALL_TIMEOUT, HEARTBEAT, CallFailed, CallTimedOut, ConnectionLost
from runtime.endpoint import Endpoint

ResultT = TypeVar("ResultT")

TOO_BIG = 1009
"""The close code for a message that is longer than the other end takes (RFC 6455, 7.4.1)."""

_UNWRITTEN_MESSAGES = 64


class Link:
    """An open connection."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, endpoint: Endpoint) -> None:
        self.local_key = endpoint.local_key
        self._socket = socket
        self._url = endpoint.url
        self._outgoing, self._unwritten = trio.open_memory_channel[str](_UNWRITTEN_MESSAGES)
        self._last_id = 0
        self._answers: dict[bytes, Frame | None] = {}
        self._changed = trio.Event()
        self._scope = trio.CancelScope()
        self._over = False

    @property
    def close_code(self) -> int | None:
        """With what the other end has closed it; None when it has not."""
        reason = self._socket.closed
        return None if reason is None else int(reason.code)

    async def send(self, frame: bytes) -> None:
        """Send a frame after those before it.

        Raises:
            ConnectionLost: the connection is broken; it may have been sent or not.
        """
        try:
            await self._outgoing.send(frame.decode())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._lost() from None

    async def call(self, method: str, params: Any, result: type[ResultT]) -> ResultT:
        """Call a method for the bridge itself.

        Raises:
            CallFailed: the runtime answered with an error.
            CallTimedOut: no answer in time.
            ConnectionLost: the connection broke first.
        """
        self._last_id += 1
        identity = f"bridge:{self._last_id}"
        key = msgspec.json.encode(identity)
        self._answers[key] = None
        try:
            with trio.fail_after(CALL_TIMEOUT):
                await self.send(frames.call(method, params, identity))
                while (answer := self._answers[key]) is None:
                    if self._over:
                        raise self._lost()
                    await self._changed.wait()
        except trio.TooSlowError:
            raise CallTimedOut(f"{self._url} did not answer {method} in time") from None
        finally:
            del self._answers[key]
        if answer.error is not NOTHING:
            failure = frames.failure_of(answer.error)
            raise CallFailed(failure.code, failure.message, failure.data)
        return msgspec.json.decode(answer.result, type=result)

    async def serve(self, take: Callable[[Frame, str], Awaitable[None]]) -> None:
        """Read and write until the connection is gone, or until `leave`.

        Args:
            take: is given each frame that is no answer to `call`, in their order.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for work in (self._write, self._beat, partial(self._read, take)):
                        nursery.start_soon(self._guarded, work)
        finally:
            self._over = True
            self._outgoing.close()
            self._notify()

    def leave(self) -> None:
        """Send nothing more than what was given to `send`, and end."""
        self._outgoing.close()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        with suppress(trio_websocket.ConnectionClosed):
            await work()
        self._scope.cancel()

    async def _write(self) -> None:
        async for text in self._unwritten:
            await self._socket.send_message(text)

    async def _read(self, take: Callable[[Frame, str], Awaitable[None]]) -> None:
        while True:
            text = await self._socket.get_message()
            if not isinstance(text, str):
                continue
            try:
                frame = frames.frame_of(text)
            except msgspec.DecodeError:
                continue
            key = bytes(frame.id)
            if frame.method is None and key in self._answers:
                self._answers[key] = frame
                self._notify()
            else:
                await take(frame, text)

    async def _beat(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT)
            with trio.move_on_after(HEARTBEAT) as patience:
                await self._socket.ping()
            if patience.cancelled_caught:
                return

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(f"the connection to {self._url} is gone")
