"""Files in prompts of the published SDK, before the real runtime: what is taken, what is not."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the SDK's, not ours
import base64
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import acp
import pytest
from acp.client.connection import ClientSideConnection

from actors import fetching
from actors.agents.echo import EchoAgent, Options
from runtime.app import open_runtime
from runtime.settings import GatewaySettings, MediaSettings, Settings, StorageSettings
from tests.gateway.sdk import Listener, run_script

KIB = 1024
LIMITS = MediaSettings(max_media_bytes=100 * KIB, max_file_bytes=60 * KIB, free_space_floor=0)
ROOMY = MediaSettings(max_file_bytes=8 * KIB**2, free_space_floor=0)


@asynccontextmanager
async def running(
    folder: Path, *, limits: MediaSettings = LIMITS, **options: Any
) -> AsyncIterator[str]:
    """Where a runtime with tight limits listens, or with others."""
    settings = Settings(
        gateway=GatewaySettings(port=0), storage=StorageSettings(data_dir=folder), media=limits
    )
    agents = {"echo": EchoAgent(Options(**options))}
    async with open_runtime(settings, agents=agents, serve=True) as runtime:
        assert runtime.address is not None
        host, port = runtime.address
        yield f"ws://{host}:{port}/acp"


def image(content: bytes) -> Any:
    return acp.image_block(base64.b64encode(content).decode(), "image/png", uri="file:///cat.png")


def blob(data: str) -> Any:
    return acp.resource_block(acp.embedded_blob_resource("file:///a.pdf", data))


def on_disk(folder: Path) -> list[Path]:
    return [path for path in (folder / "media").rglob("*") if path.is_file()]


async def usage_of(connection: ClientSideConnection) -> dict[str, Any]:
    return await connection.ext_method("runtime/media/usage", {})


async def refusal(call: Awaitable[Any]) -> acp.RequestError:
    with pytest.raises(acp.RequestError) as raised:
        await call
    return raised.value


# G3, G7, M3: whatever is wrong with one block, nothing of the message is accepted or kept
@pytest.mark.parametrize(
    "block, path, text",
    [
        (
            image(b"x" * 61 * KIB),
            "$.prompt[2].data",
            "The file is too large: one of up to 60 KiB is",
        ),
        (acp.image_block("no base64!", "image/png"), "$.prompt[2].data", "expected base64"),
        (acp.image_block("aGk", "image/png"), "$.prompt[2].data", "expected base64"),
        (acp.image_block("", "image/png"), "$.prompt[2].data", "there are no bytes in it"),
        (acp.audio_block("ä", "audio/wav"), "$.prompt[2].data", "expected base64"),
        (blob("%%%%"), "$.prompt[2].resource.blob", "expected base64"),
    ],
)
async def test_a_file_that_is_not_taken_is_named(
    tmp_path: Path, block: Any, path: str, text: str
) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session_id = (await connection.new_session(cwd="/", mcp_servers=[])).session_id
        prompt = [acp.text_block("look"), image(b"good"), block]
        refused = await refusal(connection.prompt(session_id=session_id, prompt=prompt))
        assert (refused.code, refused.data and refused.data["path"]) == (-32602, path)
        assert text in str(refused)
        answer = await connection.prompt(session_id=session_id, prompt=[acp.text_block("next")])
        assert answer.stop_reason == "end_turn"
        assert heard.text(session_id) == "next"

    async with running(tmp_path) as url:
        await run_script(url, script)
    assert on_disk(tmp_path) == []


# G7
async def test_too_many_files_are_refused_together(tmp_path: Path) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session_id = (await connection.new_session(cwd="/", mcp_servers=[])).session_id
        many = connection.prompt(session_id=session_id, prompt=[image(b"x")] * 101)
        refused = await refusal(many)
        assert (refused.code, refused.data and refused.data["path"]) == (-32602, "$.prompt")
        assert "at most 100 files: send the others with the next" in str(refused)

    async with running(tmp_path) as url:
        await run_script(url, script)
    assert on_disk(tmp_path) == []


# G3, M3, J1: more than a message may have, kept as a file; who comes later sees that
async def test_a_long_text_is_a_file_for_everybody(tmp_path: Path) -> None:
    text = "wörter\n" * 750_000

    def prompt(text: str) -> list[Any]:
        embedded = acp.embedded_text_resource("file:///home/ann/notes.md", text)
        return [acp.text_block("look"), acp.resource_block(embedded)]

    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session_id = (await connection.new_session(cwd="/", mcp_servers=[])).session_id
        answer = await connection.prompt(session_id=session_id, prompt=prompt(text))
        assert answer.stop_reason == "end_turn"
        assert f"{len(text.encode())} bytes, readable" in heard.text(session_id)
        (kept,) = on_disk(tmp_path)
        assert kept.read_bytes() == text.encode()
        refused = await refusal(connection.prompt(session_id=session_id, prompt=prompt(text * 2)))
        path = refused.data and refused.data["path"]
        assert (refused.code, path) == (-32602, "$.prompt[1].resource.text")
        assert "The file is too large: one of up to 8 MiB is taken" in str(refused)
        heard.updates.clear()
        await connection.load_session(session_id=session_id, cwd="/", mcp_servers=[])
        assert heard.text(session_id, "user_message_chunk") == "look\n[file: notes.md]"

    async with running(tmp_path, limits=ROOMY) as url:
        await run_script(url, script)


# Q7, A1: nobody can be written to, so who watches is told; the prompt goes on without the file
async def test_a_link_that_cannot_be_fetched_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PAUSES", (0.0,))
    nobody = "http://127.0.0.1:1/"

    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session_id = (await connection.new_session(cwd="/", mcp_servers=[])).session_id
        prompt: list[Any] = [
            acp.text_block("look"),
            acp.resource_link_block("a.pdf", f"{nobody}a.pdf"),
        ]
        answer = await connection.prompt(session_id=session_id, prompt=prompt)
        assert answer.stop_reason == "end_turn"
        told, *answered = [update.content.text for _, update in heard.updates]
        assert told == "Not taken:\na.pdf: the server does not answer"
        words = f"[file: a.pdf: not here: the server does not answer] {nobody}a.pdf"
        assert "".join(answered) == f"look\n{words}"
        assert [mark.get("notice") for mark in heard.marks][:2] == ["not_taken", None]

    async with running(tmp_path, limits=MediaSettings(fetch_links=(nobody,))) as url:
        await run_script(url, script)


# M5: what is in flight is never removed for a new file; once it is answered, it is
async def test_a_file_for_which_there_is_no_room_now(tmp_path: Path) -> None:
    first, second = b"1" * 60 * KIB, b"2" * 60 * KIB

    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session_id = (await connection.new_session(cwd="/", mcp_servers=[])).session_id
        waiting = asyncio.create_task(
            connection.prompt(session_id=session_id, prompt=[image(first)])
        )
        while (await usage_of(connection))["inFlight"] != len(first):
            pass
        refused = await refusal(connection.prompt(session_id=session_id, prompt=[image(second)]))
        assert (refused.code, refused.data and refused.data["code"]) == (-32011, "unavailable")
        assert "nothing was accepted" in str(refused)
        assert "those that wait for an agent are not removed" in str(refused)
        (kept,) = on_disk(tmp_path)
        assert kept.read_bytes() == first
        await connection.cancel(session_id=session_id)
        assert (await waiting).stop_reason == "cancelled"
        taken = asyncio.create_task(
            connection.prompt(session_id=session_id, prompt=[image(second)])
        )
        while (await usage_of(connection))["inFlight"] != len(second):
            pass
        (kept,) = on_disk(tmp_path)
        assert kept.read_bytes() == second
        await connection.cancel(session_id=session_id)
        assert (await taken).stop_reason == "cancelled"

    async with running(tmp_path, delay=3_600.0) as url:
        await run_script(url, script)


# M4: the same bytes are one file of a session, and two of two sessions
async def test_the_same_image_again(tmp_path: Path) -> None:
    async def script(connection: ClientSideConnection, heard: Listener) -> None:
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        for _ in range(2):
            session_id = (await connection.new_session(cwd="/", mcp_servers=[])).session_id
            for _ in range(2):
                await connection.prompt(session_id=session_id, prompt=[image(b"cat")])
            assert heard.text(session_id).count("3 bytes, readable") == 2
        usage = await usage_of(connection)
        assert (usage["files"], usage["size"], usage["inFlight"]) == (2, 6, 0)

    async with running(tmp_path) as url:
        await run_script(url, script)
    assert len({path.parent for path in on_disk(tmp_path)}) == 2
