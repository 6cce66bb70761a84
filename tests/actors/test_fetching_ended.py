"""A message that does not wait any more wants no file: its download ends, and leaves nothing
(H2, H3, M5).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from actors.front import ActorFront
from actors.queue import Arrived
from actors.session_messages import SessionMessage
from actors.sessions import Obtain
from runtime.kernel import ActorRef
from runtime.ports.channel import Attachment, ChannelCapabilities
from runtime.settings import MediaSettings
from runtime.storage.sqlite import open_memory
from tests.actors.stage import clock
from tests.actors.test_fetching import Place, content_of, image, links, on_disk, place
from tests.actors.test_stubborn_disk import Gated

CAP = 2_000_000


class Dripping(ScriptedChannel):
    """A network from which some files come drop by drop, and never end."""

    def __init__(self) -> None:
        super().__init__(capabilities=ChannelCapabilities(max_download_bytes=10_000_000))
        self.open = 0

    async def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            if not attachment.reference.startswith("endless"):
                async for chunk in super().fetch(attachment):
                    yield chunk
                return
            self.fetched.append(attachment.reference)
            while True:
                yield b"x" * 50_000
                await trio.sleep(1)
        finally:
            self.open -= 1


async def only_session(here: Place) -> str:
    (session,) = (await here.store.sessions()).sessions
    return session.id


async def clear(here: Place) -> None:
    assert await here.rt.front.clear_queue(await only_session(here)) == 1


async def say_clear(here: Place) -> None:
    await here.network.say("/queue clear")


async def stop(here: Place) -> None:
    await here.network.say("/stop")


async def anew(here: Place) -> None:
    await here.network.say("/new")


async def cancel(here: Place) -> None:
    session_id = await only_session(here)
    (row,) = await here.store.pending_messages(session_id)
    assert await here.rt.front.cancel(session_id, message_id=row.id)


async def close(here: Place) -> None:
    await here.rt.front.close_session(await only_session(here))


async def fill(here: Place) -> None:
    for number in range(21):
        await here.network.say(f"more {number}")


# H2 H3 M5 S18 S43 Q4 Q5
@pytest.mark.parametrize("ended", [clear, say_clear, stop, anew, cancel, close, fill])
async def test_the_download_of_what_waits_no_more_ends(
    tmp_path: Path, autojump_clock: MockClock, ended: Callable[[Place], Awaitable[None]]
) -> None:
    root, network = tmp_path / "media", Dripping()
    media = MediaSettings(root=root, max_media_bytes=CAP, free_space_floor=0)
    async with place(root, network=network, media=media) as here:
        await here.send_image("old", b"o" * 1_000_000)
        await here.agent.called(1)
        await trio.sleep(5)
        await network.say("look", attachments=(image("endless"), image("never")))
        await trio.sleep(5)
        assert (network.open, len(on_disk(root))) == (1, 2)
        await ended(here)
        await trio.sleep(3)
        assert network.open == 0
        assert here.rt.front.media_usage().reserved == 0
        await trio.sleep(60)
        old = [1_000_000] if ended is not close else []
        assert [path.stat().st_size for path in on_disk(root)] == old
        assert network.fetched == ["old", "endless"]
        assert not any(links(call) for call in here.agent.calls[1:])


# H2 Q7
async def test_what_waited_behind_it_goes_on(tmp_path: Path, autojump_clock: MockClock) -> None:
    root, network = tmp_path / "media", Dripping()
    async with place(root, network=network) as here:
        for number in range(6):
            await network.say("look", attachments=(image(f"endless-{number}"),))
        await here.send_image("a", b"bytes")
        await trio.sleep(5)
        assert "a" not in network.fetched
        session_id = await only_session(here)
        *endless, _ = await here.store.pending_messages(session_id)
        for row in endless:
            assert await here.rt.front.cancel(session_id, message_id=row.id)
        with trio.fail_after(10):
            call = await here.agent.called(1)
        assert [content_of(link) for link in links(call)] == [b"bytes"]
        assert [path.read_bytes() for path in on_disk(root)] == [b"bytes"]


# H2 H7: the file is on disk, and its row on the way there
async def test_a_message_that_is_withdrawn_while_its_file_is_written_down_leaves_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with open_memory(clock) as memory:
        store: Any = Gated(memory)
        async with place(root, store=store) as here:
            store.gates["attach"] = trio.Event()
            await here.send_image("a", b"bytes")
            await store.waiting.wait()
            assert len(on_disk(root)) == 1
            await clear(here)
            store.gates.pop("attach").set()
            await trio.sleep(1)
            assert on_disk(root) == []
            usage = here.rt.front.media_usage()
            assert (usage.size, usage.in_flight, usage.reserved) == (0, 0, 0)
            await here.network.say("hello")
            assert (await here.agent.called(1)).text == "hello"


# Q7 H3
async def test_late_news_of_a_message_fetches_nothing_for_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with place(tmp_path / "media", hold=True) as here:
        here.network.let_files_go = trio.Event()
        for name in ("a", "b"):
            await here.send_image(name, name.encode())
        await trio.sleep(5)
        session_id = await only_session(here)
        a, b = await here.store.pending_messages(session_id)
        sessions = cast("ActorFront", here.rt.front)._sessions
        live: ActorRef[SessionMessage] = await sessions.ask(Obtain(session_id), timeout=60)
        assert await here.rt.front.cancel(session_id, message_id=a.id)
        here.network.let_files_go.set()
        call = await here.agent.called(1)
        live.tell(Arrived(rows=(a, b)))  # one is withdrawn, the other has its file
        await trio.sleep(60)
        assert here.network.fetched == ["a", "b"]
        assert [content_of(link) for link in links(call)] == [b"b"]
        call.go.set()
        await here.network.say("hello")
        assert (await here.agent.called(2)).text == "hello"
