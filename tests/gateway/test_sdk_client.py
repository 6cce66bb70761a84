"""The published SDK, unmodified, as a client (G1–G4, G11)."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the SDK's, not ours
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import acp
import pytest
import trio
from acp.client.connection import ClientSideConnection

from runtime.app import open_runtime
from runtime.gateway import Gateway, GatewayConfig, serve_gateway
from runtime.protocol.document import INTRODUCTION
from runtime.settings import GatewaySettings, Settings, StorageSettings
from tests.gateway.scripted import ScriptedFront
from tests.gateway.sdk import LIMIT, Listener, run_script

TOKEN = "open sesame"


def words(text: str) -> list[Any]:
    """A prompt of one block."""
    return [acp.text_block(text)]


@pytest.fixture(params=["scripted", "real"])
async def url(
    request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path
) -> AsyncIterator[str]:
    """Where a gateway listens whose agent repeats what it is told."""
    if request.param == "real":
        settings = Settings(
            gateway=GatewaySettings(port=0), storage=StorageSettings(data_dir=tmp_path)
        )
        async with open_runtime(settings, serve=True) as runtime:
            assert runtime.address is not None
            host, port = runtime.address
            yield f"ws://{host}:{port}/acp"
    else:
        front = ScriptedFront(echo=True)
        gateway: Gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
        yield gateway.url
        await gateway.close()


# G1, G2, G3
async def test_a_conversation(url: str) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        answer = await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        assert answer.protocol_version == 1
        assert answer.agent_info is not None
        assert answer.agent_info.name == "greenroom"
        assert answer.agent_capabilities is not None
        assert answer.agent_capabilities.load_session
        session = await connection.new_session(cwd="/", mcp_servers=[])
        prompt = words("hello there")
        result = await connection.prompt(session_id=session.session_id, prompt=prompt)
        assert result.stop_reason == "end_turn"
        assert heard.text(session.session_id).strip() == "hello there"
        assert all("turnId" in mark for mark in heard.marks)

    await run_script(url, script)


# G3, G11: the updates of a turn are with the client when its prompt is answered
async def test_prompts_at_the_same_time(url: str) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        sessions = [await connection.new_session(cwd="/", mcp_servers=[]) for _ in range(10)]
        results = await asyncio.gather(
            *(
                connection.prompt(session_id=each.session_id, prompt=words(f"n{number}"))
                for number, each in enumerate(sessions)
            )
        )
        assert {result.stop_reason for result in results} == {"end_turn"}
        texts = [heard.text(each.session_id).strip() for each in sessions]
        assert texts == [f"n{number}" for number in range(10)]

    await run_script(url, script)


# G2
async def test_load_resume_list_configure_and_close(url: str) -> None:
    names: list[str] = []

    async def talk(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session = await connection.new_session(cwd="/", mcp_servers=[], runtime={"key": "sdk"})
        names.append(session.session_id)
        prompt = words("remember me")
        await connection.prompt(session_id=session.session_id, prompt=prompt)

    async def come_back(connection: ClientSideConnection, heard: Listener) -> None:
        (name,) = names
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        listed = await connection.list_sessions()
        assert [each.session_id for each in listed.sessions] == [name]
        await connection.resume_session(session_id=name, cwd="/")
        assert heard.updates == []
        loaded = await connection.load_session(session_id=name, cwd="/", mcp_servers=[])
        assert heard.text(name, "user_message_chunk") == "remember me"
        assert heard.text(name).strip() == "remember me"
        assert loaded is not None
        assert loaded.config_options is not None
        configured = await connection.set_config_option(
            session_id=name, config_id="queue_mode", value="followup"
        )
        assert configured is not None
        assert configured.config_options[0].current_value == "followup"
        again = await connection.new_session(cwd="/", mcp_servers=[], runtime={"key": "sdk"})
        assert again.session_id == name
        await connection.close_session(session_id=name)

    await run_script(url, talk)
    await run_script(url, come_back)


# G4
async def test_extensions(url: str) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session = await connection.new_session(cwd="/", mcp_servers=[])
        name = session.session_id
        await connection.ext_method("runtime/session/events", {"sessionId": name})
        message = {
            "sessionId": name,
            "prompt": [{"type": "text", "text": "hello"}],
            "_meta": {"runtime": {"messageId": "m-1"}},
        }
        sent = await connection.ext_method("runtime/session/send", message)
        again = await connection.ext_method("runtime/session/send", message)
        assert (sent["duplicate"], again["duplicate"]) == (False, True)
        assert sent["messageId"] == again["messageId"]
        prompt = words("second")
        await connection.prompt(session_id=name, prompt=prompt, runtime={"messageId": "m-2"})
        status = await connection.ext_method("runtime/queue/status", {"sessionId": name})
        assert (status["waiting"], status["running"]) == (0, None)
        kinds = [params["event"]["type"] for _, params in heard.notifications]
        assert kinds[0] == "snapshot"
        assert kinds.count("turn_ended") == 2
        assert {method for method, _ in heard.notifications} == {"runtime/session/event"}

    await run_script(url, script)


# G4: the examples of docs/protocol.md, as they are printed there
async def test_documented_examples(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", INTRODUCTION, re.MULTILINE | re.DOTALL)
    said = []
    for example in examples:
        script = compile(example.replace("ws://127.0.0.1:8765/acp", url), "protocol.md", "exec")
        with trio.fail_after(LIMIT):
            await trio.to_thread.run_sync(exec, script, {"__name__": "__main__"})
        said.append(capsys.readouterr().out)
    conversation, extensions = said
    assert conversation.strip() == "hello"
    assert "agent_message_chunk of turn " in extensions
    assert "runtime/session/event turn_ended\n" in extensions
    assert "answered by turn " in extensions
    assert "still waiting: 0\n" in extensions


# G7
async def test_errors(url: str) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        codes = []
        for call in (
            connection.load_session(session_id="gone", cwd="/", mcp_servers=[]),
            connection.ext_method("runtime/no/such", {}),
            connection.ext_method("runtime/queue/status", {}),
        ):
            with pytest.raises(acp.RequestError) as raised:
                await call
            codes.append(raised.value.code)
        assert codes == [-32002, -32601, -32602]

    await run_script(url, script)


# G8
async def test_the_token_as_a_header(nursery: trio.Nursery) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)

    config = GatewayConfig(port=0, token=TOKEN)
    gateway: Gateway = await nursery.start(serve_gateway, ScriptedFront(), config)
    await run_script(gateway.url, script, headers={"Authorization": f"Bearer {TOKEN}"})
    with pytest.raises(Exception, match="401"):
        await run_script(gateway.url, script)
    await gateway.close()
