"""How many messages clients can hand over, each accepted when it is on disk, at what cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import trio

from bench.clients import Client, initialized, said
from bench.harness import Question
from bench.processes import Used, serving

CONNECTIONS = 50
MESSAGES = 10_000
MESSAGES_ALONE = 2_000
PER_THOUSAND = 1_000
MILLISECONDS = 1_000

SILENT = """
[agents.echo]
kind = "echo"
delay = "1h"

[queue]
cap = 10_000
"""
"""An agent that says nothing: what is accepted waits, and no turn is in the figures."""

TEXT = "A message of the usual length, about as long as this sentence is."


class Handed(NamedTuple):
    """Messages that were accepted, the time it took, and the processor time of the server."""

    messages: int
    seconds: float
    used: Used

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds

    @property
    def loop_milliseconds(self) -> float:
        """Processor time of the event loop for a thousand messages."""
        return self.used.loop * MILLISECONDS * PER_THOUSAND / self.messages

    @property
    def all_milliseconds(self) -> float:
        """Processor time of all threads for a thousand messages."""
        return self.used.total * MILLISECONDS * PER_THOUSAND / self.messages


def hand_over(connections: int, sessions: int, total: int) -> Handed:
    """Send from a number of connections, a number of sessions at once from each.

    Each session has one message under way: the next is sent when it was accepted.
    """

    async def send(client: Client, session_ids: list[str], share: int) -> None:
        idle = list(session_ids)
        waiting: dict[int | None, str] = {}
        for _ in range(share):
            if not idle:
                idle.append(waiting.pop((await client.answer()).id))
            session_id = idle.pop()
            number = await client.send("_runtime/session/send", said(session_id, TEXT))
            waiting[number] = session_id
        for _ in range(len(waiting)):
            await client.answer()

    async def main() -> Handed:
        share = total // connections
        with serving(SILENT) as server:
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(initialized(server.url))
                    for _ in range(connections)
                ]
                spoken = [
                    [await client.new_session() for _ in range(sessions)] for client in clients
                ]
                before = server.used()
                began = time.perf_counter()
                async with trio.open_nursery() as nursery:
                    for client, session_ids in zip(clients, spoken, strict=True):
                        nursery.start_soon(send, client, session_ids, share)
                seconds = time.perf_counter() - began
                return Handed(share * connections, seconds, server.used().since(before))

    return trio.run(main)


def figure(
    connections: int, sessions: int, messages: int, read: Callable[[Handed], float]
) -> Callable[[float], float]:
    """A variant: what `read` says of so many messages at full scale."""

    def variant(scale: float) -> float:
        total = max(connections * sessions, round(messages * scale))
        return read(hand_over(connections, sessions, total))

    return variant


def alone(read: Callable[[Handed], float]) -> Callable[[float], float]:
    return figure(1, 1, MESSAGES_ALONE, read)


def together(read: Callable[[Handed], float]) -> Callable[[float], float]:
    return figure(CONNECTIONS, 1, MESSAGES, read)


def on_one_connection(read: Callable[[Handed], float]) -> Callable[[float], float]:
    return figure(1, CONNECTIONS, MESSAGES, read)


QUESTIONS = (
    Question(
        name="accepted messages",
        unit="messages/s",
        higher_is_better=True,
        variants={
            "1 connection": alone(lambda handed: handed.per_second),
            f"{CONNECTIONS} connections": together(lambda handed: handed.per_second),
            f"1 connection, {CONNECTIONS} sessions": on_one_connection(
                lambda handed: handed.per_second
            ),
        },
    ),
    Question(
        name="server CPU per 1 000 accepted",
        unit="ms",
        higher_is_better=False,
        variants={
            "1 connection": alone(lambda handed: handed.all_milliseconds),
            f"{CONNECTIONS} connections": together(lambda handed: handed.all_milliseconds),
            f"{CONNECTIONS} connections, event loop": together(
                lambda handed: handed.loop_milliseconds
            ),
        },
    ),
)
