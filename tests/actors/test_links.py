"""Links to the web, of which some may be fetched (Q7, G10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.sessions.content import ImageBlock, ResourceLink, TextBlock
from runtime.sessions.events import MessageAccepted
from runtime.sessions.rows import InboundState
from runtime.settings import MediaSettings, Settings
from runtime.storage.sqlite import open_memory
from tests.actors.media_stage import (
    SeeingAgent,
    house,
    image,
    links,
    path_of,
    said,
    until_the_power_fails,
)
from tests.actors.stage import HandAgent, clock, stage
from tests.actors.web_stage import (
    DEADLINE,
    WORDS,
    Server,
    begun,
    given,
    link,
    place,
    serving,
    until,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


# -- what is fetched -------------------------------------------------------------------------------


async def test_what_it_leads_to_is_given_as_a_file(server: Server, tmp_path: Path) -> None:
    # Q7 M1 H1
    url = server.url("/files/notes.txt?v=1")
    async with place(
        tmp_path / "media", server.files, agent=SeeingAgent(images=True, hold=False)
    ) as here:
        other = link("https://example.org/files/a")
        call = await given(
            here,
            link(url, "my notes"),
            other,
            link(server.files + "cat", "cat.png", "image/png"),
            link(server.files + "paper.pdf", " "),
        )
        notes, stayed, cat, paper = links(call)
        assert stayed == other
        assert (notes.name, notes.mime_type, notes.size) == ("my notes", "text/plain", len(WORDS))
        assert notes.description == f"a copy of {url}"
        assert (paper.name, paper.mime_type) == ("paper.pdf", "application/pdf")
        assert [path_of(each).read_bytes() for each in (notes, cat, paper)] == [WORDS] * 3
        assert len([block for block in call.turn.content if isinstance(block, ImageBlock)]) == 1
        assert server.paths == ["/files/notes.txt?v=1", "/files/cat", "/files/paper.pdf"]
        for _, headers in server.asked:
            assert not {"Cookie", "Authorization", "Referer"} & headers.keys()
        here.check()


async def test_files_and_links_keep_their_order(server: Server, tmp_path: Path) -> None:
    # Q7
    async with place(tmp_path / "media", server.files) as here:
        session = await here.session()
        missing = link(server.files + "status/404", "gone.txt")
        await session.send(
            said(image(b"one", "1.png"), link(server.files), missing, image(b"two", "2.png"))
        )
        call = await here.agent.called(1)
        assert [each.name for each in links(call)] == ["1.png", "it", "2.png"]
        assert [path_of(each).read_bytes() for each in links(call)] == [b"one", WORDS, b"two"]


async def test_by_default_nothing_is_fetched(server: Server, tmp_path: Path) -> None:
    # G10
    blocks = [link(server.files + "a"), link(server.files)]
    async with place(tmp_path / "media") as here:
        assert links(await given(here, *blocks)) == blocks
    async with place(tmp_path / "media", server.url("/other/")) as here:
        assert links(await given(here, *blocks)) == blocks
    agent = HandAgent(hold=False)
    settings = Settings(media=MediaSettings(fetch_links=(server.files,)))
    async with stage(agent=agent, settings=settings) as rt:  # it keeps no files
        await (await rt.session("demo")).send((TextBlock("look"), *blocks))
        assert links(await agent.called(1)) == blocks
    assert server.asked == []


async def test_it_holds_its_place_and_that_of_nobody_else(server: Server, tmp_path: Path) -> None:
    # Q7
    async with place(tmp_path / "media", server.files) as here:
        one, two = await here.session("one"), await here.session("two")
        watch = one.watch()
        slow = await one.send((TextBlock("look"), link(server.files + "slow")))
        await begun(server)
        await one.send("and answer")
        await two.send("hello")
        call = await here.agent.called(1)
        assert call.text == "hello"
        status = await here.store.message_status(slow.message_id)
        assert status is not None
        assert status.message.state is InboundState.PENDING
        server.go.set()
        call = await here.agent.called(2)
        assert call.text.index("look") < call.text.index("it")
        assert [path_of(each).read_bytes() for each in links(call)] == [WORDS]
        watch.close()
        accepted = [e.event async for e in watch if isinstance(e.event, MessageAccepted)]
        assert accepted[0].content[1] == ResourceLink("it", f"attachment:{slow.message_id}/0")


@pytest.mark.parametrize("abruptly", [True, False])
async def test_after_a_restart_it_is_fetched_again(
    server: Server, tmp_path: Path, abruptly: bool
) -> None:
    # Q7 H6 Q8
    root, media = tmp_path / "media", {"fetch_links": (server.files,), "fetch_timeout": DEADLINE}
    async with open_memory(clock) as store:
        opened = until_the_power_fails if abruptly else house
        async with opened(root, store=store, media=media) as here:
            await (await here.session()).send(said(link(server.files + "slow")))
            await begun(server)
        assert here.agent.calls == []
        assert [path for path in root.rglob("*") if path.is_file()] == []
        server.go.set()
        async with place(root, server.files, store=store) as again:
            call = await again.agent.called(1)
            assert [path_of(each).read_bytes() for each in links(call)] == [WORDS]
            assert server.paths == ["/files/slow"] * 2
            again.check()


async def test_a_message_that_is_withdrawn_meanwhile_leaves_nothing(
    server: Server, tmp_path: Path
) -> None:
    # H2 H3 Q5
    async with place(tmp_path / "media", server.files) as here:
        session = await here.session()
        submitted = await session.send(said(link(server.files + "slow")))
        await begun(server)
        await session.send("/queue clear")
        outcome = await session.outcome(submitted.message_id)
        assert outcome.state is InboundState.DROPPED
        server.go.set()
        await session.send("next")
        assert (await here.agent.called(1)).text == "next"
        await until(lambda: here.on_disk() == [] and not here.usage.reserved)
        here.check()


# -- where it may lead -----------------------------------------------------------------------------


async def test_it_is_followed_below_the_prefixes(server: Server, tmp_path: Path) -> None:
    # G10
    with serving() as other:
        async with place(tmp_path / "media", server.files, other.files) as here:
            server.redirects = {
                "/files/a": "b/c?d",
                "/files/b/c?d": "../e",
                "/files/e": f"{other.files}f",
            }
            other.redirects = {"/files/f": "/files/g"}
            url = server.files + "a"
            (found,) = links(await given(here, link(url)))
            assert path_of(found).read_bytes() == WORDS
            assert found.description == f"a copy of {url}"
        assert server.paths == ["/files/a", "/files/b/c?d", "/files/e"]
        assert other.paths == ["/files/f", "/files/g"]
        assert all("Cookie" not in headers for _, headers in server.asked + other.asked)


@pytest.mark.parametrize(
    "target",
    [
        "{other}a",
        "/secret",
        "../../secret",
        "/files/%2e%2e/secret",
        "http://me@{this}/files/a",
        "file:///etc/passwd",
        "//{beside}/files/a",
        "http://[",
    ],
)
async def test_it_is_followed_nowhere_else(server: Server, tmp_path: Path, target: str) -> None:
    # G10
    with serving() as other:
        this, beside = (each.url("").removeprefix("http://") for each in (server, other))
        target = target.format(other=other.files, this=this, beside=beside)
        server.redirects["/files/moved"] = target
        async with place(tmp_path / "media", server.files) as here:
            call = await given(here, link(server.files + "moved"))
        assert links(call) == []
        assert "not here: " in call.text
        assert server.paths == ["/files/moved"]
        assert other.asked == []


async def test_not_for_ever(server: Server, tmp_path: Path) -> None:
    # G10 M3
    async with place(tmp_path / "media", server.files) as here:
        server.redirects = {f"/files/{number}": str(number - 1) for number in range(1, 7)}
        call = await given(here, link(server.files + "5", "five"), link(server.files + "6", "six"))
        assert [each.name for each in links(call)] == ["five"]
        assert "[file: six: not here: it leads from one place to the next without" in call.text
        assert server.paths == [f"/files/{n}" for n in (5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1)]


async def test_the_settings_of_the_moment_count(server: Server, tmp_path: Path) -> None:
    # G10
    def media(*prefixes: str) -> Settings:
        return Settings(media=MediaSettings(root=tmp_path / "media", fetch_links=prefixes))

    async with place(tmp_path / "media") as here:
        here.rt.reconfigure(media(server.files))
        call = await given(here, link(server.files + "a"))
        assert [path_of(each).read_bytes() for each in links(call)] == [WORDS]
        session = await here.session()
        await session.send((link(server.files + "slow"), link(server.files + "b", "b")))
        await begun(server)
        here.rt.reconfigure(media())
        server.go.set()
        call = await here.agent.called(2)
        assert [each.name for each in links(call)] == ["it"]
        assert "[file: b: not here: nothing is fetched from there any more]" in call.text
        assert server.paths == ["/files/a", "/files/slow"]
