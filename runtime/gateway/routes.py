"""What the port offers over HTTP, and which requests become a WebSocket.

=============  ==========================================================================
``/acp``       the WebSocket of the Agent Client Protocol
``/healthz``   200 as long as the process answers; open to everyone
``/readyz``    200 when messages can be accepted, else 503 with the reasons, as JSON
``/metrics``   counters and gauges in Prometheus' text format
=============  ==========================================================================

``/readyz`` and ``/metrics`` want the token, if there is one, except from this machine.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from runtime.gateway.access import SUBPROTOCOL, Access, has_token
from runtime.gateway.config import is_loopback
from runtime.gateway.http import HttpRequest, HttpResponse, Upgrade, plain
from runtime.gateway.refusals import Refusals
from runtime.gateway.throttle import Throttle
from runtime.ports.front import Front
from runtime.sessions.principals import Principal

ACP_PATH = "/acp"

_PAGES = ("/healthz", "/readyz", "/metrics")
_KEY_BYTES = 16


class Routes:
    """Answers requests; an instance is the ``answer`` of `runtime.gateway.http.converse`.

    Args:
        front: whom to ask about readiness and metrics.
        access: who may ask.
        throttle: how often an address may shake hands.
        refusals: is told who was not let in.
    """

    def __init__(
        self, front: Front, access: Access, throttle: Throttle, refusals: Refusals
    ) -> None:
        self._front = front
        self._access = access
        self._throttle = throttle
        self._refusals = refusals

    def __call__(self, request: HttpRequest) -> HttpResponse | Upgrade:
        """The answer to a request."""
        if request.path == "/healthz":
            return _allow(request) or plain(200, "alive")
        host = request.header("host")
        if not self._access.host_is_ours(host):
            self._refusals.note("the host name is not served here", request.peer, host)
            return plain(
                421,
                "This host name is not served here. Use the configured host, or add "
                "the name's origin to gateway.allowed_origins.",
            )
        if request.path == ACP_PATH:
            return self._handshake(request)
        if request.path in _PAGES:
            return _allow(request) or self._page(request)
        return plain(404, f"Nothing here. There is {ACP_PATH} (WebSocket), {', '.join(_PAGES)}.")

    def _page(self, request: HttpRequest) -> HttpResponse:
        if not is_loopback(request.peer) and self._principal(request) is None:
            return self._unauthorized(request)
        if request.path == "/metrics":
            metrics_type = "text/plain; version=0.0.4; charset=utf-8"
            return HttpResponse(200, self._front.metrics(), metrics_type)
        readiness = self._front.readiness()
        body = msgspec.json.encode(readiness) + b"\n"
        return HttpResponse(200 if readiness.ready else 503, body, "application/json")

    def _handshake(self, request: HttpRequest) -> HttpResponse | Upgrade:
        problem = _allow(request, "GET") or _bad_handshake(request)
        if problem is not None:
            return problem
        if not self._throttle.allow(request.peer):
            self._refusals.note("too many handshakes", request.peer)
            text = "Too many connections from this address: wait a second."
            return HttpResponse(429, text.encode() + b"\n", headers=(("retry-after", "1"),))
        origin = request.header("origin")
        if not self._access.origin_is_allowed(origin):
            self._refusals.note("the origin is not allowed", request.peer, origin)
            return plain(403, "This page's origin is not in gateway.allowed_origins.")
        principal = self._principal(request)
        if principal is None:
            return self._unauthorized(request)
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in _subprotocols(request) else None
        return Upgrade(_websocket_head(request, subprotocol), subprotocol, principal)

    def _principal(self, request: HttpRequest) -> Principal | None:
        return self._access.principal(request.header("authorization"), _subprotocols(request))

    def _unauthorized(self, request: HttpRequest) -> HttpResponse:
        """What to say to a request without the right token (RFC 6750, section 3)."""
        if has_token(request.header("authorization"), _subprotocols(request)):
            self._refusals.note("the token is wrong", request.peer)
            challenge, text = 'Bearer error="invalid_token"', "The token is wrong.\n"
        else:
            self._refusals.note("the token is missing", request.peer)
            challenge, text = "Bearer", "A token is needed: send Authorization: Bearer TOKEN.\n"
        return HttpResponse(401, text.encode(), headers=(("www-authenticate", challenge),))


def _allow(request: HttpRequest, *methods: str) -> HttpResponse | None:
    allowed = methods or ("GET", "HEAD")
    if request.method in allowed:
        return None
    text = f"{request.method} is not possible here.\n"
    return HttpResponse(405, text.encode(), headers=(("allow", ", ".join(allowed)),))


def _bad_handshake(request: HttpRequest) -> HttpResponse | None:
    """What RFC 6455, section 4.2.1, asks of a handshake."""
    wants = [option.lower() for option in request.listed("connection")]
    upgrades = [option.lower() for option in request.listed("upgrade")]
    if "websocket" not in upgrades or "upgrade" not in wants:
        text = "The Agent Client Protocol is spoken here: connect with a WebSocket client.\n"
        headers = (("upgrade", "websocket"), ("connection", "upgrade"))
        return HttpResponse(426, text.encode(), headers=headers)
    if request.header("sec-websocket-version") != "13":
        text = "WebSocket version 13 is spoken here.\n"
        return HttpResponse(426, text.encode(), headers=(("sec-websocket-version", "13"),))
    try:
        key = base64.b64decode(request.header("sec-websocket-key") or "", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        return plain(400, "Sec-WebSocket-Key must be 16 bytes in base64.")
    return None


def _websocket_head(request: HttpRequest, subprotocol: str | None) -> bytes:
    """The handshake once more, with nothing in it that was not checked, and no secret."""
    lines = [
        f"GET {ACP_PATH} HTTP/1.1",
        f"Host: {request.header('host')}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {request.header('sec-websocket-key')}",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _subprotocols(request: HttpRequest) -> tuple[str, ...]:
    return request.listed("sec-websocket-protocol")
