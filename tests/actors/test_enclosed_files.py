"""Files whose bytes come with their message: kept before it is accepted (A1, N3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from actors.channel import ADMISSION_LIMIT
from actors.channels.scripted import ScriptedChannel
from actors.disk import Inline
from actors.enclosed import KEEPING_LIMIT
from actors.receiving import REFUSED
from runtime.app import open_runtime
from runtime.ports.channel import Attachment, ChannelCapabilities, Inbound
from runtime.sessions.media import MediaItem, MediaKind
from runtime.sessions.rows import Sender
from runtime.settings import MediaSettings, Settings
from runtime.storage.media_errors import MediaFailed
from runtime.storage.media_tree import MediaTree
from runtime.storage.sqlite import open_memory
from tests.actors.media_stage import encoded
from tests.actors.stage import HandAgent, clock
from tests.actors.test_fetching import LIMIT, Place, content_of, links, on_disk, place

T = TypeVar("T")

CAT, DOG = b"\x89PNG cat" * 9, b"\x89PNG dog" * 7


def with_bytes(content: bytes, name: str = "cat.png", **more: Any) -> Attachment:
    return with_data(encoded(content), name, **more)


def with_data(data: str, name: str = "cat.png", kind: MediaKind = MediaKind.IMAGE) -> Attachment:
    return Attachment(kind=kind, name=name, mime_type="image/png", data=data)


def inbound(number: int, *attachments: Attachment, text: str | None = None) -> Inbound:
    said = f"text {number}" if text is None else text
    return Inbound("chat", f"m{number}", Sender("ann"), said, attachments=attachments)


async def rows_of(here: Place) -> dict[str, tuple[MediaItem, ...]]:
    """The files of the messages that wait, by what was said with them."""
    found = {}
    for session in (await here.store.sessions()).sessions:
        for row in await here.store.pending_messages(session.id):
            found[getattr(row.content[0], "text", "")] = row.media
    return found


# -- the port --------------------------------------------------------------------------------------


async def test_a_file_comes_by_reference_or_with_its_bytes() -> None:  # N3 A1
    assert Attachment("photo-1").data is None
    assert Attachment(data="").reference == ""
    for reference, data in (("", None), ("photo-1", "aGVsbG8="), ("photo-1", "")):
        with pytest.raises(ValueError, match="one of the two"):
            Attachment(reference, data=data)


# -- all is well -----------------------------------------------------------------------------------


# A1 M10
async def test_it_is_kept_when_its_message_is_durable(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        await here.network.say("look", attachments=(with_bytes(CAT), with_bytes(DOG, "dog.png")))
        assert sorted(path.read_bytes() for path in on_disk(root)) == sorted((CAT, DOG))
        ((cat, dog),) = (await rows_of(here)).values()
        assert (cat.size, dog.name, cat.problem, cat.reference) == (len(CAT), "dog.png", None, None)
        assert cat.file is not None
        assert here.rt.front.media_usage().in_flight == len(CAT + DOG)
        call = await here.agent.called(1)
        assert [content_of(link) for link in links(call)] == [CAT, DOG]
        assert here.network.fetched == []
        await trio.sleep(60)
        assert here.rt.front.media_usage().in_flight == 0
        assert len(on_disk(root)) == 2  # the session's own


# A1 S22: its bytes are not in the row
async def test_it_may_be_larger_than_a_row(tmp_path: Path, autojump_clock: MockClock) -> None:
    content = bytes(range(256)) * 12_000
    able = ChannelCapabilities(max_download_bytes=len(content))
    async with place(tmp_path / "media", network=ScriptedChannel(capabilities=able)) as here:
        await here.network.say("look", attachments=(with_bytes(content),))
        (link,) = links(await here.agent.called(1))
        assert content_of(link) == content
        (answer,) = await here.network.sent(1)
        assert answer.text.startswith("echo: ")


# A1: bytes come typed
@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"text": "hi", "attachments": [{"name": "a", "data": "aGVsbG8="}]}),
        '{"attachments": "none"}',
        "{not json",
    ],
)
async def test_a_text_that_looks_like_files_is_a_text(
    tmp_path: Path, autojump_clock: MockClock, text: str
) -> None:
    async with place(tmp_path / "media") as here:
        await here.network.say(text)
        call = await here.agent.called(1)
        assert (call.text, links(call)) == (text, [])
        assert on_disk(tmp_path / "media") == []


# A2 M1
@pytest.mark.parametrize("name", ["../../evil.png", "/etc/passwd", "a\0b", "..", "\ud800.png", ""])
async def test_its_name_leads_nowhere(tmp_path: Path, autojump_clock: MockClock, name: str) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        await here.network.say("look", attachments=(with_bytes(CAT, name),))
        (link,) = links(await here.agent.called(1))
        (path,) = on_disk(tmp_path)
        assert content_of(link) == path.read_bytes() == CAT
        assert path.parent.parent == root
        assert path.suffix == ".png"
        assert name == "" or name not in path.name


# -- something is wrong with it --------------------------------------------------------------------


# A1 M3 Q4
@pytest.mark.parametrize(
    "bad, problem",
    [
        (with_data("no base64!", "bad"), "it has arrived damaged"),
        (with_data("aGVsbG8", "bad"), "it has arrived damaged"),
        (with_data("aGVs\nbG8=", "bad"), "it has arrived damaged"),
        (with_data("\u00e9" * 4, "bad"), "it has arrived damaged"),
        (with_data("\ud800aaa", "bad"), "it has arrived damaged"),
        (with_data("", "bad"), "there are no bytes in it"),
        (with_bytes(b"x" * (LIMIT + 1), "bad"), "it is larger than 0.09537 MiB"),
    ],
)
async def test_what_is_wrong_with_one_costs_only_that(
    tmp_path: Path, autojump_clock: MockClock, bad: Attachment, problem: str
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        await here.network.say("look", attachments=(bad, with_bytes(CAT)))
        ((wrong, right),) = (await rows_of(here)).values()
        assert (wrong.problem, wrong.file) == (problem, None)
        assert (right.problem, right.file is None) == (None, False)
        await here.network.redeliver()
        call = await here.agent.called(1)
        assert call.text.startswith(f"look\n[image: bad: not here: {problem}")
        assert [content_of(link) for link in links(call)] == [CAT]
        await trio.sleep(60)
        told = [each.text for each in here.network.arrived if "Not taken" in each.text]
        assert told == [f"Not taken:\nbad: {problem}"]
        assert [path.read_bytes() for path in on_disk(root)] == [CAT]
        assert here.rt.front.media_usage().reserved == 0


# A1 M3
async def test_only_so_many_are_taken_and_none_where_the_network_says_so(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with place(root) as here:
        many = tuple(with_bytes(b"%d" % number) for number in range(102))
        await here.network.say("look", attachments=many)
        assert len(on_disk(root)) == 100
        ((*_, one, other),) = (await rows_of(here)).values()
        assert one.problem == other.problem == "a message brings at most 100 files"
    async with place(tmp_path / "none", network=ScriptedChannel()) as here:
        await here.network.say("look", attachments=(with_bytes(CAT),))
        assert "files of this chat are not taken" in (await here.agent.called(1)).text


# A1 M5: refused aloud
async def test_one_for_which_there_is_no_room_is_refused_aloud(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    media = MediaSettings(root=root, max_media_bytes=100, free_space_floor=0)
    async with place(root, media=media, hold=True) as here:
        await here.network.say("first", chat="busy", attachments=(with_bytes(b"a" * 80),))
        await here.agent.called(1)
        other = (with_bytes(b"b" * 80),)
        await here.network.say("second", chat="other", sender="bob", attachments=other)
        assert "no room" in (await here.agent.called(2)).text
        (notice,) = await here.network.sent(1)
        assert (notice.chat, notice.text[:18]) == ("other", "Not taken:\ncat.png")
        assert [path.read_bytes() for path in on_disk(root)] == [b"a" * 80]


# A1 M5: what is no file pushes none out
async def test_nothing_goes_for_what_is_damaged(tmp_path: Path, autojump_clock: MockClock) -> None:
    root = tmp_path / "media"
    media = MediaSettings(root=root, max_media_bytes=100, free_space_floor=0)
    async with place(root, media=media) as here:
        await here.network.say("first", attachments=(with_bytes(b"a" * 80),))
        await here.network.sent(1)
        await trio.sleep(60)
        await here.network.say("second", attachments=(with_data("!" + encoded(b"b" * 80)[1:]),))
        await here.agent.called(2)
        assert [path.read_bytes() for path in on_disk(root)] == [b"a" * 80]


# A1 M6
async def test_a_disk_that_refuses_costs_only_the_file(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MediaFailed("as scripted")

    async with place(tmp_path / "media") as here:
        with monkeypatch.context() as patched:
            patched.setattr(MediaTree, "create", refuse)
            await here.network.say("look", attachments=(with_bytes(CAT),))
        call = await here.agent.called(1)
        assert REFUSED in call.text
        assert any(REFUSED in each.text for each in await here.network.sent(2))


class Slow(Inline):
    """A disk that takes so many seconds for each piece of work."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __call__(self, work: Callable[[], T], /, **how: Any) -> T:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.seconds)
        return await super().__call__(work, **how)


# A1: whoever delivers is not kept waiting for longer than it waits
async def test_a_slow_disk_costs_the_last_files_of_many(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root, disk = tmp_path / "media", Slow()
    able = ChannelCapabilities(max_download_bytes=LIMIT)
    network, agent = ScriptedChannel(capabilities=able), HandAgent()
    settings = Settings(media=MediaSettings(root=root, free_space_floor=0))
    async with (
        open_memory(clock) as store,
        open_runtime(
            settings,
            agents={"agent": agent},
            channels=[network],
            store=store,
            clock=clock,
            disk=disk,
        ) as rt,
    ):
        disk.seconds = 2.0
        files = [with_bytes(b"%d" % number, f"{number}") for number in range(10)]
        began = trio.current_time()
        await network.put(*(inbound(number, each) for number, each in enumerate(files)))
        assert KEEPING_LIMIT <= trio.current_time() - began < ADMISSION_LIMIT
        disk.seconds = 0.0
        found = await rows_of(Place(rt, network, agent, store))
        kept = [item.file is not None for (item,) in found.values()]
        assert list(found) == [f"text {number}" for number in range(10)]
        assert 0 < kept.count(True) < 10
        assert kept == sorted(kept, reverse=True)
        assert {item.problem for (item,) in found.values() if item.file is None} == {
            "It took too long to keep this file. Send it again later."
        }
        assert len(on_disk(root)) == kept.count(True)
        assert rt.front.media_usage().reserved == 0
