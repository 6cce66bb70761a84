"""The plainest servers, to compare with: they keep nothing, bound nothing, and forgive nothing.

``python -m bench.bare tcp`` accepts connections. ``python -m bench.bare websocket`` accepts
WebSockets as trio-websocket does by itself, and sends each message that it gets to all of them, as
often as the message says. Both print their URL.
"""

from __future__ import annotations

import sys

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket


class Broadcast(msgspec.Struct, frozen=True):
    """What a client asks for: this text, to everyone, so many times."""

    text: str
    times: int


async def tcp() -> None:
    """Accept, and read until the end."""

    async def serve(stream: trio.SocketStream) -> None:
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        print(f"tcp://127.0.0.1:{listeners[0].socket.getsockname()[1]}", flush=True)


async def websocket() -> None:
    """Send to everyone, one after the other."""
    everyone: set[WebSocketConnection] = set()

    async def serve(request: WebSocketRequest) -> None:
        connection = await request.accept()
        everyone.add(connection)
        try:
            while True:
                asked = msgspec.json.decode(await connection.get_message(), type=Broadcast)
                for _ in range(asked.times):
                    for each in everyone:
                        await each.send_message(asked.text)
        except ConnectionClosed:
            everyone.discard(connection)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, None)
        print(f"ws://127.0.0.1:{server.port}", flush=True)


if __name__ == "__main__":
    trio.run({"tcp": tcp, "websocket": websocket}[sys.argv[1]])
