"""A small client for the tests: JSON-RPC over a WebSocket, every message kept in its order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

LIMIT = 20.0


class AcpClient:
    """Reads one message at a time; what nobody asked for yet is kept in ``messages``."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self.websocket = websocket
        self.messages: list[dict[str, Any]] = []
        self.next_id = 0

    async def receive(self) -> dict[str, Any]:
        with trio.fail_after(LIMIT):
            message: dict[str, Any] = json.loads(await self.websocket.get_message())
        self.messages.append(message)
        return message

    async def send(self, method: str, params: Any = None, **members: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}, **members}
        await self.websocket.send_message(json.dumps(message))

    async def request(self, method: str, params: Any = None) -> int:
        """Send a request without waiting; its id."""
        self.next_id += 1
        await self.send(method, params, id=self.next_id)
        return self.next_id

    async def answer(self, request_id: int) -> dict[str, Any]:
        """The answer to a request; messages before it are kept."""
        for message in self.messages:
            if message.get("id") == request_id and "method" not in message:
                return message
        while True:
            message = await self.receive()
            if message.get("id") == request_id and "method" not in message:
                return message

    async def call(self, method: str, params: Any = None) -> Any:
        """The result of a request."""
        answer = await self.answer(await self.request(method, params))
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """The error of a request."""
        answer = await self.answer(await self.request(method, params))
        error: dict[str, Any] = answer["error"]
        return error

    async def until(self, method: str, **found: Any) -> dict[str, Any]:
        """The next notification of a method, whose event or update has these members."""
        while True:
            message = await self.receive()
            if message.get("method") != method:
                continue
            params = message["params"]
            body = params.get("event") or params.get("update")
            if all(body.get(name) == value for name, value in found.items()):
                return params  # type: ignore[no-any-return]

    def updates(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The parameters of the updates so far."""
        return [
            message["params"]
            for message in self.messages
            if message.get("method") == "session/update"
            and kind in (None, message["params"]["update"]["sessionUpdate"])
        ]

    def text(self, kind: str = "agent_message_chunk") -> str:
        """What was said in the updates so far."""
        return "".join(each["update"]["content"]["text"] for each in self.updates(kind))

    def events(self) -> list[dict[str, Any]]:
        """The events so far."""
        return [
            message["params"]["event"]
            for message in self.messages
            if message.get("method") == "_runtime/session/event"
        ]

    async def new_session(self, **runtime: Any) -> str:
        params = {"cwd": "/", "mcpServers": [], "_meta": {"runtime": runtime}}
        session_id: str = (await self.call("session/new", params))["sessionId"]
        return session_id


def said(session_id: str, text: str, **runtime: Any) -> dict[str, Any]:
    """The parameters of a prompt."""
    block = {"type": "text", "text": text}
    return {"sessionId": session_id, "prompt": [block], "_meta": {"runtime": runtime}}


@asynccontextmanager
async def connected(
    url: str, *, initialize: bool = True, **options: Any
) -> AsyncIterator[AcpClient]:
    """A client, initialized."""
    async with open_websocket_url(
        url, message_queue_size=100, max_message_size=2**26, **options
    ) as websocket:
        client = AcpClient(websocket)
        try:
            if initialize:
                await client.call("initialize", {"protocolVersion": 1})
            yield client
            await websocket.aclose()
        finally:
            # The library leaves the socket open when the server closes first.
            await trio.aclose_forcefully(websocket._stream)
