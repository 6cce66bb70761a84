"""A WebSocket, from its handshake to its close.

trio-websocket is used through `wrap_server_stream`, never through its own server: there, one ping
during a close ends the listener and every connection (trio-websocket, issue 184). Here whatever
goes wrong stays in the nursery of the one connection.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from runtime.gateway.connection import Closing
from runtime.gateway.http import Upgraded
from runtime.gateway.streams import BufferedStream

CLOSE_LIMIT = 2.0
"""Seconds for the peer to answer a close."""

_RECEIVE_BUFFER = 64 * 1024
_MESSAGE_QUEUE = 16

_EXPECTED = (
    ConnectionClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)

_log = logging.getLogger("runtime.gateway")


async def serve_websocket(
    transport: trio.abc.Stream,
    upgraded: Upgraded,
    serve: Callable[[WebSocketConnection], Awaitable[Closing]],
    *,
    connection_id: str,
    max_message: int,
    timeout: float,
) -> None:
    """Answer a handshake that was checked, serve, and close.

    Args:
        transport: the connection; closed at the end.
        upgraded: the handshake.
        serve: serves the WebSocket and says with what to close it.
        connection_id: for the ``Acp-Connection-Id`` header (G1).
        max_message: characters of the longest message; a longer one ends with close code 1009.
        timeout: seconds for the handshake.
    """
    stream = BufferedStream(transport, upgraded.upgrade.head, upgraded.early)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write_forever)
            with trio.fail_after(timeout):
                request = await wrap_server_stream(
                    nursery,
                    stream,
                    message_queue_size=_MESSAGE_QUEUE,
                    max_message_size=max_message,
                    receive_buffer_size=_RECEIVE_BUFFER,
                )
                websocket = await request.accept(
                    subprotocol=upgraded.upgrade.subprotocol,
                    extra_headers=[(b"Acp-Connection-Id", connection_id.encode())],
                )
            stream.release()
            closing = await serve(websocket)
            with trio.move_on_after(CLOSE_LIMIT):
                await websocket.aclose(closing.code, closing.reason)
            await stream.aclose()
            nursery.cancel_scope.cancel()
    except* _EXPECTED:
        pass
    except* Exception as errors:
        _log.debug("connection %s ended badly", connection_id, exc_info=errors)
    finally:
        await trio.aclose_forcefully(transport)
