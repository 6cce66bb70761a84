"""Clients come back after the runtime was stopped, and miss nothing (G5, G9, G12)."""

from __future__ import annotations

from typing import Any

from tests.e2e.stage import House, client_of, close_code
from tests.gateway.client import AcpClient, said


def lines(client: AcpClient) -> list[tuple[int, str]]:
    """The transcript as the events told it: number and text."""
    entries = [event for event in client.events() if event["type"] == "journal"]
    return [(event["seq"], event["content"]) for event in entries]


# G5 G9 G12
async def test_from_the_cursor_across_a_stop(house: House) -> None:
    process = await house.serve()
    target: dict[str, Any] = {}
    async with client_of(process) as client:
        target["sessionId"] = session_id = await client.new_session()
        seen = await client.call("_runtime/session/events", {**target, "after": 0})
        await client.call("session/prompt", said(session_id, "before"))
        async with client_of(process) as other:
            words = said(session_id, "after the cursor")
            await other.call("session/prompt", words)
            process.tell_to_stop()
            assert await close_code(other) == 1001
        assert await close_code(client) == 1001
    assert await process.ended() == 0
    process = await house.serve()
    async with client_of(process) as client:
        again = {**target, "after": 2, "live": seen["live"], "run": seen["run"]}
        now = await client.call("_runtime/session/events", again)
        assert now["run"] != seen["run"]
        assert client.events()[0]["type"] == "reset"
        texts = [text.strip() for _, text in lines(client)]
        assert texts == ["after the cursor", "after the cursor"]
        assert [number for number, _ in lines(client)] == [3, 4]
        said_by = [
            event["data"]["sender"] for event in client.events() if event.get("role") == "user"
        ]
        assert said_by == [{"id": "local"}]  # S36
        answer = await client.call("session/prompt", said(session_id, "and on"))
        assert answer["stopReason"] == "end_turn"
    assert await process.stop() == 0
