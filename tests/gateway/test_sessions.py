"""Sessions over the wire: first contact, making, finding, listing, closing (G1, G2, G10)."""

from __future__ import annotations

from runtime.gateway import Gateway
from tests.gateway.client import connected, said
from tests.gateway.scripted import ScriptedFront


async def test_prompt(gateway: Gateway, front: ScriptedFront) -> None:
    front.echo = True
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        result = await client.call("session/prompt", said(session_id, "hello there"))
        assert result["stopReason"] == "end_turn"
        assert client.text() == "hello there "
