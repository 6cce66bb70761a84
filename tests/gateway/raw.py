"""Bytes to the port and back, for tests that do what no client library would."""

from __future__ import annotations

import base64
import json
import os
import struct
from typing import Protocol

import trio

LIMIT = 20.0


class Listening(Protocol):
    """Where to connect."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


async def connect(gateway: Listening) -> trio.SocketStream:
    return await trio.open_tcp_stream(gateway.host, gateway.port)


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything up to the end, also when the end is a reset."""
    data = b""
    with trio.fail_after(LIMIT):
        try:
            while chunk := await stream.receive_some(65536):
                data += chunk
        except trio.BrokenResourceError:
            pass
    return data


async def exchange(gateway: Listening, data: bytes) -> bytes:
    """Send bytes, say that nothing follows, and read what comes."""
    async with await connect(gateway) as stream:
        with trio.fail_after(LIMIT):
            await stream.send_all(data)
            await stream.send_eof()
        return await read_all(stream)


async def get(gateway: Listening, path: str, *headers: str, method: str = "GET") -> bytes:
    """A whole answer; the connection is closed after it."""
    head = [f"{method} {path} HTTP/1.1", "Connection: close", *headers]
    if not any(header.lower().startswith("host:") for header in headers):
        head.append(f"Host: 127.0.0.1:{gateway.port}")
    return await exchange(gateway, "\r\n".join([*head, "", ""]).encode("latin-1"))


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def handshake(gateway: Listening, *headers: str, host: str | None = None) -> bytes:
    """A correct upgrade request with these headers in addition."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /acp HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{gateway.port}'}",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def read_head(stream: trio.abc.ReceiveStream) -> tuple[bytes, bytes]:
    """The head of an answer, and what came after it."""
    data = b""
    with trio.fail_after(LIMIT):
        while b"\r\n\r\n" not in data:
            chunk = await stream.receive_some(4096)
            assert chunk, data
            data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, mask: bool = True) -> bytes:
    """One WebSocket frame as a client sends it (RFC 6455, section 5.2)."""
    first = (0x80 if fin else 0) | opcode
    bit = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    return head + (b"\0\0\0\0" if mask else b"") + payload


def call(number: int, method: str, params: object) -> bytes:
    """A JSON-RPC request as a frame."""
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return frame(json.dumps(message).encode())
