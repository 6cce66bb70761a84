"""An agent on the published package `agent-client-protocol`, with what its examples do not show:
tools, plans, permission, files, terminals, modes, settings and conversations that can be loaded.

A prompt with more than text is answered with what is in it, as JSON; links are read. What it takes
beside text and links is in the variable TAKES.
"""

import asyncio  # noqa: TID251 - the published package runs on it
import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from acp import (
    PROTOCOL_VERSION,
    InitializeResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptResponse,
    RequestError,
    SetSessionModeResponse,
    plan_entry,
    run_agent,
    start_tool_call,
    text_block,
    update_agent_message,
    update_agent_thought,
    update_plan,
    update_tool_call,
)
from acp.interfaces import Client
from acp.schema import (
    AgentCapabilities,
    PermissionOption,
    PromptCapabilities,
    SessionMode,
    SessionModeState,
    ToolCallUpdate,
    Usage,
)

TAKES = os.environ.get("TAKES", "").split()
MODES = [SessionMode(id="ask", name="Ask"), SessionMode(id="code", name="Code")]


class Everything:
    client: Client
    mode = "ask"
    cancelled = False

    def on_connect(self, conn: Client) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **kwargs: Any) -> InitializeResponse:
        return InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_capabilities=AgentCapabilities(
                load_session=True,
                prompt_capabilities=PromptCapabilities(
                    image="image" in TAKES, audio="audio" in TAKES
                ),
            ),
        )

    def modes(self) -> SessionModeState:
        return SessionModeState(current_mode_id=self.mode, available_modes=MODES)

    async def new_session(self, cwd: str, **kwargs: Any) -> NewSessionResponse:
        (Path(cwd) / "talk").write_text("", encoding="utf-8")
        return NewSessionResponse(session_id="talk", modes=self.modes())

    async def load_session(
        self, cwd: str, session_id: str, **kwargs: Any
    ) -> LoadSessionResponse | None:
        if not (Path(cwd) / session_id).exists():
            raise RequestError.resource_not_found(session_id)
        for line in (Path(cwd) / session_id).read_text(encoding="utf-8").splitlines():
            await self.client.session_update(session_id, update_agent_message(text_block(line)))
        return LoadSessionResponse(modes=self.modes())

    async def set_session_mode(
        self, session_id: str, mode_id: str, **kwargs: Any
    ) -> SetSessionModeResponse | None:
        self.mode = mode_id
        return SetSessionModeResponse()

    async def cancel(self, session_id: str, **kwargs: Any) -> None:
        self.cancelled = True

    async def prompt(self, prompt: list[Any], session_id: str, **kwargs: Any) -> PromptResponse:
        async def say(update: Any) -> None:
            await self.client.session_update(session_id, update)

        if any(block.type != "text" for block in prompt):
            await say(update_agent_message(text_block(json.dumps([*map(seen, prompt)]))))
            return PromptResponse(stop_reason="end_turn")
        text = "".join(block.text for block in prompt if block.type == "text")
        await say(update_agent_thought(text_block(f"in mode {self.mode}")))
        await say(update_plan([plan_entry("remove it")]))
        await say(start_tool_call("tool-1", "Remove it", kind="delete", status="pending"))
        answer = await self.client.request_permission(
            session_id=session_id,
            tool_call=ToolCallUpdate(tool_call_id="tool-1", title="Remove it"),
            options=[
                PermissionOption(option_id="go", name="Allow", kind="allow_once"),
                PermissionOption(option_id="stay", name="Reject", kind="reject_once"),
            ],
        )
        await say(update_tool_call("tool-1", status="completed"))
        if self.cancelled:
            return PromptResponse(stop_reason="cancelled")
        chosen = getattr(answer.outcome, "option_id", "nothing")
        await say(update_agent_message(text_block(f"{text}: {chosen}")))
        usage = Usage(input_tokens=1, output_tokens=2, total_tokens=3)
        return PromptResponse(stop_reason="end_turn", usage=usage)


def seen(block: Any) -> dict[str, Any]:
    """A block as the agent has it; bytes as they would be text."""
    match block.type:
        case "resource_link":
            file = Path(unquote(urlsplit(block.uri).path))
            told = {"name": block.name, "mime": block.mime_type, "size": block.size}
            return {"link": file.read_bytes().decode("latin-1"), "at": str(file), **told}
        case "image" | "audio":
            data = base64.b64decode(block.data).decode("latin-1")
            return {block.type: data, "mime": block.mime_type}
        case _:
            return {block.type: block.text}


if __name__ == "__main__":
    agent: Any = Everything()  # the rest of the protocol is answered by the package
    asyncio.run(run_agent(agent))
