"""A WebSocket, from its handshake to its close.

trio-websocket is used through `wrap_server_stream`, never through its own server: there, one ping
during a close ends the listener and every connection (trio-websocket, issue 184). Here whatever
goes wrong stays in the nursery of the one connection.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketRequest,
    wrap_server_stream,
)

from runtime.gateway.connection import Closing
from runtime.gateway.frames import MAX_FRAGMENTS
from runtime.gateway.http import Upgraded
from runtime.gateway.streams import BufferedStream
from runtime.gateway.wire import Wire

CLOSE_LIMIT = 2.0
"""Seconds for the peer to answer a close."""

FLUSH_LIMIT = 0.1
"""Seconds to hand over a close frame that nobody will answer."""

FRAGMENTED = Closing(1009, f"a message in more than {MAX_FRAGMENTS} fragments")

_RECEIVE_BUFFER = 16 * 1024  # bytes handled in one step of the loop, between those of others
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
    serve: Callable[[Wire], Awaitable[Closing]],
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
            try:
                await _converse(stream, upgraded, serve, connection_id, max_message, timeout)
            except* _EXPECTED:
                pass
            except* Exception:
                _log.exception("connection %s failed", connection_id)
            await stream.aclose()
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(transport)


async def _converse(
    stream: BufferedStream,
    upgraded: Upgraded,
    serve: Callable[[Wire], Awaitable[Closing]],
    connection_id: str,
    max_message: int,
    timeout: float,
) -> None:
    async with trio.open_nursery() as nursery:
        end_of_reading = trio.Event()
        with trio.fail_after(timeout):
            request: WebSocketRequest = await nursery.start(
                _read, stream, max_message, end_of_reading
            )
            websocket = await request.accept(
                subprotocol=upgraded.upgrade.subprotocol,
                extra_headers=[(b"Acp-Connection-Id", connection_id.encode())],
            )
        stream.release()
        closing = await serve(Wire(websocket, stream))
        if stream.refused:
            closing = FRAGMENTED
        with trio.move_on_after(CLOSE_LIMIT) as limit:
            nursery.start_soon(_hurry, end_of_reading, limit)
            await websocket.aclose(closing.code, closing.reason)
        nursery.cancel_scope.cancel()


async def _read(
    stream: BufferedStream,
    max_message: int,
    end_of_reading: trio.Event,
    task_status: trio.TaskStatus[WebSocketRequest],
) -> None:
    """Run the library's reader apart: when it fails, the close frame can still be sent."""
    try:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(
                nursery,
                stream,
                message_queue_size=_MESSAGE_QUEUE,
                max_message_size=max_message,
                receive_buffer_size=_RECEIVE_BUFFER,
            )
            task_status.started(request)
    except* _EXPECTED:
        pass
    except* Exception as errors:  # a ping that meets our close, among others
        _log.debug("the reader of a WebSocket failed", exc_info=errors)
    finally:
        end_of_reading.set()


async def _hurry(end_of_reading: trio.Event, limit: trio.CancelScope) -> None:
    """Nobody reads the answer to a close any more: only sending it is worth waiting for."""
    await end_of_reading.wait()
    limit.deadline = min(limit.deadline, trio.current_time() + FLUSH_LIMIT)
