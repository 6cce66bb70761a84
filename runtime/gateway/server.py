"""The one port: listening, accepting, and the life of each connection (G8, G9)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Never

import msgspec
import trio

from runtime.gateway import extra_methods, methods
from runtime.gateway.access import Access
from runtime.gateway.certificate import Certificate
from runtime.gateway.config import GatewayConfig, check
from runtime.gateway.connection import LET_GO, Client, Closing, LetGo, Served
from runtime.gateway.http import Upgraded, converse
from runtime.gateway.listening import open_listeners
from runtime.gateway.refusals import Reason, Refusals
from runtime.gateway.routes import ACP_PATH, Routes
from runtime.gateway.streams import LINGER, close_gently
from runtime.gateway.throttle import Occupancy, Throttle
from runtime.gateway.websocket import serve_websocket
from runtime.gateway.wire import Wire
from runtime.ports.front import Front
from runtime.protocol.catalogue import FROM_CLIENT
from runtime.sessions.principals import Principal

CLOSE_DEADLINE = 5.0
"""Seconds for all clients to go when the gateway closes."""

ACCEPT_PAUSE = 0.1
"""Seconds before the next try when a connection cannot be accepted, as without descriptors."""

MAX_TURNED_AWAY = 64
"""Clients that are told at one time that there is no room."""

_BUSY_TEXT = b"Too many connections: try again soon.\n"
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\n"
    b"content-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (len(_BUSY_TEXT), _BUSY_TEXT)
)

_log = logging.getLogger("runtime.gateway")


class Gateway:
    """A gateway that listens. Made by `serve_gateway`.

    Args:
        front: the runtime.
        config: what was asked for.
        listeners: the sockets.
        tls: what TLS is spoken with, if it is.
        refused: is told why a client was not let in; must not wait.
        let_go: is told why a client that was in had to go; must not wait.
    """

    def __init__(
        self,
        front: Front,
        config: GatewayConfig,
        listeners: list[trio.SocketListener],
        tls: Certificate | None,
        refused: Callable[[Reason], None] | None = None,
        let_go: Callable[[LetGo], None] | None = None,
    ) -> None:
        self._front = front
        self._config = config
        self._listeners = listeners
        self._tls = tls
        self._run = secrets.token_hex(8)
        self._methods = served_methods()
        self._address: tuple[str, int] = listeners[0].socket.getsockname()[:2]
        access = Access(config, self.port)
        throttle = Throttle(config.handshakes_per_second, trio.current_time)
        self._refusals = Refusals(trio.current_time, refused)
        self._let_go = let_go
        self._routes = Routes(front, access, throttle, self._refusals)
        self._occupancy = Occupancy(config.max_connections, config.max_connections_per_address)
        self._turned_away = 0
        self._clients: set[Client] = set()
        self._closing: Closing | None = None
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._closed = trio.Event()

    @property
    def connected(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    @property
    def host(self) -> str:
        """The address listened on."""
        return self._address[0]

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._address[1]

    @property
    def url(self) -> str:
        """Where clients connect."""
        scheme = "ws" if self._tls is None else "wss"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{ACP_PATH}"

    async def serve(self) -> None:
        """Serve clients until `close`. Cancelled, it drops all of them at once."""
        try:
            with self._serving:
                async with trio.open_nursery() as self._websockets:
                    with self._accepting:
                        await self._accept()
        finally:
            self._closed.set()

    async def close(self, code: int = 1001, reason: str = "the runtime stops") -> None:
        """Stop listening and ask all clients to go (G9); returns when they are gone.

        What they asked before is still answered, if that takes less than a second. Those who do not
        go within `CLOSE_DEADLINE` are dropped. Calling it again only waits.

        Args:
            code: the close code, see RFC 6455, section 7.4.
            reason: words for the client, at most 123 bytes.
        """
        self._closing = self._closing or Closing(code, reason)
        for listener in self._listeners:
            listener.socket.close()
        self._accepting.cancel()
        for client in self._clients:
            client.retire(self._closing)
        with trio.move_on_after(CLOSE_DEADLINE) as patience:
            await self._closed.wait()
        if patience.cancelled_caught:
            self._serving.cancel()
            with trio.move_on_after(CLOSE_DEADLINE):
                await self._closed.wait()

    # -- connections --------------------------------------------------------------------------

    async def _accept(self) -> None:
        async with trio.open_nursery() as self._conversations:
            for listener in self._listeners:
                self._conversations.start_soon(self._accept_forever, listener)
            if self._tls is not None:
                self._conversations.start_soon(self._tls.follow)

    async def _accept_forever(self, listener: trio.SocketListener) -> None:
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            except OSError as error:
                _log.warning("cannot accept a connection: %s", error.strerror)
                await trio.sleep(ACCEPT_PAUSE)
                continue
            try:
                peer = str(stream.socket.getpeername()[0])
            except OSError:  # gone already
                await trio.aclose_forcefully(stream)
                continue
            if self._occupancy.enter(peer):
                self._conversations.start_soon(self._converse, stream, peer)
            else:
                self._refusals.note("too many connections", peer)
                await self._turn_away(stream)

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        """Say that there is no room, to a few at a time; the others see only that it closes."""
        if self._tls is None and self._turned_away < MAX_TURNED_AWAY:
            self._turned_away += 1
            self._conversations.start_soon(self._excuse, stream)
        else:
            await trio.aclose_forcefully(stream)

    async def _excuse(self, stream: trio.SocketStream) -> None:
        try:
            with trio.move_on_after(LINGER):
                await stream.send_all(_BUSY)
            await close_gently(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            self._turned_away -= 1
            await trio.aclose_forcefully(stream)

    async def _converse(self, stream: trio.SocketStream, peer: str) -> None:
        """The HTTP side of a connection; a WebSocket goes on as a task of its own."""
        timeout = self._config.handshake_timeout
        handed_on = False
        try:
            transport = await self._secured(stream)
            upgraded = await converse(transport, peer, self._routes, timeout)
            if upgraded is None:
                await close_gently(transport)
            else:
                self._websockets.start_soon(self._websocket, transport, peer, upgraded)
                handed_on = True
        except (OSError, trio.BrokenResourceError, trio.TooSlowError):
            pass
        except Exception:
            _log.exception("an HTTP request failed")
        finally:
            if not handed_on:
                self._occupancy.leave(peer)
                await trio.aclose_forcefully(stream)

    async def _secured(self, stream: trio.SocketStream) -> trio.abc.Stream:
        if self._tls is None:
            return stream
        context = self._tls.context
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with trio.fail_after(self._config.handshake_timeout):
            await secured.do_handshake()
        return secured

    async def _websocket(self, transport: trio.abc.Stream, peer: str, upgraded: Upgraded) -> None:
        connection_id = secrets.token_hex(16)
        try:
            await serve_websocket(
                transport,
                upgraded,
                partial(self._serve_client, connection_id, upgraded.upgrade.principal),
                connection_id=connection_id,
                max_message=self._config.max_frame_bytes,
                timeout=self._config.handshake_timeout,
            )
        finally:
            self._occupancy.leave(peer)

    async def _serve_client(self, connection_id: str, principal: Principal, wire: Wire) -> Closing:
        if self._closing is not None:
            return self._closing
        client = Client(
            self._front,
            self._methods,
            wire,
            connection_id,
            self._run,
            principal,
            self._config,
        )
        self._clients.add(client)
        try:
            closing = await client.serve()
        finally:
            self._clients.discard(client)
        if closing in LET_GO:
            self._note_let_go(connection_id, LET_GO[closing])
        return closing

    def _note_let_go(self, connection_id: str, reason: LetGo) -> None:
        _log.info("let a client go: %s (connection %s)", reason, connection_id)
        if self._let_go is not None:
            self._let_go(reason)


async def serve_gateway(
    front: Front,
    config: GatewayConfig,
    *,
    task_status: trio.TaskStatus[Gateway] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Listen, and serve clients. To be run as a task: ``gateway = await nursery.start(...)``.

    Does not end by itself: after `Gateway.close` it waits to be cancelled. Cancelled, it drops all
    connections at once.

    Args:
        front: the runtime.
        config: where to listen and whom to let in.
        task_status: is given the `Gateway` when it listens.

    Raises:
        GatewayError: it cannot listen, or must not as it is configured.
    """
    check(config)
    tls = await trio.to_thread.run_sync(Certificate.of, config)
    listeners = await open_listeners(config)
    gateway = Gateway(front, config, listeners, tls)
    task_status.started(gateway)
    await gateway.serve()
    await trio.sleep_forever()


def served_methods() -> Mapping[str, Served]:
    """What is served: the handlers of all methods of the catalogue."""
    handlers = {**methods.HANDLERS, **extra_methods.HANDLERS}
    return {
        method.name: Served(msgspec.json.Decoder(method.params), handlers[method.name], method.role)
        for method in FROM_CLIENT
    }
