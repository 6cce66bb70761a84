"""Networks that say odd things about files: the message goes on, and those after it (Q7, N5)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import msgspec
import pytest
import trio

from actors.channels.scripted import Behaviour
from actors.front import ActorFront
from actors.queue import Arrived
from actors.session_messages import SessionMessage
from actors.sessions import Obtain
from runtime.kernel import ActorRef
from runtime.ports.channel import Attachment, Inbound
from runtime.sessions.media import MediaKind
from runtime.sessions.rows import Sender
from runtime.settings import MediaSettings
from tests.actors.test_fetching import content_of, image, links, on_disk, place


# Q7 N5
@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, -math.inf])
async def test_a_pause_that_is_no_time_ends_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, seconds: float
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.files["a"] = Behaviour(fail="before", retry_after=seconds)
        await here.network.say("look", attachments=(image("a"),))
        await trio.sleep(0.5)
        here.network.files["a"] = b"it is here now"
        call = await here.agent.called(1)
        assert [content_of(link) for link in links(call)] == [b"it is here now"]
        assert here.network.fetched == ["a", "a"]


# Q7 A2
async def test_a_file_may_be_called_anything(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    odd = Attachment("a\ud800", MediaKind.FILE, "half a pair \udfff.txt", "text/\ud83d")
    async with place(tmp_path / "media") as here:
        here.network.files["a\ufffd"] = b"bytes"
        await here.network.say("look", attachments=(odd,))
        call = await here.agent.called(1)
        (link,) = links(call)
        assert link.name == "half a pair \ufffd.txt"
        assert content_of(link) == b"bytes"


# Q4 N5
@pytest.mark.parametrize(
    "attachments",
    [
        tuple(image(f"{number}" * 200) for number in range(5_000)),
        (Attachment("r" * 2_000_000),),
        (Attachment("r", mime_type="m" * 2_000_000),),
    ],
    ids=["many", "reference", "type"],
)
async def test_what_no_row_can_hold_is_refused_aloud_and_does_not_come_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, attachments: tuple[Attachment, ...]
) -> None:
    async with place(tmp_path / "media") as here:
        await here.network.say("look", attachments=attachments)
        await here.network.say("hello")
        assert (await here.agent.called(1)).text == "hello"
        (refusal, _answer) = await here.network.sent(2)
        assert refusal.text.endswith("Send it in parts, or as a file.")


# N5
async def test_a_message_that_a_network_makes_wrongly_befalls_only_that_network(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    wrong = Inbound("chat", "m", Sender("ann"), "look", attachments=(image("a"),))
    wrong = msgspec.structs.replace(
        wrong, attachments=(msgspec.structs.replace(image("a"), size="large"),)
    )
    async with place(tmp_path / "media") as here:
        session = await here.rt.session("other")
        with pytest.raises(TypeError):  # and not that the router has ended
            await here.network.put(wrong)
        assert (await (await session.prompt("hello")).result()).text == "echo: hello"


# Q7 Q8 H3
async def test_a_message_that_is_heard_of_after_it_was_withdrawn_holds_nobody_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.let_files_go = trio.Event()
        here.network.files.update(a=b"a", b=b"b")
        await here.network.say("look", attachments=(image("a"), image("b")))
        await trio.sleep(5)
        (info,) = (await here.rt.front.list_sessions()).sessions
        (row,) = await here.store.pending_messages(info.row.id)
        assert await here.rt.front.clear_queue(info.row.id) == 1
        sessions = cast("ActorFront", here.rt.front)._sessions
        live: ActorRef[SessionMessage] = await sessions.ask(Obtain(info.row.id), timeout=60)
        live.tell(Arrived(rows=(row,)))  # a word of it that was late
        await here.network.say("hello")
        await trio.sleep(5)
        here.network.let_files_go.set()
        assert (await here.agent.called(1)).text == "hello"
        assert here.network.fetched == ["a"], "it went on with what nobody waits for"
        await trio.sleep(60)
        assert len(here.agent.calls) == 1
        assert on_disk(tmp_path / "media") == []


# N5 H2
async def test_what_a_bug_says_is_told_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.files["a"] = Behaviour(fail="bug")
        await here.network.say("look", attachments=(image("a"),))
        call = await here.agent.called(1)
        said = [arrival.text for arrival in await here.network.sent(2)]
        assert any("its chat network failed" in text for text in said)
        assert "as scripted" not in "".join((*said, call.text))


# M3 M5
async def test_a_file_of_unknown_size_is_taken_under_a_cap_that_is_less_than_the_largest_file(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    media = MediaSettings(root=tmp_path / "media", max_media_bytes=50_000, free_space_floor=0)
    async with place(tmp_path / "media", media=media) as here:
        await here.send_image("a", b"a" * 40_000)
        (link,) = links(await here.agent.called(1))
        assert content_of(link) == b"a" * 40_000
        await here.send_image("b", b"b" * 60_000)
        assert links(await here.agent.called(2)) == []
        assert here.rt.front.media_usage().reserved == 0


async def test_a_kind_that_could_not_be_read_again_is_refused() -> None:  # N3
    for kind in MediaKind:
        assert Attachment("photo-1", kind).kind is kind
    with pytest.raises(ValueError, match="'document' is no kind of file; there are image, audio"):
        Attachment("photo-1", cast("MediaKind", "document"))
