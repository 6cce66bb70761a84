"""Who is let in (G8)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import trio

from runtime.gateway import Gateway, GatewayConfig, GatewayError, serve_gateway
from runtime.gateway.access import Access
from runtime.gateway.config import check, is_loopback
from runtime.gateway.refusals import Refusals
from runtime.gateway.throttle import ADDRESSES, Occupancy, Throttle
from tests.gateway import raw
from tests.gateway.raw import status
from tests.gateway.scripted import ScriptedFront

TOKEN = "s3cret/ü+~"


def as_subprotocol(token: str) -> str:
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return f"bearer.{encoded}"


async def shake(gateway: Gateway, *headers: str, host: str | None = None) -> bytes:
    async with await raw.connect(gateway) as stream:
        await stream.send_all(raw.handshake(gateway, *headers, host=host))
        head, _ = await raw.read_head(stream)
        return head


@pytest.mark.parametrize(
    "host, loopback",
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# G8
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "chat.example.com"])
def test_other_machines_need_a_token(host: str) -> None:
    with pytest.raises(GatewayError, match="token"):
        check(GatewayConfig(host=host))
    check(GatewayConfig(host=host, token="x"))


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(GatewayError, match="empty"):
        check(GatewayConfig(token=" "))
    with pytest.raises(GatewayError, match="tls_certificate"):
        check(GatewayConfig(tls_key=Path("key.pem")))


# G8
async def test_the_token_opens_the_websocket(front: ScriptedFront, nursery: trio.Nursery) -> None:
    config = GatewayConfig(port=0, token=TOKEN)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    answer = await shake(gateway)
    assert status(answer) == 401
    assert b"www-authenticate: Bearer" in answer
    assert b"invalid_token" not in answer
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    utf8 = TOKEN.encode().decode("latin-1")
    assert status(await shake(gateway, f"Authorization: Bearer {utf8}")) == 101
    assert status(await shake(gateway, f"Authorization: bearer  {utf8}")) == 101
    for wrong in (f"Bearer {utf8}x", "Bearer s3cret", "Bearer ", "Bearer", f"Basic {utf8}"):
        assert status(await shake(gateway, f"Authorization: {wrong}")) == 401
    # A token in the address would end in logs.
    assert status(await shake(gateway, host=f"127.0.0.1:{gateway.port}")) == 401
    await gateway.close()


# G8
async def test_a_wrong_token_is_told_from_a_missing_one(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    config = GatewayConfig(port=0, token=TOKEN)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    for header in ("Authorization: Bearer other", f"Sec-WebSocket-Protocol: {as_subprotocol('x')}"):
        answer = await raw.exchange(gateway, raw.handshake(gateway, header, "Connection: close"))
        assert status(answer) == 401
        assert b'www-authenticate: Bearer error="invalid_token"' in answer
        assert b"The token is wrong." in answer
    missing = await raw.exchange(gateway, raw.handshake(gateway, "Connection: close"))
    assert b"A token is needed" in missing
    await gateway.close()


# G8
async def test_who_is_refused_is_in_the_log(
    front: ScriptedFront, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    config = GatewayConfig(port=0, token=TOKEN, handshakes_per_second=4.0)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    await shake(gateway, host="evil.example")
    await shake(gateway, "Origin: http://evil.example")
    await shake(gateway, "Authorization: Bearer s3cret")
    await shake(gateway)
    for _ in range(20):
        await shake(gateway)
    await gateway.close()
    for reason in (
        "the host name is not served here: 'evil.example'",
        "the origin is not allowed: 'http://evil.example'",
        "the token is wrong",
        "the token is missing",
        "too many handshakes",
    ):
        assert f"refused a client at 127.0.0.1: {reason}" in caplog.text
    assert "s3cret" not in caplog.text


# G8
def test_a_flood_of_refusals_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    for _ in range(1000):
        refusals.note("the token is wrong", "10.0.0.1")
    refusals.note("the origin is not allowed", "10.0.0.2", "x" * 1000)
    now = 1.0
    refusals.note("the token is wrong", "10.0.0.3")
    now = 2.0
    refusals.note("the token is wrong", "10.0.0.3")
    assert [record.getMessage() for record in caplog.records] == [
        "refused a client at 10.0.0.1: the token is wrong",
        f"refused a client at 10.0.0.2: the origin is not allowed: {'x' * 100!r}",
        "refused a client at 10.0.0.3: the token is wrong (999 more since the last such line)",
        "refused a client at 10.0.0.3: the token is wrong",
    ]


# G8: browsers cannot set headers
async def test_the_token_comes_as_a_subprotocol(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    config = GatewayConfig(port=0, token=TOKEN)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    offer = f"Sec-WebSocket-Protocol: acp, {as_subprotocol(TOKEN)}"
    answer = await shake(gateway, offer, f"Origin: http://localhost:{gateway.port}")
    assert status(answer) == 101
    assert b"sec-websocket-protocol: acp" in answer.lower()
    assert as_subprotocol(TOKEN).encode() not in answer
    for wrong in (as_subprotocol("other"), "bearer.", "bearer.%%%", "bearer", "Bearer.x"):
        assert status(await shake(gateway, f"Sec-WebSocket-Protocol: acp, {wrong}")) == 401
    await gateway.close()


# G8
async def test_health_needs_no_token_and_this_machine_none_for_the_other_pages(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    config = GatewayConfig(port=0, token=TOKEN)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    for path in ("/healthz", "/readyz", "/metrics"):
        assert status(await raw.get(gateway, path)) == 200
    await gateway.close()


# G8
async def test_pages_of_others_are_kept_out(gateway: Gateway) -> None:
    own = f":{gateway.port}"
    for origin in (f"http://localhost{own}", f"https://127.0.0.1{own}", f"http://[::1]{own}"):
        assert status(await shake(gateway, f"Origin: {origin}")) == 101
    for origin in (
        "http://evil.example",
        f"http://evil.example{own}",
        f"http://localhost.evil.example{own}",
        "http://localhost:1",
        "http://localhost",
        "null",
        "file://",
        "http://[",
        "chrome-extension://abc",
    ):
        assert status(await shake(gateway, f"Origin: {origin}")) == 403


# G8
async def test_allowed_origins(front: ScriptedFront, nursery: trio.Nursery) -> None:
    allowed = ("https://chat.example.com", "http://Dev.example.com:3000/")
    gateway: Gateway = await nursery.start(
        serve_gateway, front, GatewayConfig(port=0, allowed_origins=allowed)
    )
    for origin in ("https://chat.example.com", "https://chat.example.com:443"):
        assert status(await shake(gateway, f"Origin: {origin}")) == 101
    assert status(await shake(gateway, "Origin: http://dev.example.com:3000")) == 101
    for origin in ("http://chat.example.com", "https://chat.example.com:8443"):
        assert status(await shake(gateway, f"Origin: {origin}")) == 403
    assert status(await shake(gateway, host="chat.example.com")) == 101
    await gateway.close()


# G8: DNS rebinding
async def test_a_host_name_that_anybody_can_point_here_is_refused(gateway: Gateway) -> None:
    for host in ("evil.example", f"evil.example:{gateway.port}", "10.0.0.1", "", "[", "a@[::1"):
        assert status(await raw.get(gateway, "/readyz", f"Host: {host}")) == 421
    for host in ("localhost", "127.0.0.1", f"[::1]:{gateway.port}", "localhost:1"):
        assert status(await raw.get(gateway, "/readyz", f"Host: {host}")) == 200
    assert status(await shake(gateway, host="evil.example")) == 421
    assert status(await raw.get(gateway, "/healthz", "Host: evil.example")) == 200


# G8: an address cannot be rebound, a name can
def test_every_address_is_ours_when_all_are_listened_on() -> None:
    access = Access(GatewayConfig(host="0.0.0.0", token="x"), 8765)
    assert access.host_is_ours("192.168.1.5:8765")
    assert access.host_is_ours("[2001:db8::1]:8765")
    assert not access.host_is_ours("evil.example:8765")
    named = Access(GatewayConfig(host="chat.internal", token="x"), 8765)
    assert named.host_is_ours("Chat.Internal:8765")
    assert not named.host_is_ours("192.168.1.5:8765")


@pytest.mark.parametrize(
    "line, expected",
    [
        ("Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Key: short", 400),
        ("Sec-WebSocket-Key: ", 400),
        ("Upgrade: h2c", 426),
        ("Connection: close", 426),
    ],
)
async def test_bad_handshakes(gateway: Gateway, line: str, expected: int) -> None:
    name = line.partition(":")[0]
    lines = raw.handshake(gateway).decode().split("\r\n")
    head = "\r\n".join([line if each.startswith(name) else each for each in lines])
    assert status(await raw.exchange(gateway, head.encode())) == expected


# G8
async def test_an_address_may_not_shake_hands_too_often(
    front: ScriptedFront, nursery: trio.Nursery
) -> None:
    config = GatewayConfig(port=0, handshakes_per_second=0.001)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    assert status(await shake(gateway)) == 101
    answer = await shake(gateway)
    assert status(answer) == 429
    assert b"retry-after: 1" in answer
    await gateway.close()


# G8
def test_the_throttle_counts_by_subscriber_and_forgets() -> None:
    now = 0.0
    throttle = Throttle(2.0, lambda: now)
    assert [throttle.allow("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert throttle.allow("10.0.0.2")
    now = 0.5
    assert [throttle.allow("10.0.0.1") for _ in range(2)] == [True, False]
    assert [throttle.allow(f"2001:db8::{each}") for each in "123"] == [True, True, False]
    assert throttle.allow("2001:db8:0:1::1")
    for number in range(ADDRESSES):
        throttle.allow(f"10.1.{number >> 8}.{number & 255}")
    assert [throttle.allow("10.0.0.1") for _ in range(3)] == [True, True, False]


# G8
def test_an_address_has_only_some_of_the_connections() -> None:
    occupancy = Occupancy(8, 2)
    assert [occupancy.enter("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert [occupancy.enter(f"2001:db8::{each}") for each in "123"] == [True, True, False]
    occupancy.leave("10.0.0.1")
    assert occupancy.enter("10.0.0.1")
    # Behind a proxy on this machine everyone has the same address.
    assert [occupancy.enter("127.0.0.1") for _ in range(5)] == [True] * 4 + [False]
    assert not occupancy.enter("10.0.0.9")
    occupancy.leave("2001:db8::7")
    assert occupancy.enter("10.0.0.9")
