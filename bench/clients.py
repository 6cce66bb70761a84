"""Clients that cost next to nothing, so that the server is what is measured.

They speak as much of WebSocket (RFC 6455) and of the Agent Client Protocol as the benches need.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import trio

DEADLINE_SECONDS = 60.0
"""How long one answer may take."""

_RECEIVE_BYTES = 256 * 1024
_TEXT, _PING, _PONG = 1, 9, 10
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="


class Gone(Exception):
    """The server closed the connection."""


class Refused(Exception):
    """A request was answered with an error."""


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request; without an id something that is none."""

    id: int | None = None
    result: Any = None
    error: Any = None


_answers = msgspec.json.Decoder(Answer)


class Client:
    """A WebSocket, after its handshake. Made by `connected`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._calls = 0

    async def shake_hands(self, url: str) -> None:
        """The opening handshake; the server is trusted to answer it correctly."""
        parts = urlsplit(url)
        head = (
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await self._stream.send_all(head.encode("ascii"))
        while b"\r\n\r\n" not in self._buffer:
            await self._read()
        answer, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 101"):
            raise Gone(answer.decode("latin-1"))
        self._buffer[:] = rest

    async def receive(self) -> bytes:
        """The next text message. Pings are answered on the way."""
        while True:
            frame = self._next_frame()
            if frame is None:
                await self._read()
                continue
            opcode, payload = frame
            if opcode == _TEXT:
                return payload
            if opcode == _PING:
                await self._send(_PONG, payload)
            elif opcode != _PONG:
                raise Gone(payload)

    async def say(self, text: bytes) -> None:
        """Send a text message."""
        await self._send(_TEXT, text)

    async def send(self, method: str, params: dict[str, Any]) -> int:
        """Send a request without waiting; its id."""
        self._calls += 1
        message = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        await self.say(msgspec.json.encode(message))
        return self._calls

    async def answer(self) -> Answer:
        """The next answer to a request; what comes before it is not kept."""
        with trio.fail_after(DEADLINE_SECONDS):
            while True:
                answer = _answers.decode(await self.receive())
                if answer.error is not None:
                    raise Refused(answer.error)
                if answer.id is not None:
                    return answer

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a request, with none other unanswered."""
        number = await self.send(method, params)
        answer = await self.answer()
        assert answer.id == number
        return answer.result

    async def new_session(self) -> str:
        """A new session of the default agent, followed."""
        result = await self.call("session/new", {"cwd": "/", "mcpServers": []})
        return str(result["sessionId"])

    async def _send(self, opcode: int, payload: bytes) -> None:
        # A mask of zeros is a mask, and leaves the payload as it is.
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
        await self._stream.send_all(head + b"\0\0\0\0" + payload)

    async def _read(self) -> None:
        data = await self._stream.receive_some(_RECEIVE_BYTES)
        if not data:
            raise Gone
        self._buffer += data

    def _next_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        end = start + size
        if len(buffer) < end:
            return None
        frame = buffer[0] & 0x0F, bytes(buffer[start:end])
        del buffer[:end]
        return frame


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A WebSocket to any server."""
    parts = urlsplit(url)
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
    async with stream:
        client = Client(stream)
        with trio.fail_after(DEADLINE_SECONDS):
            await client.shake_hands(url)
        yield client


@asynccontextmanager
async def initialized(url: str) -> AsyncIterator[Client]:
    """A client of the runtime, ready for its first session."""
    async with connected(url) as client:
        await client.call("initialize", {"protocolVersion": 1, "clientCapabilities": {}})
        yield client


def said(session_id: str, text: str) -> dict[str, Any]:
    """The parameters of a prompt."""
    return {"sessionId": session_id, "prompt": [{"type": "text", "text": text}]}
