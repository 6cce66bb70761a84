"""The HTTP side of the port: strict, small, without a framework."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

import h11
import msgspec
import trio

from runtime.sessions.principals import Principal

MAX_HEAD = 16 * 1024
MAX_BODY = 64 * 1024
KEEP_ALIVE = 30.0
"""Seconds that a connection may be silent between two requests."""

_RECEIVE = 64 * 1024

_log = logging.getLogger("runtime.gateway")

Headers = tuple[tuple[bytes, bytes], ...]


class HttpRequest(msgspec.Struct, frozen=True):
    """The head of a request; header names are in lower case. ``peer`` is the client's address."""

    method: str
    target: str
    headers: Headers
    peer: str

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The value of a header; several of one name are joined by commas."""
        values = [value for key, value in self.headers if key == name.encode()]
        return b", ".join(values).decode("latin-1") if values else None

    def listed(self, name: str) -> tuple[str, ...]:
        """The members of a header whose value is a list."""
        members = (member.strip() for member in (self.header(name) or "").split(","))
        return tuple(member for member in members if member)


class HttpResponse(msgspec.Struct, frozen=True):
    """An answer; ``close`` ends the connection after it."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


class Upgrade(msgspec.Struct, frozen=True):
    """The request is for a WebSocket: ``head`` is what the WebSocket is to see of it."""

    head: bytes
    subprotocol: str | None
    principal: Principal


class Upgraded(msgspec.Struct, frozen=True):
    """The HTTP conversation is over; ``early`` came after the request's head."""

    upgrade: Upgrade
    early: bytes


Answer = Callable[[HttpRequest], HttpResponse | Upgrade]


def plain(status: int, text: str, *, close: bool = False) -> HttpResponse:
    """A line of text for a person."""
    return HttpResponse(status, text.encode() + b"\n", close=close)


async def converse(
    transport: trio.abc.Stream, peer: str, answer: Answer, timeout: float
) -> Upgraded | None:
    """Serve the requests of one connection until either side has had enough.

    What cannot be understood is answered where that is possible, and ends the conversation. Does
    not close the transport. May be cancelled at any time.

    Args:
        transport: the connection.
        peer: the client's address.
        answer: what to say to a request.
        timeout: seconds for a request to arrive and be answered.

    Returns:
        What is needed to go on as a WebSocket, or None when the conversation is over.
    """
    conversation = _Conversation(transport, peer, answer)
    try:
        while True:
            with trio.move_on_after(timeout) as deadline:
                upgraded = await conversation.serve_one()
                if upgraded is not None or not conversation.goes_on():
                    return upgraded
            if deadline.cancelled_caught:
                with trio.move_on_after(timeout):
                    await conversation.refuse(408, "The request took too long.")
                return None
            with trio.move_on_after(KEEP_ALIVE) as idle:
                await conversation.wait_for_more()
            if idle.cancelled_caught:
                return None
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return None


class _Conversation:
    """The requests of one connection, one after the other."""

    def __init__(self, transport: trio.abc.Stream, peer: str, answer: Answer) -> None:
        self._transport = transport
        self._peer = peer
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def serve_one(self) -> Upgraded | None:
        try:
            head = await self._next_event()
            if not isinstance(head, h11.Request):
                return None
            if sum(len(name) + len(value) for name, value in head.headers) > MAX_HEAD:
                await self.refuse(431, f"The headers are longer than {MAX_HEAD} bytes.")
                return None
            request = HttpRequest(
                method=head.method.decode("ascii"),
                target=head.target.decode("latin-1"),
                headers=tuple((bytes(name), bytes(value)) for name, value in head.headers),
                peer=self._peer,
            )
            problem = await self._read_body(request)
            reply = problem if problem is not None else self._answered(request)
            if isinstance(reply, Upgrade):
                return Upgraded(reply, bytes(self._http.trailing_data[0]))
            await self._respond(reply, with_body=request.method != "HEAD")
        except h11.RemoteProtocolError as error:
            await self.refuse(error.error_status_hint, f"Not acceptable: {error}.")
        return None

    def goes_on(self) -> bool:
        """Make ready for another request; False when the connection is not to be used again."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def wait_for_more(self) -> None:
        if not self._http.trailing_data[0]:
            self._http.receive_data(bytes(await self._transport.receive_some(_RECEIVE)))

    async def refuse(self, status: int, text: str) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._respond(plain(status, text, close=True), with_body=True)

    def _answered(self, request: HttpRequest) -> HttpResponse | Upgrade:
        try:
            return self._answer(request)
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            return plain(500, "An error inside the runtime.")

    async def _read_body(self, request: HttpRequest) -> HttpResponse | None:
        """Read past the body, which no resource wants; an answer when that is not to be done."""
        expectation = request.header("expect")
        if expectation is not None and expectation.lower() != "100-continue":
            return plain(417, "The only expectation understood is 100-continue.", close=True)
        if self._http.they_are_waiting_for_100_continue:
            return plain(417, "No resource here takes a body: send none.", close=True)
        size = 0
        while isinstance(event := await self._next_event(), h11.Data):
            size += len(event.data)
            if size > MAX_BODY:
                return plain(413, f"The body is longer than {MAX_BODY} bytes.", close=True)
        return None

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event) or event is h11.PAUSED:
                return event
            self._http.receive_data(bytes(await self._transport.receive_some(_RECEIVE)))

    async def _respond(self, response: HttpResponse, *, with_body: bool) -> None:
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            *response.headers,
        ]
        if response.close:
            headers.append(("connection", "close"))
        reason = HTTPStatus(response.status).phrase.encode("ascii")
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        events: list[h11.Event] = [head]
        if with_body and response.body:
            events.append(h11.Data(data=response.body))
        events.append(h11.EndOfMessage())
        data = [self._http.send(event) for event in events]
        await self._transport.send_all(b"".join(part for part in data if part))
