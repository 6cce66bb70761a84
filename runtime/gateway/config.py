"""What the gateway is told at its start, and why it may refuse to start (G8)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import msgspec

from runtime.settings import PrincipalSettings


class GatewayError(Exception):
    """The gateway cannot start. The text says why, and what to do."""


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway listens and what it allows.

    Args:
        host: the name or address to listen on.
        port: the TCP port; 0 takes a free one.
        token: what clients must present; required unless ``host`` is a loopback address.
        allowed_origins: origins of web pages that may connect, as in ``https://chat.example.com``.
            Pages that this machine serves on the gateway's own port may always.
        max_frame_bytes: the longest message of a client.
        tls_certificate: a PEM file with the certificate chain; serves TLS when set.
        tls_key: a PEM file with the key, when it is not in ``tls_certificate``.
        max_connections: sockets open at one time.
        max_connections_per_address: those of one address other than loopback.
        handshakes_per_second: WebSocket handshakes accepted from one address, on average.
        handshake_timeout: seconds within which a client must have sent its request.
        workspace_roots: folders in which a client may let an agent work (G10).
        client_mcp_servers: whether the MCP servers that a client names are passed on (G10).
        local_key: what a client on this machine shows in `initialize`; None when nobody can.
        principals: who else may connect, by name; with any, or with ``token``, nobody gets in
            without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    allowed_origins: tuple[str, ...] = ()
    max_frame_bytes: int = 32 * 1024 * 1024
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    max_connections: int = 1000
    max_connections_per_address: int = 100
    handshakes_per_second: float = 50.0
    handshake_timeout: float = 10.0
    workspace_roots: tuple[Path, ...] = ()
    client_mcp_servers: bool = False
    local_key: str | None = None
    principals: Mapping[str, PrincipalSettings] = {}

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"GatewayConfig(host={self.host!r}, port={self.port})"


def is_loopback(host: str) -> bool:
    """Whether a name or an address without brackets means this machine and no other."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def check(config: GatewayConfig) -> None:
    """Refuse what would be unsafe or cannot work.

    Raises:
        GatewayError: with what to change.
    """
    if config.token is not None and not config.token.strip():
        raise GatewayError("The gateway's token is empty: set one, or leave it out on loopback.")
    if config.token is None and not is_loopback(config.host):
        raise GatewayError(
            f"Listening on {config.host!r} would let other machines in, and no token is set. "
            "Set gateway.token, or listen on 127.0.0.1."
        )
    if config.tls_key is not None and config.tls_certificate is None:
        raise GatewayError("gateway.tls_key is set without gateway.tls_certificate: set both.")
