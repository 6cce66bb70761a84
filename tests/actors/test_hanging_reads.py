"""What hangs while files are sent, or read for agents and transcribers, holds up nothing else
(R7, M6, H5).

The threads are real, and so is the time: what hangs waits for a gate that the test opens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trio

from actors import outbox, transcribers, uploads, web
from actors.agents.acp.files import FileMethods, Folder
from actors.disk import Threads
from actors.front import ActorFront
from actors.transcribers import CommandTranscriber, HttpTranscriber
from runtime.ports.transcriber import TranscriptionFailed
from runtime.processes import open_processes
from runtime.protocol import jsonrpc
from runtime.protocol.jsonrpc import RpcError
from runtime.storage.attachments import Outbox
from tests.actors.hanging import PATIENCE, SHORT, Gate, hang, until
from tests.actors.media_stage import image
from tests.actors.test_files_out import agent, network, running, seen


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


def still_open(name: str) -> list[str]:
    """What of this process is open under a name."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(each))  # noqa: PTH115 - it may be gone
        except OSError:
            continue
    return [path for path in found if name in path]


def pread_hangs(patch: pytest.MonkeyPatch, gate: Gate) -> None:
    def hanging(descriptor: int, count: int, offset: int) -> bytes:
        gate.wait()
        return b""

    patch.setattr(uploads.os, "pread", hanging)  # type: ignore[attr-defined]


# R7 M6 O4
@pytest.mark.parametrize("what", ["open", "opened", "read"])
async def test_a_file_that_hangs_on_its_way_to_a_chat_holds_up_its_chat_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate, what: str
) -> None:
    monkeypatch.setattr(uploads, "READ_LIMIT", SHORT)
    monkeypatch.setattr(outbox, "BACKOFF", (SHORT,) * 100)
    chat = network()
    async with running(tmp_path, agent("here", report_txt=b"words"), chat) as rt:
        services = cast("ActorFront", rt.front)._services
        with monkeypatch.context() as patched:
            if what == "read":
                pread_hangs(patched, gate)
            else:
                hang(patched, Outbox, "open", gate, late=what == "opened")
            await chat.say("go")
            await until(lambda: services.stuck > 0)
            await chat.say("words", chat="other")
            await until(lambda: chat.visible("other") == ["here"])
            session = await rt.session("third")
            with trio.fail_after(PATIENCE):
                await (await session.prompt((image(b"is taken"),))).result()
            assert services.library.disk.stuck == 0
        gate.open()
        await seen(chat, "here", "[report.txt]")
        assert chat.uploads[-1].content == b"words"
        await until(lambda: services.stuck == 0)
        await until(lambda: still_open("report.txt") == [])  # it is closed after it was seen


# P3
@pytest.mark.parametrize("method", ["read", "write"])
async def test_an_agents_files_that_hang_are_an_error_of_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate, method: str
) -> None:
    hang(monkeypatch, Folder, method, gate, late=False)
    files = FileMethods(Folder(tmp_path), Threads(limit=SHORT))
    asked = {"sessionId": "s", "path": str(tmp_path / "a.txt"), "content": "words"}
    call: Callable[[msgspec.Raw], Any] = getattr(files, method)
    with trio.fail_after(PATIENCE), pytest.raises(RpcError, match="does not answer") as caught:
        await call(msgspec.Raw(msgspec.json.encode(asked)))
    assert caught.value.code == jsonrpc.INTERNAL_ERROR


# H5
async def test_a_voice_that_hangs_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(transcribers, "_read", lambda _: gate.wait())
    disk = Threads(limit=SHORT)
    await disk(web.ssl_context, limit=PATIENCE)  # the first time it takes long
    service = HttpTranscriber("http://127.0.0.1:1/", disk=disk)
    with trio.fail_after(PATIENCE), pytest.raises(TranscriptionFailed, match="does not answer"):
        await service.transcribe(tmp_path / "voice.ogg", None)


# H5
async def test_a_folder_that_is_made_too_late_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    made = tmp_path / "made"

    def make(prefix: str) -> str:
        gate.wait()
        made.mkdir()
        return str(made)

    monkeypatch.setattr(transcribers.tempfile, "mkdtemp", make)  # type: ignore[attr-defined]
    disk = Threads(limit=SHORT)
    async with open_processes(None) as processes:
        command = CommandTranscriber(("true",), processes, disk)
        with trio.fail_after(PATIENCE), pytest.raises(TranscriptionFailed, match="not answer"):
            await command.transcribe(tmp_path / "voice.ogg", None)
        assert disk.stuck == 1
        gate.open()
        await until(lambda: disk.stuck == 0)
    assert not made.exists()
