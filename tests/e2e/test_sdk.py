"""The published Python SDK, unmodified, across a ``kill -9``."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime.endpoint import read
from tests.e2e.stage import LIMIT, House

CLIENT = Path(__file__).with_name("sdk_client.py")
TAKES_ALL = "[agents.echo]\nkind = 'echo'\nimages = true\naudio = true\n"
SETTINGS = "[agents.echo]\nkind = 'echo'\npace = '20ms'\n"


async def sdk(where: str, *arguments: str) -> dict[str, Any]:
    """Run the client; what it saw."""
    with trio.fail_after(LIMIT):
        done = await trio.run_process(
            [sys.executable, str(CLIENT), where, *arguments], capture_stdout=True
        )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def check_talk(seen: dict[str, Any]) -> None:
    assert "".join(seen["pieces"]).strip() == "hello there"
    assert len(seen["pieces"]) > 1
    assert seen["stop_reasons"] == ["end_turn", "cancelled"]


def check_load(seen: dict[str, Any]) -> None:
    asked = [text for kind, text in seen["said"] if kind == "user_message_chunk"]
    answered = [text for kind, text in seen["said"] if kind == "agent_message_chunk"]
    assert asked == ["hello there", "word " * 1_000]
    assert answered[0].strip() == "hello there"
    assert "".join(answered[1:]).startswith("word ")


# G1 G2 G3 G11 D8 J2
async def test_a_conversation_survives_the_runtime(house: House) -> None:
    process = await house.serve(SETTINGS)
    seen = await sdk(process.url, "talk")
    check_talk(seen)
    await process.kill()
    process = await house.serve(SETTINGS)
    check_load(await sdk(process.url, "load", seen["session"]))
    assert await process.stop() == 0


# D3 G1 G2 G3 G11 J2
async def test_over_stdio(tmp_path: Path) -> None:
    settings = tmp_path / "slow.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "runtime", "acp", "--data-dir", str(tmp_path / "data")]
    where = json.dumps([*command, "--config", str(settings)])
    seen = await sdk(where, "talk")
    check_talk(seen)
    check_load(await sdk(where, "load", seen["session"]))
    assert read(tmp_path / "data") is None


def check_files(seen: dict[str, Any]) -> None:
    assert seen["can"] == [True, True, True]
    assert seen["stop_reason"] == "end_turn"
    look, cat, image, hum, sound, notes, body, paper, link = seen["answer"].splitlines()
    assert look == "look"
    assert cat.startswith("[file: cat.png, image/png, 5 bytes, readable: file://")
    assert image == "[image block: image/png, 5 bytes]"
    assert re.match(r"\[file: [\w-]+\.wav, audio/wav, 5 bytes, readable: file://", hum)
    assert sound == "[audio block: audio/wav, 5 bytes]"
    assert (notes, body) == ("[resource: file:///notes.md]", "# Notes")
    assert paper.startswith("[file: a b.pdf, application/pdf, 5 bytes, readable: file://")
    assert link == "page (https://example.org/page)"
    texts = [block for block in seen["watched"] if block["type"] == "text"]
    assert [block["text"] for block in texts] == ["look"]
    links = [block for block in seen["watched"] if block["type"] == "resource_link"]
    assert [block["name"] for block in links] == ["cat.png", "audio", "a b.pdf", "page"]
    assert all(link["uri"].startswith("attachment:") for link in links[:3])
    (resource,) = [block for block in seen["watched"] if block["type"] == "resource"]
    assert resource["resource"] == {"uri": "file:///notes.md", "text": "# Notes"}
    first, second = seen["loaded"]
    assert first["text"].splitlines() == [
        "look",
        "[image: cat.png]",
        "[audio: audio/wav]",
        "[resource: file:///notes.md]",
        "# Notes",
        "[file: a b.pdf]",
        "page (https://example.org/page)",
    ]
    assert second["text"] == "seen"


# G3 H1
async def test_files_over_a_websocket(house: House) -> None:
    process = await house.serve(TAKES_ALL)
    check_files(await sdk(process.url, "files"))
    assert await process.stop() == 0


# D3 G3 H1
async def test_files_over_stdio(tmp_path: Path) -> None:
    settings = tmp_path / "takes.toml"
    settings.write_text(TAKES_ALL)
    command = [sys.executable, "-m", "runtime", "acp", "--data-dir", str(tmp_path / "data")]
    check_files(await sdk(json.dumps([*command, "--config", str(settings)]), "files"))
    assert read(tmp_path / "data") is None


ALBUM = 14
DEBOUNCED = "[channels.client]\ndebounce = '1s'\n"


# M10, Q1, Q2, H1: an album is one turn that sees all of it
@pytest.mark.parametrize("over", ["websocket", "stdio"])
async def test_an_album_is_one_turn(house: House, over: str) -> None:
    process = await house.serve(f"{DEBOUNCED}{TAKES_ALL}")
    bridge = [sys.executable, "-m", "runtime", "acp", "--data-dir", str(house.data_dir)]
    where = process.url if over == "websocket" else json.dumps(bridge)
    seen = await sdk(where, "album", str(ALBUM))
    assert seen["stop_reasons"] == ["end_turn"] * ALBUM
    assert len(seen["turns"]) == ALBUM
    assert len(set(seen["turns"])) == 1
    files = re.findall(r"\[file: (\d+)\.png, image/png, (\d+) bytes, readable: ", seen["answer"])
    sizes = {str(number): str(len(f"image {number}")) for number in range(ALBUM)}
    assert dict(files) == sizes
    assert len(files) == ALBUM
    assert seen["answer"].count("[image block: image/png, ") == ALBUM
    said = re.findall(r"picture (\d+)", seen["answer"])
    assert [int(number) for number in said] == [int(number) for number, _ in files]
    folder = house.data_dir / "media" / seen["session"]
    assert len(await trio.to_thread.run_sync(os.listdir, folder)) == ALBUM
    assert await process.stop() == 0


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "theirs"
    folder.mkdir()
    (folder / "notes.txt").write_text("words")
    return folder / "notes.txt"


# D3 G3 G10 H1: a link to a file of this machine, from who is on it and from who may be elsewhere
@pytest.mark.parametrize("over", ["websocket", "stdio"])
async def test_a_file_that_is_linked_to(house: House, notes: Path, over: str) -> None:
    process = await house.serve(TAKES_ALL)
    bridge = [sys.executable, "-m", "runtime", "acp", "--data-dir", str(house.data_dir)]
    where = process.url if over == "websocket" else json.dumps(bridge)
    uri = notes.as_uri()
    seen = await sdk(where, "link", uri, "/")
    if over == "websocket":
        assert seen["answer"] == f"it ({uri})"
    else:
        kept = (house.data_dir / "media" / seen["session"]).as_uri()
        said = rf"\[file: it, text/plain, 5 bytes, readable: {re.escape(kept)}/[\w-]+\.txt\]"
        assert re.fullmatch(said, seen["answer"]), seen["answer"]
        there = await sdk(where, "link", uri, str(notes.parent))
        assert there["answer"] == f"it ({uri})"
    assert await process.stop() == 0
