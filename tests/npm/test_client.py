"""The published TypeScript SDK as a client, unmodified, over both transports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from runtime.endpoint import read
from tests.e2e.stage import House

from .conftest import HERE, Node

SETTINGS = "[agents.echo]\nkind = 'echo'\npace = '20ms'\n"


def check_talk(seen: dict[str, Any]) -> None:
    assert seen["name"] == "greenroom"
    assert "".join(seen["pieces"]) == "hello there"
    assert len(seen["pieces"]) > 1
    assert seen["stopReasons"] == ["end_turn", "end_turn", "cancelled"]
    assert seen["listed"] == [seen["session"]]
    assert seen["mode"] == "followup"


def check_load(seen: dict[str, Any]) -> None:
    assert seen["asked"] == ["hello there", "again", "word " * 1_000]
    assert [text.strip() for text in seen["answered"][:2]] == ["hello there", "again"]
    assert "".join(seen["answered"][2:]).startswith("word ")


# G1, G2, G3, G11, J2
async def test_over_a_websocket(house: House, node: Node) -> None:
    process = await house.serve(SETTINGS)
    seen = await node("client.mjs", "talk", "ws", process.url)
    check_talk(seen)
    await process.kill()
    process = await house.serve(SETTINGS)
    check_load(await node("client.mjs", "load", seen["session"], "ws", process.url))
    assert await process.stop() == 0


# D3, G1, G2, G3, G11, J2
async def test_over_stdio(node: Node, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text(SETTINGS)
    command = [sys.executable, "-m", "runtime", "acp", "--data-dir", str(tmp_path / "data")]
    command += ["--config", str(tmp_path / "slow.toml")]
    seen = await node("client.mjs", "talk", "stdio", *command)
    check_talk(seen)
    assert seen["exit"] == 0
    seen = await node("client.mjs", "load", seen["session"], "stdio", *command)
    check_load(seen)
    assert seen["exit"] == 0
    assert read(tmp_path / "data") is None


def check_files(seen: dict[str, Any]) -> None:
    assert seen["can"] == {"image": True, "audio": True, "embeddedContext": True}
    assert seen["stopReason"] == "end_turn"
    look, cat, image, hum, sound, notes, body, paper, link = seen["answer"].splitlines()
    assert look == "look"
    assert cat.startswith("[file: cat.png, image/png, 5 bytes, readable: file://")
    assert image == "[image block: image/png, 5 bytes]"
    assert ".wav, audio/wav, 5 bytes, readable: file://" in hum
    assert sound == "[audio block: audio/wav, 5 bytes]"
    assert (notes, body) == ("[resource: file:///notes.md]", "# Notes")
    assert paper.startswith("[file: a b.pdf, application/pdf, 5 bytes, readable: file://")
    assert link == "page (https://example.org/page)"
    assert seen["refused"] == {"code": -32602, "path": "$.prompt[0].data"}


TAKES_ALL = "[agents.echo]\nkind = 'echo'\nimages = true\naudio = true\n"


# G3, H1
async def test_files_over_a_websocket(house: House, node: Node) -> None:
    process = await house.serve(TAKES_ALL)
    check_files(await node("client.mjs", "files", "ws", process.url))
    assert await process.stop() == 0


# D3, G3, H1
async def test_files_over_stdio(node: Node, tmp_path: Path) -> None:
    (tmp_path / "takes.toml").write_text(TAKES_ALL)
    command = [sys.executable, "-m", "runtime", "acp", "--data-dir", str(tmp_path / "data")]
    command += ["--config", str(tmp_path / "takes.toml")]
    seen = await node("client.mjs", "files", "stdio", *command)
    check_files(seen)
    assert seen["exit"] == 0


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text())
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    for name, package in lock["packages"].items():
        if name:
            assert "resolved" not in package
            assert package["integrity"].startswith("sha512-")
            assert package["version"] == wanted[name.removeprefix("node_modules/")]
