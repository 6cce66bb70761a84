"""The stream between a WebSocket and its socket: whole frames, bounded, closed in good order."""

from __future__ import annotations

import pytest
import trio
import trio.testing

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
