"""One client: its requests in, its answers and notifications out.

Each request is a task in the connection's nursery. Nothing that a client sends, and nothing that
happens while it is answered, reaches beyond this nursery.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import msgspec
import trio
from trio_websocket import ConnectionClosed

from runtime.gateway.attachment import Attachment, Link
from runtime.gateway.config import GatewayConfig
from runtime.gateway.failures import from_front
from runtime.gateway.lanes import Lanes, Place
from runtime.gateway.outgoing import Outgoing, SlowReader
from runtime.gateway.questions import Requests
from runtime.gateway.wire import Wire
from runtime.gateway.workplaces import with_files
from runtime.ports.front import Front, FrontError, Submitted
from runtime.protocol import jsonrpc
from runtime.protocol.extensions import (
    FORBIDDEN,
    TOO_MANY_REQUESTS,
    UNAVAILABLE,
    PromptMeta,
    RuntimeMark,
)
from runtime.protocol.jsonrpc import Id, Notification, Reply, Request, RpcError
from runtime.sessions.content import SaidContent, plain_text
from runtime.sessions.principals import Principal, Role
from runtime.sessions.rows import Sender

MAX_REQUESTS = 1_000
"""Requests of one client that may be unanswered."""

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Bytes of parameters that the unanswered requests of one client may have together."""

MAX_SESSIONS = 1_000
"""Sessions that one client may follow."""

HEARTBEAT = 20.0
"""Seconds between two pings, and within which each must be answered."""

ANSWER_LIMIT = 1.0
"""Seconds to answer what was asked when the connection is closed from this side."""

DRAIN = 2.0
"""Seconds to send what is queued when the connection is closed from this side."""

_log = logging.getLogger("runtime.gateway")


class Closing(msgspec.Struct, frozen=True):
    """Why a connection ends: a close code of RFC 6455, section 7.4, and words."""

    code: int
    reason: str


GONE = Closing(1000, "")
DEAD = Closing(1001, "no answer to a ping")
BROKEN = Closing(1011, "an error inside the gateway")
SLOW = Closing(1013, "you read too slowly: connect again and resume from your cursor")

LetGo = Literal["read too slowly", "no answer to a ping", "error"]
"""Why the gateway ends a connection that neither side wanted to end."""

LET_GO: dict[Closing, LetGo] = {
    SLOW: "read too slowly",
    DEAD: "no answer to a ping",
    BROKEN: "error",
}


class Call:
    """What a handler is given beside its parameters.

    Args:
        client: who asks.
        place: the request's place in the lane of its session; a handler may leave it early, when
            the next request to that session may take effect.
    """

    def __init__(self, client: Client, place: Place | None) -> None:
        self.client = client
        self._place = place
        self._afterwards: list[Callable[[], None]] = []
        self._undo: Callable[[], Awaitable[object]] | None = None
        self._cancelled = False

    def let_next_go(self) -> None:
        """The effect of this request is certain: the next one to the session may begin."""
        if self._place is not None:
            self._place.leave()

    def after_the_answer(self, action: Callable[[], None]) -> None:
        """Do something when the request was answered well; it must not block."""
        self._afterwards.append(action)

    def answered(self) -> None:
        """The request was answered well."""
        for action in self._afterwards:
            action()

    async def can_be_cancelled(self, undo: Callable[[], Awaitable[object]]) -> None:
        """From now on the client may cancel this request, by what ``undo`` does; at once when it
        has.
        """
        self._undo = undo
        if self._cancelled:
            await undo()

    async def cancel(self) -> None:
        """The client does not want an answer any more. Most requests are answered all the same."""
        self._cancelled = True
        if self._undo is not None:
            await self._undo()


Handler: TypeAlias = Callable[[Any, Call], Awaitable[Any]]


class Served(msgspec.Struct, frozen=True):
    """A method that is served: how its parameters are read, who answers it, who may call it."""

    decoder: msgspec.json.Decoder[Any]
    handler: Handler
    role: Role = Role.MEMBER


class Client:
    """One connected client.

    Args:
        front: the runtime.
        methods: what is served, by name.
        wire: the connection, after its handshake.
        connection_id: names the connection, for people and for `Front.cancel`.
        run: names this start of the gateway.
        principal: who the client is.
        config: what clients are allowed.
    """

    def __init__(
        self,
        front: Front,
        methods: Mapping[str, Served],
        wire: Wire,
        connection_id: str,
        run: str,
        principal: Principal,
        config: GatewayConfig,
    ) -> None:
        self.front = front
        self.principal = principal
        self._sender = Sender(principal.name)
        self.config = config
        self.is_local = False
        self.knows_booleans = False
        self.connection_id = connection_id
        self.run_id = run
        self._methods = methods
        self._wire = wire
        self._outgoing = Outgoing()
        self._asking = Requests(self._outgoing)
        self._lanes = Lanes()
        self._calls: dict[Id, Call] = {}
        self._attachments: dict[str, Attachment] = {}
        self._initialized = False
        self._requests = 0
        self._request_bytes = 0
        self._told_binary = False
        self._closing: Closing | None = None
        self._scope = trio.CancelScope()

    async def serve(self) -> Closing:
        """Serve the client until it goes, fails or is asked to go.

        Returns:
            With what to close the WebSocket.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_forever)
            with self._scope:
                try:
                    await self._serve_requests()
                except* SlowReader:
                    self.close(SLOW)
                except* Exception:
                    _log.exception("connection %s failed", self.connection_id)
                    self.close(BROKEN)
            closing = self._closing or GONE
            drain = 0.0 if closing in (GONE, DEAD, SLOW) else DRAIN
            nursery.cancel_scope.deadline = trio.current_time() + drain
            self._outgoing.finish()
        return closing

    def close(self, closing: Closing) -> None:
        """End the connection now, with a reason; the first reason counts."""
        self._closing = self._closing or closing
        self._scope.cancel()

    def retire(self, closing: Closing) -> None:
        """End the connection when its requests are answered, at the latest after `ANSWER_LIMIT`."""
        self._closing = self._closing or closing
        self._scope.deadline = trio.current_time() + ANSWER_LIMIT
        self._end_when_answered()

    def _end_when_answered(self) -> None:
        if self._closing is not None and self._requests == 0:
            self._scope.cancel()

    @contextmanager
    def view(self, session_id: str) -> Iterator[Attachment]:
        """This client's view of a session, for as long as it is live after the block.

        Raises:
            RpcError: the client follows too many sessions.
        """
        attachment = self._attachments.get(session_id) or self._attach(session_id)
        try:
            yield attachment
        finally:
            if not attachment.is_live:
                self._attachments.pop(session_id, None)

    async def submit(
        self, session_id: str, content: SaidContent, meta: RuntimeMark[PromptMeta] | None
    ) -> Submitted:
        """Submit a message of this client. Raises FrontError, and RpcError when it says nothing."""
        if not plain_text(content).strip():
            jsonrpc.invalid_params("there is no text in it", "$.prompt")
        asked = meta.runtime if meta is not None else None
        message_id = asked.message_id if asked is not None else None
        said = await with_files(self.config, content, local=self.is_local)
        attachment = self._attachments.get(session_id)
        if attachment is not None:
            return await attachment.submit(said, message_id)
        return await self.front.submit(
            session_id,
            said,
            message_id=message_id,
            connection=self.connection_id,
            sender=self._sender,
        )

    async def cancel_request(self, request_id: Id) -> None:
        """Cancel a request of this client, if it is still unanswered and can be cancelled.

        Raises:
            FrontError: it could not be cancelled.
        """
        call = self._calls.get(request_id)
        if call is not None:
            await call.cancel()

    def _attach(self, session_id: str) -> Attachment:
        if len(self._attachments) >= MAX_SESSIONS:
            text = f"One connection can follow {MAX_SESSIONS} sessions: open another one."
            raise RpcError(TOO_MANY_REQUESTS, text, {"code": "too_many_sessions"})
        link = Link(
            connection=self.connection_id,
            sender=self._sender,
            outgoing=self._outgoing,
            requests=self._asking,
            nursery=self._nursery,
            booleans=self.knows_booleans,
        )
        made = Attachment(self.front, session_id, link)
        self._attachments[session_id] = made
        return made

    # -- tasks --------------------------------------------------------------------------------

    async def _serve_requests(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._ping_forever)
            try:
                while True:
                    self._receive(await self._wire.receive())
            except ConnectionClosed:
                self.close(GONE)

    async def _send_forever(self) -> None:
        try:
            while (frame := await self._outgoing.take()) is not None:
                await self._wire.send(frame)
        except ConnectionClosed:
            self.close(GONE)

    async def _ping_forever(self) -> None:
        try:
            while True:
                await trio.sleep(HEARTBEAT)
                with trio.move_on_after(HEARTBEAT) as patience:
                    await self._wire.ping()
                if patience.cancelled_caught:
                    self.close(DEAD)
        except ConnectionClosed:
            self.close(GONE)

    # -- requests -----------------------------------------------------------------------------

    def _receive(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            if not self._told_binary:
                self._told_binary = True
                _log.info("connection %s sends binary frames; ignored", self.connection_id)
            return
        try:
            message = jsonrpc.parse(frame)
        except RpcError as error:
            self._outgoing.post(jsonrpc.failure(error.request, error))
            return
        if isinstance(message, Reply):
            self._asking.take(message)
            return
        try:
            self._begin(message)
        except RpcError as error:
            self._answer(message, error)

    def _begin(self, message: Request | Notification) -> None:
        served = self._methods.get(message.method)
        if served is None:
            what = f"There is no method {message.method[:100]!r}."
            raise RpcError(jsonrpc.METHOD_NOT_FOUND, what)
        first = message.method == "initialize"
        if first is self._initialized:
            what = "The first request on a connection is initialize, and it is sent once."
            raise RpcError(jsonrpc.INVALID_REQUEST, what)
        self._check_role(served.role)
        params = jsonrpc.decode_params(message.params, served.decoder)
        if self._closing is not None:
            raise RpcError(UNAVAILABLE, self._closing.reason, {"code": "unavailable"})
        size = len(memoryview(message.params))
        if self._requests and self._request_bytes + size > MAX_REQUEST_BYTES:
            what = "The unanswered requests of this connection are too large: wait for some."
            raise RpcError(TOO_MANY_REQUESTS, what, {"code": "too_many_requests"})
        if self._requests >= MAX_REQUESTS:
            what = f"{MAX_REQUESTS} requests of this connection are unanswered: wait for some."
            raise RpcError(TOO_MANY_REQUESTS, what, {"code": "too_many_requests"})
        self._initialized = True
        self._requests += 1
        self._request_bytes += size
        session_id = getattr(params, "session_id", None)
        place = self._lanes.join(session_id) if session_id is not None else None
        call = Call(self, place)
        if isinstance(message, Request):
            self._calls[message.id] = call
        self._nursery.start_soon(self._serve, message, served, params, place, call)

    def _check_role(self, needed: Role) -> None:
        role = self.principal.role
        if not role.may(needed):
            data = {"code": "forbidden", "role": role, "needed": needed}
            raise RpcError(FORBIDDEN, f"This needs the role {needed}; yours is {role}.", data)

    async def _serve(
        self,
        message: Request | Notification,
        served: Served,
        params: Any,
        place: Place | None,
        call: Call,
    ) -> None:
        try:
            if place is not None:
                await place.wait()
            answer = await served.handler(params, call)
        except RpcError as error:
            answer = error
        except FrontError as error:
            answer = from_front(error)
        except SlowReader:
            raise
        except Exception:
            _log.exception("%s failed", message.method)
            answer = RpcError(jsonrpc.INTERNAL_ERROR, "An error inside the runtime.")
        finally:
            self._requests -= 1
            self._request_bytes -= len(memoryview(message.params))
            if isinstance(message, Request) and self._calls.get(message.id) is call:
                del self._calls[message.id]
            if place is not None:
                place.leave()
        self._answer(message, answer)
        if not isinstance(answer, RpcError):
            call.answered()
        self._end_when_answered()

    def _answer(self, message: Request | Notification, answer: Any) -> None:
        if isinstance(message, Notification):
            return
        if isinstance(answer, RpcError):
            self._outgoing.post(jsonrpc.failure(message.id, answer))
        else:
            self._outgoing.post(jsonrpc.result(message.id, answer))
