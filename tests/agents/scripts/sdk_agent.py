"""An agent on the published package `agent-client-protocol`, with what its examples do not show:
tools, plans, permission, files, terminals, modes, settings and conversations that can be loaded.
"""

import asyncio  # noqa: TID251 - the published package runs on it
from pathlib import Path
from typing import Any

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
    SessionMode,
    SessionModeState,
    ToolCallUpdate,
    Usage,
)

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
            agent_capabilities=AgentCapabilities(load_session=True),
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


if __name__ == "__main__":
    agent: Any = Everything()  # the rest of the protocol is answered by the package
    asyncio.run(run_agent(agent))
