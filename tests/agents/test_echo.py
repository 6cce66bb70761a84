"""What the echo agent says of the files that it is given."""

import os
from pathlib import Path
from typing import Any

import pytest

from actors.agents.echo import EchoAgent, Options
from runtime.ports.agent import AgentContext, PromptTurn
from runtime.sessions.content import (
    AudioBlock,
    ImageBlock,
    PromptBlock,
    ResourceLink,
    TextBlock,
)
from tests.agents.conftest import said


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media" / "s"
    folder.mkdir(parents=True)
    (folder / "a b.png").write_bytes(b"\x89cat")
    return folder


async def echo(media: Path | None, *content: PromptBlock, **options: Any) -> str:
    context = AgentContext("s", "echo", "k", 0, media=media)
    async with EchoAgent(Options(**options)).open(context) as handle:
        turn = PromptTurn("turn-1", content, ("m",))
        return said([event async for event in handle.prompt(turn)])


def link(path: Path, size: int | None = 4, mime_type: str | None = "image/png") -> ResourceLink:
    return ResourceLink("cat.png", path.as_uri(), mime_type=mime_type, size=size)


@pytest.mark.parametrize(
    "size, mime_type, told",
    [
        (4, "image/png", "cat.png, image/png, 4 bytes, readable"),
        (None, "image/png", "cat.png, image/png, 4 bytes, readable"),
        (4, None, "cat.png, of no type, 4 bytes, readable"),
        (5, "image/png", "cat.png, image/png, 5 bytes, but 4 can be read"),
    ],
)
async def test_a_file_is_a_line_with_what_it_is(
    media: Path, size: int | None, mime_type: str | None, told: str
) -> None:
    # H1
    file = media / "a b.png"
    text = await echo(media, TextBlock("look"), link(file, size, mime_type))
    assert text == f"look\n[file: {told}: {file.as_uri()}]"


async def test_a_file_that_cannot_be_read_is_told_so(media: Path) -> None:
    # M9
    os.mkfifo(media / "pipe")
    (media / "link").symlink_to(media / "a b.png")
    gone, pipe, linked = media / "gone.png", media / "pipe", media / "link"
    lines = (await echo(media, *map(link, (gone, pipe, linked)))).splitlines()
    assert "4 bytes, cannot be read (No such file or directory)" in lines[0]
    assert "4 bytes, cannot be read (no regular file)" in lines[1]
    assert "cannot be read" in lines[2]


@pytest.mark.parametrize("where", ["outside", "s-too/file", "s/../other", "s/inner/file", "s"])
async def test_only_files_that_were_given_are_looked_at(media: Path, where: str) -> None:
    # M4
    path = media.parent / where
    (media.parent / "outside").write_bytes(b"1234")
    for uri in (f"file://{path}", f"https://example.org{path}"):
        assert await echo(media, ResourceLink("n", uri)) == f"n ({uri})"
    uri = (media / "a b.png").as_uri()
    assert await echo(None, ResourceLink("n", uri)) == f"n ({uri})"


async def test_images_and_sounds_are_listed(media: Path) -> None:
    # G3
    blocks = (ImageBlock("iWNhdA==", "image/png"), AudioBlock("UklGRg==", "audio/wav"))
    text = await echo(media, *blocks)
    assert text == "[image block: image/png, 4 bytes]\n[audio block: audio/wav, 4 bytes]"


async def test_it_takes_images_and_sounds_when_it_is_told_to(media: Path) -> None:
    # G3
    context = AgentContext("s", "echo", "k", 0, media=media)
    for images, audio in ((False, False), (True, False), (False, True)):
        async with EchoAgent(Options(images=images, audio=audio)).open(context) as handle:
            assert (handle.capabilities.images, handle.capabilities.audio) == (images, audio)
