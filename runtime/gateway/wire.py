"""The messages of one WebSocket."""

from __future__ import annotations

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from runtime.gateway.streams import BufferedStream


class Wire:
    """A WebSocket after its handshake: texts out, messages in, and whether the peer is there.

    Receiving, pings and the close are the library's affair. Texts are framed here and go to the
    stream by themselves: the library passes a lock and a checkpoint or two for each of them, which
    a session with many watchers pays for with each token.

    Args:
        connection: the WebSocket, for everything else.
        stream: what the WebSocket writes to.
    """

    def __init__(self, connection: WebSocketConnection, stream: BufferedStream) -> None:
        self._connection = connection
        self._stream = stream

    async def receive(self) -> str | bytes:
        """The next message. Raises ConnectionClosed."""
        message: str | bytes = await self._connection.get_message()
        return message

    async def send(self, text: bytes) -> None:
        """Queue a message of text in UTF-8; waits only when the peer has too much unread.

        Raises:
            ConnectionClosed: the connection is closed, or being closed.
        """
        try:
            await self._stream.send_text(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionClosed(self._connection.closed) from None

    async def ping(self) -> None:
        """Wait until the peer has answered a ping. Raises ConnectionClosed."""
        await self._connection.ping()
