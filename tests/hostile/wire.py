"""Connections on which anything can be sent, and that may end in any way."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

import trio

from tests.gateway import raw

PATIENCE = 2.0
"""Seconds that an attacker sends, or waits for the end: the runtime owes it neither."""

LIMIT = 60.0
"""Seconds for what the runtime does owe."""

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Target(NamedTuple):
    """The port under siege."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Target:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.hostname, parts.port)


class Wire:
    """One connection of an attacker, who does not mind when it breaks."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def send(self, data: bytes) -> None:
        with suppress(*GONE), trio.move_on_after(PATIENCE):
            await self.stream.send_all(data)

    async def send_in_pieces(self, data: bytes, rng: Random, most: int = 50) -> None:
        """Cut at random."""
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(most)))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            await self.send(data[start:end])

    async def read(self, until: bytes | None = None) -> bytes:
        """What comes: up to these bytes, which it owes, else to the end or to that of patience."""
        data = b""
        with suppress(*GONE), trio.move_on_after(PATIENCE if until is None else LIMIT):
            while until is None or until not in data:
                chunk = await self.stream.receive_some(65_536)
                if not chunk:
                    break
                data += chunk
        return data

    async def greet(self, target: Target) -> None:
        """Shake hands, and be served from then on."""
        await self.send(raw.handshake(target))
        await self.read(b"\r\n\r\n")
        await self.send(raw.call(0, "initialize", {"protocolVersion": 1}))
        await self.read(b'"id":0')

    async def leave(self, rng: Random) -> None:
        """Go without a word, with a reset, or after saying that nothing follows."""
        way = rng.randrange(4)
        if way == 0:
            reset = struct.pack("ii", 1, 0)
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        elif way == 1:
            with suppress(*GONE):
                await self.stream.send_eof()
            await self.read()
        elif way == 2:
            await self.send(raw.frame(b"\x03\xe8", 8))
            await self.read()
        await self.stream.aclose()


@asynccontextmanager
async def dialled(target: Target, rng: Random) -> AsyncIterator[Wire]:
    """A connection on which nothing was said; it ends in one of several ways."""
    wire = Wire(await trio.open_tcp_stream(target.host, target.port))
    try:
        yield wire
        await wire.leave(rng)
    finally:
        await trio.aclose_forcefully(wire.stream)


@asynccontextmanager
async def shaken(target: Target, rng: Random) -> AsyncIterator[Wire]:
    """A WebSocket on which nothing was said."""
    async with dialled(target, rng) as wire:
        await wire.send(raw.handshake(target))
        await wire.read(b"\r\n\r\n")
        yield wire


@asynccontextmanager
async def initialized(target: Target, rng: Random) -> AsyncIterator[Wire]:
    """A WebSocket on which requests are served."""
    async with dialled(target, rng) as wire:
        await wire.greet(target)
        yield wire
