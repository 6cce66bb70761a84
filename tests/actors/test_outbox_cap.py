"""The cap covers what agents have in their outboxes (M5–M9, R7, S43)."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from actors import janitor
from actors.channels.scripted import Behaviour, ScriptedChannel
from actors.library import Library
from actors.outbox_looks import look_into
from runtime.sessions.content import ImageBlock
from runtime.sessions.rows import OutboundState
from runtime.storage.attachments import Outbox, OutboxFile
from runtime.storage.media_errors import MediaFailed
from runtime.storage.sqlite import SqliteStore
from runtime.storage.store import Store
from tests.actors.outbox_stage import (
    PATIENCE,
    SIZE,
    Place,
    cut_off_at_the_end,
    media,
    network,
    outboxes,
    place,
    until,
)


async def test_what_is_in_outboxes_counts_and_goes_oldest_first(tmp_path: Path) -> None:  # M5
    async with place(tmp_path) as here:
        await here.write("one", "a.txt")
        await here.write("two", "b.txt", "sub.txt")
        await here.write("one", "c.txt")
        usage = here.rt.front.media_usage()
        assert (usage.size, usage.evictable, usage.in_flight) == (4 * SIZE, 4 * SIZE, 0)
        await here.cap(3 * SIZE)
        assert here.names == ["b.txt", "c.txt", "sub.txt"]
        await here.cap(SIZE)
        assert here.names == ["c.txt"]
        assert here.size == SIZE


async def test_turns_that_end_soon_after_each_other_share_a_look(  # M7
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[list[str]] = []

    async def counted(library: Library, store: Store, outboxes: Mapping[str, Outbox]) -> int:
        looks.append([*outboxes])
        return await look_into(library, store, outboxes)

    monkeypatch.setattr(janitor, "look_into", counted)
    monkeypatch.setattr(janitor, "LOOK_EVERY", 3_600.0)
    async with place(tmp_path) as here:
        one = await here.write("one", "a.txt")  # the first is looked for at once
        two = await here.say("two", "0.txt")
        for number in range(1, 5):
            await here.say("two", f"{number}.txt")
            await here.say("one", "nothing")
        assert (looks, here.files) == ([[one.id]], 1)
        await here.rt.front.sweep_media()  # who asks for it has it now
        assert (looks[1:], here.files) == ([[two.id, one.id]], 6)


async def test_people_and_agents_share_one_cap(tmp_path: Path) -> None:  # M5 H1
    async def send(here: Place, key: str, byte: bytes) -> None:
        session = await here.rt.session(key)
        data = base64.b64encode(byte * SIZE).decode()
        await (await session.prompt([ImageBlock(data, "image/png")])).result()

    async with place(tmp_path) as here:
        await send(here, "one", b"1")
        await here.write("one", "a.txt")
        await send(here, "two", b"2")
        await here.write("two", "b.txt")
        assert here.size == 4 * SIZE
        first, _ = media(tmp_path)
        await here.cap(3 * SIZE)
        assert (len(media(tmp_path)), first.exists(), here.names) == (1, False, ["a.txt", "b.txt"])
        await here.cap(2 * SIZE)
        assert (len(media(tmp_path)), here.names) == (1, ["b.txt"])
        await here.cap(SIZE)
        assert (media(tmp_path), here.names) == ([], ["b.txt"])
        await send(here, "two", b"3")  # room is made for it
        assert (len(media(tmp_path)), here.names) == (1, [])


async def test_what_is_too_much_goes_when_it_is_found(tmp_path: Path) -> None:  # M5
    async with place(tmp_path, cap=2 * SIZE) as here:
        await here.write("one", "a.txt")
        await here.say("two", "b.txt c.txt d.txt")
        await until(lambda: len(here.names) == 2 and here.size == 2 * SIZE)
        assert "a.txt" not in here.names


async def test_the_agent_is_told_what_went(tmp_path: Path) -> None:  # M9
    async with place(tmp_path) as here:
        await here.write("one", "a.txt")
        await here.write("two", "b.txt")
        await here.cap(SIZE)
        await here.say("two", "hello")
        assert here.agent.calls[-1].text == "hello"
        for _ in range(2):
            await here.say("one", "hello")
        told, again = (call.text for call in here.agent.calls[-2:])
        assert "- outbox/a.txt, at " in told
        assert again == "hello"
        await here.say("one", "a.txt")  # the same path once more
        await here.cap(0)
        assert here.names == []
        await here.say("one", "hello")
        assert "- outbox/a.txt, at " in here.agent.calls[-1].text


async def test_what_the_agent_took_away_is_not_counted_nor_told(tmp_path: Path) -> None:  # M7 M9
    async with place(tmp_path) as here:
        await here.write("one", "a.txt", "b.txt")
        await here.say("one", "-a.txt b.txt")
        await until(lambda: here.files == 1)
        (tmp_path / "elsewhere").mkdir()
        (outbox,) = outboxes(tmp_path)
        (outbox / "b.txt").rename(tmp_path / "elsewhere" / "b.txt")  # outside of a turn
        await here.cap(0)
        assert here.files == 0
        await here.say("one", "hello")
        assert here.agent.calls[-1].text == "hello"


async def test_what_is_owed_stays_until_the_chat_has_it(tmp_path: Path) -> None:  # M5 R7
    chat = network()
    chat.script(Behaviour(delay=1.0), of="upload")
    async with place(tmp_path, chat) as here:
        await chat.say("a.txt")
        await until(lambda: here.rt.front.media_usage().in_flight == SIZE)
        await here.lower_cap(0)
        assert here.names == ["a.txt"]
        await until(lambda: chat.visible() == ["done", "[a.txt]"])
        await until(lambda: here.names == [])
        await until(lambda: here.files == 0)
        await chat.say("hello")
        await here.agent.called(2)
        assert here.agent.calls[-1].text == "hello"  # it was sent, not taken


async def test_what_is_about_to_be_owed_is_not_taken(  # M5 R7
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = network()
    states = SqliteStore.outbox_files
    async with place(tmp_path, chat) as here:
        await chat.say("hello")
        await until(lambda: chat.visible() == ["done"])
        (outboxes(tmp_path)[0] / "a.txt").write_bytes(b"x" * SIZE)
        await chat.say("fail")  # after this nothing is sent, but it is known
        await until(lambda: here.files == 1)

        async def sweep_first(
            self: SqliteStore, session_id: str, files: Sequence[OutboxFile]
        ) -> dict[OutboxFile, OutboundState]:
            await here.lower_cap(0)
            return await states(self, session_id, files)

        monkeypatch.setattr(SqliteStore, "outbox_files", sweep_first)
        await chat.say("hello")
        await until(lambda: chat.visible()[-1] == "[a.txt]")


async def test_what_failed_is_kept_until_the_room_is_needed(tmp_path: Path) -> None:  # M5 R7 M8
    chat = network()
    chat.script(Behaviour(fail="for_good"), of="upload")
    told = "The file a.txt could not be delivered; it is kept in the agent's outbox."
    async with cut_off_at_the_end(tmp_path, chat) as here:
        await chat.say("a.txt")
        await until(lambda: chat.visible() == ["done", told])
        await until(lambda: here.rt.front.media_usage().evictable == SIZE)
        await here.write("two", "b.txt")
    async with place(tmp_path, chat) as here:
        assert (here.size, here.rt.front.media_usage().evictable) == (2 * SIZE, 2 * SIZE)
        await here.cap(SIZE)
        assert here.names == ["b.txt"]
        await chat.say("hello")
        await until(lambda: chat.visible() == ["done", told, "done"])
        assert "- outbox/a.txt, at " in here.agent.calls[-1].text


async def test_what_was_delivered_before_a_crash_is_removed_after_it(  # M8 A4
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = network()

    def refuse(self: Outbox, file: OutboxFile) -> bool:
        raise MediaFailed("as scripted")

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "remove", refuse)
        async with cut_off_at_the_end(tmp_path, chat) as here:
            await chat.say("a.txt")
            await until(lambda: chat.visible() == ["done", "[a.txt]"])
            await here.rt.front.sweep_media()
            assert (here.size, here.rt.front.media_usage().evictable) == (SIZE, 0)
    async with place(tmp_path, chat) as here:
        await until(lambda: here.names == [])
        await until(lambda: here.files == 0)
        assert len(chat.uploads) == 1


async def test_what_was_owed_at_a_crash_is_in_flight_after_it(tmp_path: Path) -> None:  # H6 R7
    chat = network()
    chat.script(Behaviour(delay=1_000_000.0), of="upload")
    async with cut_off_at_the_end(tmp_path, chat):
        await chat.say("a.txt")
        await chat.called("upload", timeout=PATIENCE)
    quiet = ScriptedChannel("quiet")  # its own channel is not configured for now
    async with place(tmp_path, quiet, cap=0) as here:
        await here.rt.front.sweep_media()
        assert (here.size, here.rt.front.media_usage().in_flight) == (SIZE, SIZE)
        assert here.names == ["a.txt"]
    async with place(tmp_path, chat, cap=0) as here:
        await until(lambda: here.names == [])
        assert len(chat.uploads) == 1


async def test_what_a_closed_session_had_goes(tmp_path: Path) -> None:  # S43
    async with place(tmp_path) as here:
        await here.write("one", "a.txt")
        session = await here.write("two", "b.txt")
        (outbox,) = outboxes(tmp_path, session.id)
        (outbox / "unseen.txt").write_bytes(b"written when no turn ran")
        await session.close()
        await until(lambda: here.names == ["a.txt"])
        await until(lambda: here.files == 1)


@pytest.mark.parametrize("fail", [None, "for_good"])
async def test_what_a_closed_session_owes_goes_when_it_is_settled(  # S43 R7
    tmp_path: Path, fail: Any
) -> None:
    chat = network()
    chat.script(Behaviour(delay=1_000_000.0), of="upload")
    async with cut_off_at_the_end(tmp_path, chat) as here:
        await chat.say("a.txt")
        await chat.called("upload", timeout=PATIENCE)
        (outbox,) = outboxes(tmp_path)
        await here.rt.front.close_session(outbox.parent.name)
        await here.rt.front.sweep_media()
        assert here.names == ["a.txt"]
    chat.script(Behaviour(fail=fail), of="upload")
    async with place(tmp_path, chat) as here:
        await until(lambda: here.names == [])
        await until(lambda: here.files == 0)
        assert len(chat.uploads) == (1 if fail is None else 0)


async def test_what_is_written_anew_while_it_goes_stays(  # A3 M9
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = Outbox.remove
    async with place(tmp_path) as here:
        await here.write("one", "a.txt")
        (outbox,) = outboxes(tmp_path)
        found = outbox / "a.txt"

        def remove_late(self: Outbox, file: OutboxFile) -> bool:
            found.write_bytes(b"anew")
            return remove(self, file)

        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "remove", remove_late)
            await here.cap(SIZE - 1)
        assert found.read_bytes() == b"anew"
        assert (here.files, here.size) == (1, 4)
        await here.say("one", "hello")
        assert here.agent.calls[-1].text == "hello"


async def test_one_that_cannot_be_removed_counts_until_it_is(  # M6
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Outbox, file: OutboxFile) -> bool:
        raise MediaFailed("as scripted")

    async with place(tmp_path) as here:
        await here.write("one", "a.txt")
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "remove", refuse)
            swept = await here.lower_cap(0)
            assert (swept.problems >= 1, here.size) == (True, SIZE)
        swept = await here.rt.front.sweep_media()
        assert (swept.files, swept.size, here.size, here.names) == (1, SIZE, 0, [])


async def test_an_outbox_that_cannot_be_read_fails_no_turn(  # M6
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Outbox, limit: int = 0) -> list[OutboxFile]:
        raise MediaFailed("as scripted")

    async with place(tmp_path) as here:
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "files", refuse)
            await here.say("one", "a.txt")
            await until(lambda: b"media_problems_total 1.0" in here.rt.front.metrics())
            assert here.files == 0
        await here.say("one", "b.txt")
        await until(lambda: here.files == 2)


async def test_a_slow_disk_holds_up_no_turn(  # M6
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, files = threading.Event(), Outbox.files

    def wait(self: Outbox, limit: int = 0) -> list[OutboxFile]:
        go.wait(PATIENCE)
        return files(self, limit)

    async with place(tmp_path) as here:
        monkeypatch.setattr(Outbox, "files", wait)
        monkeypatch.setattr(janitor, "BATCH", 1)  # the others are looked into step by step
        with trio.fail_after(PATIENCE / 2):
            for key in ("one", "two", "three", "one"):
                await here.say(key, f"{key}.txt")
        assert here.files == 0
        go.set()
        await until(lambda: here.files == 3)


async def test_all_count_however_many_there_are(tmp_path: Path) -> None:  # M5
    many = [f"{number:03}.txt" for number in range(250)]
    async with place(tmp_path) as here:
        await here.write("one", *many)
        assert here.size == 250 * SIZE
        await here.cap(100 * SIZE)
        assert len(here.names) == 100
    async with place(tmp_path) as here:
        assert (here.files, here.size) == (100, 100 * SIZE)


async def test_links_in_an_outbox_are_nobodys_business(tmp_path: Path) -> None:  # A3 M2
    (tmp_path / "mine.txt").write_bytes(b"x" * SIZE)
    async with place(tmp_path / "data") as here:
        session = await here.write("one", "a.txt")
        (outbox,) = outboxes(tmp_path / "data")
        (outbox / "link.txt").symlink_to(tmp_path / "mine.txt")
        await here.say("one", "hello")
        await here.cap(0)
        await session.close()
        await until(lambda: not (outbox / "a.txt").exists())
        assert here.files == 0
    async with place(tmp_path / "data", cap=0) as here:
        assert here.files == 0
    assert (tmp_path / "mine.txt").exists()
    assert (outbox / "link.txt").is_symlink()
