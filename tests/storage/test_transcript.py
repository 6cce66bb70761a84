"""Transcript files: a projection of the journal that mends itself (J1–J3, S7, S17)."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from runtime.sessions.rows import JournalEntry, SessionRow
from runtime.storage import transcript
from runtime.storage.requests import JournalExtent, NewEntry
from runtime.storage.sqlite import SqliteStore
from runtime.storage.transcript import (
    FileState,
    Loaded,
    NoTranscripts,
    Transcripts,
    Verified,
    session_folder,
)
from tests.storage.stage import SPEC, Actor, Clock, admit, message, opened


class Conversation:
    """A session with a transcript."""

    def __init__(self, store: SqliteStore, actor: Actor, transcripts: Transcripts) -> None:
        self.store = store
        self.actor = actor
        self.transcripts = transcripts

    @property
    def session(self) -> SessionRow:
        return self.actor.session

    @property
    def path(self) -> Path:
        return self.transcripts.path(self.session)

    async def turn(self, *, lines: int = 2, project: bool = True) -> tuple[JournalEntry, ...]:
        """Commit a turn of so many lines, and bring the file in step; the lines."""
        row = (await admit(self.store, message(self.session.id))).message
        turn_id = await self.actor.begin(row)
        journal = tuple(
            NewEntry(f"{turn_id}:{number}", "assistant", f"line {number}")
            for number in range(lines)
        )
        ended = await self.store.end_turn(self.actor.ending(turn_id, row.id, journal=journal))
        if project:
            await self.transcripts.project(self.session)
        return ended.journal

    async def in_step(self) -> None:
        """That the file holds every line of the journal once."""
        lines = await self.store.journal(self.session.id, epoch=self.session.epoch, limit=1_000)
        assert self.path.read_bytes() == b"".join(
            msgspec.json.encode(line) + b"\n" for line in lines
        )


@pytest.fixture
async def conversation(store: SqliteStore, tmp_path: Path) -> Conversation:
    session, _ = await store.resolve(SPEC)
    actor = await Actor.wake(store, session.id)
    return Conversation(store, actor, Transcripts(tmp_path / "files", store))


# -- the file --------------------------------------------------------------------------------------


async def test_lines_are_readable_by_others(conversation: Conversation) -> None:  # J1
    await conversation.turn()
    await conversation.turn()
    lines = [json.loads(line) for line in conversation.path.read_text().splitlines()]
    assert [line["content"] for line in lines] == ["line 0", "line 1"] * 2
    assert [line["seq"] for line in lines] == [1, 2, 3, 4]
    assert all(
        {"role", "content", "seq", "ts", "id", "epoch", "turn_id"} <= line.keys() for line in lines
    )
    await conversation.in_step()


async def test_the_folder_is_made_when_first_needed(  # S7, S17
    conversation: Conversation, tmp_path: Path
) -> None:
    folder = tmp_path / "files" / "sessions" / "echo" / conversation.session.id
    assert not folder.exists()
    assert session_folder(tmp_path / "files", "echo", conversation.session.id) == folder
    await conversation.turn()
    assert sorted(path.name for path in folder.iterdir()) == [
        "inbox",
        "outbox",
        "transcript-1.jsonl",
    ]
    assert stat.S_IMODE(conversation.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_an_existing_folder_is_completed_not_wiped(conversation: Conversation) -> None:  # S7
    kept = conversation.path.parent / "inbox" / "picture.png"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"png")
    await conversation.turn()
    assert kept.read_bytes() == b"png"
    assert (conversation.path.parent / "outbox").is_dir()


async def test_each_epoch_has_its_file(conversation: Conversation) -> None:  # J1, S18
    await conversation.turn()
    old = conversation.path
    before = old.read_bytes()
    await conversation.store.new_epoch(conversation.session.id)
    conversation.actor = await Actor.wake(conversation.store, conversation.session.id)
    await conversation.turn()
    assert conversation.path.name == "transcript-2.jsonl"
    assert old.read_bytes() == before
    await conversation.in_step()


async def test_the_last_lines_of_an_old_epoch_get_into_its_file(  # J2, S18
    conversation: Conversation,
) -> None:
    store, actor = conversation.store, conversation.actor
    await conversation.turn()
    row = (await admit(store, message(actor.session.id))).message
    turn_id = await actor.begin(row)
    await store.new_epoch(actor.session.id)
    journal = (NewEntry("late", "assistant", "half an answer"),)
    await store.end_turn(actor.ending(turn_id, row.id, journal=journal))
    old = conversation.path
    conversation.actor = await Actor.wake(store, actor.session.id)
    await conversation.transcripts.project(conversation.session, epoch=1)
    assert old.read_text().endswith("\n")
    assert transcript.load(old).entries[-1].id == "late"
    old.write_bytes(b"")
    assert await conversation.transcripts.verify(conversation.session) == Verified()
    assert transcript.load(old).entries[-1].id == "late"


async def test_nothing_to_say_makes_no_file(conversation: Conversation) -> None:  # J3
    await conversation.transcripts.project(conversation.session)
    assert await conversation.transcripts.verify(conversation.session) == Verified()
    assert not conversation.path.exists()
    assert await conversation.transcripts.load(conversation.session) == Loaded(())


async def test_lines_that_were_just_committed_are_not_read_again(  # J2
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(*_: object, **__: object) -> None:
        raise AssertionError("the journal was read")

    monkeypatch.setattr(conversation.store, "journal", unreadable)
    for _ in range(2):  # the first makes the file
        committed = await conversation.turn(project=False)
        await conversation.transcripts.project(conversation.session, committed=committed)
    monkeypatch.undo()
    await conversation.in_step()


async def test_only_the_very_next_lines_are_taken_as_they_come(  # J2
    conversation: Conversation,
) -> None:
    await conversation.turn()
    one, two, three = [await conversation.turn(project=False) for _ in range(3)]
    for committed in (
        two,  # the file lacks those before it
        two,  # it has them by now
        (*one, *three),  # a line of an earlier try comes again
        one,
    ):
        await conversation.transcripts.project(conversation.session, committed=committed)
        await conversation.in_step()


async def test_an_earlier_line_that_comes_again_leaves_no_gap(  # J2
    conversation: Conversation,
) -> None:
    await conversation.turn()
    one, two = [await conversation.turn(project=False) for _ in range(2)]
    await conversation.transcripts.project(conversation.session, committed=(one[0], *two))
    await conversation.in_step()


async def test_projections_of_one_session_are_in_order(conversation: Conversation) -> None:  # J2
    for _ in range(5):
        await conversation.turn(project=False)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(conversation.transcripts.project, conversation.session)
    await conversation.in_step()


async def test_a_cancelled_projection_is_made_up_for(conversation: Conversation) -> None:  # J2
    await conversation.turn(lines=2_500, project=False)
    for checkpoints in range(6):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(conversation.transcripts.project, conversation.session)
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
    await conversation.transcripts.project(conversation.session)
    assert transcript.check(conversation.path) == FileState(2_500, 2_500, sound=True)


async def test_a_link_is_not_written_through(conversation: Conversation, tmp_path: Path) -> None:
    # M2
    outside = tmp_path / "outside"
    outside.touch()
    conversation.path.parent.mkdir(parents=True)
    conversation.path.symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        await conversation.turn()
    assert outside.read_bytes() == b""


# -- mending ---------------------------------------------------------------------------------------


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def cut_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lose_the_last(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def lose_the_first(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def lose_one_between(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))


def spoil_one_between(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\x00" * 30 + b"\n", *lines[2:]]))


def write_one_twice(path: Path) -> None:
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])


def swap_two(path: Path) -> None:
    first, second, third, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, third, second, *rest]))


def invent_one(path: Path) -> None:
    line = msgspec.json.encode(JournalEntry(99, 1, "x", "assistant", "never said"))
    path.write_bytes(path.read_bytes() + line + b"\n")


def write_an_empty_line(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


DAMAGE: list[tuple[Callable[[Path], None], Verified]] = [
    (remove, Verified()),
    (empty, Verified()),
    (lose_the_last, Verified()),
    (cut_a_line, Verified(rebuilt=True, quarantined=1)),
    (cut_the_end, Verified(rebuilt=True)),
    (lose_the_first, Verified(rebuilt=True)),
    (lose_one_between, Verified(rebuilt=True)),
    (spoil_one_between, Verified(rebuilt=True, quarantined=1)),
    (write_one_twice, Verified(rebuilt=True)),
    (swap_two, Verified(rebuilt=True)),
    (invent_one, Verified(rebuilt=True, quarantined=1)),
    (write_an_empty_line, Verified(rebuilt=True, quarantined=1)),
]


@pytest.mark.parametrize("damage, expected", DAMAGE, ids=[each[0].__name__ for each in DAMAGE])
async def test_a_damaged_file_is_mended_at_wake_up(  # J2, J3
    conversation: Conversation, damage: Callable[[Path], None], expected: Verified
) -> None:
    for _ in range(3):
        await conversation.turn()
    damage(conversation.path)
    assert await conversation.transcripts.verify(conversation.session) == expected
    await conversation.in_step()
    beside = conversation.path.with_name("transcript-1.jsonl.quarantine")
    kept = beside.read_bytes().count(b"\n") if beside.exists() else 0
    assert kept == expected.quarantined
    await conversation.turn()
    await conversation.in_step()


async def test_a_torn_end_is_mended_at_the_next_commit(conversation: Conversation) -> None:  # J2
    await conversation.turn()
    cut_a_line(conversation.path)
    await conversation.turn()
    await conversation.in_step()


async def test_a_sound_file_is_left_alone(conversation: Conversation) -> None:  # J1
    await conversation.turn()
    before = conversation.path.stat()
    assert await conversation.transcripts.verify(conversation.session) == Verified()
    after = conversation.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_file_of_a_journal_that_is_gone_is_quarantined(  # J2
    conversation: Conversation, tmp_path: Path
) -> None:
    await conversation.turn()
    async with opened("memory", Clock(), tmp_path) as empty_store:
        verified = await Transcripts(tmp_path / "files", empty_store).verify(conversation.session)
    assert verified == Verified(rebuilt=True, quarantined=2)
    assert not conversation.path.exists()


# -- loading ---------------------------------------------------------------------------------------


async def test_a_long_transcript_loads_while_the_loop_goes_on(  # J3, D2
    conversation: Conversation,
) -> None:
    conversation.path.parent.mkdir(parents=True)
    line = msgspec.json.encode(JournalEntry(1, 1, "id-1", "user", "x" * 100)) + b"\n"
    conversation.path.write_bytes(line * 100_000)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(0.001)
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        loaded = await conversation.transcripts.load(conversation.session)
        nursery.cancel_scope.cancel()
    assert len(loaded.entries) == 100_000
    assert ticks >= 3


# -- none ------------------------------------------------------------------------------------------


async def test_without_a_directory_there_are_no_files(conversation: Conversation) -> None:  # J2
    nothing = NoTranscripts()
    await nothing.project(conversation.session)
    assert await nothing.verify(conversation.session) == Verified()
    assert await nothing.load(conversation.session) == Loaded(())


async def test_the_extent_of_a_journal(conversation: Conversation) -> None:  # J2
    store, session_id = conversation.store, conversation.session.id
    assert await store.journal_extent(session_id, 1) == JournalExtent(0, 0)
    await conversation.turn(lines=3)
    assert await store.journal_extent(session_id, 1) == JournalExtent(3, 3)
    assert await store.journal_extent(session_id, 2) == JournalExtent(0, 0)


async def test_reading_the_journal(conversation: Conversation) -> None:  # J1, J4
    store, session_id = conversation.store, conversation.session.id
    await conversation.turn(lines=5)
    lines = await store.journal(session_id)
    assert [line.seq for line in lines] == [1, 2, 3, 4, 5]
    assert await store.journal(session_id, after=2, limit=2) == lines[2:4]
    assert await store.journal(session_id, after=5) == ()
    assert await store.journal_tail(session_id, limit=2) == lines[3:]
    assert await store.journal_tail(session_id, limit=2, epoch=1) == lines[3:]
    assert await store.journal_tail(session_id, limit=2, epoch=2) == ()
    assert await store.journal("unknown") == ()
