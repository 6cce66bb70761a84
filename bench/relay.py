"""How many tokens a second of processor time carries from an agent to those who watch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec
import trio

from bench.clients import Client, connected, initialized, said
from bench.harness import Question
from bench.processes import program, serving

WATCHERS = 64
TOKENS = 24_000
TOKENS_TO_ALL = 4_000
TOKENS_IN_A_TURN = 2_000
LIMIT_SECONDS = 240.0
"""Within which all of it has to arrive."""

ECHO = """
[agents.echo]
kind = "echo"

[queue]
mode = "followup"
cap = 10_000
"""
"""The agent says the words of the prompt one by one, as fast as they are taken."""

TOKEN = b"token "
CHUNK = b"agent_message_chunk"


def relayed(watchers: int, tokens: int) -> float:
    """Tokens that reached a client, for each second of processor time of the server."""

    async def watch(client: Client) -> None:
        """Read until all that the agent says was shown, however it was cut into pieces."""
        left = tokens
        while left > 0:
            frame = await client.receive()
            if CHUNK in frame:
                left -= frame.count(TOKEN)

    async def main() -> float:
        with serving(ECHO) as server:
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(initialized(server.url))
                    for _ in range(watchers)
                ]
                session = await clients[0].new_session()
                for client in clients[1:]:
                    where = {"sessionId": session, "cwd": "/", "mcpServers": []}
                    await client.call("session/resume", where)
                before = server.used()
                with trio.fail_after(LIMIT_SECONDS):
                    async with trio.open_nursery() as nursery:
                        for client in clients:
                            nursery.start_soon(watch, client)
                        await say(clients[0], session)
                return tokens * watchers / server.used().since(before).total

    async def say(client: Client, session: str) -> None:
        for start in range(0, tokens, TOKENS_IN_A_TURN):
            words = min(TOKENS_IN_A_TURN, tokens - start)
            await client.send("session/prompt", said(session, TOKEN.decode() * words))

    return trio.run(main)


def broadcast(watchers: int, tokens: int) -> float:
    """The same from a server that has nothing else to do."""
    update = {"sessionUpdate": CHUNK.decode(), "content": {"type": "text", "text": TOKEN.decode()}}
    params = {"sessionId": "0" * 26, "update": update}
    message = {"jsonrpc": "2.0", "method": "session/update", "params": params}
    wanted = {"text": msgspec.json.encode(message).decode(), "times": tokens}

    async def watch(client: Client) -> None:
        for _ in range(tokens):
            await client.receive()

    async def main() -> float:
        with program("bench.bare", "websocket") as server:
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(connected(server.url)) for _ in range(watchers)
                ]
                before = server.used()
                with trio.fail_after(LIMIT_SECONDS):
                    async with trio.open_nursery() as nursery:
                        for client in clients:
                            nursery.start_soon(watch, client)
                        await clients[0].say(msgspec.json.encode(wanted))
                return tokens * watchers / server.used().since(before).total

    return trio.run(main)


def figure(
    measured: Callable[[int, int], float], watchers: int, tokens: int
) -> Callable[[float], float]:
    return lambda scale: measured(watchers, max(1, round(tokens * scale)))


QUESTIONS = (
    Question(
        name="tokens to watchers",
        unit="tokens/CPU s",
        higher_is_better=True,
        variants={
            "1 client": figure(relayed, 1, TOKENS),
            f"{WATCHERS} clients": figure(relayed, WATCHERS, TOKENS_TO_ALL),
            "1 client, bare": figure(broadcast, 1, TOKENS),
            f"{WATCHERS} clients, bare": figure(broadcast, WATCHERS, TOKENS_TO_ALL),
        },
    ),
)
