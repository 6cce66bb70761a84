"""Files that a message links to, kept with it as they are when it comes (G3, M3)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trio.testing import MockClock

from runtime.ports.front import Unavailable
from runtime.sessions.content import LocalFile, ResourceLink, TextBlock
from runtime.sessions.rows import Workplace
from tests.actors.media_stage import SeeingAgent, house, image, links, path_of, said
from tests.actors.outbox_stage import place as outboxes_place


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


async def test_others_make_no_room_for_links_that_do_not_fit_together(
    autojump_clock: MockClock, tmp_path: Path, folder: Path
) -> None:
    # M5: and nobody is told to wait, which would not help
    async with house(tmp_path / "media", media={"max_media_bytes": 100}) as here:
        other, session = await here.session("other"), await here.session()
        await here.kept(other, b"kept" * 5)
        files = [linked(folder / f"{number}", b"%d" % number * 40) for number in range(3)]
        large = linked(folder / "large", b"l" * 101)
        await session.send((*files, large, *said(image(b"x" * 5))))
        call = await here.agent.called(2)
        copies, kept = links(call)[:2], links(call)[2:4]
        assert [path_of(link).read_bytes() for link in copies] == [b"0" * 40, b"1" * 40]
        assert kept == [files[2].link, large.link]
        assert here.usage.size == 85  # of the other's 20 bytes, 5 were in the way
        here.check()


async def test_a_link_into_the_folder_of_the_session_stays_one(tmp_path: Path) -> None:
    # G3 G10: an agent that nobody gave another folder works there
    async with outboxes_place(tmp_path) as here:
        session = await here.say("one", "hello")
        work = here.agent.calls[0].context.folder
        assert work is not None
        await (await session.prompt((linked(work.resolve() / "code.py", b"1"),))).result()
        (given,) = links(here.agent.calls[-1])
        assert path_of(given) == work.resolve() / "code.py"


@pytest.mark.parametrize("agent", ["said", "nothing", "raises"])
async def test_an_agent_says_where_it_works(
    autojump_clock: MockClock, tmp_path: Path, folder: Path, agent: str
) -> None:
    # G3 G10
    class Elsewhere(SeeingAgent):
        def works_in(self, _: Path | None, __: Path | None) -> Path | None:
            if agent == "raises":
                raise ValueError("a bug")
            return tmp_path / "way" / folder.name if agent == "said" else None

    (tmp_path / "way").symlink_to(folder.parent)
    async with house(tmp_path / "media", agent=Elsewhere()) as here:
        session = await here.session()
        block = linked(folder / "code.py", b"1")
        await session.send((block,))
        (given,) = links(await here.agent.called(1))
        assert (given == block.link) == (agent == "said")
        assert path_of(given).read_bytes() == b"1"
