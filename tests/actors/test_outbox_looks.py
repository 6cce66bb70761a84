"""Looks into outboxes: what the index makes of what is there (M6, M7, M8, H6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from actors.disk import Inline, inline
from actors.library import Library
from actors.outbox_looks import load_outboxes, look_into, outboxes_of, reconcile_outboxes
from actors.outboxes import Outboxes
from runtime.metrics import Metrics
from runtime.sessions.handover import Owner
from runtime.sessions.ids import IdSource
from runtime.sessions.media import OutboxFile
from runtime.sessions.rows import ReplyAddress, SessionSpec
from runtime.settings import MediaSettings
from runtime.storage.attachments import Outbox
from runtime.storage.media_errors import MediaFailed
from runtime.storage.requests import NewOutbound
from runtime.storage.sqlite import SqliteStore, open_memory
from runtime.storage.transcript import make_session_folder, session_folder
from tests.actors.stage import EPOCH

T = TypeVar("T")

CHAT = ReplyAddress("telegram", "bot", "chat")


def now() -> int:
    return EPOCH


class Desk:
    """An index, a store and a data directory."""

    def __init__(self, store: SqliteStore, data_dir: Path) -> None:
        self.store = store
        self.data_dir = data_dir
        self.library = self.fresh()

    def fresh(self) -> Library:
        """A new index, as after a start."""
        ids, media = IdSource(now), MediaSettings()
        self.library = Library(
            self.store,
            None,
            inline,
            lambda: media,
            Metrics(),
            ids,
            now,
            Outboxes(self.data_dir),
        )
        self.store.listen(self.library.follow)
        return self.library

    async def session(self, key: str = "k") -> tuple[str, Path]:
        """A session, and its outbox."""
        row, _ = await self.store.resolve(SessionSpec("echo", key))
        folder = session_folder(self.data_dir, "echo", row.id)
        make_session_folder(folder)
        return row.id, folder / "outbox"

    async def owe(self, session_id: str, file: OutboxFile) -> str:
        new = NewOutbound(IdSource().new(), CHAT, file.name, kind="file", file=file)
        return (await self.store.notify(session_id, new)).id

    async def look(self, *session_ids: str) -> int:
        sessions = dict.fromkeys(session_ids)
        outboxes = await outboxes_of(self.library, self.store, sessions)
        return await look_into(self.library, self.store, outboxes)

    @property
    def known(self) -> dict[str, Owner]:
        """The files in the index, by their paths."""
        blobs = list(self.library.ledger)
        return {blob.outgoing.path: blob.owner for blob in blobs if blob.outgoing is not None}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_memory(now) as store:
        yield Desk(store, tmp_path)


async def test_a_look_sees_what_is_new_and_what_is_gone(desk: Desk) -> None:  # M7
    session_id, outbox = await desk.session()
    assert await desk.look(session_id, "unknown") == 0
    for name in ("a", "b", "c.part"):
        (outbox / name).write_bytes(b"12345")
    await desk.look(session_id)
    assert desk.known == {"a": Owner.SESSION, "b": Owner.SESSION}
    (outbox / "a").unlink()
    (outbox / "b").write_bytes(b"anew, and longer")
    await desk.look(session_id)
    assert desk.known == {"b": Owner.SESSION}
    assert desk.library.ledger.total == len("anew, and longer")


async def test_what_is_owed_is_not_given_up_by_a_look(desk: Desk) -> None:  # M5 H6
    session_id, outbox = await desk.session()
    (outbox / "a").write_bytes(b"1")
    (file,) = Outbox(outbox).files()
    delivery = await desk.owe(session_id, file)
    (outbox / "a").unlink()
    await desk.look(session_id)
    assert desk.known == {"a": Owner.IN_FLIGHT}
    await desk.store.outbox_attempt(delivery)
    await desk.store.outbox_failed(delivery, error="it is gone")
    await desk.look(session_id)
    assert desk.known == {}


async def test_a_look_that_fails_changes_nothing(  # M6
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = await desk.session("good")
    bad, outbox = await desk.session("bad")
    (outbox / "a").write_bytes(b"1")
    await desk.look(bad)
    (outbox / "a").unlink()
    files = Outbox.files

    def refuse(self: Outbox, limit: int = 100) -> list[OutboxFile]:
        if self._folder == outbox:
            raise MediaFailed("as scripted")
        return files(self, limit)

    monkeypatch.setattr(Outbox, "files", refuse)
    assert await desk.look(good, bad) == 1
    assert desk.known == {"a": Owner.SESSION}


async def test_a_start_finds_what_each_file_is(desk: Desk) -> None:  # M8 H6 S43
    open_id, outbox = await desk.session("open")
    closed_id, over = await desk.session("closed")
    for name in ("delivered", "failed", "new", "owed"):
        (outbox / name).write_bytes(name.encode())
    for name in ("left", "owed by a closed one"):
        (over / name).write_bytes(name.encode())
    files = {file.path: file for file in Outbox(outbox).files()}
    for name in ("delivered", "failed", "owed"):
        delivery = await desk.owe(open_id, files[name])
        if name != "owed":
            await desk.store.outbox_attempt(delivery)
        if name == "delivered":
            await desk.store.outbox_delivered(delivery, None)
        elif name == "failed":
            await desk.store.outbox_failed(delivery, error="e")
    await desk.owe(open_id, OutboxFile("gone", 1, 1, 1))
    await desk.owe(closed_id, Outbox(over).files()[1])
    await desk.store.close_session(closed_id)
    stranger = session_folder(desk.data_dir, "echo", IdSource().new())
    make_session_folder(stranger)
    (stranger / "outbox" / "strange").write_bytes(b"1")
    await load_outboxes(desk.fresh(), desk.store)
    assert desk.known == {
        "delivered": Owner.NOBODY,
        "failed": Owner.SESSION,
        "new": Owner.SESSION,
        "owed": Owner.IN_FLIGHT,
        "left": Owner.NOBODY,
        "owed by a closed one": Owner.IN_FLIGHT,
    }
    (over_file,) = (each for each in desk.library.ledger if each.file.startswith("outbox/owed by"))
    assert not over_file.handed_over  # it goes when it is settled, whichever way


async def test_a_reconciliation_mends_what_no_turn_told_of(desk: Desk) -> None:  # M7
    one, outbox = await desk.session("one")
    _, other = await desk.session("other")
    (outbox / "a").write_bytes(b"1")
    (outbox / "b").write_bytes(b"2")
    await desk.look(one)
    (outbox / "a").unlink()
    (other / "c").write_bytes(b"3")
    (outbox / "owed").write_bytes(b"4")
    (owed,) = (file for file in Outbox(outbox).files() if file.path == "owed")
    await desk.owe(one, owed)
    (outbox / "owed").unlink()
    await reconcile_outboxes(desk.library, desk.store)
    assert desk.known == {"b": Owner.SESSION, "c": Owner.SESSION, "owed": Owner.IN_FLIGHT}


async def test_a_reconciliation_that_cannot_read_gives_nothing_up(  # M6 M7
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id, outbox = await desk.session()
    (outbox / "a").write_bytes(b"1")
    await desk.look(session_id)

    def refuse(self: Outboxes) -> None:
        raise MediaFailed("as scripted")

    monkeypatch.setattr(Outboxes, "scan", refuse)
    await reconcile_outboxes(desk.library, desk.store)
    assert desk.known == {"a": Owner.SESSION}


async def test_each_session_is_looked_into_once_for_all_its_turns(tmp_path: Path) -> None:  # M7
    outboxes = Outboxes(tmp_path)
    assert outboxes.used("a", "echo")
    assert not outboxes.used("a", "echo")
    assert not outboxes.used("b")
    assert not outboxes.used("a")  # it was closed, and its agent is known all the same
    assert outboxes.take_used(1) == {"a": "echo"}
    assert outboxes.take_used(10) == {"b": None}
    assert outboxes.take_used(10) == {}
    assert outboxes.used("a")
    nowhere = Outboxes()
    assert not nowhere.used("a", "echo")
    assert nowhere.take_used(10) == {}
    assert nowhere.of("echo", "a") is None
    assert nowhere.scan().files == []


# M6
async def test_an_outbox_that_does_not_answer_holds_up_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_memory(now) as store:
        desk = Desk(store, tmp_path)
        session_id, outbox = await desk.session()
        (outbox / "a.txt").write_bytes(b"1")

        class Hangs(Inline):
            async def __call__(self, work: Callable[[], T], /, **how: Any) -> T:
                await trio.sleep_forever()
                raise AssertionError

        desk.library.disk = Hangs()
        with trio.fail_after(60):
            assert await desk.look(session_id) == 1
        desk.library.disk = inline
        assert await desk.look(session_id) == 0
        assert desk.known == {"a.txt": Owner.SESSION}
