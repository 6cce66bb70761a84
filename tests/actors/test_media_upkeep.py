"""Files and folders that go at once, that stay for want of a reason, that are not what they were
(M4, M5, M8, S43).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actors.intake import pieces
from actors.janitor import RECONCILE_EVERY
from actors.receiving import receive
from runtime.ports.front import BadRequest, Unavailable
from runtime.sessions.ids import IdSource
from runtime.sessions.media import MediaItem
from runtime.storage.sqlite import open_memory
from tests.actors.media_stage import (
    a_while,
    audio,
    house,
    image,
    links,
    lower_cap,
    path_of,
    resource,
    said,
)
from tests.actors.stage import clock

PICTURE, OTHER = b"\x89PNG" * 5, b"other" * 2


async def test_what_is_over_a_lower_cap_goes_as_soon_as_it_may(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M5: and not only at the next sweep
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.send(said(image(PICTURE)))
        call = await here.agent.called(1)
        lower_cap(here, 10)
        await a_while()
        assert here.on_disk() == [PICTURE]  # it is in flight
        call.go.set()
        await a_while()
        assert here.on_disk() == []
        here.check()


async def test_nothing_is_evicted_for_a_file_that_does_not_fit_all_the_same(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M5
    async with house(tmp_path / "media", media={"max_media_bytes": 40}) as here:
        busy, other = await here.session("busy"), await here.session("other")
        await here.kept(other, OTHER)
        await busy.send(said(image(PICTURE)))
        await here.agent.called(2)
        with pytest.raises(Unavailable, match="There is no room for this file"):
            await other.send(said(image(b"x" * 21)))
        await a_while()
        assert here.on_disk() == sorted([OTHER, PICTURE])
        await other.send(said(image(b"x" * 20)))
        assert here.on_disk() == sorted([PICTURE, b"x" * 20])
        here.check()


async def test_nothing_is_evicted_for_a_message_whose_files_do_not_fit_together(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M5: and nobody is told to wait, which would not help
    async with house(tmp_path / "media", media={"max_media_bytes": 40}) as here:
        session = await here.session()
        await here.kept(session, PICTURE)
        with pytest.raises(BadRequest, match="Send fewer, or smaller ones"):
            await session.send(said(image(b"x" * 21), resource(b"y" * 20, "file:///y")))
        with pytest.raises(BadRequest, match="one of up to"):  # which says more
            await session.send(said(audio(bytes(30 * 1024**2)), image(b"x" * 21)))
        await a_while()
        assert here.on_disk() == [PICTURE]
        await session.send(said(image(b"x" * 20), audio(b"y" * 20)))
        assert here.on_disk() == [b"x" * 20, b"y" * 20]
        here.check()


async def test_an_empty_folder_goes_at_the_start_if_it_is_ours(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M8 S43: the session may have been closed just before the power failed
    root, ours = tmp_path / "media", IdSource().new()
    async with house(root):
        (root / ours).mkdir()
        (root / "somebodys").mkdir()
    async with house(root) as here:
        assert here.folders() == ["somebodys"]
        session = await here.session()
        await here.kept(session, PICTURE)
        assert here.folders() == sorted([session.id, "somebodys"])


async def test_a_file_that_comes_after_its_session_was_closed_leaves_no_folder(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # S43
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.close()
        await a_while()
        staged = await receive(here.library, session.id, pieces(PICTURE), MediaItem())
        assert here.folders() == [session.id]
        here.library.unstage(staged)  # since the message is not accepted
        await a_while()
        assert here.folders() == []
        here.check()


async def test_what_an_agent_put_beside_its_files_goes_with_its_session(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # S43: while the session goes on, nobody touches it
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await here.kept(session, PICTURE)
        (here.root / session.id / "notes.txt").write_bytes(OTHER)
        lower_cap(here, 0)
        await here.front.sweep_media()
        assert here.on_disk() == [OTHER]
        await session.close()
        await a_while()
        assert here.folders() == []


async def test_of_a_session_that_was_closed_nothing_is_told(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M9 S43: the power failed when its file was gone and its row was not
    async with open_memory(clock) as store:
        async with house(tmp_path / "media", store=store) as here:
            session = await here.session()
            await here.kept(session, PICTURE)
            (file,) = here.files()
        await store.close_session(session.id)
        file.unlink()
        async with house(tmp_path / "media", store=store) as again:
            assert again.folders() == []
            assert again.library.untold == set()
            assert await store.sessions_with_untold_evictions() == ()


async def test_what_agents_write_into_files_that_they_were_given_counts(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M5 M7: it is found when the index is held against the disk
    async with house(tmp_path / "media", media={"max_media_bytes": 100}) as here:
        session = await here.session()
        await here.kept(session, PICTURE, OTHER)
        path = next(path for path in here.files() if path.read_bytes() == OTHER)
        path.write_bytes(OTHER * 9)
        await trio.sleep(RECONCILE_EVERY + 1)
        assert here.on_disk() == [OTHER * 9]
        here.check()


@pytest.mark.parametrize("change", ["removed", "written over", "a link"])
async def test_the_same_bytes_are_kept_anew_when_their_file_has_them_no_more(
    autojump_clock: MockClock, tmp_path: Path, change: str
) -> None:
    # M4 H1: an agent works with the files that it is given, and may remove what it has done
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.send(said(image(PICTURE)))
        call = await here.agent.called(1)
        (first,) = links(call)
        path_of(first).unlink()
        if change == "written over":
            path_of(first).write_bytes(bytes(reversed(PICTURE)))
        elif change == "a link":
            (tmp_path / "elsewhere").write_bytes(PICTURE)
            path_of(first).symlink_to(tmp_path / "elsewhere")
        call.go.set()
        for number in (2, 3):
            await session.send(said(image(PICTURE), text="again"))
            call = await here.agent.called(number)
            (link,) = links(call)
            assert link.uri != first.uri
            assert not path_of(link).is_symlink()
            assert path_of(link).read_bytes() == PICTURE
            call.go.set()
        await a_while()
        assert len(here.blobs()) == 2
        assert here.usage.in_flight == 0
