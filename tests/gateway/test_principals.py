"""Who it is that connects, and what they may do (G8, S36)."""

from __future__ import annotations

import pytest
import trio

from runtime.gateway import Gateway, GatewayConfig, serve_gateway
from runtime.gateway.access import Access
from runtime.protocol.catalogue import FROM_CLIENT
from runtime.protocol.extensions import FORBIDDEN
from runtime.sessions.principals import LOCAL, TOKEN_HOLDER, Principal, Role
from runtime.sessions.rows import Sender
from runtime.settings import PrincipalSettings
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront
from tests.gateway.test_access import TOKEN, as_subprotocol

ADA = Principal("ada", Role.ADMIN)
BOB = Principal("bob", Role.MEMBER)
EVE = Principal("eve", Role.OWNER)
PEOPLE = {
    each.name: PrincipalSettings(token=f"{each.name}-token", role=each.role)
    for each in (ADA, BOB, EVE)
}


# G8 S36
def test_each_token_stands_for_somebody() -> None:
    access = Access(GatewayConfig(token=TOKEN, principals=PEOPLE), 8765)
    utf8 = TOKEN.encode().decode("latin-1")
    assert access.principal(f"Bearer {utf8}") == TOKEN_HOLDER
    assert access.principal("Bearer bob-token") == BOB
    assert access.principal(None, ["acp", as_subprotocol("ada-token")]) == ADA
    for wrong in (None, "Bearer", "Bearer bob", "Bearer bob-token-", "Basic bob-token"):
        assert access.principal(wrong) is None
    assert Access(GatewayConfig(), 8765).principal("Bearer whatever") == LOCAL
    only_others = Access(GatewayConfig(principals=PEOPLE), 8765)
    assert only_others.principal(None) is None


# G8: the time that an answer takes says nothing about whose token is nearly right
def test_all_tokens_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(presented: bytes, token: bytes) -> bool:
        compared.append(token)
        return presented == token

    monkeypatch.setattr("hmac.compare_digest", compare)
    access = Access(GatewayConfig(token="first", principals=PEOPLE), 8765)
    for presented in ("first", "eve-token", "nobody"):
        access.principal(f"Bearer {presented}")
    assert compared == [b"first", b"ada-token", b"bob-token", b"eve-token"] * 3


def bearer(name: str) -> list[tuple[bytes, bytes]]:
    return [(b"Authorization", f"Bearer {name}-token".encode())]


async def refused(client: AcpClient, method: str, session_id: str) -> bool:
    params = {"sessionId": session_id, "cwd": "/", "mcpServers": []}
    answer = await client.answer(await client.request(method, params))
    if answer.get("error", {}).get("code") != FORBIDDEN:
        return False
    role = "member"
    assert answer["error"]["message"] == f"This needs the role admin; yours is {role}."
    assert answer["error"]["data"] == {"code": "forbidden", "role": role, "needed": "admin"}
    return True


# S36: what is refused touches nothing and wakes nobody
async def test_a_role_decides_what_one_may_do(front: ScriptedFront, nursery: trio.Nursery) -> None:
    config = GatewayConfig(port=0, token="owner-token", principals=PEOPLE)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    needed = {method.name: method.role for method in FROM_CLIENT}
    assert [name for name, role in needed.items() if role is not Role.MEMBER] == [
        "session/close",
        "_runtime/session/reset",
        "_runtime/queue/clear",
        "_runtime/media/usage",
        "_runtime/media/sweep",
        "_runtime/runtime/tree",
    ]
    async with connected(gateway.url, extra_headers=bearer("bob")) as member:
        session_id = await member.new_session()
        await member.call("_runtime/session/send", said(session_id, "it waits"))
        assert front.sessions[session_id].senders == [Sender("bob")]
        front.fail_with = KeyError("nobody may be asked")
        for method, role in needed.items():
            if role is not Role.MEMBER:
                assert await refused(member, method, session_id), method
        front.fail_with = None
        assert len(front.sessions[session_id].waiting) == 1
        for method, role in needed.items():
            if role is Role.MEMBER and method != "initialize":
                assert not await refused(member, method, session_id), method
    for name in ("ada", "eve", "owner"):
        async with connected(gateway.url, extra_headers=bearer(name)) as client:
            assert (await client.call("_runtime/runtime/tree"))["tree"]
            session_id = await client.new_session()
            await client.call("_runtime/queue/clear", {"sessionId": session_id})
            await client.call("session/close", {"sessionId": session_id})
    await gateway.close()


# S36
async def test_a_client_is_told_who_it_is(front: ScriptedFront, nursery: trio.Nursery) -> None:
    config = GatewayConfig(port=0, token="owner-token", principals=PEOPLE)
    gateway: Gateway = await nursery.start(serve_gateway, front, config)
    for name, told in (("bob", ("bob", "member")), ("owner", ("token", "owner"))):
        async with connected(gateway.url, initialize=False, extra_headers=bearer(name)) as client:
            answer = await client.call("initialize", {"protocolVersion": 1})
            mark = answer["_meta"]["runtime"]
            assert (mark["principal"], mark["role"]) == told
    await gateway.close()


# S36
async def test_who_needs_no_token_is_the_owner(gateway: Gateway) -> None:
    async with connected(gateway.url, initialize=False) as client:
        answer = await client.call("initialize", {"protocolVersion": 1})
        mark = answer["_meta"]["runtime"]
        assert (mark["principal"], mark["role"]) == ("local", "owner")
