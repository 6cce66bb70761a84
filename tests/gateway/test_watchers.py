"""Many who watch, who come back, and who read too slowly (G5, G6, G12)."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actors.agents.echo import EchoAgent, Options
from runtime.app import open_runtime
from runtime.gateway import Gateway
from runtime.gateway.connection import SLOW
from runtime.gateway.outgoing import MAX_BYTES
from runtime.sessions.updates import ToolCall
from runtime.settings import GatewaySettings, Settings, StorageSettings
from tests.gateway import raw
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront

WORDS = "one two three four five six seven eight nine ten"


# G5
async def test_each_of_many_watchers_gets_every_update(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with (
        connected(gateway.url) as sender,
        connected(gateway.url) as resumed,
        connected(gateway.url) as loaded,
        connected(gateway.url) as following,
        connected(gateway.url) as both,
    ):
        session_id = await sender.new_session()
        attach = {"sessionId": session_id, "cwd": "/", "mcpServers": []}
        await resumed.call("session/resume", attach)
        await loaded.call("session/load", attach)
        await following.call("_runtime/session/events", attach)
        await both.call("_runtime/session/events", attach)
        await both.call("session/resume", attach)
        request = await sender.request("session/prompt", said(session_id, "go"))
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        for number in range(400):
            front.say(session_id, f"{number} ")
            if number % 50 == 0:
                front.update(session_id, ToolCall(f"t{number}", "Look"))
                await trio.testing.wait_all_tasks_blocked()
        front.end_turn(session_id)
        await sender.answer(request)
        expected = "".join(f"{number} " for number in range(400))
        for client in (sender, resumed, loaded, both):
            while not client.text().endswith("399 "):
                await client.receive()
            assert client.text() == expected
            tools = [each["update"]["toolCallId"] for each in client.updates("tool_call")]
            assert tools == [f"t{number}" for number in range(0, 400, 50)]
        for client in (following, both):
            while client.events()[-1]["type"] != "turn_ended":
                await client.receive()
            assert spoken(client.events()) == expected
            numbers = [
                message["params"]["number"]
                for message in client.messages
                if "number" in message.get("params", {})
            ]
            assert numbers == sorted(set(numbers))


def spoken(events: list[dict[str, Any]]) -> str:
    """What the agent said in live events."""
    updates = [each["update"] for each in events if each["type"] == "turn_update"]
    chunks = [each for each in updates if each["sessionUpdate"] == "agent_message_chunk"]
    return "".join(each["content"]["text"] for each in chunks)


class Copy:
    """A client's own copy of a session, kept by its cursor alone (G12)."""

    def __init__(self) -> None:
        self.after = 0
        self.live: int | None = None
        self.run: str | None = None
        self.resets = 0
        self.answers: dict[str, str] = {}
        self.partial: dict[str, str] = {}

    @property
    def cursor(self) -> dict[str, Any]:
        return {"after": self.after, "live": self.live, "run": self.run}

    def take(self, message: dict[str, Any]) -> None:
        params = message["params"]
        event = params["event"]
        if "number" in params:
            assert self.live is None or params["number"] > self.live, "an event came twice"
            self.live = params["number"]
        match event["type"]:
            case "reset":
                self.resets += 1
                self.live = None
            case "journal":
                assert event["seq"] == self.after + 1, "a line was missed, or came twice"
                self.after = event["seq"]
                if event["role"] == "assistant":
                    assert event["turnId"] not in self.answers
                    self.answers[event["turnId"]] = event["content"]
            case "snapshot":
                self.live = event["number"]
                if running := event.get("running"):
                    texts = [each["content"]["text"] for each in running["updates"]]
                    self.partial[running["turnId"]] = "".join(texts)
            case "turn_started":
                self.partial[event["turnId"]] = ""
            case "turn_update":
                self.partial[event["turnId"]] += event["update"]["content"]["text"]
            case "turn_ended":
                self.after = event["journalSeq"]
                assert event["turnId"] not in self.answers
                said_live = self.partial.pop(event["turnId"])
                assert said_live.strip() == event["text"].strip()
                self.answers[event["turnId"]] = said_live

    async def follow(self, url: str, session_id: str, until: int, patience: float = 20.0) -> None:
        """Take events from the cursor on until there are so many answers, or patience ends."""
        async with connected(url) as client:
            with trio.move_on_after(patience):
                await self._take_until(client, session_id, until)

    async def _take_until(self, client: AcpClient, session_id: str, until: int) -> None:
        request = await client.request(
            "_runtime/session/events", {"sessionId": session_id, **self.cursor}
        )
        taken = 0
        answered = False
        while not answered or len(self.answers) < until:
            message = await client.receive()
            if message.get("id") == request:
                self.run = message["result"]["run"]
                answered = True
                taken = self._take_from(client, taken)
            elif answered:
                taken = self._take_from(client, taken)

    def _take_from(self, client: AcpClient, taken: int) -> int:
        for message in client.messages[taken:]:
            if message.get("method") == "_runtime/session/event":
                self.take(message)
        return len(client.messages)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[str]:
    """Where a runtime with an echo agent listens."""
    settings = Settings(
        gateway=GatewaySettings(port=0, handshakes_per_second=1_000.0),
        storage=StorageSettings(data_dir=folder),
    )
    agents = {"echo": EchoAgent(Options(pace=0.002))}
    async with open_runtime(settings, agents=agents, serve=True) as runtime:
        assert runtime.address is not None
        host, port = runtime.address
        yield f"ws://{host}:{port}/acp"


# G5, G12: whatever the moment at which the connection breaks, and whether the runtime stops
@pytest.mark.parametrize("seed", range(2))
async def test_a_copy_by_cursor_misses_nothing_and_repeats_nothing(
    tmp_path: Path, seed: int
) -> None:
    moments = random.Random(seed)
    copy, texts = Copy(), []
    for restart in range(3):
        async with running(tmp_path) as url, connected(url) as client:
            session_id = await client.new_session(key="mine")
            for number in range(4):
                texts.append(f"{restart}.{number} {WORDS} {WORDS}")
                request = await client.request("session/prompt", said(session_id, texts[-1]))
                for _ in range(3):
                    await copy.follow(url, session_id, len(texts), moments.uniform(0, 0.05))
                await client.answer(request)
            if restart < 2:
                continue  # the rest is read after the restart
            await copy.follow(url, session_id, len(texts))
    assert [each.strip() for each in copy.answers.values()] == texts
    assert copy.resets > 0


async def flooded(gateway: Gateway, front: ScriptedFront, method: str) -> tuple[str, bytes]:
    """A session, and all that a client was sent who did not read until it was let go."""
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await client.call("_runtime/session/send", said(session_id, "go"))
    stream = await raw.connect(gateway)
    await stream.send_all(raw.handshake(gateway))
    await raw.read_head(stream)
    attach = {"sessionId": session_id, "cwd": "/", "mcpServers": []}
    for number, (name, params) in enumerate(
        (("initialize", {"protocolVersion": 1}), (method, attach))
    ):
        await stream.send_all(raw.call(number, name, params))
        await stream.receive_some(65_536)
    session = front.sessions[session_id]
    front.start_turn(session_id)
    block = "x" * (MAX_BYTES // 16)
    while session.watches:
        assert session.number < 200
        front.update(session_id, ToolCall(f"t{session.number}", "Read", raw_output=block))
        await trio.testing.wait_all_tasks_blocked(0.001)
    data = await raw.read_all(stream)
    await stream.aclose()
    return session_id, data


# G6
@pytest.mark.parametrize("method", ["session/resume", "_runtime/session/events"])
async def test_who_reads_too_slowly_is_told_and_comes_back_by_cursor(
    gateway: Gateway, front: ScriptedFront, method: str
) -> None:
    session_id, data = await flooded(gateway, front, method)
    farewell = struct.pack("!H", SLOW.code) + SLOW.reason.encode()
    assert data.endswith(struct.pack("!BB", 0x88, len(farewell)) + farewell)
    numbers = [int(each) for each in re.findall(rb'"number":(\d+)', data)]
    assert numbers == sorted(set(numbers))
    total = front.sessions[session_id].number
    assert numbers[-1] < total
    async with connected(gateway.url) as client:
        params = {"sessionId": session_id, "live": numbers[-1]}
        await client.call("_runtime/session/events", params)
        (snapshot,) = client.events()
        tools = [each["toolCallId"] for each in snapshot["running"]["updates"]]
        assert tools == [f"t{number}" for number in range(2, total)]


# G6: a client that lags behind in a text gets all of it, in fewer pieces, and stays
async def test_deltas_are_joined_for_a_client_that_lags(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as sender:
        session_id = await sender.new_session()
        await sender.call("_runtime/session/send", said(session_id, "go"))
        stream = await raw.connect(gateway)
        await stream.send_all(raw.handshake(gateway))
        await raw.read_head(stream)
        attach = {"sessionId": session_id, "cwd": "/"}
        for number, (name, params) in enumerate(
            (("initialize", {"protocolVersion": 1}), ("session/resume", attach))
        ):
            await stream.send_all(raw.call(number, name, params))
            await stream.receive_some(65_536)
        front.start_turn(session_id)
        # The sockets are full, and the queue begins to be.
        for number in range(12):
            block = "x" * (MAX_BYTES // 16)
            front.update(session_id, ToolCall(f"t{number}", "Read", raw_output=block))
            await trio.testing.wait_all_tasks_blocked(0.001)
        pieces = 10_000
        for number in range(pieces):
            front.say(session_id, f"{number} ")
            if number % 200 == 0:
                await trio.testing.wait_all_tasks_blocked()
        front.update(session_id, ToolCall("last", "Read"))
        data = b""
        with trio.fail_after(20):
            while b'"last"' not in data[-4_000:]:
                data += await stream.receive_some(1_000_000)
        await stream.aclose()
    texts = re.findall(rb'"text":("(?:[^"\\]|\\.)*")', data)
    expected = "".join(f"{each} " for each in range(pieces))
    assert "".join(map(json.loads, texts)) == f"go{expected}"
    assert len(texts) < pieces // 10
