"""Opening the port, and saying clearly why it cannot be opened (G8)."""

from __future__ import annotations

import errno
import socket

import trio

from runtime.gateway.config import GatewayConfig, GatewayError, is_loopback

_BACKLOG = 1024


async def open_listeners(config: GatewayConfig) -> list[trio.SocketListener]:
    """The listening sockets, one per address of the host; for port 0 only one.

    Raises:
        GatewayError: the port is taken, or the host cannot be listened on.
    """
    try:
        listeners = await trio.open_tcp_listeners(config.port, host=config.host, backlog=_BACKLOG)
    except OSError as error:
        raise GatewayError(_reason(config, error)) from None
    kept = listeners[:1] if config.port == 0 else listeners
    for listener in listeners[len(kept) :]:
        listener.socket.close()
    addresses = [listener.socket.getsockname()[0] for listener in kept]
    exposed = [address for address in addresses if not is_loopback(address)]
    if exposed and config.token is None:
        for listener in kept:
            listener.socket.close()
        raise GatewayError(
            f"{config.host!r} is {exposed[0]} here, which other machines can reach, and no token "
            "is set. Set gateway.token, or listen on 127.0.0.1."
        )
    return kept


def _reason(config: GatewayConfig, error: OSError) -> str:
    where = f"{config.host} port {config.port}"
    if isinstance(error, socket.gaierror):
        return f"The host {config.host!r} cannot be resolved: check gateway.host."
    if error.errno == errno.EADDRINUSE:
        return (
            f"{where} is taken: another runtime may be running. Stop it, or choose another port "
            "(--port, gateway.port; 0 takes a free one)."
        )
    if error.errno == errno.EACCES:
        return f"{where} may not be opened by this user: choose a port from 1024 up (gateway.port)."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{config.host} is no address of this machine: check gateway.host."
    return f"{where} cannot be listened on: {error.strerror or error}."
