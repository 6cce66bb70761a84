"""A disk that does not answer: nobody waits for ever, nothing is lost, nothing stays (M3, M5, M6).

The threads are real, and so is the time: what hangs waits for a gate that the test opens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

import actors.disk
from actors.channels.scripted import ScriptedChannel
from actors.disk import Threads
from runtime.ports.channel import Attachment, ChannelCapabilities
from runtime.ports.front import Unavailable
from runtime.sessions.media import MediaKind
from runtime.storage.media_errors import NoAnswer
from runtime.storage.media_partial import Partial
from runtime.storage.media_tree import MediaTree
from runtime.storage.sqlite import open_memory
from tests.actors.hanging import PATIENCE, SHORT, Gate, hang, until
from tests.actors.media_stage import SeeingAgent, encoded, house, image, said
from tests.actors.stage import clock

FOR_EVER = 1_000_000.0


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


# -- threads ---------------------------------------------------------------------------------------


# M3
async def test_what_does_not_end_is_left_to_its_thread(gate: Gate) -> None:
    disk, done = Threads(limit=SHORT), threading.Event()
    with pytest.raises(NoAnswer, match="does not answer"):
        await disk(gate.wait, after=done.set)
    assert (disk.stuck, done.is_set()) == (1, False)
    assert await disk(lambda: "others go on") == "others go on"
    gate.open()
    await until(lambda: disk.stuck == 0)
    assert done.is_set()


# M3
async def test_what_ends_in_time_has_nothing_done_after_it() -> None:
    disk, done = Threads(), threading.Event()
    assert await disk(lambda: "written", after=done.set) == "written"
    with pytest.raises(ZeroDivisionError):
        await disk(lambda: 1 / 0, after=done.set)
    assert await disk.aclose() == 0
    assert not done.is_set()


# M3
@pytest.mark.parametrize("abandon", [False, True])
async def test_when_all_threads_are_stuck_nobody_waits_for_one(gate: Gate, abandon: bool) -> None:
    disk, began = Threads(threads=2, limit=FOR_EVER), threading.Event()
    for _ in range(2):
        with pytest.raises(NoAnswer):
            await disk(gate.wait, abandon=abandon, limit=SHORT)
    done = threading.Event()
    with trio.fail_after(PATIENCE), pytest.raises(NoAnswer):
        await disk(began.set, abandon=abandon, after=done.set)
    assert (disk.stuck, done.is_set()) == (2, False)
    assert await disk(lambda: 1, abandon=not abandon) == 1
    gate.open()
    await until(done.is_set)  # by a thread that has come back
    assert not began.is_set()
    await until(lambda: disk.stuck == 0)
    assert await disk(lambda: 2, abandon=abandon) == 2


# M3
async def test_what_comes_after_is_done_once_however_close_it_was() -> None:
    disk = Threads(threads=1, limit=0.002)
    ended: list[int] = []
    undone: list[int] = []
    seen: list[int] = []

    def work(number: int) -> int:
        threading.Event().wait(0.002 * (number % 3))
        ended.append(number)
        return number

    for number in range(100):
        with suppress(NoAnswer):
            seen.append(await disk(partial(work, number), after=partial(undone.append, number)))
    with trio.fail_after(PATIENCE):
        assert await disk.aclose() == 0
    assert sorted(seen + undone) == list(range(100))
    assert set(seen) <= set(ended)
    assert disk.stuck == 0


# -- a runtime -------------------------------------------------------------------------------------

OPERATIONS = [
    (MediaTree, "create"),
    (Partial, "write"),
    (Partial, "finish"),
    (MediaTree, "space"),
]


# M3 M5 G7
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("owner, name", OPERATIONS)
async def test_a_file_that_hangs_is_refused_and_nothing_stays_of_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gate: Gate,
    owner: type,
    name: str,
    late: bool,
) -> None:
    agent, media = SeeingAgent(hold=False), {"free_space_floor": 1}
    disk = Threads(limit=SHORT)
    async with house(tmp_path / "media", agent=agent, media=media, disk=disk) as here:
        session = await here.session()
        with monkeypatch.context() as patched:
            hang(patched, owner, name, gate, late=late)
            with trio.fail_after(PATIENCE), pytest.raises(Unavailable, match="does not answer"):
                await session.send(said(image(b"one")))
        assert (here.usage.stuck, here.metric("media_stuck")) == (1, 1)
        # The room is the thread's for as long as the file may be there.
        assert (here.usage.reserved > 0) == (name != "space")
        assert (await (await session.prompt("words")).result()).text == "echo: words"
        gate.open()
        await until(lambda: here.usage.stuck == here.usage.reserved == 0)
        assert here.files() == []
        await (await session.prompt((image(b"two"),))).result()
        assert here.on_disk() == [b"two"]
        here.check()


# M3 M5 Q7
async def test_when_every_thread_hangs_words_go_on_and_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    agent, disk = SeeingAgent(hold=False), Threads(threads=2, limit=SHORT)
    async with house(tmp_path / "media", agent=agent, disk=disk) as here:
        with monkeypatch.context() as patched:
            hang(patched, Partial, "write", gate, late=False)
            sessions = [await here.session(str(number)) for number in range(6)]

            async def try_it(number: int) -> None:
                with pytest.raises(Unavailable, match="does not answer"):
                    await sessions[number].send(said(image(b"%d" % number)))

            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for number in range(6):
                        nursery.start_soon(try_it, number)
            assert here.usage.stuck == 2  # of six that came, each of which has made a file
            assert here.metric('media_received_total{outcome="failed"}') == 6
            for session in sessions:
                assert (await (await session.prompt("words")).result()).text == "echo: words"
        gate.open()
        await until(lambda: here.usage.stuck == here.usage.reserved == 0)
        assert here.files() == []
        here.check()


def chat_of(*names: str) -> ScriptedChannel:
    chat = ScriptedChannel(capabilities=ChannelCapabilities(max_download_bytes=1_000))
    chat.files.update({name: name.encode() for name in names})
    return chat


def attached(name: str) -> tuple[Attachment, ...]:
    return (Attachment(name, MediaKind.IMAGE, f"{name}.png", "image/png"),)


# Q7 M3 N3
async def test_a_download_that_hangs_is_told_and_holds_up_its_message_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    agent, chat, disk = SeeingAgent(hold=False), chat_of("one", "two"), Threads(limit=SHORT)
    queue = {"debounce": 0.0}
    async with house(
        tmp_path / "media", agent=agent, channels=(chat,), disk=disk, queue=queue
    ) as here:
        with monkeypatch.context() as patched:
            hang(patched, Partial, "finish", gate, late=True)
            await chat.say("look", attachments=attached("one"))
            await chat.say("words", chat="other")
            await until(lambda: chat.visible("other") == ["echo: words"])
            await until(lambda: any("does not answer" in text for text in chat.visible()))
            await until(lambda: any(text.startswith("echo: ") for text in chat.visible()))
        gate.open()
        await until(lambda: here.usage.stuck == here.usage.reserved == 0)
        assert here.files() == []
        await chat.say("look", attachments=attached("two"))
        await until(lambda: here.on_disk() == [b"two"])


# Q7 M8 S45
async def test_a_download_that_hangs_at_the_end_is_made_anew_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(actors.disk, "CLOSE_LIMIT", SHORT)
    agent, root, queue = SeeingAgent(hold=False), tmp_path / "media", {"debounce": 0.0}
    chat, disk = chat_of("one"), Threads(limit=5.0)
    async with open_memory(clock) as store:

        async def live() -> None:
            async with house(
                root, store=store, agent=agent, channels=(chat,), disk=disk, queue=queue
            ) as here:
                await chat.say("look", attachments=attached("one"))
                await until(lambda: gate.reached == 1)  # and there it hangs
                assert len(here.files()) == 1

        with monkeypatch.context() as patched:
            hang(patched, Partial, "write", gate, late=False)
            with trio.fail_after(PATIENCE), pytest.raises(NoAnswer, match="is lost"):
                await live()
        gate.open()
        assert await disk.aclose() == 0
        chat.lose_connection()
        async with house(
            root, store=store, agent=agent, channels=(chat,), disk=Threads(), queue=queue
        ) as here:
            await until(lambda: here.on_disk() == [b"one"])
            assert len((await agent.called(1)).turn.content) == 2  # the words and the file


# M6
async def test_a_removal_that_hangs_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    agent, disk = SeeingAgent(hold=False), Threads(limit=SHORT)
    async with house(tmp_path / "media", agent=agent, disk=disk) as here:
        session = await here.session()
        await (await session.prompt((image(b"one"),))).result()
        with monkeypatch.context() as patched:
            hang(patched, MediaTree, "remove", gate, late=False)
            await session.close()
            await until(lambda: here.usage.stuck > 0)
            swept = await here.front.sweep_media()
            assert swept.problems == 1
            assert here.on_disk() == [b"one"]  # and counted, until it is gone
            other = await here.session("other")
            assert (await (await other.prompt("words")).result()).text == "echo: words"
        gate.open()
        await until(lambda: here.usage.stuck == 0)
        await here.front.sweep_media()
        assert (here.on_disk(), here.usage.size) == ([], 0)
        here.check()


# M8 S45
async def test_the_end_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(actors.disk, "CLOSE_LIMIT", SHORT)
    agent, disk, root = SeeingAgent(hold=False), Threads(limit=SHORT), tmp_path / "media"
    async with open_memory(clock) as store:

        async def live() -> None:
            async with house(root, store=store, agent=agent, disk=disk) as here:
                session = await here.session()
                await (await session.prompt((image(b"kept"),))).result()
                hang(monkeypatch, Partial, "write", gate, late=True)
                with pytest.raises(Unavailable):
                    await session.send(said(image(b"half")))

        with trio.fail_after(PATIENCE), pytest.raises(NoAnswer, match="is lost") as caught:
            await live()
        assert str(root) in str(caught.value)
        gate.open()
        assert await disk.aclose() == 0
        async with house(root, store=store, agent=agent, disk=Threads()) as here:
            assert here.on_disk() == [b"kept"]
            here.check()


# A1 M3 N5
@pytest.mark.parametrize("name", ["create", "write", "finish"])
async def test_a_file_that_hangs_before_its_message_is_accepted_holds_up_no_other_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate, name: str
) -> None:
    agent, chat, disk = SeeingAgent(hold=False), chat_of(), Threads(threads=2, limit=1.0)
    other = ScriptedChannel("other", capabilities=chat.capabilities)
    files = (Attachment(kind=MediaKind.IMAGE, name="one.png", data=encoded(b"one")),)
    owner = MediaTree if name == "create" else Partial
    async with house(
        tmp_path / "media", agent=agent, channels=(chat, other), disk=disk, queue={"debounce": 0.0}
    ) as here:
        with monkeypatch.context() as patched:
            hang(patched, owner, name, gate, late=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(chat.say, "look", attachments=files))
                await until(lambda: gate.reached == 1)
                await other.say("words")
                await until(lambda: other.visible() == ["echo: words"])
            await until(lambda: any("does not answer" in text for text in chat.visible()))
            await until(lambda: any(text.startswith("echo: look") for text in chat.visible()))
        gate.open()
        await until(lambda: here.usage.stuck == here.usage.reserved == 0)
        assert here.files() == []
        await chat.say("look", attachments=files)
        assert here.on_disk() == [b"one"]
