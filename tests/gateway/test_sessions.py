"""Sessions over the wire: first contact, making, finding, listing, setting (G1, G2, G10)."""

from __future__ import annotations

from runtime import __version__
from runtime.gateway import Gateway
from runtime.sessions.rows import QueueOverrides
from tests.gateway.client import connected
from tests.gateway.scripted import ScriptedFront

NEW = {"cwd": "/", "mcpServers": []}


# G1
async def test_initialize_says_what_there_is(gateway: Gateway) -> None:
    async with connected(gateway.url, initialize=False) as client:
        result = await client.call("initialize", {"protocolVersion": 1})
        headers = dict(client.websocket.handshake_headers)
    assert result["protocolVersion"] == 1
    assert result["agentCapabilities"] == {
        "loadSession": True,
        "promptCapabilities": {"image": True, "audio": True, "embeddedContext": True},
        "mcpCapabilities": {"http": False, "sse": False},
        "sessionCapabilities": {"list": {}, "resume": {}, "close": {}},
    }
    assert result["agentInfo"] == {
        "name": "greenroom",
        "title": "Greenroom",
        "version": __version__,
    }
    assert result["authMethods"] == []
    mark = result["_meta"]["runtime"]
    assert mark["agents"] == ["echo", "other"]
    assert "_runtime/session/send" in mark["methods"]
    assert headers[b"acp-connection-id"].decode() == mark["connectionId"]


# G1: a newer client is told which version is spoken here
async def test_the_version_is_negotiated(gateway: Gateway) -> None:
    async with connected(gateway.url, initialize=False) as client:
        result = await client.call("initialize", {"protocolVersion": 2})
    assert result["protocolVersion"] == 1


# G1
async def test_initialize_comes_first_and_once(gateway: Gateway) -> None:
    async with connected(gateway.url, initialize=False) as client:
        error = await client.error("session/new", NEW)
        assert (error["code"], "initialize" in error["message"]) == (-32600, True)
        await client.call("initialize", {"protocolVersion": 1})
        error = await client.error("initialize", {"protocolVersion": 1})
        assert error["code"] == -32600
        assert await client.new_session() == "session-1"


# G2
async def test_a_key_names_a_session(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        first = await client.new_session(key="support/ada", agent="other")
        assert await client.new_session(key="support/ada", agent="other") == first
        assert await client.new_session() != first
    assert front.sessions[first].row.agent_id == "other"


# G10
async def test_the_folder_and_the_servers_of_the_client_are_not_used_and_it_is_told(
    gateway: Gateway,
) -> None:
    server = {"name": "files", "command": "/bin/files", "args": [], "env": []}
    async with connected(gateway.url) as client:
        params = {"cwd": "/etc", "mcpServers": [server], "additionalDirectories": ["/srv"]}
        mark = (await client.call("session/new", params))["_meta"]["runtime"]
    assert (mark["workspace"], mark["cwdIgnored"], mark["mcpServersIgnored"]) == (None, True, True)
    assert (mark["agent"], mark["epoch"], mark["journalSeq"]) == ("echo", 1, 0)


# G2
async def test_an_unknown_agent_is_named(gateway: Gateway) -> None:
    async with connected(gateway.url) as client:
        params = {**NEW, "_meta": {"runtime": {"agent": "nobody"}}}
        error = await client.error("session/new", params)
    assert (error["code"], error["data"]["path"]) == (-32602, "$._meta.runtime.agent")


# G2
async def test_the_list_has_pages(gateway: Gateway) -> None:
    async with connected(gateway.url) as client:
        names = [await client.new_session() for _ in range(120)]
        listed: list[str] = []
        cursor = None
        pages = 0
        while True:
            page = await client.call("session/list", {"cursor": cursor, "cwd": "/elsewhere"})
            listed += [each["sessionId"] for each in page["sessions"]]
            pages += 1
            cursor = page.get("nextCursor")
            if cursor is None:
                break
        error = await client.error("session/list", {"cursor": "nonsense"})
    assert listed == names
    assert pages == 3
    assert page["sessions"][0]["updatedAt"] == "1970-01-01T00:00:02+00:00"
    assert page["sessions"][0]["_meta"]["runtime"]["state"] == "idle"
    assert (error["code"], error["data"]["path"]) == (-32602, "$.cursor")


# G2, Q3
async def test_the_queue_mode_is_a_setting_of_the_session(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        result = await client.call("session/new", NEW)
        (option,) = result["configOptions"]
        assert (option["id"], option["type"], option["currentValue"]) == (
            "queue_mode",
            "select",
            "collect",
        )
        session_id = result["sessionId"]
        await front.set_queue(session_id, QueueOverrides(cap=3))
        params = {"sessionId": session_id, "configId": "queue_mode", "value": "interrupt"}
        result = await client.call("session/set_config_option", params)
        assert result["configOptions"][0]["currentValue"] == "interrupt"
        for wrong, path in (({"value": "loud"}, "$.value"), ({"configId": "x"}, "$.configId")):
            error = await client.error("session/set_config_option", {**params, **wrong})
            assert (error["code"], error["data"]["path"]) == (-32602, path)
        boolean = {**params, "type": "boolean", "value": True}
        assert (await client.error("session/set_config_option", boolean))["code"] == -32602
    # The other settings of the session's queue stay.
    assert front.sessions[session_id].row.queue == QueueOverrides(mode="interrupt", cap=3)


# S18, G4
async def test_reset_begins_a_new_epoch(gateway: Gateway) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        result = await client.call("_runtime/session/reset", {"sessionId": session_id})
    assert result == {"sessionId": session_id, "epoch": 2}


# G4, K9
async def test_the_tree_can_be_seen(gateway: Gateway) -> None:
    async with connected(gateway.url) as client:
        tree = await client.call("_runtime/runtime/tree")
    assert tree == {"tree": {"name": "system", "children": []}}
