"""Nobody who gets in can hurt others: hostile clients against the real process.

``make hostile COUNT=1000`` goes on for longer.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.stage import LIMIT, House
from tests.gateway import raw
from tests.hostile.siege import besieged
from tests.hostile.wire import Target, Wire

IDLE = 1_000
PER_CONNECTION = 128 * 1024
"""Bytes of the process for a connection that does nothing, at most."""

frames = st.builds(
    raw.frame,
    st.binary(max_size=200) | st.sampled_from([125, 126, 127, 65_536]).map(bytes),
    st.integers(0, 15),
    fin=st.booleans(),
    mask=st.integers(0, 9).map(bool),
)
heads = st.builds(
    lambda first, second, rest: struct.pack("!BB", first, second) + rest,
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=20),
)


# G6 G7 G8
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_others_notice_nothing(house: House, seed: int) -> None:
    async with besieged(house) as siege:
        async with siege.witnessed():
            await siege.attack(1_000 + seed)
            before = siege.memory
            await siege.attack(seed)
        await siege.files_are_closed()
        await siege.memory_is_back(before)


# G5 G8
@pytest.mark.slow
async def test_a_thousand_connections_that_do_nothing(house: House) -> None:
    async with besieged(house) as siege, siege.witnessed() as go_on:
        before = siege.memory
        held = [Wire(await raw.connect(siege.target)) for _ in range(IDLE)]
        for wire in held:
            await wire.greet(siege.target)
        assert siege.memory < before + IDLE * PER_CONNECTION
        await go_on(20)
        for wire in held:
            await trio.aclose_forcefully(wire.stream)


# G7: whatever the bytes after the handshake, the connection ends with them, and alone
@pytest.mark.slow
async def test_any_bytes_after_the_handshake(house: House) -> None:
    @settings(max_examples=200)
    @given(st.lists(frames | heads | st.binary(max_size=100), max_size=8).map(b"".join))
    def fuzz(data: bytes) -> None:
        talk_to(siege.target, data)

    async with besieged(house) as siege, siege.witnessed():
        await trio.to_thread.run_sync(fuzz)


def talk_to(target: Target, data: bytes) -> None:
    """Shake hands, send, say that nothing follows, and read to the end."""
    with socket.create_connection(target, timeout=LIMIT) as connection, suppress(ConnectionError):
        connection.sendall(raw.handshake(target))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4_096)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
