"""The one port: the Agent Client Protocol over WebSocket, and health pages over HTTP.

    async with trio.open_nursery() as nursery:
        gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
        print(gateway.url)

Modules, from the socket inwards: `listening` opens the port, `certificate` follows what TLS shows,
`server` accepts and closes, `http` and `routes` answer requests under the rules of `access` and
`throttle`, `websocket`, `wire`, `streams` and `frames` carry frames, `connection` serves one client
with the handlers in `methods` and `extra_methods`, `attachment` forwards what happens in a session,
`questions` asks the client and takes its answers, `choices` are the settings of a session,
`workplaces` says what a client may have of this machine, `outgoing` holds what a client has not
read yet.
"""

from runtime.gateway.config import GatewayConfig, GatewayError
from runtime.gateway.server import Gateway, serve_gateway

__all__ = ["Gateway", "GatewayConfig", "GatewayError", "serve_gateway"]
