"""Texts of resources that are too long to stay in their message: they become files (G3, M3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actors.disk import inline
from actors.intake import LONGEST_TEXT, MOST_FILES
from runtime.app import Runtime, open_runtime
from runtime.ports.front import BadRequest, Unavailable
from runtime.sessions.content import (
    AgentResource,
    EmbeddedResource,
    ResourceContents,
    ResourceLink,
    SaidBlock,
    TextBlock,
    TextResource,
)
from runtime.sessions.events import MessageAccepted
from runtime.settings import MediaSettings, QueueSettings, Settings
from runtime.storage.sqlite import open_memory
from tests.actors.media_stage import a_while, house, image, links, path_of, said
from tests.actors.stage import HandAgent, clock, stage
from tests.actors.test_steering_files import Looker

LONG = "words\n" * 20_000
ADDRESS = "file:///home/ann/my%20notes.md"


def text(words: str, uri: str = ADDRESS, mime_type: str | None = None) -> AgentResource:
    """A text resource as a client sends it."""
    return AgentResource(ResourceContents(uri, text=words, mime_type=mime_type))


def embedded(words: str) -> EmbeddedResource:
    return EmbeddedResource(TextResource(ADDRESS, words))


# -- what the agent gets ---------------------------------------------------------------------------


async def test_a_long_text_is_given_as_a_file(autojump_clock: MockClock, tmp_path: Path) -> None:
    # G3 H1 M1
    async with house(tmp_path / "media") as here:
        session = await here.session()
        table = "ä;b\n" * 20_000
        await session.send(
            said(text(LONG), text(table, "kb:1", "text/csv"), TextBlock("and sum it up"))
        )
        call = await here.agent.called(1)
        first, notes, rows, last = call.turn.content
        assert (first, last) == (TextBlock("look"), TextBlock("and sum it up"))
        assert [notes, rows] == links(call)
        notes, rows = links(call)
        assert (notes.name, notes.mime_type, notes.size) == ("my notes.md", "text/plain", len(LONG))
        assert notes.description == f"a copy of {ADDRESS}"
        assert (rows.name, rows.mime_type, rows.size) == ("1", "text/csv", 100_000)
        assert rows.description == "a copy of kb:1"
        assert path_of(notes).read_bytes() == LONG.encode()
        assert path_of(rows).read_bytes() == table.encode()
        assert [path_of(link).suffix for link in (notes, rows)] == [".txt", ".csv"]
        assert {path_of(link).parent for link in links(call)} == {call.context.media}
        here.check()


@pytest.mark.parametrize(
    "words, is_file",
    [
        ("x" * LONGEST_TEXT, False),
        ("x" * (LONGEST_TEXT + 1), True),
        ("ä" * (LONGEST_TEXT // 2), False),
        ("ä" * (LONGEST_TEXT // 2) + "x", True),
        ("\U0001f600" * (LONGEST_TEXT // 4), False),
        ("\U0001f600" * (LONGEST_TEXT // 4) + "x", True),
        ("", False),
    ],
)
@pytest.mark.parametrize("block", [text, embedded])
async def test_bytes_count_and_not_characters(
    autojump_clock: MockClock, tmp_path: Path, block: type[SaidBlock], words: str, is_file: bool
) -> None:
    # G3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.send((TextBlock("look"), block(words)))  # type: ignore[call-arg,arg-type]
        call = await here.agent.called(1)
        if is_file:
            (link,) = links(call)
            assert path_of(link).read_bytes() == words.encode()
        else:
            assert call.turn.content == (TextBlock("look"), embedded(words))
            assert here.folders() == []


async def test_more_than_a_message_may_have_comes_as_a_file(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # G3 M3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        words = "0123456789" * 500_000
        with pytest.raises(BadRequest, match="send it as a file"):
            await session.send(words)
        submitted = await session.send(said(text(words)))
        (link,) = links(await here.agent.called(1))
        assert path_of(link).read_text() == words
        status = await here.store.message_status(submitted.message_id)
        assert status is not None
        assert "0123456789" not in str(status.message)
        here.check()


async def test_where_no_files_are_kept_it_stays_in_the_message() -> None:
    # G3
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.send((TextBlock("look"), *(text("x" * (LONGEST_TEXT + 1)),) * 2))
        call = await agent.called(1)
        assert call.turn.content == (
            TextBlock("look"),
            *(embedded("x" * (LONGEST_TEXT + 1)),) * 2,
        )


async def test_the_same_text_is_kept_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M4
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.send(said(text(LONG, "kb:1/a.md"), text(LONG, "kb:1/b.md")))
        first, second = links(await here.agent.called(1))
        assert (first.name, second.name) == ("a.md", "b.md")
        assert (first.description, second.description) == (
            "a copy of kb:1/a.md",
            "a copy of kb:1/b.md",
        )
        assert path_of(first) == path_of(second)
        here.check()


# -- what is not taken -----------------------------------------------------------------------------


async def test_a_text_that_is_too_large_is_refused(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M3 A1
    media = {"max_file_bytes": 2 * LONGEST_TEXT}
    async with house(tmp_path / "media", media=media) as here:
        session = await here.session()
        largest = text("x" * 2 * LONGEST_TEXT)
        with pytest.raises(BadRequest, match="too large: one of up to 128 KiB") as refused:
            await session.send(said(largest, text("ä" * LONGEST_TEXT + "x")))
        assert refused.value.path == "$.prompt[2].resource.text"
        await a_while()
        assert here.on_disk() == []
        assert (await session.queue()).waiting == 0
        await session.send(said(largest))
        assert [len(content) for content in here.on_disk()] == [2 * LONGEST_TEXT]
        here.check()


async def test_texts_and_files_of_one_message_are_counted_together(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M3 M5
    async with house(tmp_path / "media", media={"max_media_bytes": 2 * LONGEST_TEXT}) as here:
        session = await here.session()
        half = "ä" * (LONGEST_TEXT // 2) + "x"
        with pytest.raises(BadRequest, match="too large together") as refused:
            await session.send(said(text(half), image(b"x" * LONGEST_TEXT)))
        assert refused.value.path == "$.prompt"
        assert here.folders() == []
        await session.send(said(text(half), image(b"x" * (LONGEST_TEXT - 1))))
        with pytest.raises(Unavailable, match="no room"):
            await session.send(said(text(half + "y")))
        here.check()


async def test_a_message_brings_so_many_of_both(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        texts = [text(LONG)] * (MOST_FILES - 1)
        with pytest.raises(BadRequest, match=f"at most {MOST_FILES} files"):
            await session.send((*texts, image(b"x"), image(b"y")))
        assert here.folders() == []
        await session.send((*texts, image(b"x"), text("short")))
        assert len(links(await here.agent.called(1))) == MOST_FILES


# -- what others see of it -------------------------------------------------------------------------


async def test_people_see_its_name(autojump_clock: MockClock, tmp_path: Path) -> None:
    # G3 J1
    async with house(tmp_path / "media", agent=HandAgent(hold=False)) as here:
        session = await here.session()
        watch = session.watch()
        submitted = await session.send(said(text(LONG)))
        await session.outcome(submitted.message_id)
        watch.close()
        accepted = [e.event async for e in watch if isinstance(e.event, MessageAccepted)]
        (shown,) = [block for block in accepted[0].content if isinstance(block, ResourceLink)]
        assert (shown.name, shown.uri) == ("my notes.md", f"attachment:{submitted.message_id}/0")
        asked, _ = await session.history()
        assert asked.content == "look\n[file: my notes.md]"


async def test_collected_messages_have_their_own(autojump_clock: MockClock, tmp_path: Path) -> None:
    # Q2
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.send("first")
        call = await here.agent.called(1)
        await session.send(said(text(LONG, "kb:a"), text="this"))
        await session.send(said(text("short", "kb:b"), text("x" + LONG, "kb:c"), text="and this"))
        call.go.set()
        call = await here.agent.called(2)
        a, c = links(call)
        assert [path_of(link).read_text() for link in (a, c)] == [LONG, "x" + LONG]
        assert [link.name for link in (a, c)] == ["a", "c"]
        assert EmbeddedResource(TextResource("kb:b", "short")) in call.turn.content
        here.check()


@asynccontextmanager
async def steered(root: Path, agent: Looker) -> AsyncIterator[Runtime]:
    chosen = Settings(
        media=MediaSettings(root=root), queue=QueueSettings(mode="steer", debounce=0.0)
    )
    async with (
        open_memory(clock) as store,
        open_runtime(chosen, agents={"agent": agent}, store=store, clock=clock, disk=inline) as rt,
    ):
        yield rt


async def test_a_running_turn_is_given_the_file(autojump_clock: MockClock, tmp_path: Path) -> None:
    # Q3 H8
    agent = Looker()
    async with steered(tmp_path / "media", agent) as rt:
        session = await rt.session("one")
        await session.send("first")
        await agent.prompted(1)
        submitted = await session.send(said(text(LONG)))
        await agent.was_asked(1)
        (link,) = agent.links
        assert path_of(link).read_text() == LONG
        agent.go.set()
        with trio.fail_after(60):
            await session.outcome(submitted.message_id)
        assert "look\n[file: my notes.md]" in [line.content for line in await session.history()]
