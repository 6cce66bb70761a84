"""Links to the web that may be fetched, and lead to nothing, or to too much (M3, A1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import fetching
from actors.intake import MOST_LOOKED_AT
from runtime.app import FETCHED_AT_ONCE
from runtime.sessions.content import ResourceLink, TextBlock
from runtime.sessions.events import Notice
from tests.actors.media_stage import (
    image,
    links,
    path_of,
)
from tests.actors.web_stage import (
    DEADLINE,
    WORDS,
    Server,
    begun,
    given,
    link,
    place,
    serving,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSES", (0.0,))


@pytest.mark.parametrize(
    "path, attempts, words",
    [
        ("status/404", 1, "the server answered 404"),
        ("status/401", 1, "the server answered 401"),
        ("status/503", 3, "the server answered 503"),
        ("status/429", 3, "the server answered 429"),
        ("status/304", 1, "the server answered 304"),
        ("cut", 3, "the server does not answer"),
        ("packed", 1, "packs it"),
        ("long", 1, "The file is too large: one of up to 97.66 KiB is taken"),
        ("announced", 1, "The file is too large: one of up to 97.66 KiB is taken"),
        ("endless", 1, "The file is too large: one of up to 97.66 KiB is taken"),
        ("slow", 1, "the server took too long"),
    ],
)
async def test_the_agent_and_who_watches_are_told(
    server: Server, tmp_path: Path, path: str, attempts: int, words: str
) -> None:
    # M3 A1 Q4
    timeout = 0.5 if path == "slow" else DEADLINE
    url = server.files + path
    async with place(tmp_path / "media", server.files, timeout=timeout) as here:
        session = await here.session()
        watch = session.watch()
        await session.send((TextBlock("look"), link(url, "a\nfile.txt"), TextBlock("and answer")))
        call = await here.agent.called(1)
        assert links(call) == []
        first, told, last = call.text.split("\n")
        assert (first, last) == ("look", "and answer")
        assert told.startswith("[file: a file.txt: not here: ")
        assert words in told
        assert told.endswith(f"] {url}")
        assert "secret" not in call.text
        assert server.paths == [f"/files/{path}"] * attempts
        watch.close()
        (notice,) = [e.event async for e in watch if isinstance(e.event, Notice)]
        assert (notice.code, notice.message_id) == ("not_taken", None)
        assert notice.text.startswith("Not taken:\na file.txt: ")
        assert words in notice.text
        assert here.on_disk() == []
        here.check()


async def test_where_nobody_serves(tmp_path: Path) -> None:
    # M3 A1
    with serving() as gone:
        url = gone.files
    async with place(tmp_path / "media", url) as here:
        call = await given(here, link(url))
        assert call.text == f"look\n[file: it: not here: the server does not answer] {url}"


async def test_it_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    # M3
    server.failures = 2
    async with place(tmp_path / "media", server.files) as here:
        (found,) = links(await given(here, link(server.files + "status/500")))
        assert path_of(found).read_bytes() == WORDS
        assert len(server.asked) == 3


async def test_a_slow_server_holds_up_only_its_own_files(server: Server, tmp_path: Path) -> None:
    # Q7
    with serving() as other:
        async with place(tmp_path / "media", server.files, other.files) as here:
            for number in range(FETCHED_AT_ONCE + 2):
                session = await here.session(f"slow {number}")
                await session.send((link(f"{server.files}slow/{number}"),))
            for _ in range(FETCHED_AT_ONCE):
                await begun(server)
            call = await given(here, link(other.files + "a"))
            assert [path_of(each).read_bytes() for each in links(call)] == [WORDS]
            assert len(server.asked) == FETCHED_AT_ONCE
            server.go.set()
            for number in range(FETCHED_AT_ONCE + 2):
                assert len(links(await here.agent.called(2 + number))) == 1


async def test_there_are_at_most_so_many(server: Server, tmp_path: Path) -> None:
    # M3
    async with place(tmp_path / "media", server.files) as here:
        session = await here.session()
        blocks = [link(server.files + f"{number}") for number in range(99)]
        later = link(server.files + "later")
        await session.send((*blocks, image(b"x"), later))
        call = await here.agent.called(1)
        assert len(links(call)) == 101
        assert links(call)[-1] == later
        assert len(server.asked) == 99


async def test_only_so_many_blocks_are_looked_at(server: Server, tmp_path: Path) -> None:
    # G7
    async with place(tmp_path / "media", server.files) as here:
        blocks = [TextBlock(str(number)) for number in range(MOST_LOOKED_AT - 1)]
        session = await here.session()
        await session.send((*blocks, link(server.files + "a"), link(server.files + "b")))
        found, stayed = links(await here.agent.called(1))
        assert path_of(found).read_bytes() == WORDS
        assert stayed == link(server.files + "b")


async def test_what_it_says_of_its_size_is_not_believed(server: Server, tmp_path: Path) -> None:
    # M3 M5
    async with place(tmp_path / "media", server.files) as here:
        sizes = (-1, 0, 10**12)
        call = await given(
            here,
            *(ResourceLink(str(size), server.files + str(size), size=size) for size in sizes),
        )
        assert [each.size for each in links(call)] == [len(WORDS)] * 3
        here.check()
