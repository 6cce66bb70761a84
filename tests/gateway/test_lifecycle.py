"""Starting, stopping, slow and silent clients, many clients, TLS (G6, G8, G9)."""

from __future__ import annotations

import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from trio_websocket import CloseReason, ConnectionClosed

from runtime.gateway import Gateway, GatewayConfig, GatewayError, serve_gateway
from runtime.gateway import connection as connection_module
from runtime.gateway import streams as streams_module
from runtime.gateway import websocket as websocket_module
from runtime.gateway.listening import open_listeners
from runtime.gateway.outgoing import MAX_BYTES
from runtime.sessions.updates import ToolCall
from tests.gateway import raw
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront


async def refusal(front: ScriptedFront, config: GatewayConfig) -> str:
    with pytest.raises(GatewayError) as raised:
        await serve_gateway(front, config)
    return str(raised.value)


async def farewell(client: AcpClient) -> CloseReason:
    """Read until the connection is closed, and say with what."""
    with suppress(ConnectionClosed):
        while True:
            await client.receive()
    assert client.websocket.closed is not None
    return client.websocket.closed


async def follower(gateway: Gateway, session_id: str) -> trio.SocketStream:
    """A client that follows a session and reads nothing more by itself."""
    stream = await raw.connect(gateway)
    await stream.send_all(raw.handshake(gateway))
    await raw.read_head(stream)
    requests: list[tuple[str, object]] = [
        ("initialize", {"protocolVersion": 1}),
        ("session/resume", {"sessionId": session_id, "cwd": "/"}),
    ]
    for number, (method, params) in enumerate(requests):
        await stream.send_all(raw.call(number, method, params))
        await stream.receive_some(65_536)
    return stream


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience with peers that never answer."""
    monkeypatch.setattr(websocket_module, "CLOSE_LIMIT", 0.1)
    monkeypatch.setattr(streams_module, "LINGER", 0.1)


# G8
async def test_a_port_that_is_taken(gateway: Gateway, front: ScriptedFront) -> None:
    text = await refusal(front, GatewayConfig(port=gateway.port))
    assert f"127.0.0.1 port {gateway.port} is taken" in text


async def test_a_host_that_is_not_here(front: ScriptedFront) -> None:
    text = await refusal(front, GatewayConfig(host="192.0.2.1", port=0, token="x"))
    assert "192.0.2.1" in text
    text = await refusal(front, GatewayConfig(host="no-such-host.invalid", port=0, token="x"))
    assert "cannot be resolved" in text


# G8
async def test_an_open_port_without_a_token_is_refused(front: ScriptedFront) -> None:
    assert "token" in await refusal(front, GatewayConfig(host="0.0.0.0", port=0))


async def test_a_bad_certificate(front: ScriptedFront, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert str(missing) in await refusal(front, GatewayConfig(port=0, tls_certificate=missing))
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing of the kind")
    assert "PEM" in await refusal(front, GatewayConfig(port=0, tls_certificate=broken))


async def test_the_name_localhost(front: ScriptedFront, nursery: trio.Nursery) -> None:
    config = GatewayConfig(host="localhost", port=0)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    async with connected(gateway.url) as client:
        assert await client.new_session() == "session-1"
    await gateway.close()


# G8
async def test_tls(front: ScriptedFront, nursery: trio.Nursery, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    await trio.run_process(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        stderr=subprocess.DEVNULL,
    )
    config = GatewayConfig(port=0, tls_certificate=certificate, tls_key=key)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    assert gateway.url.startswith("wss://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=str(certificate))
    front.echo = True
    async with connected(gateway.url, ssl_context=trusted) as client:
        session_id = await client.new_session()
        await client.call("session/prompt", said(session_id, "in secret"))
        assert client.text() == "in secret "
    # Who speaks plain HTTP to it, or nothing at all, hurts nobody.
    await raw.exchange(gateway, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with connected(gateway.url, ssl_context=trusted) as client:
        assert await client.new_session() == "session-2"
    await gateway.close()


# G9
async def test_closing_tells_the_clients_after_what_is_queued(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    gateway: Gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
    async with connected(gateway.url) as client, connected(gateway.url, initialize=False) as idle:
        session_id = await client.new_session()
        await client.request("session/prompt", said(session_id, "hello"))
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        front.say(session_id, *"said before the end")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as closing:
            closing.start_soon(gateway.close, 1001, "the runtime stops")
            reasons = [await farewell(each) for each in (client, idle)]
    assert [(each.code, each.reason) for each in reasons] == [(1001, "the runtime stops")] * 2
    assert client.text() == "said before the end"
    # Nobody listens any more, and closing again changes nothing.
    await gateway.close()
    with pytest.raises(OSError):
        await trio.open_tcp_stream(gateway.host, gateway.port)


# G9: what a slow client has not read yet goes before the farewell
async def test_closing_sends_what_is_queued(front: ScriptedFront, nursery: trio.Nursery) -> None:
    gateway: Gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await client.call("_runtime/session/send", said(session_id, "go"))
    slow = await follower(gateway, session_id)
    front.start_turn(session_id)
    block = "x" * (MAX_BYTES // 16)
    for number in range(15):
        front.update(session_id, ToolCall(f"t{number}", "Read", raw_output=block))
    await trio.testing.wait_all_tasks_blocked()
    async with trio.open_nursery() as closing:
        closing.start_soon(gateway.close)
        data = bytearray()
        while not data.endswith(b"the runtime stops"):
            chunk = await slow.receive_some(1_000_000)
            assert chunk
            data += chunk
        await slow.send_all(raw.frame(b"\x03\xe9", 8))
        await slow.aclose()
    assert data.count(b'"tool_call"') == 15


# G9
@pytest.mark.usefixtures("brisk")
async def test_closing_does_not_wait_for_mute_or_idle_connections(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    gateway: Gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
    idle = await raw.connect(gateway)
    await idle.send_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    await raw.read_head(idle)
    mute = await raw.connect(gateway)
    await mute.send_all(raw.handshake(gateway))
    await raw.read_head(mute)
    with trio.fail_after(15):
        await gateway.close()
        await raw.read_all(idle)
        assert (await raw.read_all(mute))[:1] == b"\x88"
    await idle.aclose()
    await mute.aclose()


# G6
@pytest.mark.usefixtures("brisk")
async def test_a_client_that_does_not_read_is_let_go_and_others_notice_nothing(
    gateway: Gateway, front: ScriptedFront, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "runtime.gateway")
    async with connected(gateway.url) as witness:
        session_id = await witness.new_session(key="shared")
        request = await witness.request("session/prompt", said(session_id, "go"))
        await front.until_waiting(session_id, 1)
        slow = await follower(gateway, session_id)
        front.start_turn(session_id)
        block = "x" * (MAX_BYTES // 16)
        # More than the sockets and the queue of the slow one hold together.
        for number in range(48):
            front.update(session_id, ToolCall(f"t{number}", "Read", raw_output=block))
            await witness.until("session/update", toolCallId=f"t{number}")
        front.end_turn(session_id)
        assert (await witness.answer(request))["result"]["stopReason"] == "end_turn"
        data = await raw.read_all(slow)
        assert data.count(b'"tool_call"') < 48
        assert "let a client go: read too slowly" in caplog.text
        await slow.aclose()


# G6: a peer that is gone without a word
@pytest.mark.usefixtures("brisk")
async def test_a_client_that_answers_no_ping_is_let_go(
    front: ScriptedFront, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "HEARTBEAT", 0.05)
    config = GatewayConfig(port=0)
    reasons: list[str] = []
    gateway = Gateway(front, config, await open_listeners(config), None, let_go=reasons.append)
    nursery.start_soon(gateway.serve)
    async with connected(gateway.url) as client:
        dead = await raw.connect(gateway)
        await dead.send_all(raw.handshake(gateway))
        await raw.read_head(dead)
        data = await raw.read_all(dead)
        assert b"no answer to a ping" in data
        assert reasons == ["no answer to a ping"]
        await dead.aclose()
        # A client that answers them stays.
        assert await client.new_session() == "session-1"
    await gateway.close()


# G5, G8
async def test_many_clients_at_once(front: ScriptedFront, nursery: trio.Nursery) -> None:
    front.echo = True
    config = GatewayConfig(port=0, handshakes_per_second=10_000.0)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    done: list[str] = []

    async def chat(number: int) -> None:
        async with connected(gateway.url) as client:
            session_id = await client.new_session()
            for turn in range(3):
                await client.call("session/prompt", said(session_id, f"{number}.{turn}"))
            done.append(client.text())

    async with trio.open_nursery() as clients:
        for number in range(150):
            clients.start_soon(chat, number)
    assert sorted(done) == sorted(f"{each}.0 {each}.1 {each}.2 " for each in range(150))
    await gateway.close()
