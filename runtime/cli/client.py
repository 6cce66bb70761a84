"""A small client of the Agent Client Protocol over WebSocket, for commands.

    async with connect(endpoint) as client:  # runtime.cli.connect
        page = await client.call("session/list", {}, ListSessionsResult)

One task writes to the socket and is never cut off in mid-frame: a half-written frame would corrupt
the stream. Every call has a deadline, and a heartbeat ends a connection whose other end has gone
silent.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
import trio
import trio_websocket

from runtime.cli.errors import CommandError
from runtime.cli.words import command_line
from runtime.endpoint import Endpoint
from runtime.protocol.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND

ResultT = TypeVar("ResultT")

CALL_TIMEOUT = 30.0
"""Seconds for the answer to a call that does not wait for an agent."""

HEARTBEAT = 20.0
"""Seconds between two pings, and for the answer to one."""

LARGEST_MESSAGE = 32 * 1024 * 1024
"""Bytes that a runtime reads at once when it does not say."""

FOREVER = math.inf
"""For calls on which an agent works: the heartbeat ends the wait when the connection is dead."""

_UNWRITTEN_MESSAGES = 64
_UNREAD_NOTIFICATIONS = 10_000


class NotReachable(CommandError):
    """No runtime answers there. It may be tried again later."""


class NotAllowed(CommandError):
    """The runtime refuses this client; trying again does not help."""


class ConnectionLost(CommandError):
    """The connection broke. What was sent may or may not have arrived."""


class CallTimedOut(CommandError):
    """No answer came in time."""


class CallFailed(CommandError):
    """The runtime answered with an error.

    Args:
        rpc_code: the code of JSON-RPC, or of ours.
        message: what it says.
        data: more of it, for programs.
    """

    def __init__(self, rpc_code: int, message: str, data: Any = None) -> None:
        where = data.get("path") if isinstance(data, dict) else None
        # For programs it names the member of the request; a person has not written that.
        super().__init__(message.removeprefix(f"{where}: ").rstrip("."))
        self.rpc_code = rpc_code
        self.data = data


class Notification(msgspec.Struct, frozen=True):
    """A call from the runtime that wants no answer."""

    method: str
    params: msgspec.Raw


class Request(msgspec.Struct, frozen=True):
    """A call from the runtime that wants an answer; `Client.reply` gives it."""

    id: int | str
    params: msgspec.Raw


Listener: TypeAlias = Callable[[Notification], Awaitable[None]]
"""Is given each notification before any frame that came after it is looked at."""

Server: TypeAlias = Callable[[Request], None]
"""Is given the calls of one method. Must not wait; what it cannot decode is refused."""


class _Error(msgspec.Struct, frozen=True):
    code: int
    message: str
    data: Any = None


class _Frame(msgspec.Struct, frozen=True):
    id: int | str | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


class Answer(Generic[ResultT]):
    """The answer to a call that was begun. Made by `Client.begin`."""

    def __init__(self, client: Client, identity: int, method: str, result: type[ResultT]) -> None:
        self._client = client
        self._identity = identity
        self._method = method
        self._result = result
        self._decided = trio.Event()
        self._frame: _Frame | None = None

    def decide(self, frame: _Frame | None) -> None:
        """The answer is there, or, with None, will never come."""
        self._frame = frame
        self._decided.set()

    async def wait(self) -> ResultT:
        """Wait for it, without a deadline; the heartbeat ends the wait on a dead connection.

        Raises:
            CallFailed: the runtime answered with an error.
            ConnectionLost: the connection broke first.
        """
        try:
            await self._decided.wait()
        finally:
            self._client.forget(self._identity)
        if self._frame is None:
            raise self._client.lost()
        if self._frame.error is not None:
            error = self._frame.error
            raise CallFailed(error.code, error.message, error.data)
        try:
            return msgspec.json.decode(self._frame.result, type=self._result)
        except msgspec.ValidationError as error:
            raise CommandError(
                f"the answer to {self._method} is not understood: {error}",
                "the runtime may be of another version: compare `version` on both sides",
            ) from error


class Client:
    """One open connection. Made by `runtime.cli.connect.connect`."""

    def __init__(
        self,
        endpoint: Endpoint,
        socket: trio_websocket.WebSocketConnection,
        listener: Listener | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.largest_message = LARGEST_MESSAGE
        self.largest_file: int | None = None
        self._socket = socket
        self._unanswered: dict[int, Answer[Any]] = {}
        self._last_id = 0
        self._lost: str | None = None
        self._outgoing, self._unwritten = trio.open_memory_channel[str](_UNWRITTEN_MESSAGES)
        self._incoming, self.notifications = trio.open_memory_channel[Notification](
            _UNREAD_NOTIFICATIONS
        )
        self._listener = listener if listener is not None else self._incoming.send
        self._servers: dict[str, Server] = {}
        self._leaving = trio.Event()
        self._ended = trio.Event()

    async def call(
        self, method: str, params: Any, result: type[ResultT], timeout: float = CALL_TIMEOUT
    ) -> ResultT:
        """Call a method and wait for its answer.

        Cancelling stops the waiting; what was asked may be done nevertheless.

        Args:
            method: its name.
            params: anything that `msgspec` encodes to an object.
            result: what the answer is decoded to.
            timeout: seconds, or `FOREVER`.

        Raises:
            CallFailed: the runtime answered with an error.
            CallTimedOut: no answer in time.
            ConnectionLost: the connection broke first.
        """
        try:
            with trio.fail_after(timeout):
                return await (await self.begin(method, params, result)).wait()
        except trio.TooSlowError:
            raise CallTimedOut(
                f"{self.endpoint.url} did not answer {method} within {timeout:g} s",
                f"{command_line('doctor')} looks for the cause",
            ) from None

    async def begin(self, method: str, params: Any, result: type[ResultT]) -> Answer[ResultT]:
        """Call a method without waiting for its answer; calls arrive in this order.

        Raises:
            ConnectionLost: the connection is broken.
        """
        self._last_id += 1
        answer = Answer(self, self._last_id, method, result)
        self._unanswered[self._last_id] = answer
        await self._send({"id": self._last_id, "method": method, "params": params})
        return answer

    def forget(self, identity: int) -> None:
        """Nobody waits for this answer any more."""
        self._unanswered.pop(identity, None)

    async def notify(self, method: str, params: Any) -> None:
        """Call a method that has no answer.

        Raises:
            ConnectionLost: the connection is broken.
        """
        await self._send({"method": method, "params": params})

    def serve_calls(self, method: str, server: Server) -> None:
        """From now on the runtime may call a method here; calls of all others are refused."""
        self._servers[method] = server

    async def reply(self, identity: int | str, result: Any) -> None:
        """Answer a call of the runtime.

        Raises:
            ConnectionLost: the connection is broken.
        """
        await self._send({"id": identity, "result": result})

    async def _send(self, message: dict[str, Any]) -> None:
        text = msgspec.json.encode({"jsonrpc": "2.0", **message}).decode()
        try:
            await self._outgoing.send(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self.lost() from None

    def leave(self) -> None:
        """Nothing more is wanted: say goodbye."""
        self._leaving.set()

    async def serve(self) -> None:
        """Read and write until the connection breaks, or until `leave` is called."""
        try:
            async with trio.open_nursery() as nursery:
                for work in (self._write, self._read, self._beat, self._leaving.wait):
                    nursery.start_soon(self._guarded, work, nursery.cancel_scope)
        finally:
            self.end("it was closed")

    def end(self, why: str) -> None:
        """Nothing comes any more: let those go who wait. Of several reasons the first counts."""
        self._lost = self._lost or why
        self._unwritten.close()
        self._incoming.close()
        for answer in self._unanswered.values():
            answer.decide(None)
        self._ended.set()

    async def ended(self) -> None:
        """Wait until the connection is gone."""
        await self._ended.wait()

    async def _guarded(self, work: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        try:
            await work()
        except trio_websocket.ConnectionClosed as error:
            self._lost = self._lost or _said_at_close(error)
        scope.cancel()

    async def _write(self) -> None:
        async for text in self._unwritten:
            await self._socket.send_message(text)

    async def _read(self) -> None:
        while True:
            text = await self._socket.get_message()
            try:
                frame = msgspec.json.decode(text, type=_Frame)
            except msgspec.DecodeError:
                continue
            if frame.method is not None:
                await self._take_call(frame, frame.method)
            elif isinstance(frame.id, int) and frame.id in self._unanswered:
                self._unanswered[frame.id].decide(frame)

    async def _take_call(self, frame: _Frame, method: str) -> None:
        if frame.id is None:
            await self._listener(Notification(method, frame.params))
            return
        server = self._servers.get(method)
        if server is None:
            text = f"this client does not serve {method}"
            await self._refuse(frame.id, METHOD_NOT_FOUND, text)
            return
        try:
            server(Request(frame.id, frame.params))
        except msgspec.DecodeError as error:
            await self._refuse(frame.id, INVALID_PARAMS, str(error))

    async def _refuse(self, identity: int | str, code: int, message: str) -> None:
        await self._send({"id": identity, "error": {"code": code, "message": message}})

    async def _beat(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT)
            with trio.move_on_after(HEARTBEAT) as patience:
                await self._socket.ping()
            if patience.cancelled_caught:
                self._lost = "the other end does not answer any more"
                return

    def lost(self) -> ConnectionLost:
        """Why nothing comes any more."""
        why = self._lost or "it broke"
        return ConnectionLost(f"the connection to {self.endpoint.url} is gone: {why}")


def _said_at_close(error: trio_websocket.ConnectionClosed) -> str:
    if error.reason is None:
        return "it broke"
    return f"closed with {error.reason.code}: {error.reason.reason or error.reason.name}"
