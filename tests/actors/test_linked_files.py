"""Files that a message links to, kept with it as they are when it comes (G3, M3)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trio.testing import MockClock

from runtime.ports.front import Unavailable
from runtime.sessions.content import LocalFile, ResourceLink, TextBlock
from runtime.sessions.rows import Workplace
from tests.actors.media_stage import house, image, links, path_of, said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "theirs"
    folder.mkdir()
    return folder


def linked(path: Path, content: bytes | None = None, name: str = "it") -> LocalFile:
    """A link to a file, which is made."""
    if content is not None:
        path.write_bytes(content)
    return LocalFile(ResourceLink(name, path.as_uri()), path)


async def test_the_agent_is_given_a_copy(
    autojump_clock: MockClock, tmp_path: Path, folder: Path
) -> None:
    # G3 H1 M4
    async with house(tmp_path / "media") as here:
        session = await here.session()
        notes = linked(folder / "notes.txt", b"words", "my notes.txt")
        twin = linked(folder / "twin", b"words")
        submitted = await session.send((notes, twin, image(b"picture", "cat.png")))
        (folder / "notes.txt").unlink()  # what was accepted does not depend on it
        call = await here.agent.called(1)
        one, two, cat = links(call)
        assert (one.name, one.mime_type, one.size) == ("my notes.txt", "text/plain", 5)
        assert one.description == f"a copy of {notes.link.uri}"
        assert cat.description is None
        assert path_of(one) == path_of(two)
        assert path_of(one).parent == here.root / here.folders()[0]
        assert path_of(one).read_bytes() == b"words"
        call.go.set()
        await session.outcome(submitted.message_id)
        here.check()


async def test_a_link_into_the_folder_where_the_agent_works_stays_one(
    autojump_clock: MockClock, tmp_path: Path, folder: Path
) -> None:
    # G3 G10
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await here.front.set_workplace(session.id, Workplace(str(folder)))
        (folder / "deep").mkdir()
        beside = folder.parent / f"{folder.name}-not"
        blocks = linked(folder / "deep" / "code.py", b"1"), linked(beside, b"2")
        await session.send(blocks)
        given, other = links(await here.agent.called(1))
        assert given == blocks[0].link
        assert path_of(other).read_bytes() == b"2"


async def test_what_cannot_be_kept_stays_a_link(
    autojump_clock: MockClock, tmp_path: Path, folder: Path
) -> None:
    # G3 M2 M3
    async with house(tmp_path / "media", media={"max_file_bytes": 100}) as here:
        session = await here.session()
        os.mkfifo(folder / "pipe")
        (folder / "link").symlink_to(folder / "large")
        blocks = [
            linked(folder / "large", b"x" * 101),
            linked(folder / "empty", b""),
            *(linked(folder / name) for name in ("missing", "pipe", "link")),
            linked(folder),
        ]
        await session.send((*blocks, TextBlock("look")))
        call = await here.agent.called(1)
        assert call.turn.content == (*(block.link for block in blocks), TextBlock("look"))
        assert here.folders() == []
        here.check()


async def test_what_there_is_no_room_for_is_refused(
    autojump_clock: MockClock, tmp_path: Path, folder: Path
) -> None:
    # M5
    async with house(tmp_path / "media", media={"max_media_bytes": 100}) as here:
        session = await here.session()
        await session.send(said(image(b"x" * 80)))
        await here.agent.called(1)
        with pytest.raises(Unavailable, match="nothing was accepted: There is no room"):
            await session.send((linked(folder / "file", b"y" * 80),))
        here.check()


async def test_there_are_at_most_so_many(
    autojump_clock: MockClock, tmp_path: Path, folder: Path
) -> None:
    # M3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        file = linked(folder / "file", b"y")
        await session.send((*(file,) * 101, *said(image(b"x"))))
        call = await here.agent.called(1)
        assert len(links(call)) == 102
        assert [block for block in call.turn.content if block == file.link] == [file.link] * 2
