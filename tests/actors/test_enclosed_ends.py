"""Files whose bytes come with a message that comes again, is not taken, is cut off before its row
is committed, or comes together with others (A1, D5, M8, Q4, Q7).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from actors.disk import Inline
from runtime.app import open_runtime
from runtime.ports.channel import ChannelCapabilities, Inbound
from runtime.sessions.content import ResourceLink
from runtime.sessions.rows import Sender
from runtime.settings import MediaSettings, QueueSettings, SessionSettings, Settings
from runtime.storage.media_errors import MediaFailed
from runtime.storage.sqlite import SqliteStore, open_memory
from tests.actors.media_stage import house
from tests.actors.stage import HandAgent, clock
from tests.actors.test_enclosed_files import CAT, DOG, inbound, rows_of, with_bytes
from tests.actors.test_fetching import LIMIT, content_of, links, on_disk, place
from tests.actors.test_stubborn_disk import Gated

T = TypeVar("T")


# -- again -----------------------------------------------------------------------------------------


# A1 D5 M4
@pytest.mark.parametrize("when", ["it waits", "it runs", "it is done", "evicted", "anew", "closed"])
async def test_a_message_that_comes_again_leaves_no_second_copy(
    tmp_path: Path, autojump_clock: MockClock, when: str
) -> None:
    root = tmp_path / "media"
    media = MediaSettings(root=root, max_media_bytes=100, free_space_floor=0)
    async with place(root, media=media, hold=True) as here:
        await here.network.say("look", attachments=(with_bytes(CAT),))
        (session,) = (await here.store.sessions()).sessions
        left = [CAT]
        if when != "it waits":
            call = await here.agent.called(1)
            if when != "it runs":
                call.go.set()
                await here.network.sent(1)
            await trio.sleep(5)
        if when == "evicted":
            left = [b"e" * 90]
            await here.network.put(
                Inbound("else", "e", Sender("eve"), "", attachments=(with_bytes(left[0]),))
            )
            assert [path.read_bytes() for path in on_disk(root)] == left
        elif when == "anew":
            await here.rt.front.reset_session(session.id)
            await trio.sleep(5)
        elif when == "closed":
            left = []
            await here.rt.front.close_session(session.id)
            await trio.sleep(5)
        before = await here.store.blobs()
        again = Inbound("chat", "m1", Sender("ann"), "look", attachments=(with_bytes(CAT),))
        await here.network.put(again)
        await trio.sleep(5)
        assert [path.read_bytes() for path in on_disk(root)] == left
        assert await here.store.blobs() == before
        sessions = {each.id for each in (await here.store.sessions()).sessions}
        assert len(sessions) == {"closed": 0, "evicted": 2}.get(when, 1)
        assert here.rt.front.media_usage().reserved == 0


# A1 D5: one that was not known to have come before, since it was on its way
async def test_the_same_message_twice_at_once_is_kept_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root, hold=True) as here, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(here.network.put, inbound(1, with_bytes(CAT), with_bytes(CAT)))
        call = await here.agent.called(1)
        assert [content_of(link) for link in links(call)] == [CAT, CAT]
        assert len(on_disk(root)) == 1
        call.go.set()
        await trio.sleep(60)
        assert len(here.agent.calls) == 1
        assert (await here.store.blobs()).blobs[0].file == on_disk(root)[0].name


# -- what is not taken -----------------------------------------------------------------------------


# A1 Q4 Q7 D5: a Deliver of a hundred, of which some bring files
@pytest.mark.parametrize("drop", ["old", "new", "summarize"])
async def test_what_the_cap_drops_leaves_nothing(
    tmp_path: Path, autojump_clock: MockClock, drop: Literal["old", "new", "summarize"]
) -> None:
    root = tmp_path / "media"
    async with place(root, hold=True) as here:
        queue = QueueSettings(cap=5, drop=drop)
        here.rt.reconfigure(Settings(media=MediaSettings(root=root), queue=queue))
        await here.network.say("busy")
        await here.agent.called(1)
        messages = [
            inbound(number, *([with_bytes(b"file %d" % number)] if number % 3 == 0 else []))
            for number in range(100, 200)
        ]
        await here.network.put(*messages, offset="200")
        kept = range(100, 105) if drop == "new" else range(195, 200)
        assert list(await rows_of(here)) == [f"text {number}" for number in kept]
        await trio.sleep(5)
        left = sorted(b"file %d" % number for number in kept if number % 3 == 0)
        assert sorted(path.read_bytes() for path in on_disk(root)) == left
        assert here.rt.front.media_usage().in_flight == sum(map(len, left))
        assert await here.store.channel_offset("scripted", "default") == "200"
        here.agent.calls[0].go.set()
        call = await here.agent.called(2)
        assert sorted(content_of(link) for link in links(call)) == left
        assert [f"text {n}" in call.text for n in kept] == [True] * 5
        assert ("text 194" in call.text) == (drop == "summarize")


# A1 Q6
async def test_what_is_too_old_or_too_long_leaves_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        sessions = SessionSettings(max_message_age=60.0)
        here.rt.reconfigure(Settings(media=MediaSettings(root=root), sessions=sessions))
        await here.network.say("x" * 300_000, attachments=(with_bytes(CAT),))
        await here.network.say("late", sent_at=clock() - 90_000, attachments=(with_bytes(CAT),))
        assert (await here.store.blobs()).blobs == ()
        assert on_disk(root) == []
        await trio.sleep(60)
        assert here.agent.calls == []
        assert here.rt.front.media_usage().size == 0


# -- between keeping and committing ----------------------------------------------------------------


class Power(Inline):
    """The power goes when a message is about to be admitted: nothing after that leaves a trace."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.scope = trio.CancelScope()
        self.goes = False

    async def __call__(self, work: Callable[[], T], /, **how: Any) -> T:
        if self.scope.cancel_called and getattr(work, "__name__", "") != "release":
            raise MediaFailed("the power is gone")
        return await super().__call__(work, **how)

    def __getattr__(self, name: str) -> Any:
        return self._admit if name == "admit" else getattr(self._store, name)

    async def _admit(self, *args: Any) -> Any:
        if self.goes:
            self.scope.cancel()
            await trio.sleep_forever()
        return await self._store.admit(*args)


# A1 M8 H6
async def test_one_whose_message_was_not_committed_is_an_orphan(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    network = ScriptedChannel(capabilities=ChannelCapabilities(max_download_bytes=LIMIT))
    agent = HandAgent()
    async with open_memory(clock) as store:
        power: Any = Power(store)
        with power.scope, suppress(MediaFailed):
            async with house(root, store=power, disk=power, channels=(network,), agent=agent):
                await network.say("kept", chat="other", attachments=(with_bytes(DOG),))
                power.goes = True
                await network.put(inbound(1, with_bytes(CAT)), offset="1")
        assert sorted(path.read_bytes() for path in on_disk(root)) == sorted((CAT, DOG))
        network.lose_connection()
        async with house(root, store=store, channels=(network,), agent=agent) as again:
            assert again.on_disk() == [DOG]
            assert await store.channel_offset("scripted", "default") is None
            await network.put(inbound(1, with_bytes(CAT)), offset="1")
            assert again.on_disk() == sorted((CAT, DOG))
            assert await store.channel_offset("scripted", "default") == "1"
            again.check()


# A1 S43: files are of one session
async def test_a_session_that_is_closed_meanwhile_has_a_successor_with_the_file(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with open_memory(clock) as memory:
        store: Any = Gated(memory)
        async with place(root, store=store) as here, trio.open_nursery() as nursery:
            await here.network.say("hello")
            await here.network.sent(1)
            (session,) = (await memory.sessions()).sessions
            gate = store.gates["admit"] = trio.Event()
            nursery.start_soon(here.network.put, inbound(7), inbound(8, with_bytes(CAT)))
            await store.waiting.wait()
            await here.rt.front.close_session(session.id)
            del store.gates["admit"]
            gate.set()
            call = await here.agent.called(2)
            assert [content_of(link) for link in links(call)] == [CAT]
            assert call.text.index("text 7") < call.text.index("text 8")
            (other,) = (await memory.sessions()).sessions
            assert other.id != session.id
            (path,) = on_disk(root)
            assert path.parent.name == other.id


# A1 Q7
async def test_what_one_account_says_keeps_its_order_and_holds_up_no_other(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    able = ChannelCapabilities(max_download_bytes=LIMIT)
    network, other = ScriptedChannel(capabilities=able), ScriptedChannel("other")
    agent = HandAgent(hold=False)
    async with open_memory(clock) as memory:
        store: Any = Gated(memory)
        async with (
            open_runtime(
                Settings(media=MediaSettings(root=root)),
                agents={"agent": agent},
                channels=[network, other],
                store=store,
                clock=clock,
                disk=Inline(),
            ),
            trio.open_nursery() as nursery,
        ):
            gate = store.gates["resolve"] = trio.Event()  # its file is not kept yet
            nursery.start_soon(network.put, inbound(1, with_bytes(CAT)))
            await store.waiting.wait()
            wrong: Any = inbound(2, text=None)
            wrong = Inbound("chat", "m2", Sender("ann"), 5)  # type: ignore[arg-type]
            with pytest.raises(AttributeError):
                await network.put(wrong)  # and that it goes lets nobody in
            for number in range(3, 9):
                nursery.start_soon(network.put, inbound(number))
                await trio.sleep(0.1)
            await other.say("elsewhere")
            assert (await agent.called(1)).text == "elsewhere"
            del store.gates["resolve"]
            gate.set()
            call = await agent.called(2)
            places = [call.text.index(f"text {number}") for number in (1, *range(3, 9))]
            assert places == sorted(places)
            assert isinstance(call.turn.content[1], ResourceLink)
