"""The gateway's place in the tree: the one port, served for as long as this actor lives.

Listen    open the port                       → (host, port)
Farewell  close every connection (G9)
"""

from __future__ import annotations

from runtime.gateway import GatewayConfig
from runtime.kernel import Actor, Request
from runtime.ports.front import Front


class Listen(Request[tuple[str, int]], frozen=True):
    """Open the port; fails with `runtime.gateway.GatewayError`."""


class Farewell(Request[None], frozen=True):
    """Close all connections, in good order."""


class GatewayActor(Actor[Listen | Farewell]):
    """Serves clients."""

    def __init__(self, front: Front, config: GatewayConfig) -> None:
        self._front = front
        self._config = config
