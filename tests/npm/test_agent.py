"""An agent made with the published TypeScript SDK, unmodified, behind the real runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.stage import House, client_of
from tests.gateway.client import said

from .conftest import HERE

AGENT = HERE / "agent.mjs"


@pytest.fixture
def settings(packages: Path) -> str:
    command = json.dumps(["node", str(AGENT)])
    return f"[agents.node]\nkind = 'acp'\ncommand = {command}\n"


# P1, P6, G2, G3
async def test_it_is_talked_to_asked_and_let_go(house: House, settings: str) -> None:
    process = await house.serve(settings)
    async with client_of(process) as client:
        session_id = await client.new_session()
        answer = await client.call("session/prompt", said(session_id, "hello there"))
        assert (answer["stopReason"], client.text()) == ("end_turn", "hello there")
        await client.call("session/set_mode", {"sessionId": session_id, "modeId": "loud"})
        answer = await client.call("session/prompt", said(session_id, "again"))
        assert (answer["stopReason"], client.text()) == ("end_turn", "hello thereAGAIN")
        prompt = await client.request("session/prompt", said(session_id, "may I"))
        question = await client.receive()
        while question.get("method") != "session/request_permission":
            question = await client.receive()
        assert question["params"]["toolCall"]["title"] == "Speak up"
        chosen = {"outcome": {"outcome": "selected", "optionId": "yes"}}
        await client.websocket.send_message(
            json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": chosen})
        )
        assert (await client.answer(prompt))["result"]["stopReason"] == "end_turn"
        assert client.text().endswith("YOU MAY.")
    assert await process.stop() == 0


# H1, N1
@pytest.mark.parametrize("takes", ["", "image", "image audio"])
async def test_it_is_given_files(house: House, settings: str, takes: str) -> None:
    process = await house.serve(f"{settings}env = {{ TAKES = '{takes}' }}\n")
    image = {"type": "image", "data": "aW1hZ2U=", "mimeType": "image/png", "uri": "cat.png"}
    sound = {"type": "audio", "data": "c291bmQ=", "mimeType": "audio/wav"}
    async with client_of(process) as client:
        prompt = said(await client.new_session(), "look")
        prompt["prompt"] += [image, sound]
        assert (await client.call("session/prompt", prompt))["stopReason"] == "end_turn"
        look, *found = json.loads(client.text())
    assert look == {"text": "look"}
    links = [each for each in found if "link" in each]
    assert [(each["link"], each["mimeType"], each["size"]) for each in links] == [
        ("image", "image/png", 5),
        ("sound", "audio/wav", 5),
    ]
    assert links[0]["name"] == "cat.png"
    assert found.count({"image": "image"}) == ("image" in takes)
    assert found.count({"audio": "sound"}) == ("audio" in takes)
    assert await process.stop() == 0


# P3, G11
async def test_it_is_cancelled(house: House, settings: str) -> None:
    process = await house.serve(f"{settings}env = {{ PACE = '50' }}\n")
    async with client_of(process) as client:
        session_id = await client.new_session()
        prompt = await client.request("session/prompt", said(session_id, "word " * 1_000))
        await client.until("session/update", sessionUpdate="agent_message_chunk")
        await client.send("session/cancel", {"sessionId": session_id})
        assert (await client.answer(prompt))["result"]["stopReason"] == "cancelled"
    assert await process.stop() == 0
