"""What a client costs that is connected and silent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from functools import partial
from urllib.parse import urlsplit

import trio

from bench.clients import connected, initialized
from bench.harness import Question
from bench.processes import Server, program, serving

CONNECTIONS = 500
FIRST = 20
"""Connections that come before, so that what is loaded or made once is not in the figure."""

Opened = Callable[[str], AbstractAsyncContextManager[object]]


@asynccontextmanager
async def tcp(url: str) -> AsyncIterator[None]:
    """A connection on which nothing is said."""
    parts = urlsplit(url)
    async with await trio.open_tcp_stream(parts.hostname or "", parts.port or 0):
        yield


@asynccontextmanager
async def following(url: str) -> AsyncIterator[None]:
    """A client that follows a session of its own, in which nothing was said yet."""
    async with initialized(url) as client:
        await client.new_session()
        yield


def growth(
    serve: Callable[[], AbstractContextManager[Server]], opened: Opened
) -> Callable[[float], float]:
    """Bytes by which the server grows for each connection."""

    async def main(count: int) -> float:
        with serve() as server:
            async with AsyncExitStack() as stack:
                for _ in range(FIRST):
                    await stack.enter_async_context(opened(server.url))
                before = server.resident()
                for _ in range(count):
                    await stack.enter_async_context(opened(server.url))
                return (server.resident() - before) / count

    return lambda scale: trio.run(main, max(FIRST, round(CONNECTIONS * scale)))


runtime = partial(serving, "")

QUESTIONS = (
    Question(
        name="memory of an idle connection",
        unit="bytes",
        higher_is_better=False,
        variants={
            "runtime, initialized": growth(runtime, initialized),
            "runtime, following a session": growth(runtime, following),
            "bare WebSocket": growth(partial(program, "bench.bare", "websocket"), connected),
            "bare TCP": growth(partial(program, "bench.bare", "tcp"), tcp),
        },
        baseline="bare WebSocket",
    ),
)
