"""What an agent offers, announces and is told, before all who watch (G2, G5, P3)."""

from __future__ import annotations

from typing import Any

import pytest
from acp import meta

from runtime.gateway import Gateway
from runtime.gateway.server import served_methods
from runtime.ports.agent import Offers
from runtime.sessions.events import AgentAnnounced, Notice
from runtime.sessions.updates import (
    AvailableCommands,
    ConfigOptions,
    ContextUsage,
    CurrentMode,
    SessionInfo,
    SessionUpdate,
)
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront

NEW = {"cwd": "/", "mcpServers": []}
MODE: dict[str, Any] = {
    "id": "mode",
    "name": "Mode",
    "category": "mode",
    "type": "select",
    "currentValue": "ask",
    "options": [
        {"value": "ask", "name": "Ask", "description": "Asks first"},
        {"group": "bold", "name": "Bold", "options": [{"value": "code", "name": "Code"}]},
        {"value": 5, "name": "broken"},
        "broken",
    ],
}
FAST: dict[str, Any] = {"id": "fast", "name": "Fast", "type": "boolean", "currentValue": False}
MODEL: dict[str, Any] = {
    "id": "model",
    "name": "Model",
    "type": "select",
    "currentValue": "small",
    "options": [{"value": "small", "name": "Small"}, {"value": "large", "name": "Large"}],
}
CLASH = {**MODEL, "id": "queue_mode"}
COMMANDS = ({"name": "plan", "description": "Make a plan"},)
BOOLEANS: dict[str, Any] = {"session": {"configOptions": {"boolean": {}}}}


@pytest.fixture
def front() -> ScriptedFront:
    front = ScriptedFront()
    front.offered = Offers((MODE, FAST, MODEL, CLASH), COMMANDS)
    return front


def ids(result: dict[str, Any]) -> list[str]:
    return [option["id"] for option in result["configOptions"]]


async def introduced(client: AcpClient) -> AcpClient:
    """A client that knows settings which are true or false."""
    params = {"protocolVersion": 1, "clientCapabilities": BOOLEANS}
    await client.call("initialize", params)
    return client


# G2
@pytest.mark.parametrize("method", ["session/new", "session/load", "session/resume"])
async def test_what_the_agent_offers_comes_with_the_session(
    gateway: Gateway, front: ScriptedFront, method: str
) -> None:
    async with connected(gateway.url) as first:
        session_id = await first.new_session()
    async with connected(gateway.url, initialize=False) as client:
        await introduced(client)
        result = await client.call(method, {**NEW, "sessionId": session_id})
        # Ours comes first, and the agent's of the same name would be mistaken for it.
        assert ids(result) == ["queue_mode", "mode", "fast", "model"]
        assert result["configOptions"][1] == MODE
        assert result["modes"] == {
            "currentModeId": "ask",
            "availableModes": [
                {"id": "ask", "name": "Ask", "description": "Asks first"},
                {"id": "code", "name": "Code"},
            ],
        }
        # The commands are said when the client knows the session.
        assert client.updates() == []
        said_after = await client.until("session/update")
        assert said_after["update"] == {
            "sessionUpdate": "available_commands_update",
            "availableCommands": list(COMMANDS),
        }


# G2
async def test_an_agent_without_offers(gateway: Gateway, front: ScriptedFront) -> None:
    front.offered = Offers()
    async with connected(gateway.url) as client:
        result = await client.call("session/new", NEW)
        assert ids(result) == ["queue_mode"]
        assert "modes" not in result
        session_id = result["sessionId"]
        params = {"sessionId": session_id, "modeId": "ask"}
        error = await client.error("session/set_mode", params)
        assert (error["code"], error["data"]["path"]) == (-32602, "$.modeId")
    assert client.updates() == []


# G2, G5
async def test_choosing_is_told_to_everybody(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url, initialize=False) as one, connected(gateway.url) as two:
        await introduced(one)
        session_id = await one.new_session(key="shared")
        await two.new_session(key="shared")
        params = {"sessionId": session_id, "configId": "model", "value": "large"}
        result = await one.call("session/set_config_option", params)
        assert ids(result) == ["queue_mode", "mode", "fast", "model"]
        assert result["configOptions"][3]["currentValue"] == "large"
        update = (await two.until("session/update", sessionUpdate="config_option_update"))["update"]
        # A client that has not said that it knows booleans is not shown them.
        assert ids(update) == ["queue_mode", "mode", "model"]
        assert update["configOptions"][2]["currentValue"] == "large"
        mode = await two.until("session/update", sessionUpdate="current_mode_update")
        assert mode["update"]["currentModeId"] == "ask"
        fast = {**params, "configId": "fast", "type": "boolean", "value": True}
        result = await one.call("session/set_config_option", fast)
        assert result["configOptions"][2]["currentValue"] is True
        assert await one.call("session/set_mode", {"sessionId": session_id, "modeId": "code"}) == {}
        await two.until("session/update", sessionUpdate="current_mode_update")
        mode = await two.until(
            "session/update", sessionUpdate="current_mode_update", currentModeId="code"
        )
        # The queue mode is ours, and stays among them.
        ours = {**params, "configId": "queue_mode", "value": "followup"}
        result = await one.call("session/set_config_option", ours)
        assert result["configOptions"][0]["currentValue"] == "followup"
        assert ids(result) == ["queue_mode", "mode", "fast", "model"]


# G2, G7
@pytest.mark.parametrize(
    "wrong, code, path",
    [
        ({"configId": "nothing"}, -32602, "$.configId"),
        ({"value": True}, -32602, "$.value"),
        ({"type": "boolean"}, -32602, "$.value"),
        ({"configId": "queue_mode", "value": True, "type": "boolean"}, -32602, "$.value"),
        ({"configId": "queue_mode", "value": "loud"}, -32602, "$.value"),
        ({"value": 5}, -32602, "$.value"),
        ({"value": "forbidden"}, -32015, None),
        ({"sessionId": "gone"}, -32002, None),
    ],
)
async def test_what_cannot_be_set(
    gateway: Gateway, wrong: dict[str, Any], code: int, path: str | None
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        params = {"sessionId": session_id, "configId": "model", "value": "large", **wrong}
        error = await client.error("session/set_config_option", params)
    assert (error["code"], error["data"].get("path")) == (code, path)
    if code == -32015:
        assert (error["message"], error["data"]["code"]) == ("This is not for you.", "refused")


# G2, T6
@pytest.mark.parametrize(
    "update, expected",
    [
        (AvailableCommands([{"name": "x", "description": "y"}]), "available_commands_update"),
        (CurrentMode("code"), "current_mode_update"),
        (SessionInfo("A title"), "session_info_update"),
        (ContextUsage(5, 10), "usage_update"),
        (ConfigOptions([]), "config_option_update"),
    ],
)
async def test_announcements_reach_every_watcher(
    gateway: Gateway, front: ScriptedFront, update: SessionUpdate, expected: str
) -> None:
    front.offered = Offers()
    async with connected(gateway.url) as one, connected(gateway.url) as two:
        session_id = await one.new_session(key="shared")
        await two.call("_runtime/session/events", {"sessionId": session_id})
        await two.new_session(key="shared")
        front.sessions[session_id].publish(AgentAnnounced(update))
        for client in (one, two):
            params = await client.until("session/update", sessionUpdate=expected)
            assert params["_meta"]["runtime"] == {"number": 1}
            if expected == "config_option_update":
                assert ids(params["update"]) == ["queue_mode"]
        while two.events()[-1]["type"] != "agent_announced":
            await two.receive()
        assert two.events()[-1]["update"]["sessionUpdate"] == expected


# G5, P3
async def test_notices_reach_every_watcher_and_are_no_part_of_an_answer(
    gateway: Gateway, front: ScriptedFront
) -> None:
    front.offered = Offers()
    async with connected(gateway.url) as one, connected(gateway.url) as two:
        session_id = await one.new_session(key="shared")
        await two.call("_runtime/session/events", {"sessionId": session_id})
        await two.new_session(key="shared")
        front.sessions[session_id].publish(Notice("agent_blocked", "It does not start.", "m-1"))
        for client in (one, two):
            params = await client.until("session/update")
            assert params["update"] == {
                "sessionUpdate": "agent_message_chunk",
                "content": {"type": "text", "text": "It does not start."},
            }
            mark = {"messageId": "m-1", "number": 1, "notice": "agent_blocked"}
            assert params["_meta"]["runtime"] == mark
        while two.events()[-1]["type"] != "notice":
            await two.receive()
        assert two.events()[-1] == {
            "type": "notice",
            "code": "agent_blocked",
            "text": "It does not start.",
            "messageId": "m-1",
        }


# P3, G3
async def test_a_blocked_session_keeps_its_prompts(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client, connected(gateway.url) as other:
        session_id = await client.new_session(key="shared")
        await other.new_session(key="shared")
        target = {"sessionId": session_id}
        request = await client.request("session/prompt", said(session_id, "hello"))
        (message_id,) = await front.until_waiting(session_id, 1)
        front.block(session_id, "The agent could not be started 5 times.")
        error = (await client.answer(request))["error"]
        assert error["code"] == -32014
        assert error["data"] == {
            "code": "session_blocked",
            "messageId": message_id,
            "sequence": 1,
            "kept": True,
        }
        assert error["message"] == (
            "The agent could not be started 5 times. "
            "The message is kept, and runs after /reconnect."
        )
        status = await client.call("_runtime/queue/status", target)
        assert status["blocked"] == "The agent could not be started 5 times."
        params = {**target, "configId": "model", "value": "large"}
        error = await client.error("session/set_config_option", params)
        assert (error["code"], error["data"]) == (-32014, {"code": "session_blocked"})
        assert await client.call("_runtime/session/reconnect", target) == {}
        assert (await client.call("_runtime/queue/status", target))["blocked"] is None
        front.start_turn(session_id)
        front.say(session_id, "at last")
        await client.until("session/update", sessionUpdate="agent_message_chunk")
        await other.until("session/update", sessionUpdate="agent_message_chunk")
    # It is still this client's own message, whose words it knows.
    assert client.updates("user_message_chunk") == []
    assert other.text("user_message_chunk") == "hello"


# G11: a client may cancel one of its requests by its id
async def test_a_prompt_is_cancelled_by_its_id(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        first = await client.request("session/prompt", said(session_id, "one"))
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        second = await client.request("session/prompt", said(session_id, "two"))
        third = await client.request("session/prompt", said(session_id, "three"))
        await front.until_waiting(session_id, 2)
        # What waits is withdrawn, and the turn goes on.
        await client.send("$/cancel_request", {"requestId": second})
        assert (await client.answer(second))["result"]["stopReason"] == "cancelled"
        assert front.sessions[session_id].running is not None
        # The turn of the one that runs is cancelled, and what waits is left alone.
        await client.send("$/cancel_request", {"requestId": first})
        assert (await client.answer(first))["result"]["stopReason"] == "cancelled"
        (message_id,) = await front.until_waiting(session_id, 1)
        for odd in (first, "nothing", None, -1):
            await client.send("$/cancel_request", {"requestId": odd})
        await client.send("$/cancel_request", {})
        assert await front.until_waiting(session_id, 1) == (message_id,)
        front.start_turn(session_id)
        front.end_turn(session_id)
        assert (await client.answer(third))["result"]["stopReason"] == "end_turn"


# G11: also when its message is not accepted yet
async def test_a_prompt_is_cancelled_before_it_is_accepted(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        requests = [
            await client.request("session/prompt", said(session_id, str(number)))
            for number in range(3)
        ]
        await client.send("$/cancel_request", {"requestId": requests[2]})
        answer = await client.answer(requests[2])
        assert answer["result"]["stopReason"] == "cancelled"
        assert len(await front.until_waiting(session_id, 2)) == 2


# G7
async def test_methods_that_are_not_offered(gateway: Gateway) -> None:
    missing = set(meta.AGENT_METHODS.values()) - set(served_methods())
    assert "authenticate" in missing
    async with connected(gateway.url) as client:
        for method in sorted(missing):
            assert (await client.error(method))["code"] == -32601
