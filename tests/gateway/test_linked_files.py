"""Which links of a client lead to files that are kept with its message (G3, G10)."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from runtime.gateway import workplaces
from runtime.gateway.config import GatewayConfig
from runtime.sessions.content import LocalFile, ResourceLink, TextBlock
from tests.gateway.scripted import ScriptedFront
from tests.gateway.test_workplaces import KEY, client_of, serving


async def found(config: GatewayConfig, uri: str, *, local: bool = False) -> Path | None:
    """Where a link leads, for a client; None when it stays a link."""
    link = ResourceLink("it", uri)
    text, block = await workplaces.with_files(config, (TextBlock("see"), link), local=local)
    assert text == TextBlock("see")
    if block == link:
        return None
    assert isinstance(block, LocalFile)
    assert block.link == link
    return block.path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = (tmp_path / "root").resolve()
    (root / "folder").mkdir(parents=True)
    (root / "my n\u00f6tes.txt").write_text("words")
    (root / "inside").symlink_to(root / "my n\u00f6tes.txt")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    (tmp_path / "secret").write_text("secret")
    os.mkfifo(root / "pipe")
    return root


# G10
async def test_only_files_in_the_roots(root: Path) -> None:
    config, file = GatewayConfig(workspace_roots=(root,)), root / "my n\u00f6tes.txt"
    for uri in (
        file.as_uri(),
        f"file://localhost{quote(str(file))}",
        f"file:{quote(str(file))}",
        f"FILE://{quote(str(root))}/folder/../{quote(file.name)}",
        (root / "inside").as_uri(),
    ):
        assert await found(config, uri) == file, uri
    for uri in (
        (root / "outside").as_uri(),
        (root / "loop").as_uri(),
        (root / "pipe").as_uri(),
        (root / "folder").as_uri(),
        (root / "missing").as_uri(),
        (root.parent / "secret").as_uri(),
        f"{root.as_uri()}/../secret",
        f"{root.as_uri()}/%2e%2e/secret",
        f"{root.as_uri()}/inside%00",
        f"file://elsewhere{quote(str(file))}",
        "file:inside",
        "file://[",
        "https://example.org" + str(file),
        str(file),
        "",
    ):
        assert await found(config, uri) is None, uri


# G10
async def test_only_who_may_have_them_read(root: Path) -> None:
    uri = (root.parent / "secret").as_uri()
    assert await found(GatewayConfig(), uri) is None
    assert await found(GatewayConfig(workspace_roots=(root,)), uri) is None
    assert await found(GatewayConfig(), uri, local=True) == root.parent / "secret"


# G3, G10
@pytest.mark.parametrize("method", ["session/prompt", "_runtime/session/send"])
async def test_what_is_said_brings_them(front: ScriptedFront, root: Path, method: str) -> None:
    link = {"type": "resource_link", "name": "s", "uri": (root.parent / "secret").as_uri()}
    async with serving(front, local_key=KEY) as gateway:
        for key in (KEY, None):
            async with client_of(gateway) as first, client_of(gateway, key) as client:
                opener = client if method == "session/prompt" else first
                session_id = await opener.new_session(key=str(key))
                await client.request(method, {"sessionId": session_id, "prompt": [link]})
                (message_id,) = await front.until_waiting(session_id, 1)
                (block,) = front.sessions[session_id].waiting[message_id]
                assert isinstance(block, ResourceLink)
                assert (block.uri == link["uri"]) is (key is None)
