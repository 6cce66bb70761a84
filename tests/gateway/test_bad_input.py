"""Whatever a client sends, its own connection is all that can suffer (G7)."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest
import trio

from runtime.gateway import Gateway, GatewayConfig, serve_gateway
from runtime.gateway import connection as connection_module
from runtime.ports.front import QueueIsFull, Unavailable
from tests.gateway import raw
from tests.gateway.client import connected, said
from tests.gateway.scripted import ScriptedFront

CLOSE = raw.frame(b"\x03\xe8", 8)


@pytest.mark.parametrize(
    "text, code, identity",
    [
        ("", -32700, None),
        ("{", -32700, None),
        ("nonsense", -32700, None),
        ('{"jsonrpc":"2.0","id":1,"method":"x"} trailing', -32700, None),
        ('{"a":"\\ud800"}', -32700, None),
        ("[" * 100_000, -32700, None),
        ("[]", -32600, None),
        ('[{"jsonrpc":"2.0","id":1,"method":"initialize"}]', -32600, None),
        ("42", -32600, None),
        ("null", -32600, None),
        ("{}", -32600, None),
        ('{"jsonrpc":"1.0","id":7,"method":"x"}', -32600, 7),
        ('{"jsonrpc":"2.0","id":7}', -32600, 7),
        ('{"jsonrpc":"2.0","id":7,"method":5}', -32600, 7),
        ('{"jsonrpc":"2.0","id":1.5,"method":"x"}', -32600, None),
        ('{"jsonrpc":"2.0","id":true,"method":"x"}', -32600, None),
        ('{"jsonrpc":"2.0","id":[1],"method":"x"}', -32600, None),
        ('{"jsonrpc":"2.0","id":' + "9" * 5_000 + ',"method":"x"}', -32600, None),
        ('{"jsonrpc":"2.0","id":"a","method":"no/such"}', -32601, "a"),
        ('{"jsonrpc":"2.0","id":"' + "a" * 1_001 + '","method":"no/such"}', -32600, None),
        ('{"jsonrpc":"2.0","id":null,"method":"no/such"}', -32601, None),
        ('{"jsonrpc":"2.0","id":-3,"method":"session/prompt"}', -32602, -3),
        ('{"jsonrpc":"2.0","id":8,"method":"session/list","params":[1]}', -32602, 8),
        ('{"jsonrpc":"2.0","id":8,"method":"session/list","params":"x"}', -32602, 8),
    ],
)
async def test_errors_have_their_codes_and_the_connection_survives(
    gateway: Gateway, text: str, code: int, identity: Any
) -> None:
    async with connected(gateway.url) as client:
        await client.websocket.send_message(text)
        answer = await client.receive()
        assert (answer["error"]["code"], answer["id"]) == (code, identity)
        assert await client.new_session() == "session-1"


@pytest.mark.parametrize(
    "method, params, path",
    [
        ("session/new", {}, "$.cwd"),
        ("session/new", {"cwd": 5, "mcpServers": []}, "$.cwd"),
        ("session/new", {"cwd": "/", "mcpServers": [5]}, "$.mcpServers[0]"),
        ("session/new", {"cwd": "/", "mcpServers": [], "_meta": 5}, "$._meta"),
        (
            "session/new",
            {"cwd": "/", "mcpServers": [], "_meta": {"runtime": {"key": 5}}},
            "$._meta.runtime.key",
        ),
        ("session/prompt", {"sessionId": "s", "prompt": []}, "$.prompt"),
        ("session/prompt", {"sessionId": "s", "prompt": "hello"}, "$.prompt"),
        ("session/prompt", {"sessionId": "s", "prompt": [{"type": "text"}]}, "$.prompt[0].text"),
        ("session/prompt", said("s", "x", messageId=""), "$._meta.runtime.messageId"),
        ("session/prompt", said("s", "x", messageId="y" * 201), "$._meta.runtime.messageId"),
        ("_runtime/session/events", {"sessionId": "s", "after": -1}, "$.after"),
    ],
)
async def test_bad_parameters_are_named(
    gateway: Gateway, method: str, params: dict[str, Any], path: str
) -> None:
    async with connected(gateway.url) as client:
        error = await client.error(method, params)
    assert error["code"] == -32602
    assert error["data"]["path"] == path
    assert error["message"].startswith(path)


# G7: members nobody knows are ignored, and null is nothing
async def test_unknown_members_are_tolerated(gateway: Gateway) -> None:
    async with connected(gateway.url) as client:
        params = {"cwd": "/", "mcpServers": [], "future": {"x": 1}, "_meta": {"other": 1}}
        assert (await client.call("session/new", params))["sessionId"] == "session-1"
        assert (await client.call("session/new", {**params, "_meta": None}))["sessionId"]
        await client.websocket.send_message(
            '{"jsonrpc":"2.0","id":"list","method":"session/list","params":null,"extra":1}'
        )
        assert len((await client.receive())["result"]["sessions"]) == 2


@pytest.mark.parametrize(
    "method",
    [
        "session/load",
        "session/resume",
        "session/prompt",
        "session/close",
        "session/set_config_option",
        "_runtime/session/send",
        "_runtime/session/events",
        "_runtime/session/reset",
        "_runtime/queue/status",
        "_runtime/queue/clear",
    ],
)
async def test_an_unknown_session(gateway: Gateway, method: str) -> None:
    async with connected(gateway.url) as client:
        params = {"cwd": "/", "configId": "queue_mode", "value": "collect", **said("gone", "x")}
        error = await client.error(method, params)
    assert error["code"] == -32002
    assert "gone" in error["message"]


async def test_notifications_and_replies_are_never_answered(gateway: Gateway) -> None:
    async with connected(gateway.url) as client:
        await client.send("no/such")
        await client.send("$/cancel_request", {"requestId": 1})
        await client.send("session/cancel", {"sessionId": "gone"})
        await client.send("session/prompt", {"wrong": True})
        for text in ('{"jsonrpc":"2.0","id":99,"result":1}', '{"jsonrpc":"2.0","id":9,"error":{}}'):
            await client.websocket.send_message(text)
        client.messages.clear()
        await client.call("session/list")
        assert len(client.messages) == 1


@pytest.mark.parametrize(
    "problem, code, name",
    [
        (QueueIsFull("20 messages wait already."), -32010, "queue_full"),
        (Unavailable("The disk is full."), -32011, "unavailable"),
    ],
)
async def test_what_the_runtime_refuses(
    gateway: Gateway, front: ScriptedFront, problem: Exception, code: int, name: str
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        front.fail_with = problem
        error = await client.error("session/prompt", said(session_id, "x"))
        assert (error["code"], error["data"]["code"]) == (code, name)
        assert error["message"] == str(problem)
        front.fail_with = None
        await client.call("_runtime/session/send", said(session_id, "x"))


async def test_a_fault_of_ours_is_an_answer_too(
    gateway: Gateway, front: ScriptedFront, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        front.fail_with = KeyError("a secret")
        error = await client.error("session/prompt", said(session_id, "x"))
        assert error == {"code": -32603, "message": "An error inside the runtime."}
        front.fail_with = None
        await client.call("_runtime/session/send", said(session_id, "x"))
    assert "session/prompt failed" in caplog.text


async def test_binary_frames_are_ignored(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runtime.gateway")
    async with connected(gateway.url) as client:
        for _ in range(3):
            await client.websocket.send_message(b'{"jsonrpc":"2.0","id":5,"method":"session/list"}')
        assert await client.new_session() == "session-1"
    assert caplog.text.count("binary") == 1


async def test_a_frame_that_is_too_long_closes_with_1009(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    config = GatewayConfig(port=0, max_frame_bytes=10_000)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    async with await raw.connect(gateway) as stream:
        await stream.send_all(raw.handshake(gateway))
        await raw.read_head(stream)
        # More than any buffer holds: the peer is still sending when it is refused.
        async with trio.open_nursery() as sender:
            sender.start_soon(send_and_survive, stream, raw.frame(b"x" * 20_000_000))
            data = await raw.read_all(stream)
            sender.cancel_scope.cancel()
    assert data[0] == 0x88
    assert int.from_bytes(data[2:4]) == 1009
    await gateway.close()


async def send_and_survive(stream: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_all(data)


FUZZ = {
    "nothing": b"",
    "half a frame head": b"\x81",
    "half a payload": raw.frame(b"hello world")[:-3],
    "not masked": raw.frame(b"{}", mask=False),
    "reserved bits": b"\xf1\x80\0\0\0\0",
    "reserved opcode": raw.frame(b"", 3),
    "reserved control opcode": raw.frame(b"", 11),
    "fragmented ping": raw.frame(b"x", 9, fin=False),
    "long ping": raw.frame(b"x" * 126, 9),
    "continuation of nothing": raw.frame(b"x", 0),
    "text within fragments": raw.frame(b"x", 1, fin=False) + raw.frame(b"y", 1),
    "not UTF-8": raw.frame(b"\xff\xfe"),
    "UTF-8 cut off": raw.frame(b"\xc3"),
    "surrogate in UTF-8": raw.frame(b"\xed\xa0\x80"),
    "endless length": b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0" + b"x" * 1_000,
    "negative length": b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "close": CLOSE,
    "close without a code": raw.frame(b"", 8),
    "close with one byte": raw.frame(b"\x03", 8),
    "close with a reserved code": raw.frame(b"\x03\xee", 8),
    "close with a bad reason": raw.frame(b"\x03\xe8\xff\xff", 8),
    "close twice": CLOSE + CLOSE,
    "text after close": CLOSE + raw.frame(b"{}"),
    "ping after close": CLOSE + raw.frame(b"x", 9),
    "pings": raw.frame(b"x", 9) * 2_000,
    "pongs nobody asked for": raw.frame(b"x", 10) * 2_000,
    "empty messages": raw.frame(b"") * 2_000,
    "bad JSON": raw.frame(b"{") * 2_000,
    "HTTP again": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("glued", [False, True], ids=["after", "glued to the handshake"])
@pytest.mark.parametrize("abrupt", [False, True], ids=["gentle", "abrupt"])
async def test_fuzz(gateway: Gateway, glued: bool, abrupt: bool) -> None:
    async with connected(gateway.url) as witness:
        for name, data in FUZZ.items():
            async with await raw.connect(gateway) as stream:
                hello = raw.handshake(gateway)
                if glued:
                    await stream.send_all(hello + data)
                else:
                    await stream.send_all(hello)
                    await raw.read_head(stream)
                    await stream.send_all(data)
                if abrupt:
                    continue
                await stream.send_eof()
                await raw.read_all(stream)
            assert await witness.call("session/list") == {"sessions": []}, name


# Not allowed by the protocol, but nothing to wait for ever about.
async def test_a_frame_glued_to_the_handshake_is_answered(gateway: Gateway) -> None:
    async with await raw.connect(gateway) as stream:
        request = raw.call(1, "initialize", {"protocolVersion": 1})
        await stream.send_all(raw.handshake(gateway) + request)
        data = b""
        with trio.fail_after(raw.LIMIT):
            while b'"protocolVersion":1' not in data:
                data += await stream.receive_some(65_536)


# The bug of trio-websocket's own server: a ping that meets our close.
async def test_pings_during_a_close_of_ours(front: ScriptedFront, nursery: trio.Nursery) -> None:
    gateway: Gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
    streams = []
    for _ in range(20):
        stream = await raw.connect(gateway)
        await stream.send_all(raw.handshake(gateway))
        await raw.read_head(stream)
        streams.append(stream)
    async with trio.open_nursery() as closing:
        closing.start_soon(gateway.close)
        for stream in streams:
            await send_and_survive(stream, raw.frame(b"x", 9) * 50)
    for stream in streams:
        data = await raw.read_all(stream)
        assert b"\x88" in data
        await stream.aclose()


# G3
async def test_a_request_is_valid_json_whatever_the_text(
    gateway: Gateway, front: ScriptedFront
) -> None:
    front.echo = True
    text = 'line\u2028separator, "quotes", \\ and \x00, \U0001f600'
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await client.call("session/prompt", said(session_id, text))
        assert client.text() == text + " "


async def test_a_client_may_not_leave_too_many_requests_unanswered(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        requests = [
            await client.request("session/prompt", said(session_id, "x")) for _ in range(1_001)
        ]
        answer = await client.receive()
        assert (answer["id"], answer["error"]["code"]) == (requests[-1], -32012)


# G7: what waits for answers is bounded in bytes, too
async def test_a_client_may_not_leave_too_much_unanswered(
    front: ScriptedFront, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_REQUEST_BYTES", 10_000)
    gateway: Gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        first = await client.request("session/prompt", said(session_id, "x" * 20_000))
        second = await client.request("session/prompt", said(session_id, "x"))
        answer = await client.receive()
        assert (answer["id"], answer["error"]["code"]) == (second, -32012)
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        front.end_turn(session_id)
        assert (await client.answer(first))["result"]["stopReason"] == "end_turn"
        await client.call("_runtime/session/send", said(session_id, "x"))
    await gateway.close()
