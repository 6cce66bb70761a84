"""What is put together before the WebSocket library sees it (G7, G8)."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runtime.gateway import Gateway
from runtime.gateway.frames import MAX_FRAGMENTS, PIECE, Frames, TooManyFragments
from tests.gateway import raw
from tests.gateway.client import connected
from tests.gateway.raw import frame

sizes = st.sampled_from([0, 1, 2, 125, 126, 127, 65_535, 65_536, PIECE - 1, PIECE + 1, 3 * PIECE])
frames = st.builds(
    frame,
    st.binary(max_size=20) | sizes.map(bytes),
    st.sampled_from([0, 1, 2, 8, 9, 10, 15]),
    fin=st.booleans(),
    mask=st.booleans(),
)


# G7: nothing is lost, changed or kept back at the end of a frame
@given(parts=st.lists(frames, max_size=5), cuts=st.lists(st.integers(1, 70_000), max_size=20))
def test_whole_frames_pass_unchanged_however_they_arrive(
    parts: list[bytes], cuts: list[int]
) -> None:
    sent = b"".join(parts)
    scanner, given_on, at = Frames(), b"", 0
    for cut in [*cuts, len(sent)]:
        given_on += scanner.feed(sent[at : at + cut])
        at += cut
        assert sent.startswith(given_on)
        assert min(at, len(sent)) - len(given_on) < PIECE + 14
    assert given_on + scanner.feed(sent[at:]) == sent


# G7: a broken head reaches whoever can say so, with all that may follow
@given(st.lists(st.binary(max_size=100)))
def test_anything_passes_in_order(pieces: list[bytes]) -> None:
    scanner, sent, given_on = Frames(), b"", b""
    for piece in pieces:
        sent += piece
        given_on += scanner.feed(piece)
    assert sent.startswith(given_on)


# G8: a piece is an object that is kept; its bytes come one by one, the objects do not
def test_a_payload_that_drips_comes_in_one_piece() -> None:
    scanner = Frames()
    whole = frame(b"x" * 1_000)
    given_on = [piece for byte in whole if (piece := scanner.feed(bytes([byte])))]
    assert [len(piece) for piece in given_on] == [len(whole) - 1_000, 1_000]


# G8
def test_fragments_are_counted_per_message_and_without_control_frames() -> None:
    scanner = Frames()
    fragments = frame(b"", 1, fin=False) + frame(b"", 0, fin=False) * (MAX_FRAGMENTS - 1)
    for _ in range(3):
        scanner.feed(fragments + frame(b"", 9) * 10 + frame(b"", 0))
    with pytest.raises(TooManyFragments):
        scanner.feed(fragments + frame(b"", 9) + frame(b"", 0, fin=False))


# G7 G8
async def test_endless_fragments_close_with_1009(gateway: Gateway) -> None:
    async with connected(gateway.url) as witness, await raw.connect(gateway) as stream:
        await stream.send_all(raw.handshake(gateway))
        await raw.read_head(stream)
        start = frame(b"", 1, fin=False)
        async with trio.open_nursery() as sender:
            sender.start_soon(stream.send_all, start + frame(b"", 0, fin=False) * MAX_FRAGMENTS)
            data = await raw.read_all(stream)
        assert data[0] == 0x88
        assert int.from_bytes(data[2:4], "big") == 1009
        assert b"fragments" in data
        assert await witness.call("session/list") == {"sessions": []}


# G7
async def test_a_message_in_as_many_fragments_as_there_may_be(gateway: Gateway) -> None:
    call = b'{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":1}}'
    async with await raw.connect(gateway) as stream:
        await stream.send_all(raw.handshake(gateway))
        await raw.read_head(stream)
        opening = frame(call[:40], 1, fin=False) + frame(b"", 0, fin=False) * (MAX_FRAGMENTS - 1)
        await stream.send_all(opening + frame(call[40:], 0))
        data = b""
        with trio.fail_after(raw.LIMIT):
            while b'"id":7' not in data:
                data += await stream.receive_some(65_536)
