"""Clients of the Agent Client Protocol that come back by themselves."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

CALL_LIMIT = 60.0
PROMPT_LIMIT = 300.0
KNOCK_EVERY = 0.03
KNOCK_LIMIT = 10.0
LARGEST = 2**26


class Disconnected(Exception):
    """The connection is gone: what was sent may or may not have arrived."""


class Refused(Exception):
    """The runtime answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.data: dict[str, Any] = error.get("data") or {}


class Connection:
    """One connection: many requests at once, answered in any order."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket
        self._last_id = 0
        self._answered: dict[int, trio.Event] = {}
        self._answers: dict[int, dict[str, Any]] = {}
        self._sending = trio.Lock()
        self._ended = False
        self.journal: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    async def call(self, method: str, limit: float = CALL_LIMIT, **params: Any) -> Any:
        """The result of a request. Raises Disconnected, Refused, trio.TooSlowError."""
        self._last_id += 1
        number, answered = self._last_id, trio.Event()
        self._answered[number] = answered
        with trio.fail_after(limit):
            await self._send({"id": number, "method": method, "params": params})
            await answered.wait()
        answer = self._answers.pop(number, None)
        if answer is None:
            raise Disconnected
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    async def notify(self, method: str, **params: Any) -> None:
        """A notification."""
        await self._send({"method": method, "params": params})

    async def _send(self, message: dict[str, Any]) -> None:
        if self._ended:
            raise Disconnected
        async with self._sending:
            # A frame that is cut off in the middle would end the connection for all.
            with trio.CancelScope(shield=True):
                try:
                    await self._websocket.send_message(json.dumps({"jsonrpc": "2.0", **message}))
                except (ConnectionClosed, OSError):
                    raise Disconnected from None

    async def read(self) -> None:
        """Read until the connection ends."""
        try:
            while True:
                self._take(json.loads(await self._websocket.get_message()))
        except ConnectionClosed:
            pass
        finally:
            self._ended = True
            for answered in self._answered.values():
                answered.set()

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "_runtime/session/event":
            params = message["params"]
            if params["event"]["type"] == "journal":
                self.journal[params["sessionId"]].append(params["event"])
        elif "method" not in message and message.get("id") in self._answered:
            self._answers[message["id"]] = message
            self._answered.pop(message["id"]).set()


class Line:
    """Always connected to the runtime of a data directory, as far as that is possible."""

    def __init__(self, data_dir: Path) -> None:
        self._endpoint = data_dir / "endpoint.json"
        self._connection: Connection | None = None
        self._connected = trio.Event()

    async def connection(self) -> Connection:
        """The connection, as soon as there is one."""
        while self._connection is None:
            await self._connected.wait()
        return self._connection

    async def run(self) -> None:
        """Connect, again and again."""
        while True:
            try:
                await self._hold(json.loads(self._endpoint.read_text())["url"])
            except* (OSError, ValueError, HandshakeError, ConnectionClosed, trio.TooSlowError):
                await trio.sleep(KNOCK_EVERY)
            except* (Disconnected, Refused):
                await trio.sleep(KNOCK_EVERY)

    async def _hold(self, url: str) -> None:
        place = urlsplit(url)
        with trio.fail_after(KNOCK_LIMIT) as knocking:
            stream = await trio.open_tcp_stream(str(place.hostname), place.port or 0)
            try:
                async with trio.open_nursery() as nursery:
                    websocket = await wrap_client_stream(
                        nursery, stream, place.netloc, place.path, max_message_size=LARGEST
                    )
                    connection = Connection(websocket)
                    nursery.start_soon(self._read, connection, nursery.cancel_scope)
                    await connection.call("initialize", protocolVersion=1)
                    knocking.deadline = float("inf")
                    self._connection = connection
                    self._connected.set()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)

    async def _read(self, connection: Connection, scope: trio.CancelScope) -> None:
        try:
            await connection.read()
        finally:
            if self._connection is connection:
                self._connection = None
                self._connected = trio.Event()
        scope.cancel()
