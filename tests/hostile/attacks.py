"""What clients do that mean harm, or are broken. An attack is a coroutine with a seed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeAlias

import trio

from runtime.gateway.frames import MAX_FRAGMENTS
from tests.gateway import raw
from tests.gateway.client import said
from tests.gateway.raw import frame
from tests.gateway.test_bad_input import FUZZ
from tests.hostile.wire import Target, Wire, dialled, initialized, shaken

MAX_FRAME = 256 * 1024
"""Bytes: ``gateway.max_frame_bytes`` while under siege."""

Attack: TypeAlias = Callable[[Target, Random], Awaitable[None]]

OPENINGS = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"\x05\x01\x00",  # SOCKS
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    b"GET http://example.com/acp HTTP/1.1\r\nHost: example.com\r\n\r\n",
    b"POST /acp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    b"\r\n" * 500,
    b"\0" * 500,
)

HOSTILE_JSON = (
    "[" * 100_000,
    '{"a":' * 50_000,
    '{"jsonrpc":"2.0","id":1,"method":"session/new","params":' + "[" * 2_000 + "]" * 2_000 + "}",
    '{"jsonrpc":"2.0","id":' + "9" * 10_000 + ',"method":"session/list"}',
    '{"jsonrpc":"2.0","id":1e999999,"method":"session/list"}',
    '{"jsonrpc":"2.0","id":-0.0,"method":"session/list","params":{"cursor":1e400}}',
    '{"jsonrpc":"2.0","id":1,"id":2,"method":"session/list","method":"initialize"}',
    '{"jsonrpc":"2.0","id":"\\ud800","method":"session/list"}',
    '{"jsonrpc":"2.0","id":1,"method":"\\udfff\\ud800"}',
    '{"jsonrpc":"2.0","id":1,"method":"session/list","params":{"cursor":"\\u0000"}}',
    '{"jsonrpc":"2.0","id":1,"method":"session/list","params":{"cursor":"' + "9" * 50_000 + '"}}',
    '{"jsonrpc":"2.0","id":"' + "i" * 100_000 + '","method":"session/list"}',
    '{"jsonrpc":"2.0","id":1,"method":"' + "m" * 100_000 + '"}',
    "{" + ",".join(f'"k{number}":{number}' for number in range(10_000)) + "}",
    '{"jsonrpc":"2.0","id":1,"result":null,"error":null}',
    "\ufeff{}",
    "NaN",
    "",
)


async def garbage_before_the_handshake(target: Target, rng: Random) -> None:
    async with dialled(target, rng) as wire:
        await wire.send(rng.choice(OPENINGS) + rng.randbytes(rng.randrange(2_000)))


async def a_broken_handshake(target: Target, rng: Random) -> None:
    data = bytearray(raw.handshake(target))
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    async with dialled(target, rng) as wire:
        await wire.send_in_pieces(bytes(data[: rng.randrange(len(data) // 2, len(data) + 1)]), rng)


async def an_endless_head(target: Target, rng: Random) -> None:
    async with dialled(target, rng) as wire:
        line = b"X-Padding: " + b"x" * rng.choice((10, 1_000, 30_000)) + b"\r\n"
        await wire.send(raw.handshake(target)[:-2] + line * (40_000 // len(line) + 1))


async def slow_heads(target: Target, rng: Random) -> None:
    """A few bytes now and then, by many: each is shown the door (G8)."""

    async def one() -> None:
        async with dialled(target, rng) as wire, trio.open_nursery() as sender:
            sender.start_soon(trickle, wire)
            assert b"408 " in await wire.read(b"408 ")
            sender.cancel_scope.cancel()

    async def trickle(wire: Wire) -> None:
        for byte in raw.handshake(target, "X-Padding: " + "x" * 10_000):
            await wire.send(bytes([byte]))
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)


async def garbage_after_the_handshake(target: Target, rng: Random) -> None:
    async with shaken(target, rng) as wire:
        await wire.send(rng.randbytes(rng.randrange(1, 5_000)))


async def broken_frames(target: Target, rng: Random) -> None:
    async with shaken(target, rng) as wire:
        for name in rng.sample(sorted(FUZZ), 3):
            await wire.send_in_pieces(FUZZ[name], rng, 5)


async def half_a_frame(target: Target, rng: Random) -> None:
    async with initialized(target, rng) as wire:
        whole = raw.call(1, "session/list", {"cursor": "x" * rng.choice((1, 200, 100_000))})
        await wire.send(whole[: rng.randrange(1, len(whole))])


async def pings_and_closes_at_every_moment(target: Target, rng: Random) -> None:
    parts = [
        frame(b"ping", 9),
        frame(b"x" * 125, 10),
        frame(b"\x03\xe8bye", 8),
        frame(b"", 8),
        raw.call(1, "initialize", {"protocolVersion": 1}),
        raw.call(2, "session/list", {}),
        frame(b"{", 1, fin=False) + frame(b"inside", 9) + frame(b"}", 0),
    ]
    async with shaken(target, rng) as wire:
        data = b"".join(rng.choice(parts) for _ in range(rng.randrange(1, 30)))
        await wire.send_in_pieces(data, rng)


async def endless_fragments(target: Target, rng: Random) -> None:
    async with shaken(target, rng) as wire:
        piece = frame(rng.choice((b"", b"\xc3", "ü".encode(), b"x")), 0, fin=False)
        count = rng.choice((10, MAX_FRAGMENTS - 1, MAX_FRAGMENTS, 3 * MAX_FRAGMENTS))
        await wire.send(frame(b"", 1, fin=False) + piece * count)


async def dripping_frames(target: Target, rng: Random) -> None:
    async with shaken(target, rng) as wire:
        call = raw.call(1, "initialize", {"protocolVersion": 1, "padding": "x" * 200})
        for byte in call[: rng.randrange(len(call) + 1)]:
            await wire.send(bytes([byte]))


async def hostile_json(target: Target, rng: Random) -> None:
    async with initialized(target, rng) as wire:
        for text in rng.sample(HOSTILE_JSON, 6):
            await wire.send(frame(text.encode()))
        # Whatever that was: the connection is still good for a request.
        await wire.send(raw.call(77, "session/list", {}))
        assert b'"id":77,"result"' in await wire.read(b'"id":77,"result"')


async def too_long_a_message(target: Target, rng: Random) -> None:
    async with initialized(target, rng) as wire:
        half = b"x" * (MAX_FRAME * 2 // 3)
        whole = [frame(half * 2), frame(half, fin=False) + frame(half, 0)]
        await wire.send(rng.choice(whole))
        await wire.read()


async def too_long_values(target: Target, rng: Random) -> None:
    long = "x" * (MAX_FRAME - 1_000)
    calls: list[tuple[str, Any]] = [
        ("session/new", {"cwd": "/", "mcpServers": [], "_meta": {"runtime": {"key": long}}}),
        ("session/new", {"cwd": long, "mcpServers": []}),
        ("session/load", {"sessionId": long, "cwd": "/"}),
        ("session/list", {"cursor": long}),
        ("session/prompt", said(long, "x")),
        (long, {}),
    ]
    async with initialized(target, rng) as wire:
        await wire.send(raw.call(1, *rng.choice(calls)))
        await wire.read(b'"id":1')


async def a_flood_of_requests(target: Target, rng: Random) -> None:
    async with initialized(target, rng) as wire:
        call = rng.choice(
            [
                raw.call(1, "session/list", {}),
                raw.call(2, "no/such", {}),
                raw.call(3, "initialize", {"protocolVersion": 1}),
                raw.call(4, "_runtime/queue/status", {"sessionId": "gone"}),
                frame(b"{"),
            ]
        )
        await wire.send(call * 3_000)


async def many_sessions(target: Target, rng: Random) -> None:
    async with initialized(target, rng) as wire:
        params = {"cwd": "/", "mcpServers": []}
        for number in range(rng.randrange(10, 60)):
            await wire.send(raw.call(number, "session/new", params))
        await wire.send(raw.call(5_000, "session/list", {}))
        await wire.read(b'"id":5000')


async def many_prompts(target: Target, rng: Random) -> None:
    """They wait behind a turn that takes its time, and nobody waits for them."""
    async with initialized(target, rng) as wire:
        session_id = await new_session(wire, "slow")
        text = "word " * rng.choice((1, 20, 200))
        for number in range(2, rng.randrange(5, 60)):
            await wire.send(raw.call(number, "session/prompt", said(session_id, text)))
        if rng.random() < 0.5:
            await wire.send(raw.call(2_000, "session/cancel", {"sessionId": session_id}))


async def a_reader_that_stops(target: Target, rng: Random) -> None:
    """The agent says much more than any buffer between holds."""
    async with initialized(target, rng) as wire:
        session_id = await new_session(wire, "quick")
        text = "flood " * 10_000
        for number in range(2, 5):
            await wire.send(raw.call(number, "session/prompt", said(session_id, text)))
        await trio.sleep(rng.random())


async def gone_at_any_moment(target: Target, rng: Random) -> None:
    """A conversation in good order, cut off anywhere."""
    whole = raw.handshake(target)
    whole += raw.call(0, "initialize", {"protocolVersion": 1})
    whole += raw.call(
        1, "session/new", {"cwd": "/", "mcpServers": [], "_meta": {"runtime": {"key": "shared"}}}
    )
    whole += raw.call(2, "session/list", {}) + frame(b"\x03\xe8", 8)
    async with dialled(target, rng) as wire:
        await wire.send_in_pieces(whole[: rng.randrange(len(whole) + 1)], rng, 6)


async def pages_by_the_hundred(target: Target, rng: Random) -> None:
    async with dialled(target, rng) as wire:
        page = rng.choice((b"/healthz", b"/readyz", b"/metrics", b"/nowhere"))
        await wire.send((b"GET " + page + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") * 300)


async def new_session(wire: Any, agent: str) -> str:
    params = {"cwd": "/", "mcpServers": [], "_meta": {"runtime": {"agent": agent}}}
    await wire.send(raw.call(1, "session/new", params))
    answer = await wire.read(b'"id":1,"result"')
    start = answer.index(b'{"jsonrpc":"2.0","id":1,')
    result, _ = json.JSONDecoder().raw_decode(answer[start:].decode())
    session_id: str = result["result"]["sessionId"]
    return session_id


ATTACKS: tuple[Attack, ...] = (
    garbage_before_the_handshake,
    a_broken_handshake,
    an_endless_head,
    slow_heads,
    garbage_after_the_handshake,
    broken_frames,
    half_a_frame,
    pings_and_closes_at_every_moment,
    endless_fragments,
    dripping_frames,
    hostile_json,
    too_long_a_message,
    too_long_values,
    a_flood_of_requests,
    many_sessions,
    many_prompts,
    a_reader_that_stops,
    gone_at_any_moment,
    pages_by_the_hundred,
)
