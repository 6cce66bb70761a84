"""The published SDK as a client, unmodified. It runs on asyncio, so it gets a thread of its own."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the SDK's, not ours
from collections.abc import Awaitable, Callable
from typing import Any

import acp
import trio
from acp.client.connection import ClientSideConnection
from acp.ws import create_websocket_stream

LIMIT = 30.0


class Listener:
    """What an SDK client is told. ``decide`` answers when an agent asks for permission."""

    def __init__(self) -> None:
        self.decide: Callable[[str, list[Any]], Awaitable[Any]] | None = None
        self.updates: list[tuple[str, Any]] = []
        self.marks: list[dict[str, Any]] = []
        self.notifications: list[tuple[str, dict[str, Any]]] = []

    async def session_update(self, session_id: str, update: Any, **meta: Any) -> None:
        self.updates.append((session_id, update))
        self.marks.append(meta.get("runtime", {}))

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        self.notifications.append((method, params))

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(f"nobody may call {method}")

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[Any], **meta: Any
    ) -> Any:
        assert self.decide is not None, "nobody may ask for permission"
        return await self.decide(tool_call.title, options)

    def text(self, session_id: str, kind: str = "agent_message_chunk") -> str:
        return "".join(
            update.content.text
            for name, update in self.updates
            if name == session_id and update.session_update == kind
        )


Script = Callable[[ClientSideConnection, Listener], Awaitable[None]]


async def run_script(
    url: str,
    script: Script,
    headers: dict[str, str] | None = None,
    kind: type[Any] = Listener,
) -> None:
    """Connect with the SDK and run a script; returns when it has ended."""

    async def main() -> None:
        listener: Any = kind()
        stream = await create_websocket_stream(url, headers=headers)
        connection = acp.connect_to_agent(listener, stream)
        try:
            await asyncio.wait_for(script(connection, listener), LIMIT)
        finally:
            await connection.close()

    await trio.to_thread.run_sync(asyncio.run, main())
