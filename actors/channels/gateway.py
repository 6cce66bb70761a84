"""The gateway's place in the tree: clients are served for as long as this actor lives.

Farewell  close every connection, in good order (G9)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import get_args

import msgspec
import trio

from runtime.gateway import Gateway, GatewayConfig
from runtime.gateway.certificate import Certificate
from runtime.gateway.config import check
from runtime.gateway.connection import LetGo
from runtime.gateway.listening import open_listeners
from runtime.gateway.refusals import Reason
from runtime.kernel import Actor, Request
from runtime.metrics import Metrics
from runtime.ports.front import Front


class Port(msgspec.Struct, frozen=True):
    """The open port, before anybody serves it."""

    config: GatewayConfig
    listeners: list[trio.SocketListener]
    tls: Certificate | None

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port that clients connect to."""
        host, port = self.listeners[0].socket.getsockname()[:2]
        return str(host), int(port)


@asynccontextmanager
async def open_port(config: GatewayConfig) -> AsyncIterator[Port]:
    """Take the port, and give it back at the end of the block.

    It is taken before anything is changed on disk, so that a runtime that cannot listen leaves no
    trace, and it outlives restarts of the actor that serves it.

    Raises:
        GatewayError: it cannot be opened, or would be open to strangers (G8).
    """
    check(config)
    tls = await trio.to_thread.run_sync(Certificate.of, config)
    listeners = await open_listeners(config)
    try:
        yield Port(config, listeners, tls)
    finally:
        for listener in listeners:
            listener.socket.close()


class Farewell(Request[None], frozen=True):
    """Close all connections, in good order."""


class GatewayActor(Actor[Farewell]):
    """Serves clients on an open port."""

    def __init__(self, front: Front, port: Port, metrics: Metrics) -> None:
        refused = {
            reason: metrics.handshakes_refused.labels(reason=reason) for reason in get_args(Reason)
        }
        let_go = {
            reason: metrics.clients_let_go.labels(reason=reason) for reason in get_args(LetGo)
        }
        self._gateway = Gateway(
            front,
            port.config,
            port.listeners,
            port.tls,
            refused=lambda reason: refused[reason].inc(),
            let_go=lambda reason: let_go[reason].inc(),
        )
        metrics.connections.set_function(lambda: self._gateway.connected)

    async def on_start(self) -> None:
        self.start(self._gateway.serve, name="serve")

    async def on_message(self, message: Farewell) -> object:
        await self._gateway.close()
        return None
