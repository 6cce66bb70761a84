"""The stream between a WebSocket and its socket: whole frames, bounded, closed in good order."""

from __future__ import annotations

import struct

import pytest
import trio
import trio.testing
from wsproto.frame_protocol import FrameProtocol, Opcode

from runtime.gateway.streams import HIGH_WATER, BufferedStream
from tests.gateway.raw import frame

EARLY = frame(b"early")


def pair() -> tuple[BufferedStream, trio.abc.Stream]:
    ours, theirs = trio.testing.lockstep_stream_pair()
    return BufferedStream(ours, b"head", EARLY), theirs


async def test_what_was_read_too_early_comes_in_its_order(nursery: trio.Nursery) -> None:
    stream, peer = pair()
    assert await stream.receive_some(1_000) == b"head"
    received: list[bytes] = []

    async def read() -> None:
        received.append(await stream.receive_some(1_000))

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert received == []
    stream.release()
    await trio.testing.wait_all_tasks_blocked()
    assert received == [EARLY]
    later = frame(b"later")
    nursery.start_soon(peer.send_all, later)
    assert await stream.receive_some(1_000) == later


async def test_a_cancelled_sender_leaves_nothing_or_everything(nursery: trio.Nursery) -> None:
    stream, peer = pair()
    await stream.send_all(b"a" * HIGH_WATER)
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_when_blocked, scope)
        await stream.send_all(b"never")
    assert scope.cancelled_caught
    nursery.start_soon(stream.write_forever)
    nursery.start_soon(stream.send_all, b"frame")
    data = b""
    while len(data) < HIGH_WATER + 5:
        data += await peer.receive_some(HIGH_WATER * 2)
    assert data == b"a" * HIGH_WATER + b"frame"


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_a_sender_waits_while_too_much_is_unsent(nursery: trio.Nursery) -> None:
    stream, _ = pair()
    nursery.start_soon(stream.write_forever)
    await stream.send_all(b"a" * HIGH_WATER)
    sent = []

    async def send() -> None:
        await stream.send_all(b"b")
        sent.append(True)

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    assert sent == []
    nursery.cancel_scope.cancel()


async def test_closing_sends_what_is_queued_and_waits_for_the_peer(nursery: trio.Nursery) -> None:
    stream, peer = pair()
    nursery.start_soon(stream.write_forever)
    await stream.send_all(b"farewell")
    closed = trio.Event()

    async def close() -> None:
        await stream.aclose()
        closed.set()

    nursery.start_soon(close)
    assert await peer.receive_some(100) == b"farewell"
    assert await peer.receive_some(100) == b""
    await trio.testing.wait_all_tasks_blocked()
    assert not closed.is_set()
    await peer.aclose()
    await closed.wait()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"too late")
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some(1)
    await stream.aclose()


async def test_closing_has_a_limit(nursery: trio.Nursery, autojump_clock: object) -> None:
    stream, _ = pair()
    nursery.start_soon(stream.write_forever)
    await stream.send_all(b"nobody reads this")
    with trio.fail_after(10):
        await stream.aclose()


async def test_senders_learn_that_the_peer_is_gone(nursery: trio.Nursery) -> None:
    stream, peer = pair()
    nursery.start_soon(stream.write_forever)
    await peer.aclose()
    await stream.send_all(b"into the void")
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"again")
    with trio.fail_after(5):
        await stream.aclose()


def parsed(data: bytes) -> list[bytes]:
    """The texts in what a client gets, as a library for clients reads them."""
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(data)
    frames = list(protocol.received_frames())
    assert all(each.opcode is Opcode.TEXT and each.message_finished for each in frames)
    return [str(each.payload).encode() for each in frames]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
async def test_a_text_is_one_frame_whatever_its_length(nursery: trio.Nursery, size: int) -> None:
    stream, peer = pair()
    nursery.start_soon(stream.write_forever)
    texts = [("é" * size).encode()[:size] if size % 2 == 0 else b"x" * size, b"next"]

    async def send() -> None:
        for text in texts:
            await stream.send_text(text)

    nursery.start_soon(send)
    data = b""
    while not data.endswith(b"next"):
        data += await peer.receive_some(1 << 20)
    assert parsed(data) == texts


async def test_texts_go_without_a_checkpoint_while_there_is_room() -> None:  # G6
    stream, _ = pair()
    sent = 0
    with trio.CancelScope() as scope:
        scope.cancel()  # takes effect at the first checkpoint
        while True:
            await stream.send_text(b"x" * 1_000)
            sent += 1
    assert scope.cancelled_caught
    assert sent == -(-HIGH_WATER // 1_004)


async def test_texts_and_other_frames_keep_their_order(nursery: trio.Nursery) -> None:
    stream, peer = pair()
    pong = b"\x8a\x00"
    await stream.send_text(b"one")
    await stream.send_all(pong)
    await stream.send_text(b"two")
    nursery.start_soon(stream.write_forever)
    assert await peer.receive_some(1_000) == b"\x81\x03one" + pong + b"\x81\x03two"


async def test_nothing_follows_a_close_frame(nursery: trio.Nursery) -> None:  # G7
    stream, peer = pair()
    await stream.send_text(b"last")
    close = frame(struct.pack("!H", 1009), opcode=8, mask=False)
    await stream.send_all(close)
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_text(b"too late")
    nursery.start_soon(stream.write_forever)
    assert await peer.receive_some(1_000) == b"\x81\x04last" + close
