"""Files while something else goes wrong: what is accepted keeps its files, what is not leaves none
(H2, H7, M3, M4).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from actors.disk import inline
from actors.janitor import TOLD
from actors.library import Library, MediaRefused
from actors.library_opening import reconcile
from actors.receiving import receive
from actors.router import Router
from runtime.metrics import Metrics
from runtime.ports.front import Unavailable
from runtime.sessions.content import ImageBlock, TextBlock
from runtime.sessions.ids import IdSource
from runtime.sessions.media import HandedOver, MediaItem
from runtime.sessions.updates import AgentEvent, Result
from runtime.settings import MediaSettings, Settings
from runtime.storage.errors import StoreUnavailable
from runtime.storage.media_errors import MediaFailed
from runtime.storage.media_tree import MediaTree
from runtime.storage.sqlite import open_memory
from tests.actors.media_stage import SeeingAgent, house
from tests.actors.stage import Call, chunk, clock
from tests.actors.test_fetching import content_of, links, on_disk, place
from tests.actors.test_stubborn_disk import Gated, refusing

LOOK: Any = (TextBlock("look"), ImageBlock("aGVsbG8=", "image/png"))


# H7 M4 D5
async def test_a_router_that_falls_over_takes_no_file_from_a_message_on_its_way_to_the_disk(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "media"
    told = Router._tell

    def fall_over(*_: object) -> None:
        monkeypatch.setattr(Router, "_tell", told)
        raise RuntimeError("as scripted")

    async with open_memory(clock) as memory:
        store: Any = Gated(memory)
        async with place(root, store=store) as here, trio.open_nursery() as nursery:
            session = await here.rt.session("pictures")
            store.gates["admit"] = trio.Event()

            async def send() -> None:
                with pytest.raises(Unavailable):
                    await session.send(LOOK)

            nursery.start_soon(send)
            await store.waiting.wait()
            gate = store.gates.pop("admit")
            monkeypatch.setattr(Router, "_tell", fall_over)
            with pytest.raises(Unavailable):
                await (await here.rt.session("other")).send("hello")
            await trio.sleep(10)
            gate.set()
            call = await here.agent.called(1)
            if "look" not in call.text:
                call = await here.agent.called(2)
            assert [content_of(link) for link in links(call)] == [b"hello"]


# H2 H7
async def test_a_sender_who_leaves_leaves_no_file(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        session = await here.rt.session("pictures")
        for moment in range(20):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(session.send, LOOK)
                    for _ in range(moment):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
        await trio.sleep(120)
        for call in here.agent.calls:
            assert {content_of(link) for link in links(call)} == {b"hello"}
            assert "not here" not in call.text
        usage = here.rt.front.media_usage()
        assert (usage.in_flight, usage.reserved) == (0, 0)
        assert len(on_disk(root)) == usage.files <= 1


# -- the library ---------------------------------------------------------------------------------


class Stubborn:
    """The real tree; what is in `failing` fails so often."""

    def __init__(self, root: Path) -> None:
        self._tree = MediaTree(root)
        self.failing: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._tree, name)
        if not callable(operation):
            return operation

        def perhaps(*args: Any, **options: Any) -> Any:
            if self.failing.get(name, 0) > 0:
                self.failing[name] -= 1
                raise MediaFailed(f"{name} failed, as scripted")
            return operation(*args, **options)

        return perhaps


async def in_pieces(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content


def shelf(store: Any, root: Path) -> tuple[Library, Stubborn]:
    tree: Any = Stubborn(root)
    tree.prepare()
    settings = MediaSettings(free_space_floor=0)
    ids = IdSource(clock)
    return Library(store, tree, inline, lambda: settings, Metrics(), ids, clock), tree


# M4 M6 H2
async def test_a_copy_that_cannot_be_removed_keeps_no_file_in_flight(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_memory(clock) as store:
        library, tree = shelf(store, tmp_path / "media")
        kept: list[Any] = []

        async def take_in() -> None:
            with suppress(MediaRefused):
                kept.append(await receive(library, "s", in_pieces(b"same"), MediaItem(size=4)))

        tree.failing["remove"] = 1
        async with trio.open_nursery() as nursery:  # both are finished before either is staged
            nursery.start_soon(take_in)
            nursery.start_soon(take_in)
        assert tree.failing["remove"] == 0, "they did not meet"
        for staged in kept:
            library.unstage(staged)
        assert (library.ledger.usage.in_flight, library.ledger.incoming.reserved) == (0, 0)
        tree.release()


# M6 M7
async def test_a_lost_file_that_could_not_be_noted_is_noted_later(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with refusing() as store:
        library, tree = shelf(store, tmp_path / "media")
        staged = await receive(library, "s", in_pieces(b"lost"), MediaItem(size=4))
        handed = HandedOver("s", "m", (staged.blob.file,), clock())
        library.ledger.apply((handed,))
        library.unstage(staged)
        library.path("s", staged.blob.file).unlink()
        later = clock() + 10_000
        store.refusals["blobs_evicted"] = 1
        with pytest.raises(StoreUnavailable):
            await reconcile(library, cast("MediaTree", tree), store, later)
        assert library.ledger.leaving == []
        assert await reconcile(library, cast("MediaTree", tree), store, later) == 1
        assert library.ledger.on_disk == 0
        tree.release()


# M7
async def test_a_file_that_has_just_come_is_not_measured(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """For an instant there is an empty one of its name, and the look at the disk is of before."""
    async with open_memory(clock) as store:
        library, tree = shelf(store, tmp_path / "media")
        staged = await receive(library, "s", in_pieces(b"new"), MediaItem(size=3))
        path = library.path("s", staged.blob.file)
        path.write_bytes(b"")
        came = path.stat().st_mtime_ns // 1_000_000
        assert await reconcile(library, cast("MediaTree", tree), store, came) == 0
        assert library.ledger.on_disk == 3
        assert await reconcile(library, cast("MediaTree", tree), store, came + 1) == 1
        assert library.ledger.on_disk == 0
        tree.release()


# M6 M7
async def test_a_folder_from_which_nothing_can_be_removed_does_not_fill_the_log(
    tmp_path: Path,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> bool:
        raise MediaFailed("it is not ours, as scripted")

    async with house(tmp_path / "media", agent=SeeingAgent(hold=False)) as here:
        session = await here.session()
        await here.kept(session, *(b"%d" % number for number in range(50)))
        monkeypatch.setattr(MediaTree, "remove", refuse)
        here.rt.reconfigure(
            Settings(media=MediaSettings(root=here.root, free_space_floor=0, max_media_bytes=0))
        )
        caplog.clear()
        await trio.sleep(600)
        told = [line for line in caplog.messages if line.startswith("media_problem")]
        assert here.metric("media_problems_total") > 50
        assert 0 < len(told) <= 21 * (TOLD + 1)
        monkeypatch.undo()
        await trio.sleep(60)
        assert here.files() == []


# H1 T1 Q5
async def test_a_disk_that_is_slow_to_write_a_handover_down_holds_up_no_question(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("well")
        await call.go.wait()
        yield Result()

    agent = SeeingAgent(play, hold=False)
    async with open_memory(clock) as memory:
        store: Any = Gated(memory)
        store.gates["hand_over"] = trio.Event()
        async with house(tmp_path / "media", agent=agent, store=store) as here:
            session = await here.session()
            turn = await session.prompt(LOOK)
            call = await agent.called(1)
            await store.waiting.wait()
            await trio.sleep(1)
            try:
                with trio.fail_after(1):
                    assert (await session.queue()).running is not None
                    assert await session.clear() == 0
            finally:
                store.gates.pop("hand_over").set()
            call.go.set()
            assert (await turn.result()).text == "well"
            assert here.usage.evictable == here.usage.size > 0
