"""Room for files: the cap, the floor, what goes first, and what never goes (M3, M5, M6, M7)."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actors.janitor import SWEEP_EVERY
from actors.library_opening import reconcile
from actors.outbox_looks import reconcile_outboxes
from actors.paging import PAGE
from runtime.ports.front import BadRequest, Unavailable
from runtime.sessions.media import BlobRow
from runtime.settings import MediaSettings, Settings
from runtime.storage.errors import StoreUnavailable
from runtime.storage.media_errors import MediaFailed
from runtime.storage.media_tree import MediaTree, Space
from tests.actors.media_stage import SeeingAgent, a_while, house, image, said


def files(count: int, size: int = 10) -> list[bytes]:
    """Files of different bytes."""
    return [bytes([n]) * size for n in range(count)]


# -- the cap ---------------------------------------------------------------------------------------


async def test_the_least_recently_used_goes_first_wherever_it_is(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M5
    async with house(tmp_path / "media", media={"max_media_bytes": 45}) as here:
        one, two = await here.session("one"), await here.session("two")
        a, b, c, d, e, f = files(6)
        await here.kept(one, a)
        await here.kept(two, b)
        await here.kept(one, c)
        await here.kept(one, a)  # used again
        await here.kept(two, d)
        assert here.on_disk() == sorted([a, b, c, d])
        await here.kept(two, e)
        assert here.on_disk() == sorted([a, c, d, e])
        await here.kept(one, f)
        assert here.on_disk() == sorted([a, d, e, f])
        assert here.metric('media_removed_total{reason="evicted"}') == 2
        assert here.metric('media_removed_bytes_total{reason="evicted"}') == 20
        here.check()


async def test_no_more_goes_than_is_needed(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M5 M7
    async with house(tmp_path / "media", media={"max_media_bytes": 35}) as here:
        session = await here.session()
        await here.kept(session, *files(3))
        await here.kept(session, b"x" * 6)
        assert len(here.on_disk()) == 3
        assert here.usage.size == 26


async def test_what_is_in_flight_is_never_evicted_and_counts(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M5: refused aloud
    async with house(tmp_path / "media", media={"max_media_bytes": 30}) as here:
        busy, other = await here.session("busy"), await here.session("other")
        a, b, c, d = files(4)
        await here.kept(other, a)
        await busy.send(said(image(b), image(c)))
        await here.agent.called(2)
        with pytest.raises(Unavailable, match="There is no room for this file") as refused:
            await other.send(said(image(d), image(b"x" * 9)))
        assert "nothing was accepted" in str(refused.value)
        await a_while()
        assert set(here.on_disk()) >= {b, c}  # and the evictable one had to go for the first file
        assert here.on_disk() == sorted([b, c])
        assert (await other.queue()).waiting == 0
        here.check()
        here.agent.calls[-1].go.set()
        await a_while()
        await other.send(said(image(d)))  # now one of them may go
        assert d in here.on_disk()
        assert here.usage.size == 30


async def test_a_file_that_never_fits_removes_nothing(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M5
    async with house(tmp_path / "media", media={"max_media_bytes": 30}) as here:
        session = await here.session()
        await here.kept(session, *files(3))
        with pytest.raises(BadRequest, match="all files together may take") as refused:
            await session.send(said(image(b"x" * 31)))
        assert refused.value.path == "$.prompt[1].data"
        assert here.on_disk() == sorted(files(3))


async def test_a_lower_cap_holds_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M5
    async with house(tmp_path / "media", agent=SeeingAgent()) as here:
        session = await here.session()
        await here.kept(session, *files(5))
        media = MediaSettings(root=here.root, max_media_bytes=25, free_space_floor=0)
        here.rt.reconfigure(Settings(media=media))
        await a_while()
        assert here.on_disk() == sorted(files(5)[3:])
        assert here.usage.cap == 25
        here.check()


# -- the free space --------------------------------------------------------------------------------


class Disk:
    """A disk with so much free space beside our files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, free: int, total: int) -> None:
        self.free = free

        def space(tree: MediaTree) -> Space:
            ours = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            return Space(self.free - ours, total)

        monkeypatch.setattr(MediaTree, "space", space)


async def test_the_disk_is_not_filled(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # M7
    root = tmp_path / "media"
    disk = Disk(monkeypatch, root, free=135, total=1_000)
    async with house(root, media={"free_space_floor": 100}) as here:
        session = await here.session()
        a, b, c, d = files(4)
        await here.kept(session, a, b, c)
        assert len(here.on_disk()) == 3
        await here.kept(session, d)
        assert here.on_disk() == sorted([b, c, d])
        disk.free = 115  # somebody else needs it
        swept = await here.front.sweep_media()
        assert (swept.files, swept.size, swept.problems) == (2, 20, 0)
        assert here.on_disk() == [d]
        with pytest.raises(Unavailable, match="not enough free space"):
            await session.send(said(image(b"x" * 16)))
        await a_while()
        assert here.on_disk() == [d]  # it would have gone in vain
        disk.free = 105
        with pytest.raises(Unavailable, match="not enough free space"):
            await session.send(said(image(b"x" * 10)))
        here.check()


@pytest.mark.parametrize(
    "total, floor", [(1_000, 50), (20 * 1024**3, 1024**3), (10**13, 1024**3), (10**9, 5 * 10**7)]
)
async def test_the_usual_floor(
    autojump_clock: MockClock, tmp_path: Path, total: int, floor: int
) -> None:
    # M7: the smaller of 1 GiB and 5 %
    async with house(tmp_path / "media", media={"free_space_floor": None}) as here:
        assert here.library.floor(Space(0, total)) == floor


# -- sweeps ----------------------------------------------------------------------------------------


async def test_usage_names_the_largest(autojump_clock: MockClock, tmp_path: Path) -> None:
    # M5
    async with house(tmp_path / "media") as here:
        small, large = await here.session("small"), await here.session("large")
        await here.kept(small, b"x")
        await here.kept(large, *files(3))
        await large.send(said(image(b"waits")))
        usage = here.usage
        assert (usage.root, usage.cap) == (str(here.root), 200 * 1024**2)
        assert (usage.files, usage.size) == (5, 36)
        assert (usage.in_flight, usage.evictable) == (5, 31)
        assert [
            (each.session_id, each.files, each.size) for each in await here.front.largest_media()
        ] == [
            (large.id, 4, 35),
            (small.id, 1, 1),
        ]
        assert here.metric("media_bytes") == 36
        assert here.metric("media_files") == 5
        swept = await here.front.sweep_media()
        assert (swept.files, swept.size, swept.problems) == (0, 0, 0)


async def test_what_is_asked_about_all_files_lets_others_have_their_turn(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M7
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with house(tmp_path / "media") as here, trio.open_nursery() as nursery:
        ledger = here.library.ledger
        ledger.load(
            BlobRow(f"s{n}", f"f{n}", f"h{n}", size=n, epoch=1, created_at=n, used_at=n)
            for n in range(5 * PAGE)
        )
        nursery.start_soon(take_turns)
        largest = await here.front.largest_media()
        assert [each.size for each in largest] == [*range(5 * PAGE - 1, 5 * PAGE - 11, -1)]
        assert turns > 3
        turns = 0
        await reconcile_outboxes(here.library, here.store)
        assert turns > 3
        turns = 0
        await reconcile(here.library, here.library.folders, here.store, 0)
        assert turns > 7
        nursery.cancel_scope.cancel()


async def test_files_of_a_session_in_which_nobody_speaks_go(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # S43 M9
    async with house(tmp_path / "media", media={"idle": 3_600.0}) as here:
        quiet, lively = await here.session("quiet"), await here.session("lively")
        a, b = files(2)
        await here.kept(quiet, a)
        await here.kept(lively, b)
        for _ in range(4):
            assert here.on_disk() == sorted([a, b])
            await trio.sleep(1_000)
            before = len(here.agent.calls)
            await lively.send("still here")
            (await here.agent.called(before + 1)).go.set()
        assert here.on_disk() == [b]
        assert here.metric('media_removed_total{reason="idle"}') == 1
        await quiet.send("hello again")
        call = await here.agent.called(len(here.agent.calls) + 1)
        assert "cannot be read any more" in call.text
        here.check()


async def test_files_are_kept_for_ever_where_idle_is_off(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # S43
    async with house(tmp_path / "media", media={"idle": None}) as here:
        await here.kept(await here.session(), b"x")
        await trio.sleep(5_000)
        assert here.on_disk() == [b"x"]


async def test_what_cannot_be_removed_is_counted_and_tried_again(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # M6
    remove, refusals = MediaTree.remove, 3

    def refusing(tree: MediaTree, session: str, file: str) -> bool:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise MediaFailed("the disk refuses, as scripted")
        return remove(tree, session, file)

    async with house(tmp_path / "media", media={"max_media_bytes": 30}) as here:
        session = await here.session()
        a, b, c, d = files(4)
        await here.kept(session, a, b, c)
        monkeypatch.setattr(MediaTree, "remove", refusing)
        with pytest.raises(Unavailable, match="no room"):
            await session.send(said(image(d)))
        assert here.metric("media_problems_total") == 3
        assert here.usage.size == 30  # it is on disk, whatever was wanted
        assert here.usage.evictable == 0
        turn = await session.prompt("words")  # no message fails for it
        (await here.agent.called(4)).go.set()
        assert (await turn.result()).stop_reason == "end_turn"
        await trio.sleep(2 * SWEEP_EVERY)
        assert here.on_disk() == []
        here.check()


async def test_a_problem_of_one_file_spares_no_other(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # M6
    async with house(tmp_path / "media", media={"max_media_bytes": 40}) as here:
        one, two = await here.session("one"), await here.session("two")
        a, b = files(2)
        await here.kept(one, a)
        await here.kept(two, b)
        stuck = here.files()[0] if here.files()[0].read_bytes() == a else here.files()[1]
        stuck.unlink()
        stuck.mkdir()  # nothing of ours
        media = MediaSettings(root=here.root, max_media_bytes=0, free_space_floor=0)
        here.rt.reconfigure(Settings(media=media))
        await a_while()
        assert here.files() == []
        assert stuck.is_dir()
        assert here.metric("media_problems_total") == 1
        stuck.rmdir()
        swept = await here.front.sweep_media()
        assert swept.problems == 0
        here.check()


async def test_an_eviction_that_cannot_be_written_down_does_not_happen(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # M9 D1 M5: and what was used longest ago is still the first to go
    async with house(tmp_path / "media") as here:
        session = await here.session()
        oldest, *others = files(4)
        await here.kept(session, oldest, *others)

        async def refuse(blobs: object) -> None:
            raise StoreUnavailable("no space left, as scripted")

        with monkeypatch.context() as patch:
            patch.setattr(here.store, "blobs_evicted", refuse)
            media = MediaSettings(root=here.root, max_media_bytes=30, free_space_floor=0)
            here.rt.reconfigure(Settings(media=media))
            await a_while()
            assert len(here.on_disk()) == 4
            assert here.usage.evictable == 40
        swept = await here.front.sweep_media()
        assert (swept.files, swept.size) == (1, 10)
        assert here.on_disk() == sorted(others)
        here.check()
