"""The published SDK, unmodified, before an agent that asks and offers (G2, G3, G5)."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the SDK's, not ours
from collections.abc import Callable
from typing import Any

import acp
import pytest
import trio
from acp import schema
from acp.client.connection import ClientSideConnection

from runtime.gateway import Gateway
from runtime.ports.agent import Offers
from runtime.sessions.content import AgentResource, AudioBlock, ImageBlock, ResourceContents
from runtime.sessions.updates import AgentMessageChunk
from tests.gateway.scripted import ScriptedFront
from tests.gateway.sdk import Listener, run_script
from tests.gateway.test_choices import COMMANDS, FAST, MODE, MODEL

Connection = ClientSideConnection


def on_trio(function: Callable[..., Any], *args: Any) -> None:
    """Do something to the front from the SDK's thread."""
    trio.from_thread.run_sync(function, *args)


async def until(condition: Callable[[], bool]) -> None:
    """The SDK has no way to wait for what it is told."""
    while not condition():  # noqa: ASYNC110 - its state changes without an event
        await asyncio.sleep(0.001)


async def begin(connection: Connection, front: ScriptedFront) -> tuple[str, asyncio.Task[Any]]:
    """A session with a running turn."""
    booleans = schema.SessionConfigOptionsCapabilities(
        boolean=schema.BooleanConfigOptionCapabilities()
    )
    await connection.initialize(
        protocol_version=acp.PROTOCOL_VERSION,
        client_capabilities=schema.ClientCapabilities(
            session=schema.ClientSessionCapabilities(config_options=booleans)
        ),
    )
    session = await connection.new_session(cwd="/", mcp_servers=[])
    name = session.session_id
    prompt = asyncio.ensure_future(
        connection.prompt(session_id=name, prompt=[acp.text_block("go")])
    )
    await until(lambda: bool(front.sessions[name].waiting))
    on_trio(front.start_turn, name)
    return name, prompt


# G3
@pytest.mark.parametrize("option", ["yes", None])
async def test_the_dialog_of_a_client(
    gateway: Gateway, front: ScriptedFront, option: str | None
) -> None:
    async def decide(title: str, options: list[Any]) -> Any:
        assert title == "Delete everything"
        assert [each.kind for each in options] == ["allow_once", "reject_once"]
        if option is None:
            denied = schema.DeniedOutcome(outcome="cancelled")
            return schema.RequestPermissionResponse(outcome=denied)
        allowed = schema.AllowedOutcome(outcome="selected", option_id=option)
        return schema.RequestPermissionResponse(outcome=allowed)

    async def script(connection: Connection, heard: Listener) -> None:
        heard.decide = decide
        name, prompt = await begin(connection, front)
        on_trio(front.ask, name)
        await until(lambda: bool(front.sessions[name].answers))
        on_trio(front.end_turn, name)
        assert (await prompt).stop_reason == "end_turn"
        assert front.sessions[name].answers == [("q-1", option)]
        assert heard.updates == []

    await run_script(gateway.url, script)


# G3, G5: a question that is answered elsewhere does no harm to a client that is still asking
async def test_a_dialog_that_is_withdrawn(gateway: Gateway, front: ScriptedFront) -> None:
    async def script(connection: Connection, heard: Listener) -> None:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def decide(title: str, options: list[Any]) -> Any:
            asked.set()
            await answer.wait()
            late = schema.AllowedOutcome(outcome="selected", option_id="yes")
            return schema.RequestPermissionResponse(outcome=late)

        heard.decide = decide
        name, prompt = await begin(connection, front)
        on_trio(front.ask, name)
        await asked.wait()
        on_trio(front.settle, name, "q-1", "no")
        on_trio(front.say, name, "decided elsewhere")
        await until(lambda: heard.text(name) == "decided elsewhere")
        answer.set()
        await connection.ext_method("runtime/queue/status", {"sessionId": name})
        on_trio(front.end_turn, name)
        assert (await prompt).stop_reason == "end_turn"
        assert front.sessions[name].answers == []

    await run_script(gateway.url, script)


class Mute:
    """A client that shows text and has no dialog."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def session_update(self, session_id: str, update: Any, **meta: Any) -> None:
        self.texts.append(update.content.text)


# G3
async def test_a_client_without_a_dialog(gateway: Gateway, front: ScriptedFront) -> None:
    async def script(connection: Connection, heard: Any) -> None:
        name, prompt = await begin(connection, front)
        on_trio(front.ask, name)
        await until(lambda: bool(heard.texts))
        assert heard.texts[0].startswith("The agent asks for permission: Delete everything\n1.")
        on_trio(front.settle, name, "q-1", "yes")
        on_trio(front.end_turn, name)
        assert (await prompt).stop_reason == "end_turn"

    await run_script(gateway.url, script, kind=Mute)


# G2
async def test_modes_settings_and_commands(gateway: Gateway, front: ScriptedFront) -> None:
    usable = [each for each in MODE["options"] if isinstance(each, dict) and "group" not in each]
    front.offered = Offers(({**MODE, "options": usable[:1]}, FAST, MODEL), COMMANDS)

    async def script(connection: Connection, heard: Listener) -> None:
        name, prompt = await begin(connection, front)
        await until(lambda: bool(heard.updates))
        commands = heard.updates[0][1]
        assert [each.name for each in commands.available_commands] == ["plan"]
        loaded = await connection.load_session(session_id=name, cwd="/", mcp_servers=[])
        assert loaded is not None
        assert loaded.modes is not None
        assert loaded.modes.current_mode_id == "ask"
        result = await connection.set_config_option("model", name, "large")
        options = {each.id: each.current_value for each in result.config_options}
        expected = {"queue_mode": "collect", "mode": "ask", "fast": False, "model": "large"}
        assert options == expected
        result = await connection.set_config_option("fast", name, True)
        options = {each.id: each.current_value for each in result.config_options}
        assert options == {**expected, "fast": True}
        await connection.set_session_mode(session_id=name, mode_id="code")
        await until(lambda: "current_mode_id='code'" in str(heard.updates))
        with pytest.raises(acp.RequestError, match="not for you"):
            await connection.set_config_option("model", name, "forbidden")
        on_trio(front.end_turn, name)
        await prompt

    await run_script(gateway.url, script)


# G3: all blocks that the protocol has are relayed from an agent
async def test_what_an_agent_says(gateway: Gateway, front: ScriptedFront) -> None:
    blocks: list[Any] = [
        ImageBlock("aGk=", "image/png"),
        AudioBlock("aGk=", "audio/wav"),
        AgentResource(ResourceContents("file:///a", text="hi")),
        AgentResource(ResourceContents("file:///a", blob="aGk=")),
    ]

    async def script(connection: Connection, heard: Listener) -> None:
        name, prompt = await begin(connection, front)
        for block in blocks:
            on_trio(front.update, name, AgentMessageChunk(block))
        on_trio(front.end_turn, name)
        await prompt
        kinds = [type(update.content).__name__ for _, update in heard.updates]
        assert kinds == [
            "ImageContentBlock",
            "AudioContentBlock",
            *["EmbeddedResourceContentBlock"] * 2,
        ]

    await run_script(gateway.url, script)
