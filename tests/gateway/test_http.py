"""The HTTP side of the port: pages, limits and bad requests (G7, G8)."""

from __future__ import annotations

import json

import pytest
import trio

from runtime.gateway import Gateway, GatewayConfig, serve_gateway
from tests.gateway import raw
from tests.gateway.raw import status
from tests.gateway.scripted import ScriptedFront

HEAD = b"POST /healthz HTTP/1.1\r\nHost: a\r\n"


async def test_healthz_says_that_the_process_lives(gateway: Gateway) -> None:
    answer = await raw.get(gateway, "/healthz")
    assert (status(answer), answer.endswith(b"\r\n\r\nalive\n")) == (200, True)


async def test_readyz_names_the_problems(gateway: Gateway, front: ScriptedFront) -> None:
    answer = await raw.get(gateway, "/readyz?verbose=1")
    assert status(answer) == 200
    front.problems = ("The disk is full: free some space.",)
    answer = await raw.get(gateway, "/readyz")
    assert status(answer) == 503
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body == {"ready": False, "problems": ["The disk is full: free some space."]}


async def test_metrics(gateway: Gateway) -> None:
    answer = await raw.get(gateway, "/metrics")
    assert b"text/plain; version=0.0.4" in answer
    assert answer.endswith(b"greenroom_up 1\n")


async def test_an_error_of_ours_is_no_end(
    gateway: Gateway, front: ScriptedFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise KeyError("a secret")

    monkeypatch.setattr(front, "metrics", fail)
    answer = await raw.get(gateway, "/metrics")
    assert (status(answer), b"secret" in answer) == (500, False)
    assert status(await raw.get(gateway, "/healthz")) == 200


async def test_head_has_the_headers_only(gateway: Gateway) -> None:
    answer = await raw.get(gateway, "/healthz", method="HEAD")
    assert (status(answer), answer.endswith(b"\r\n\r\n")) == (200, True)
    assert b"content-length: 6" in answer


@pytest.mark.parametrize(
    "method, path, expected",
    [
        ("POST", "/healthz", 405),
        ("DELETE", "/readyz", 405),
        ("POST", "/acp", 405),
        ("GET", "/acp", 426),
        ("GET", "/", 404),
        ("POST", "/elsewhere", 404),
        ("GET", "/healthz/", 404),
        ("GET", "/acp/", 404),
    ],
)
async def test_what_there_is_not(gateway: Gateway, method: str, path: str, expected: int) -> None:
    answer = await raw.get(gateway, path, "Content-Length: 0", method=method)
    assert status(answer) == expected
    assert (b"allow: GET" in answer) is (expected == 405)


@pytest.mark.parametrize(
    "request_bytes, expected",
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (HEAD + b"X: " + b"x" * 17_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 17_000, 431),
        (HEAD + b"Content-Length: 70000\r\n\r\n" + b"x" * 70_000, 413),
        (HEAD + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n", 417),
        (HEAD + b"Expect: tea\r\n\r\n", 417),
    ],
)
async def test_bad_requests_are_answered_and_end_the_connection(
    gateway: Gateway, request_bytes: bytes, expected: int
) -> None:
    answer = await raw.exchange(gateway, request_bytes)
    assert status(answer) == expected
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status(await raw.get(gateway, "/healthz")) == 200


async def test_requests_follow_each_other_on_one_connection(gateway: Gateway) -> None:
    host = f"Host: 127.0.0.1:{gateway.port}\r\n"
    one = f"GET /healthz HTTP/1.1\r\n{host}\r\n".encode()
    post = f"POST /readyz HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello".encode()
    async with await raw.connect(gateway) as stream:
        for byte in one:
            await stream.send_all(bytes([byte]))
        head, rest = await raw.read_head(stream)
        assert (status(head), rest) == (200, b"alive\n")
        # Two at once, the second after a body, then an upgrade on the same connection.
        await stream.send_all(post + one + raw.handshake(gateway))
        data = b""
        while b"101 " not in data:
            data += await stream.receive_some(4096)
        assert [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]] == [b"405", b"200", b"101"]


async def test_http_1_0(gateway: Gateway) -> None:
    answer = await raw.exchange(gateway, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert status(answer) == 200


# G8
async def test_who_does_not_finish_a_request_in_time_is_told(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    config = GatewayConfig(port=0, handshake_timeout=0.05)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    async with await raw.connect(gateway) as stream:
        await stream.send_all(b"GET /healthz HTT")
        assert status(await raw.read_all(stream)) == 408
    await gateway.close()


# G8
async def test_more_connections_than_allowed_are_turned_away(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    config = GatewayConfig(port=0, max_connections=2)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    kept = [await raw.connect(gateway), await raw.connect(gateway)]
    for stream in kept:
        await stream.send_all(raw.handshake(gateway))
        assert status((await raw.read_head(stream))[0]) == 101
    async with await raw.connect(gateway) as stream:
        assert status(await raw.read_all(stream)) == 503
    for stream in kept:
        await stream.send_all(raw.frame(b"\x03\xe8", 8))
        await raw.read_all(stream)
        await stream.aclose()
    answers = [await raw.get(gateway, "/healthz") for _ in range(5)]
    assert {status(answer) for answer in answers} == {200}
    await gateway.close()
