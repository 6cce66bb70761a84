"""The gateway before the real runtime: what only both together can get wrong (G3, G5, G11, G12)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed

from actors.agents.echo import EchoAgent, Options
from runtime.app import open_runtime
from runtime.settings import (
    GatewaySettings,
    QueueSettings,
    SessionSettings,
    Settings,
    StorageSettings,
)
from tests.gateway.client import AcpClient, connected, said

WORDS = "one two three four five six seven eight nine ten"


@asynccontextmanager
async def running(
    folder: Path, queue: QueueSettings | None = None, **options: Any
) -> AsyncIterator[str]:
    """Where a runtime with an echo agent of these options listens."""
    settings = Settings(
        queue=queue if queue is not None else QueueSettings(),
        gateway=GatewaySettings(port=0, handshakes_per_second=1_000.0),
        storage=StorageSettings(data_dir=folder),
    )
    agents = {"echo": EchoAgent(Options(**options))}
    async with open_runtime(settings, agents=agents, serve=True) as runtime:
        assert runtime.address is not None
        host, port = runtime.address
        yield f"ws://{host}:{port}/acp"


def attach(session_id: str) -> dict[str, Any]:
    return {"sessionId": session_id, "cwd": "/", "mcpServers": []}


async def first_words(client: AcpClient) -> None:
    await client.until("session/update", sessionUpdate="agent_message_chunk")


# G3: all of a turn is there when its prompt is answered
async def test_answers_come_after_all_updates(tmp_path: Path) -> None:
    async with running(tmp_path, tools=2) as url, connected(url) as client:
        session_id = await client.new_session()
        for number in range(30):
            text = f"{number} {WORDS}"
            client.messages.clear()
            result = await client.call("session/prompt", said(session_id, text))
            assert result["stopReason"] == "end_turn"
            assert text in client.text()
            assert client.updates("user_message_chunk") == []


# S36 G5: a command is answered at once, to all who watch, and is no turn
async def test_a_command_is_answered(tmp_path: Path) -> None:
    async with (
        running(tmp_path, pace=0.2) as url,
        connected(url) as client,
        connected(url) as other,
    ):
        session_id = await client.new_session()
        await other.call("session/resume", attach(session_id))
        with trio.fail_after(5):  # it does not wait until forwarding gives up
            result = await client.call("session/prompt", said(session_id, "/status"))
        assert result["stopReason"] == "end_turn"
        assert "Nothing is running" in client.text()
        await other.until("session/update", sessionUpdate="agent_message_chunk")
        assert "Nothing is running" in other.text()


# G11
async def test_cancel(tmp_path: Path) -> None:
    async with running(tmp_path, pace=0.05) as url, connected(url) as client:
        session_id = await client.new_session()
        first = await client.request("session/prompt", said(session_id, WORDS * 10))
        await first_words(client)
        second = await client.request("session/prompt", said(session_id, "and then?"))
        await client.send("session/cancel", {"sessionId": session_id})
        for request in (first, second):
            assert (await client.answer(request))["result"]["stopReason"] == "cancelled"
        result = await client.call("session/prompt", said(session_id, "again"))
        assert result["stopReason"] == "end_turn"


# G11, Q2
async def test_merged_prompts_share_their_turn(tmp_path: Path) -> None:
    async with running(tmp_path, pace=0.02) as url, connected(url) as client:
        session_id = await client.new_session()
        requests = [await client.request("session/prompt", said(session_id, WORDS))]
        await first_words(client)
        for text in ("apples", "pears", "plums"):
            requests.append(await client.request("session/prompt", said(session_id, text)))
        answers = [(await client.answer(each))["result"] for each in requests]
    turns = [each["_meta"]["runtime"]["turnId"] for each in answers]
    assert len(set(turns[1:])) == 1
    assert turns[0] != turns[1]


# G3, G5, G11, Q3: a prompt that the running turn takes in is answered with that turn
async def test_a_steered_prompt_shares_the_running_turn(tmp_path: Path) -> None:
    async with (
        running(tmp_path, QueueSettings(mode="steer"), pace=0.02) as url,
        connected(url) as client,
        connected(url) as other,
    ):
        session_id = await client.new_session()
        await other.call("session/resume", attach(session_id))
        await other.call("_runtime/session/events", attach(session_id))
        first = await client.request("session/prompt", said(session_id, WORDS))
        await first_words(client)
        second = await client.request("session/prompt", said(session_id, "apples"))
        answers = [(await client.answer(each))["result"] for each in (first, second)]
        while other.events()[-1]["type"] != "turn_ended":
            await other.receive()
    marks = [each["_meta"]["runtime"] for each in answers]
    assert marks[0]["turnId"] == marks[1]["turnId"]
    assert client.text() == other.text() == f"{WORDS}\napples"
    assert client.updates("user_message_chunk") == []
    assert other.text("user_message_chunk") == f"{WORDS}apples"
    (steered,) = [each for each in other.events() if each["type"] == "message_steered"]
    assert (steered["messageId"], steered["turnId"]) == (marks[1]["messageId"], marks[0]["turnId"])
    assert other.events()[-1]["messageIds"] == [mark["messageId"] for mark in marks]


# G5, G12: whoever comes in mid-turn has the same words as who was there from the start
@pytest.mark.parametrize("seed", range(3))
async def test_late_watchers_have_the_whole_turn(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    texts: list[str] = []

    async def come_late(url: str, session_id: str, delay: float) -> None:
        await trio.sleep(delay)
        async with connected(url) as late:
            await late.call("_runtime/session/events", {"sessionId": session_id})
            await late.call("session/load", attach(session_id))
            while not {"journal", "turn_ended"} & {each["type"] for each in late.events()}:
                await late.receive()
            texts.append(late.text())

    async with running(tmp_path, pace=0.01) as url, connected(url) as client:
        session_id = await client.new_session()
        async with trio.open_nursery() as nursery:
            request = await client.request("session/prompt", said(session_id, WORDS * 3))
            await first_words(client)
            for _ in range(10):
                nursery.start_soon(come_late, url, session_id, moments.uniform(0, 0.4))
        await client.answer(request)
        said_live = client.text()
    assert len(texts) == 10
    assert set(texts) == {said_live}


# G5, G11: a client that goes in mid-turn and comes back finds the answer
async def test_the_same_message_after_a_lost_connection(tmp_path: Path) -> None:
    async with running(tmp_path, pace=0.02) as url:
        async with connected(url) as client:
            session_id = await client.new_session(key="mine")
            await client.request("session/prompt", said(session_id, WORDS, messageId="m-1"))
            await first_words(client)
        async with connected(url) as client:
            again = said(session_id, WORDS, messageId="m-1")
            result = await client.call("session/prompt", again)
            mark = result["_meta"]["runtime"]
            assert (result["stopReason"], mark["duplicate"]) == ("end_turn", True)
            assert WORDS in mark["text"]
            await client.call("session/load", attach(session_id))
            assert client.text("user_message_chunk") == WORDS


# T5, G3
@pytest.mark.parametrize("fail", ["after", "error"])
async def test_a_turn_that_fails(tmp_path: Path, fail: str) -> None:
    async with running(tmp_path, fail=fail) as url, connected(url) as client:
        session_id = await client.new_session()
        error = await client.error("session/prompt", said(session_id, WORDS))
        assert error["code"] == -32603
        assert error["data"]["code"]
        assert error["message"] == error["data"]["message"]
        # The session goes on.
        assert (await client.error("session/prompt", said(session_id, WORDS)))["code"] == -32603


async def talk_until_the_end(url: str, seen: trio.Event) -> None:
    """One prompt runs and one waits; the runtime lets the first finish and says good-bye."""
    async with connected(url) as client:
        session_id = await client.new_session(key="mine")
        first = await client.request("session/prompt", said(session_id, WORDS))
        await first_words(client)
        await client.request("session/prompt", said(session_id, "later", messageId="m-2"))
        await client.call("_runtime/queue/status", {"sessionId": session_id})
        seen.set()
        assert (await client.answer(first))["result"]["stopReason"] == "end_turn"
        with suppress(ConnectionClosed):
            while True:
                message = await client.receive()
                assert message.get("error", {}).get("data", {}).get("accepted", True)
        assert client.websocket.closed is not None
        assert client.websocket.closed.code == 1001


# G9, S45: what waits at a stop is kept, and answered after the start
async def test_what_waits_at_a_stop_is_answered_after_the_start(tmp_path: Path) -> None:
    seen = trio.Event()
    async with trio.open_nursery() as nursery, running(tmp_path, pace=0.01) as url:
        nursery.start_soon(talk_until_the_end, url, seen)
        await seen.wait()
    async with running(tmp_path) as url, connected(url) as client:
        session_id = await client.new_session(key="mine")
        result = await client.call("session/prompt", said(session_id, "later", messageId="m-2"))
        assert result["stopReason"] == "end_turn"
        assert result["_meta"]["runtime"]["duplicate"] is True


# T5
async def test_clients_are_told_that_a_retry_is_due(tmp_path: Path) -> None:
    settings = Settings(
        gateway=GatewaySettings(port=0),
        storage=StorageSettings(data_dir=tmp_path),
        sessions=SessionSettings(retry_delay=0.05),
    )
    agents = {"echo": EchoAgent(Options(fail="before", fail_times=1))}
    async with open_runtime(settings, agents=agents, serve=True) as runtime:
        assert runtime.address is not None
        host, port = runtime.address
        async with connected(f"ws://{host}:{port}/acp") as client:
            session_id = await client.new_session()
            result = await client.call("session/prompt", said(session_id, "hello"))
            assert result["stopReason"] == "end_turn"
            (notice,) = client.updates("agent_thought_chunk")
            assert "tried again" in str(notice)
            assert client.text() == "hello"
