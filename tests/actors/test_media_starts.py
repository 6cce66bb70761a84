"""Files across restarts and crashes of the janitor, and of closed sessions (H6, M8, M9, S43)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actors.intake import pieces
from actors.janitor import RECONCILE_EVERY, Janitor
from actors.receiving import receive
from runtime.sessions.ids import IdSource
from runtime.sessions.media import MediaItem
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import AgentEvent
from runtime.storage.media_errors import MediaInUse
from runtime.storage.media_tree import MediaTree
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store
from tests.actors.media_stage import (
    GONE,
    SeeingAgent,
    a_while,
    house,
    image,
    links,
    lower_cap,
    path_of,
    said,
    said_to,
    until_the_power_fails,
)
from tests.actors.stage import Call, chunk, clock

PICTURE, OTHER = b"\x89PNG" * 5, b"other" * 3


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_memory(clock) as store:
        yield store


# -- a restart -------------------------------------------------------------------------------------


@pytest.mark.parametrize("abruptly", [True, False])
async def test_what_waits_is_in_flight_before_anything_goes(
    autojump_clock: MockClock, tmp_path: Path, store: Store, abruptly: bool
) -> None:
    # H6 M8 Q8
    root = tmp_path / "media"
    async with house(root, store=store) as here:
        session = await here.session()
        await here.kept(session, OTHER)
        await session.send("busy")
        await here.agent.called(2)
        await session.send(said(image(PICTURE)))
        if not abruptly:
            here.agent.calls[1].go.set()
    async with house(root, store=store, media={"max_media_bytes": len(PICTURE)}) as again:
        await again.front.sweep_media()
        assert again.on_disk() == [PICTURE]  # the cap took the one that had been given
        again.check()
        again.agent.hold = False
        for call in again.agent.calls:
            call.go.set()
        await trio.sleep(60)
        given = [path_of(link).read_bytes() for call in again.agent.calls for link in links(call)]
        assert given == [PICTURE]
        again.check()
        assert again.usage.in_flight == 0


@pytest.mark.parametrize("begun", [True, False])
async def test_a_turn_that_was_cut_off_has_its_files_again(
    autojump_clock: MockClock, tmp_path: Path, store: Store, begun: bool
) -> None:
    # H6 T5
    root = tmp_path / "media"

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if begun:
            yield chunk("half")
        await trio.sleep_forever()

    async with until_the_power_fails(root, store, agent=SeeingAgent(play, hold=False)) as here:
        session = await here.session()
        message = await session.send(said(image(PICTURE)))
        await here.agent.called(1)
        await a_while()
        assert here.usage.evictable == (len(PICTURE) if begun else 0)
    async with house(root, store=store, media={"max_media_bytes": 1}) as again:
        await again.front.sweep_media()
        assert again.usage.in_flight == len(PICTURE)
        call = await again.agent.called(1)
        assert [path_of(link).read_bytes() for link in links(call)] == [PICTURE]
        call.go.set()
        outcome = await again.front.outcome(message.message_id)
        assert outcome.state is InboundState.DONE
        again.check()


async def test_files_of_sessions_that_go_on_stay(
    autojump_clock: MockClock, tmp_path: Path, store: Store
) -> None:
    # M8: there is no blanket wipe
    root = tmp_path / "media"
    async with house(root, store=store) as here:
        await here.kept(await here.session("one"), PICTURE, OTHER)
        await here.kept(await here.session("two"), PICTURE)
        before = here.usage
    async with house(root, store=store) as again:
        assert again.usage == before
        again.check()
        session = await again.session("one")
        await session.send(said(image(PICTURE)))
        assert again.usage.size == before.size  # M4, across the restart


async def test_what_a_crash_left_is_removed(
    autojump_clock: MockClock, tmp_path: Path, store: Store
) -> None:
    # M8 M3
    root, ids = tmp_path / "media", IdSource(clock)
    async with house(root, store=store) as here:
        session = await here.session()
        await here.kept(session, PICTURE)
    folder = root / session.id
    (folder / f"{ids.new()}.png").write_bytes(b"no row")
    (folder / ".unfinished-0123").write_bytes(b"half")
    (folder / "notes.txt").write_bytes(b"a person's")
    async with house(root, store=store) as again:
        assert sorted(path.name for path in again.files() if "notes" not in path.name) == sorted(
            again.blobs()
        )
        assert sorted(again.on_disk()) == sorted([PICTURE, b"a person's"])
        assert again.metric('media_removed_total{reason="orphan"}') == 2


async def test_the_files_of_another_data_directory_stay(
    autojump_clock: MockClock, tmp_path: Path, store: Store
) -> None:
    # M8 M4: the same `media.root` in the settings, and another database for once
    root = tmp_path / "media"
    async with house(root, store=store) as here:
        session = await here.session()
        await here.kept(session, PICTURE)
        (here.files()[0].parent / ".unfinished-0123").write_bytes(b"half")
    async with house(root) as other:
        await other.kept(await other.session(), OTHER)
        await other.front.sweep_media()
        await trio.sleep(RECONCILE_EVERY + 1)
        assert other.on_disk() == sorted([PICTURE, OTHER, b"half"])
        assert other.usage.size == len(OTHER)
    async with house(root, store=store) as again:
        assert again.on_disk() == sorted([PICTURE, OTHER])
        assert again.usage.size == len(PICTURE)
        call = await said_to(again, await again.session(), "hello")
        assert GONE not in call.text


async def test_a_file_that_is_missing_is_told_when_it_was_given(
    autojump_clock: MockClock, tmp_path: Path, store: Store
) -> None:
    # M8 M9
    root = tmp_path / "media"
    async with house(root, store=store) as here:
        session = await here.session()
        await here.kept(session, PICTURE)
        name = here.files()[0].name
        await session.send("busy")
        await here.agent.called(2)
        waits = await session.send(said(image(OTHER)))
    for path in root.rglob("*.png"):
        path.unlink()
    agent = SeeingAgent(hold=False)
    async with house(root, store=store, agent=agent) as again:
        again.check()
        assert again.usage.size == 0
        await again.front.outcome(waits.message_id)
        texts = "\n".join(call.text for call in agent.calls)
        assert texts.count(GONE) == 1
        assert name in texts
        assert "[image: not here: it was removed to make room]" in texts


async def test_two_runtimes_do_not_share_a_folder(
    autojump_clock: MockClock, tmp_path: Path, store: Store
) -> None:
    # M8
    root = tmp_path / "media"
    async with house(root, store=store) as here:
        await here.kept(await here.session(), PICTURE)
        with pytest.raises(MediaInUse, match="Another runtime"):
            async with house(root):
                pytest.fail("it opened")
        assert here.on_disk() == [PICTURE]


# -- the end of a session --------------------------------------------------------------------------


async def test_closing_removes_the_folder(autojump_clock: MockClock, tmp_path: Path) -> None:
    # S43 H1
    async with house(tmp_path / "media") as here:
        session, other = await here.session(), await here.session("other")
        await here.kept(session, PICTURE, OTHER)
        await here.kept(other, PICTURE)
        assert len(here.folders()) == 2
        await session.close()
        await a_while()
        assert here.folders() == [other.id]
        assert here.on_disk() == [PICTURE]
        here.check()
        rows = await here.store.blobs()
        assert {row.session_id for row in rows.blobs} == {other.id}


async def test_closing_while_a_file_is_received(autojump_clock: MockClock, tmp_path: Path) -> None:
    # S43 M3: what is staged goes when it is let go of, and the folder with it
    async with house(tmp_path / "media") as here:
        session = await here.session()
        staged = await receive(here.library, session.id, pieces(PICTURE), MediaItem())
        await session.close()
        await a_while()
        assert here.on_disk() == [PICTURE]
        here.library.unstage(staged)
        await a_while()
        assert here.folders() == []
        here.check()


async def test_sessions_that_were_closed_before_a_crash_are_tidied_up(
    autojump_clock: MockClock, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # S43 M8
    root = tmp_path / "media"

    async def crash(*_: object) -> None:
        await trio.sleep_forever()

    async with until_the_power_fails(root, store) as here:
        session = await here.session()
        await here.kept(session, PICTURE)
        with monkeypatch.context() as patch:
            patch.setattr(Janitor, "_discard", crash)
            await session.close()
            await a_while()
            assert here.on_disk() == [PICTURE]
    async with house(root, store=store) as again:
        await a_while()
        assert again.folders() == []
        assert (await store.blobs()).blobs == ()
        again.check()


# -- the janitor crashes ---------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("reason", ["evicted", "discarded"])
async def test_a_crash_of_the_janitor_loses_nothing(
    autojump_clock: MockClock,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    moment: str,
) -> None:
    # M6 M9 H2 K4
    root, remove, crashes = tmp_path / "media", MediaTree.remove, 1

    def crashing(tree: MediaTree, session: str, file: str) -> bool:
        nonlocal crashes
        if crashes:
            crashes -= 1
            if moment == "after":
                remove(tree, session, file)
            raise ZeroDivisionError("a bug, as scripted")
        return remove(tree, session, file)

    async with house(root, store=store) as here:
        session = await here.session()
        await here.kept(session, OTHER)
        await session.send("busy")
        await here.agent.called(2)
        await session.send(said(image(PICTURE)))
        monkeypatch.setattr(MediaTree, "remove", crashing)
        if reason == "evicted":
            lower_cap(here, len(PICTURE))
        else:
            await session.clear()
        await trio.sleep(120)  # it is made anew, and sweeps
        left = PICTURE if reason == "evicted" else OTHER
        assert here.on_disk() == [left]
        assert crashes == 0
        here.check()
        here.agent.hold = False
        for call in here.agent.calls:
            call.go.set()
        await a_while()
        call = await said_to(here, session, "hello")
        told = [each.text.count(GONE) for each in here.agent.calls]
        assert sum(told) == (1 if reason == "evicted" else 0)
    async with house(root, store=store) as again:
        again.check()
        assert again.on_disk() == [left]


async def test_bytes_that_come_again_while_their_file_was_to_go(
    autojump_clock: MockClock, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # H6 M4: the janitor crashed between writing down that a file goes and removing it
    root = tmp_path / "media"

    def crashing(tree: MediaTree, session: str, file: str) -> bool:
        raise ZeroDivisionError("a bug, as scripted")

    async with until_the_power_fails(root, store) as here:
        session = await here.session()
        await here.kept(session, PICTURE)
        with monkeypatch.context() as patch:
            patch.setattr(MediaTree, "remove", crashing)
            lower_cap(here, 1)
            await a_while()
            lower_cap(here, 1_000)
            await session.send("busy")
            await here.agent.called(2)
            message = await session.send(said(image(PICTURE)))
    async with house(root, store=store, agent=SeeingAgent(hold=False)) as again:
        await again.front.outcome(message.message_id)
        given = [path_of(link).read_bytes() for call in again.agent.calls for link in links(call)]
        assert given[-1:] == [PICTURE]
        again.check()
