"""One end of a JSON-RPC 2.0 connection on which both ends may call.

The messages are records: lines of a process, or whatever else ends by itself. They are taken in the
order of the wire, one after the other; what is slow runs in a task of its own. Nothing that the
other end sends ends the connection: what cannot be used is counted and passed over.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import msgspec
import trio

from runtime.protocol import jsonrpc
from runtime.protocol.jsonrpc import Id, Notification, Reply, Request, RpcError

REQUEST_CANCELLED = -32800
"""https://agentclientprotocol.com/protocol/v1/cancellation"""
TOO_MANY_REQUESTS = -32012
MOST_REQUESTS = 64
"""Requests of the other end that may be worked on at the same time."""

Oddity: TypeAlias = Literal["garbage", "unknown_answer", "too_many_requests", "failed_inside"]
Work: TypeAlias = Callable[[], Awaitable[object]]

T = TypeVar("T")

# JSON has backslashes in strings only. A pair of surrogates is a character, a lone one is not.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class ConnectionEnded(Exception):
    """The other end does not listen, or will say nothing more."""


class CallFailed(Exception):
    """The other end answered a call with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


Outcome: TypeAlias = msgspec.Raw | CallFailed | ConnectionEnded


class Records(Protocol):
    """What a connection is made of."""

    async def read_record(self) -> bytes | None:
        """The next record; None when there are no more. Others run, even when it is there."""

    async def write(self, record: bytes) -> None:
        """Write a record as a whole; several tasks may do so. Raises `ConnectionEnded`."""


class Service(ABC):
    """What the other end may call."""

    @abstractmethod
    async def request(self, method: str, params: msgspec.Raw) -> Work:
        """Take a request, in the order of the wire. Nothing is read until this returns.

        Returns:
            What makes the answer, in a task of its own.

        Raises:
            RpcError: the answer; the work may raise it as well.
        """

    @abstractmethod
    async def notification(self, method: str, params: msgspec.Raw) -> None:
        """Take a notification, in the order of the wire. Nothing is read until this returns."""

    @abstractmethod
    def odd(self, what: Oddity, error: BaseException | None = None) -> None:
        """Something came that was passed over; ``error`` is a fault of ours. Must not block."""


class _Error(msgspec.Struct, frozen=True):
    code: int = jsonrpc.INTERNAL_ERROR
    message: str = "no reason given"
    data: Any = None


class _Failure(msgspec.Struct, frozen=True):
    error: _Error | None = None


class _Cancelling(msgspec.Struct, frozen=True, rename="camel"):
    request_id: Id


_failure = msgspec.json.Decoder(_Failure)
_cancelling = msgspec.json.Decoder(_Cancelling)


class Peer:
    """One end of a connection.

    Args:
        records: what it is made of.
        service: what the other end may call.
    """

    def __init__(self, records: Records, service: Service) -> None:
        self._records = records
        self._service = service
        self._last_id = 0
        self._calls: dict[Id, Callable[[Outcome], None]] = {}
        self._working: dict[Id, trio.CancelScope] = {}
        self._ended = False

    async def run(self) -> None:
        """Take what comes until nothing more comes. Calls that are open then end with
        `ConnectionEnded`, requests that are being worked on are dropped.
        """
        try:
            async with trio.open_nursery() as nursery:
                while (record := await self._records.read_record()) is not None:
                    await self._take(record, nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._ended = True
            calls, self._calls = self._calls, {}
            for deliver in calls.values():
                deliver(ConnectionEnded("it says nothing more"))

    # -- our calls --------------------------------------------------------------------------------

    async def call(
        self, method: str, params: Any, read: Callable[[msgspec.Raw], T], *, limit: float
    ) -> T:
        """Call a method and wait for its result.

        Args:
            method: what is called.
            params: its parameters.
            read: makes of the result what is returned, in the order of the wire: before anything
                that came after the result is taken. Must not block. What it raises is raised here.
            limit: seconds to wait.

        Raises:
            CallFailed: the answer is an error.
            ConnectionEnded: there will be no answer.
            trio.TooSlowError: there is none yet. One that comes later is passed over.
        """
        answered = trio.Event()
        results: list[T] = []
        errors: list[Exception] = []

        def deliver(outcome: Outcome) -> None:
            answered.set()
            if not isinstance(outcome, msgspec.Raw):
                errors.append(outcome)
                return
            try:
                results.append(read(outcome))
            except Exception as error:
                errors.append(error)

        with trio.fail_after(limit):
            identity = await self.send(method, params, deliver)
            try:
                await answered.wait()
            finally:
                self._calls.pop(identity, None)
        if errors:
            raise errors[0]
        return results[0]

    async def send(self, method: str, params: Any, deliver: Callable[[Outcome], None]) -> Id:
        """Call a method without waiting for the answer.

        Args:
            method: what is called.
            params: its parameters.
            deliver: called once with the answer, in the order of the wire; must not block.

        Raises:
            ConnectionEnded: it cannot be written; ``deliver`` is not called.
        """
        if self._ended:
            raise ConnectionEnded("it says nothing more")
        self._last_id = identity = self._last_id + 1
        self._calls[identity] = deliver
        try:
            await self._records.write(jsonrpc.request(identity, method, params))
        except BaseException:
            self._calls.pop(identity, None)
            raise
        return identity

    async def notify(self, method: str, params: Any) -> None:
        """Call a method that has no answer.

        Raises:
            ConnectionEnded: it cannot be written.
        """
        await self._records.write(jsonrpc.notification(method, params))

    # -- what comes -------------------------------------------------------------------------------

    # Refusals are written here and not in tasks: whoever floods is not read until it takes them.

    async def _take(self, record: bytes, nursery: trio.Nursery) -> None:
        if not record.strip():
            return
        try:
            message = _parsed(record)
        except RpcError as error:
            self._service.odd("garbage")
            if error.request is not None and error.request not in self._calls:
                await self._answer(jsonrpc.failure(error.request, error))
            return
        match message:
            case Reply():
                self._take_reply(message, record)
            case Request():
                await self._take_request(message, nursery)
            case Notification():
                await self._take_notification(message)

    def _take_reply(self, reply: Reply, record: bytes) -> None:
        deliver = self._calls.pop(reply.id, None)
        if deliver is None:
            self._service.odd("unknown_answer")
        elif reply.result is not None:
            deliver(reply.result)
        else:
            deliver(_as_failure(record))

    async def _take_request(self, request: Request, nursery: trio.Nursery) -> None:
        if len(self._working) >= MOST_REQUESTS or request.id in self._working:
            self._service.odd("too_many_requests")
            busy = RpcError(TOO_MANY_REQUESTS, "Too many requests at the same time.")
            await self._answer(jsonrpc.failure(request.id, busy))
            return
        try:
            work = await self._service.request(request.method, request.params)
        except Exception as error:
            work = _raising(error)
        scope = self._working[request.id] = trio.CancelScope()
        nursery.start_soon(self._work, request.id, work, scope)

    async def _work(self, identity: Id, work: Work, scope: trio.CancelScope) -> None:
        try:
            with scope:
                try:
                    answer = jsonrpc.result(identity, await work())
                except RpcError as error:
                    answer = jsonrpc.failure(identity, error)
                except Exception as error:
                    self._service.odd("failed_inside", error)
                    inside = RpcError(jsonrpc.INTERNAL_ERROR, "An error inside the runtime.")
                    answer = jsonrpc.failure(identity, inside)
            if scope.cancelled_caught:
                cancelled = RpcError(REQUEST_CANCELLED, "Cancelled, as asked.")
                answer = jsonrpc.failure(identity, cancelled)
            await self._answer(answer)
        finally:
            del self._working[identity]

    async def _take_notification(self, message: Notification) -> None:
        if message.method == "$/cancel_request":
            self._cancel(message.params)
            return
        try:
            await self._service.notification(message.method, message.params)
        except Exception as error:
            self._service.odd("failed_inside", error)

    def _cancel(self, params: msgspec.Raw) -> None:
        try:
            scope = self._working.get(_cancelling.decode(params).request_id)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self._service.odd("garbage")
            return
        if scope is not None:
            scope.cancel()

    async def _answer(self, record: bytes) -> None:
        try:
            await self._records.write(record)
        except ConnectionEnded:
            return  # who does not listen gets no answer


def _raising(error: Exception) -> Work:
    async def work() -> object:
        raise error

    return work


def _parsed(record: bytes) -> jsonrpc.Incoming:
    """The message of a record. Halves of surrogate pairs, as come from where texts are cut between
    two UTF-16 units, become the replacement character. Raises `RpcError`.
    """
    try:
        frame = record.decode()
    except UnicodeDecodeError as error:
        raise RpcError(jsonrpc.PARSE_ERROR, f"Not UTF-8: {error}.") from None
    try:
        return jsonrpc.parse(frame)
    except RpcError as error:
        if error.code != jsonrpc.PARSE_ERROR or "\\ud" not in frame.lower():
            raise
    return jsonrpc.parse(_ESCAPE.sub(_without_lone_surrogate, frame))


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape["lone"] else escape[0]


def _as_failure(record: bytes) -> CallFailed:
    try:
        error = _failure.decode(record).error
    except (msgspec.DecodeError, ValueError, RecursionError):
        error = None
    if error is None:
        return CallFailed(jsonrpc.INTERNAL_ERROR, "an error that it does not describe")
    return CallFailed(error.code, error.message, error.data)
