"""Files that come with messages of a chat network: fetched while they wait (Q7, M10, N3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import trio

from actors.channels.scripted import Behaviour, ScriptedChannel
from actors.disk import inline
from runtime.app import Runtime, open_runtime
from runtime.ports.channel import Attachment, ChannelCapabilities
from runtime.sessions.content import ResourceLink, TextBlock
from runtime.sessions.media import MediaKind
from runtime.sessions.rows import InboundState
from runtime.settings import MediaSettings, QueueSettings, SessionSettings, Settings
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store
from tests.actors.stage import Call, HandAgent, clock

LIMIT = 100_000


class Place:
    """A runtime with a network and a folder for files, all of which a test can look into."""

    def __init__(self, rt: Runtime, network: ScriptedChannel, agent: HandAgent, store: Store):
        self.rt = rt
        self.network = network
        self.agent = agent
        self.store = store

    async def send_image(
        self, name: str, content: bytes, *, text: str = "", chat: str = "chat"
    ) -> None:
        self.network.files[name] = content
        await self.network.say(text, chat=chat, attachments=(image(name),))


def image(name: str, size: int | None = None) -> Attachment:
    return Attachment(name, MediaKind.IMAGE, f"{name}.png", "image/png", size)


@asynccontextmanager
async def place(
    root: Path,
    *,
    store: Store | None = None,
    network: ScriptedChannel | None = None,
    agent: HandAgent | None = None,
    media: MediaSettings | None = None,
    hold: bool = False,
) -> AsyncIterator[Place]:
    network = (
        network
        if network is not None
        else ScriptedChannel(capabilities=ChannelCapabilities(max_download_bytes=LIMIT))
    )
    agent = agent if agent is not None else HandAgent(hold=hold)
    settings = Settings(
        media=media if media is not None else MediaSettings(root=root),
        queue=QueueSettings(),
        sessions=SessionSettings(),
    )
    if store is None:
        async with (
            open_memory(clock) as own,
            place(root, store=own, network=network, agent=agent, media=media, hold=hold) as it,
        ):
            yield it
        return
    async with open_runtime(
        settings,
        agents={"agent": agent},
        channels=[network],
        store=store,
        clock=clock,
        disk=inline,
    ) as rt:
        yield Place(rt, network, agent, store)


def links(call: Call) -> list[ResourceLink]:
    return [block for block in call.turn.content if isinstance(block, ResourceLink)]


def content_of(link: ResourceLink) -> bytes:
    return Path(unquote(urlsplit(link.uri).path)).read_bytes()


def on_disk(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


# M10 Q1 Q7
async def test_an_album_is_one_turn_that_sees_all_its_images(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        for number in range(14):
            await here.send_image(f"image-{number}", b"%d" % number * 50)
        call = await here.agent.called(1)
        assert [content_of(link) for link in links(call)] == [b"%d" % n * 50 for n in range(14)]
        assert [link.name for link in links(call)] == [f"image-{n}.png" for n in range(14)]
        await trio.sleep(60)
        assert len(here.agent.calls) == 1


# Q7
async def test_a_message_is_accepted_before_its_file_is_here_and_holds_its_place(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.let_files_go = trio.Event()
        await here.send_image("a", b"bytes", text="look at this")
        await here.network.say("and answer")
        await trio.sleep(100)  # within the limit for one file
        assert here.agent.calls == []
        here.network.let_files_go.set()
        call = await here.agent.called(1)
        assert "look at this" in call.text
        assert call.text.index("look at this") < call.text.index("and answer")
        assert [content_of(link) for link in links(call)] == [b"bytes"]


# M10 Q1 Q7
async def test_an_album_over_a_slow_network_is_one_turn_and_what_comes_later_another(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.let_files_go = trio.Event()
        for number in range(14):
            await here.send_image(f"image-{number}", b"%d" % number * 50)
        await trio.sleep(15)
        await here.network.say("and what are these?")
        await here.send_image("late", b"late")
        await here.network.say("hello", chat="other", sender="bob")
        assert (await here.agent.called(1)).text == "hello"  # Q7: not other sessions
        await here.network.say("/status")
        assert any("that wait: 16" in each.text for each in await here.network.sent(2))
        await trio.sleep(60)
        here.network.let_files_go.set()
        call = await here.agent.called(2)
        assert [content_of(link) for link in links(call)] == [b"%d" % n * 50 for n in range(14)]
        call = await here.agent.called(3)
        assert "and what are these?" in call.text
        assert [content_of(link) for link in links(call)] == [b"late"]
        await trio.sleep(60)
        assert len(here.agent.calls) == 3


# M10 Q8
async def test_an_album_is_one_turn_after_a_restart_as_well(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_memory(clock) as store:
        async with place(tmp_path / "media", store=store) as here:
            here.network.let_files_go = trio.Event()
            for number in range(14):
                await here.send_image(f"image-{number}", b"%d" % number)
            await trio.sleep(30)
        async with place(tmp_path / "media", store=store) as again:
            again.network.files.update({f"image-{n}": b"%d" % n for n in range(14)})
            again.network.let_files_go = trio.Event()
            await trio.sleep(30)
            again.network.let_files_go.set()
            call = await again.agent.called(1)
            assert [content_of(link) for link in links(call)] == [b"%d" % n for n in range(14)]
            await trio.sleep(60)
            assert len(again.agent.calls) == 1


# Q7 M10
async def test_what_came_with_a_file_does_not_wait_for_it_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.let_files_go = trio.Event()
        await here.network.say("first")
        await here.send_image("a", b"bytes", text="second")
        with trio.fail_after(150):
            call = await here.agent.called(1)
        assert call.text.index("first") < call.text.index("second")
        assert "the network took too long" in call.text
        assert links(call) == []


# Q7: not other sessions
async def test_a_download_holds_up_no_other_conversation(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.let_files_go = trio.Event()
        await here.send_image("a", b"bytes", chat="one")
        await here.network.say("hello", chat="two", sender="bob")
        call = await here.agent.called(1)
        assert call.text == "hello"


# Q7 H6 Q8
@pytest.mark.parametrize("abruptly", [True, False])
async def test_after_a_restart_it_is_fetched_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, abruptly: bool
) -> None:
    root = tmp_path / "media"
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with place(root, store=store) as here:
                here.network.let_files_go = trio.Event()
                await here.send_image("a", b"bytes", text="look")
                await here.network.say("more", chat="other", sender="bob")
                await here.agent.called(1)
                if abruptly:
                    power.cancel()
                    await trio.sleep_forever()
        assert on_disk(root) == []
        async with place(root, store=store) as again:
            again.network.files["a"] = b"bytes"
            call = await again.agent.called(1)
            assert [content_of(link) for link in links(call)] == [b"bytes"]


# M3 N4 A1
@pytest.mark.parametrize(
    "behaviour, attempts, told",
    [
        (Behaviour("for_good"), 1, "the file is gone, as scripted"),
        (Behaviour("before"), 3, "not now, as scripted"),
        (Behaviour("during"), 3, "not now, as scripted"),
        (Behaviour("bug"), 3, "its chat network failed"),
        (Behaviour(delay=10_000), 1, "the network took too long"),
    ],
)
async def test_a_file_that_is_not_to_be_had_is_told_and_the_text_goes(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    behaviour: Behaviour,
    attempts: int,
    told: str,
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        here.network.files["a"] = behaviour
        await here.network.say("look", attachments=(image("a"),))
        call = await here.agent.called(1)
        assert links(call) == []
        assert call.text.startswith("look\n[image: a.png: not here: ")
        assert told in call.text
        sent = await here.network.sent(2)
        assert any(
            each.text.startswith("Not taken:\na.png: ") and told in each.text for each in sent
        )
        assert len(here.network.fetched) == attempts
        assert on_disk(root) == []
        assert here.rt.front.media_usage().reserved == 0


# M3
async def test_a_file_that_is_larger_than_it_said_is_cut_off(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        here.network.files["a"] = b"x" * (LIMIT + 1)
        await here.network.say("look", attachments=(image("a", size=10),))
        call = await here.agent.called(1)
        assert links(call) == []
        assert "too large" in call.text
        assert on_disk(root) == []


# M3 N1
async def test_what_can_be_known_beforehand_is_not_fetched(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        await here.network.say("look", attachments=(image("a", size=LIMIT + 1),))
        call = await here.agent.called(1)
        assert "larger than" in call.text
        assert here.network.fetched == []
        (told, _) = await here.network.sent(2)
        assert told.text.startswith("Not taken:\na.png: ")


# N1
async def test_a_network_without_downloads_says_so(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    network = ScriptedChannel()
    async with place(tmp_path / "media", network=network) as here:
        await network.say("look", attachments=(image("a"),))
        call = await here.agent.called(1)
        assert "files of this chat are not taken" in call.text


# M5: refused aloud
async def test_a_file_for_which_there_is_no_room_is_refused_aloud(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    root = tmp_path / "media"
    media = MediaSettings(root=root, max_media_bytes=100, free_space_floor=0)
    async with place(root, media=media, hold=True) as here:
        await here.network.say("first", chat="busy", attachments=(image("a", size=80),))
        here.network.files["a"] = b"a" * 80
        call = await here.agent.called(1)
        here.network.files["b"] = b"b" * 80
        await here.network.say(
            "second", chat="other", sender="bob", attachments=(image("b", size=80),)
        )
        second = await here.agent.called(2)
        assert "no room" in second.text
        assert [path.read_bytes() for path in on_disk(root)] == [b"a" * 80]
        call.go.set()
        second.go.set()
        (notice, *_) = [each for each in await here.network.sent(3) if "Not taken" in each.text]
        assert notice.chat == "other"


# H2 H3 Q5: withdrawn while it is fetched
async def test_a_message_that_is_withdrawn_while_its_file_is_fetched_leaves_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        here.network.let_files_go = trio.Event()
        await here.send_image("a", b"bytes")
        page = await here.store.sessions()
        (session,) = page.sessions
        assert await here.rt.front.clear_queue(session.id) == 1
        here.network.let_files_go.set()
        await trio.sleep(60)
        assert on_disk(root) == []
        assert here.agent.calls == []
        assert here.rt.front.media_usage().size == 0


# H1 H2 M4
async def test_files_are_the_sessions_once_the_agent_has_begun(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root, hold=True) as here:
        await here.send_image("a", b"bytes", text="look")
        call = await here.agent.called(1)
        usage = here.rt.front.media_usage()
        assert (usage.in_flight, usage.evictable) == (5, 0)
        call.go.set()
        await here.network.sent(1)
        await trio.sleep(1)
        usage = here.rt.front.media_usage()
        assert (usage.in_flight, usage.evictable) == (0, 5)
        await here.send_image("again", b"bytes", text="the same")
        call = await here.agent.called(2)
        assert len(on_disk(root)) == 1  # M4
        call.go.set()
        (message,) = call.turn.message_ids
        await here.rt.front.outcome(message)
        status = await here.store.message_status(message)
        assert status is not None
        assert status.message.state is InboundState.DONE
        assert isinstance(call.turn.content[0], TextBlock)
