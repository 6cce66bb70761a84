"""Files that clients send: kept in the session's folder, given to its agent, once (H1, M1, M4)."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import giving
from actors.intake import MOST_FILES, kind_of
from runtime.ports.front import BadRequest, NoSuchSession, Unavailable
from runtime.sessions.content import (
    AgentResource,
    AudioBlock,
    EmbeddedResource,
    ImageBlock,
    ResourceContents,
    ResourceLink,
    TextBlock,
    TextResource,
)
from runtime.sessions.media import MediaKind
from runtime.sessions.rows import InboundState
from tests.actors.media_stage import (
    SeeingAgent,
    a_while,
    audio,
    encoded,
    house,
    image,
    links,
    path_of,
    resource,
    said,
)
from tests.actors.stage import HandAgent, stage

PICTURE, SOUND, PAPER = b"\x89PNG" * 5, b"OggS" * 7, b"%PDF" * 9


# -- what the agent gets ---------------------------------------------------------------------------


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("sounds", [True, False])
async def test_files_arrive_as_links_and_as_what_the_agent_takes(
    autojump_clock: MockClock, tmp_path: Path, images: bool, sounds: bool
) -> None:
    # H1 M1 M10 G3
    agent = SeeingAgent(images=images, audio=sounds)
    async with house(tmp_path / "media", agent=agent) as here:
        session = await here.session()
        await session.send(
            said(
                image(PICTURE, "cat.png"),
                audio(SOUND),
                resource(PAPER, "file:///x/a%20paper.pdf", "application/pdf"),
                TextBlock("and say"),
            )
        )
        call = await agent.called(1)
        first, *blocks, last = call.turn.content
        assert (first, last) == (TextBlock("look"), TextBlock("and say"))
        picture, sound, paper = links(call)
        expected: list[object] = [picture]
        if images:
            expected.append(ImageBlock(encoded(PICTURE), "image/png", picture.uri))
        expected.append(sound)
        if sounds:
            expected.append(AudioBlock(encoded(SOUND), "audio/ogg"))
        assert blocks == [*expected, paper]
        for link, content in ((picture, PICTURE), (sound, SOUND), (paper, PAPER)):
            assert path_of(link).read_bytes() == content
            assert link.size == len(content)
            assert path_of(link).parent == call.context.media
        assert [link.mime_type for link in links(call)] == [
            "image/png",
            "audio/ogg",
            "application/pdf",
        ]
        assert [link.name for link in (picture, paper)] == ["cat.png", "a paper.pdf"]
        assert sound.name == path_of(sound).name  # nobody said what it is called
        assert [path_of(link).suffix for link in links(call)] == [".png", ".ogg", ".pdf"]
        here.check()


async def test_what_is_large_is_linked_and_not_put_into_the_prompt(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # H1
    monkeypatch.setattr(giving, "LARGEST_INLINE", 40)
    monkeypatch.setattr(giving, "INLINE_TOGETHER", 100)
    async with house(tmp_path / "media", agent=SeeingAgent(images=True)) as here:
        session = await here.session()
        sizes = [40, 41, 40, 21, 20, 1]
        await session.send([image(bytes([number]) * size) for number, size in enumerate(sizes)])
        call = await here.agent.called(1)
        assert [link.size for link in links(call)] == sizes
        shown = [block for block in call.turn.content if isinstance(block, ImageBlock)]
        assert [len(b64decode(block.data)) for block in shown] == [40, 40, 20]


async def test_names_of_files_are_made_here(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M1 A2
    async with house(tmp_path / "media") as here:
        session = await here.session()
        names = ["../../evil.png", ".hidden", "a/b\\c", "x" * 400, "ok.png"]
        await session.send(said(*(image(b"%d" % n, name) for n, name in enumerate(names))))
        found = links(await here.agent.called(1))
        assert [link.name for link in found] == ["evil.png", ".hidden", "b\\c", "x" * 255, "ok.png"]
        assert {path_of(link).parent for link in found} == {here.root / here.folders()[0]}
        assert all(path_of(link).stem not in link.name for link in found)
        here.check()


async def test_words_of_a_resource_stay_words(autojump_clock: MockClock, tmp_path: Path) -> None:
    # G3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        text = AgentResource(ResourceContents("file:a.txt", text="words", mime_type="text/plain"))
        link = ResourceLink("a", "https://example.org/a")
        await session.send((text, link, TextBlock("look")))
        call = await here.agent.called(1)
        assert call.turn.content == (
            EmbeddedResource(TextResource("file:a.txt", "words", "text/plain")),
            link,
            TextBlock("look"),
        )
        assert here.folders() == []


async def test_people_see_a_link_that_leads_nowhere(
    autojump_clock: MockClock, tmp_path: Path
) -> None:  # G3
    async with house(tmp_path / "media", agent=SeeingAgent(hold=False)) as here:
        session = await here.session()
        submitted = await session.send(said(image(PICTURE, "cat.png")))
        await session.outcome(submitted.message_id)
        asked, answer = await session.history()
        assert asked.content == "look\n[image: cat.png]"
        assert str(here.root) in answer.content  # the echo names what it was given
        status = await here.store.message_status(submitted.message_id)
        assert status is not None
        assert str(here.root) not in str(status.message)


@pytest.mark.parametrize(
    "mime_type, kind",
    [
        ("image/png", MediaKind.IMAGE),
        (" IMAGE/x", MediaKind.IMAGE),
        ("image", MediaKind.IMAGE),
        ("audio/ogg; codecs=opus", MediaKind.AUDIO),
        ("video/mp4", MediaKind.VIDEO),
        ("application/pdf", MediaKind.FILE),
        ("imagery/png", MediaKind.FILE),
        ("", MediaKind.FILE),
        (None, MediaKind.FILE),
    ],
)
def test_what_sort_of_file_a_type_says(mime_type: str | None, kind: MediaKind) -> None:
    assert kind_of(mime_type) is kind


# -- the same bytes --------------------------------------------------------------------------------


async def test_the_same_bytes_are_kept_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M4
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.send(said(image(PICTURE, "a.png"), image(PICTURE, "b.png")))
        await session.send(said(image(PICTURE, "c.png"), text="again"))
        call = await here.agent.called(1)
        first, second = links(call)
        assert (first.name, second.name) == ("a.png", "b.png")
        assert first.uri == second.uri
        assert here.on_disk() == [PICTURE]
        call.go.set()
        third = await here.agent.called(2)
        assert [(link.name, link.uri) for link in links(third)] == [("c.png", first.uri)]
        here.check()


async def test_the_same_bytes_that_come_at_once_are_kept_once(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M4
    async with house(tmp_path / "media") as here:
        session = await here.session()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(session.send, said(image(PICTURE)))
        assert here.on_disk() == [PICTURE]
        assert here.usage.in_flight == len(PICTURE)
        here.check()


async def test_the_same_message_again_leaves_one_file(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M4 D5 G4
    async with house(tmp_path / "media") as here:
        session = await here.session()
        for _ in range(2):
            await session.send(said(image(PICTURE)), message_id="m1")
        other = await session.send(said(image(SOUND)), message_id="m1")
        assert other.duplicate
        await a_while()
        assert here.on_disk() == [PICTURE]
        here.check()


async def test_nothing_is_shared_between_sessions(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M4
    async with house(tmp_path / "media") as here:
        for key in ("one", "two"):
            await (await here.session(key)).send(said(image(PICTURE)))
        (first,), (second,) = links(await here.agent.called(1)), links(await here.agent.called(2))
        assert path_of(first).parent != path_of(second).parent
        assert here.on_disk() == [PICTURE, PICTURE]
        assert [each.files for each in await here.front.largest_media()] == [1, 1]
        here.check()


# -- what is not taken -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block, path, words",
    [
        (ImageBlock("not base64!", "image/png"), "$.prompt[1].data", "expected base64"),
        (ImageBlock("abc", "image/png"), "$.prompt[1].data", "expected base64"),
        (ImageBlock("ä", "image/png"), "$.prompt[1].data", "expected base64"),
        (ImageBlock("", "image/png"), "$.prompt[1].data", "no bytes"),
        (AudioBlock("*", "audio/ogg"), "$.prompt[1].data", "expected base64"),
        (
            AgentResource(ResourceContents("file:a", blob="*")),
            "$.prompt[1].resource.blob",
            "expected base64",
        ),
        (AgentResource(ResourceContents("file:a")), "$.prompt[1].resource", "neither text nor"),
    ],
)
async def test_what_cannot_be_a_file_is_named(
    autojump_clock: MockClock, tmp_path: Path, block: Any, path: str, words: str
) -> None:
    # A1 G3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        with pytest.raises(BadRequest, match=words) as refused:
            await session.send((image(PICTURE), block, image(SOUND)))
        assert refused.value.path == path
        await a_while()
        assert here.on_disk() == []  # what came before it is gone again
        assert (await session.queue()).waiting == 0
        assert here.agent.calls == []
        here.check()


async def test_a_file_that_is_too_large_is_refused(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M3
    async with house(tmp_path / "media", media={"max_file_bytes": 20}) as here:
        session = await here.session()
        with pytest.raises(BadRequest, match="too large") as refused:
            await session.send(said(image(b"x" * 20), image(b"y" * 21)))
        assert refused.value.path == "$.prompt[2].data"
        await a_while()
        assert here.on_disk() == []
        await session.send(said(image(b"x" * 20)))
        assert here.on_disk() == [b"x" * 20]
        assert here.metric('media_received_total{outcome="refused"}') == 1
        assert here.metric('media_received_total{outcome="kept"}') == 2
        here.check()


async def test_a_message_brings_so_many_files(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        with pytest.raises(BadRequest, match=f"at most {MOST_FILES} files"):
            await session.send([image(b"x")] * (MOST_FILES + 1))
        assert here.folders() == []
        await session.send([image(b"x")] * MOST_FILES)
        assert len(links(await here.agent.called(1))) == MOST_FILES


async def test_nothing_is_written_for_a_session_that_is_not_there(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M1
    async with house(tmp_path / "media") as here:
        with pytest.raises(NoSuchSession):
            await here.front.submit("nobody", said(image(PICTURE)))
        session = await here.session()
        await session.close()
        with pytest.raises(NoSuchSession):
            await session.send(said(image(PICTURE)))
        await a_while()
        assert here.folders() == []


async def test_a_runtime_without_a_folder_says_so() -> None:
    # M1
    agent = HandAgent(hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        with pytest.raises(BadRequest, match="keeps no files") as refused:
            await session.send(said(image(PICTURE)))
        assert refused.value.path == "$.prompt[1].data"
        usage = rt.front.media_usage()
        assert (usage.root, usage.files, usage.size) == (None, 0, 0)
        swept = await rt.front.sweep_media()
        assert (swept.files, swept.size, swept.problems) == (0, 0, 0)
        turn = await session.prompt("without")
        assert (await turn.result()).text == "echo: without"


async def test_a_full_queue_refuses_and_keeps_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # Q4 H2
    async with house(tmp_path / "media", queue={"cap": 1}) as here:
        session = await here.session()
        await session.send("first")
        await here.agent.called(1)
        await session.send(said(image(PICTURE)))
        with pytest.raises(Exception, match="Nothing was accepted"):
            await session.send(said(image(SOUND)))
        await a_while()
        assert here.on_disk() == [PICTURE]
        here.check()


# -- a disk that refuses ---------------------------------------------------------------------------


async def test_a_folder_that_was_swapped_takes_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M2 M6
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with house(tmp_path / "media") as here:
        session = await here.session()
        (here.root / session.id).symlink_to(elsewhere)
        with pytest.raises(Unavailable, match="disk refuses"):
            await session.send(said(image(PICTURE)))
        assert list(elsewhere.iterdir()) == []
        assert here.usage.reserved == 0
        assert here.metric('media_received_total{outcome="failed"}') == 1
        turn = await session.prompt("words")  # and words still go
        (await here.agent.called(1)).go.set()
        assert (await turn.result()).text == "echo: words"


async def test_a_file_that_somebody_removed_is_linked_and_not_shown(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M6
    async with house(tmp_path / "media", agent=SeeingAgent(images=True)) as here:
        session = await here.session()
        await session.send("first")
        call = await here.agent.called(1)
        submitted = await session.send(said(image(PICTURE)))
        here.files()[0].unlink()
        call.go.set()
        call = await here.agent.called(2)
        assert [type(block) for block in call.turn.content] == [TextBlock, ResourceLink]
        assert here.metric("media_problems_total") == 1
        call.go.set()
        outcome = await session.outcome(submitted.message_id)
        assert outcome.state is InboundState.DONE


async def test_a_caller_that_gives_up_leaves_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M3
    async with house(tmp_path / "media") as here:
        session = await here.session()
        for delay in range(12):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(session.send, said(image(PICTURE), image(SOUND)))
                    for _ in range(delay):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            await session.clear()
        await a_while()
        for call in here.agent.calls:
            call.go.set()
        await a_while()
        assert set(here.on_disk()) <= {PICTURE, SOUND}
        assert here.usage.in_flight == 0
        here.check()
