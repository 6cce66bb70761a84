"""Session rows: identity, patches, epochs, closing, the list (S6, S18, S20, S22, S43, J4)."""

from __future__ import annotations

import uuid

import pytest
import trio

from runtime.sessions.rows import (
    DropReason,
    InboundState,
    QueueOverrides,
    ReplyAddress,
    SessionRow,
    SessionSpec,
    SessionStatus,
)
from runtime.storage.errors import RowTooLarge, UnknownSession
from runtime.storage.requests import SessionPatch
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import CHAT, SPEC, START, Actor, Clock, admit, message, state_of


async def test_resolving_makes_a_session_once(store: SqliteStore) -> None:  # S6, S7
    full = SessionSpec("echo", "k", "group", "Friends", CHAT, "7", "mg-1")
    made, created = await store.resolve(full)
    again, created_again = await store.resolve(SessionSpec("echo", "k"))
    assert (created, created_again) == (True, False)
    assert made == again == await store.session(made.id)
    assert uuid.UUID(made.id).version == 7
    assert (made.status, made.epoch, made.last_active_at) == (SessionStatus.ACTIVE, 1, None)
    assert (made.chat_type, made.display_name, made.thread_id) == ("group", "Friends", "7")
    assert made.origin == CHAT
    assert await store.find_session("echo", "k") == made
    assert await store.find_session("other", "k") is None
    assert await store.session("unknown") is None


async def test_concurrent_resolves_give_one_session(disk_store: SqliteStore) -> None:  # S6
    found: list[tuple[SessionRow, bool]] = []

    async def resolve(agent: str) -> None:
        found.append(await disk_store.resolve(SessionSpec(agent, "same")))

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(resolve, f"agent-{number % 2}")
    assert len({session.id for session, _ in found}) == 2
    assert sum(created for _, created in found) == 2


async def test_ids_sort_by_time(store: SqliteStore, clock: Clock) -> None:  # S7
    made = []
    for number in range(50):
        clock.now += number % 2
        made.append((await store.resolve(SessionSpec("echo", str(number))))[0].id)
    assert made == sorted(made)


async def test_a_patch_keeps_what_it_does_not_name(store: SqliteStore, clock: Clock) -> None:  # S20
    session, _ = await store.resolve(SPEC)
    clock.now += 5
    labelled = await store.patch_session(session.id, SessionPatch(label="work"))
    both = await store.patch_session(session.id, SessionPatch(queue=QueueOverrides(cap=3)))
    assert (both.label, both.queue.cap, both.updated_at) == ("work", 3, START + 5)
    cleared = await store.patch_session(
        session.id, SessionPatch(label=None, agent_session_id="theirs")
    )
    assert (cleared.label, cleared.queue.cap, cleared.agent_session_id) == (None, 3, "theirs")
    assert labelled.id == both.id == session.id
    with pytest.raises(UnknownSession):
        await store.patch_session("unknown", SessionPatch(label="x"))


async def test_the_time_of_an_update_never_goes_back(store: SqliteStore, clock: Clock) -> None:
    # S20
    session, _ = await store.resolve(SPEC)
    clock.now -= 50
    early = await store.patch_session(session.id, SessionPatch(label="a"))
    assert early.updated_at == START
    ahead = await store.patch_session(session.id, SessionPatch(updated_at=START + 99))
    assert ahead.updated_at == START + 99
    clock.now += 60
    assert (await store.patch_session(session.id, SessionPatch())) == ahead


async def test_the_last_route_is_trimmed(store: SqliteStore) -> None:  # S20
    session, _ = await store.resolve(SPEC)

    async def route(value: ReplyAddress | None) -> ReplyAddress | None:
        return (await store.patch_session(session.id, SessionPatch(last_route=value))).last_route

    full = ReplyAddress("telegram", "bot", "chat", "7")
    assert await route(ReplyAddress(" telegram ", " bot", "chat ", " 7 ")) == full
    assert await route(ReplyAddress("telegram", "  ", "chat", " ")) == ReplyAddress(
        "telegram", "bot", "chat"
    )
    assert await route(ReplyAddress("telegram", "bot", "  ")) is None
    assert await route(None) is None


async def test_a_row_has_a_budget(store: SqliteStore) -> None:  # S22
    session, _ = await store.resolve(SPEC)
    with pytest.raises(RowTooLarge, match=r"`label` has 65537 bytes.*65536 are allowed"):
        await store.patch_session(session.id, SessionPatch(label="x" * 65_537))
    assert await store.session(session.id) == session
    with pytest.raises(RowTooLarge, match="`display_name`"):
        await store.resolve(SessionSpec("echo", "big", display_name="é" * 40_000))
    assert await store.find_session("echo", "big") is None
    await store.patch_session(session.id, SessionPatch(label="x" * 60_000))
    with pytest.raises(RowTooLarge, match="label"):
        await store.patch_session(session.id, SessionPatch(display_name="y" * 6_000))


async def test_a_new_epoch(store: SqliteStore) -> None:  # S18
    row = (await admit(store, message())).message
    await store.patch_session(row.session_id, SessionPatch(agent_session_id="theirs"))
    before = await store.session(row.session_id)
    session, dropped = await store.new_epoch(row.session_id)
    assert before is not None
    assert (session.id, session.key) == (before.id, before.key)
    assert (session.epoch, session.generation) == (2, before.generation + 1)
    assert session.agent_session_id is None
    assert [(each.id, each.reason) for each in dropped] == [(row.id, DropReason.RESET)]
    assert (await admit(store, message())).message.epoch == 2
    with pytest.raises(UnknownSession):
        await store.new_epoch("unknown")


async def test_earlier_epochs_stay_readable(store: SqliteStore) -> None:  # S18
    session, _ = await store.resolve(SPEC)
    for _ in range(2):
        row = (await admit(store, message())).message
        actor = await Actor.wake(store, session.id)
        await actor.answer(row.id)
        await store.new_epoch(session.id)
    assert [line.epoch for line in await store.journal(session.id)] == [1, 1, 2, 2]
    first = await store.journal(session.id, epoch=1)
    assert [line.seq for line in first] == [1, 2]


async def test_closing(store: SqliteStore) -> None:  # S43
    row = (await admit(store, message())).message
    held = (await admit(store, message(state=InboundState.HELD))).message
    session, dropped = await store.close_session(row.session_id)
    assert session.status is SessionStatus.CLOSED
    assert [each.id for each in dropped] == [row.id, held.id]
    assert await state_of(store, held.id) == (InboundState.DROPPED, DropReason.CLOSED)
    assert await store.close_session(row.session_id) == (session, ())
    assert await store.find_session(SPEC.agent_id, SPEC.key) is None
    with pytest.raises(UnknownSession):
        await store.close_session("unknown")


# -- the list --------------------------------------------------------------------------------------


async def pages(store: SqliteStore, limit: int, status: SessionStatus | None) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = await store.sessions(cursor=cursor, limit=limit, status=status)
        found.append([session.key for session in page.sessions])
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_the_list_is_by_last_activity(store: SqliteStore, clock: Clock) -> None:  # J4
    assert (await store.sessions()).sessions == ()
    made = []
    for number in range(5):
        clock.now += 10
        made.append((await store.resolve(SessionSpec("echo", str(number))))[0])
    clock.now += 10
    await admit(store, message(made[1].id))
    assert await pages(store, 2, SessionStatus.ACTIVE) == [["1", "4"], ["3", "2"], ["0"]]
    await store.close_session(made[3].id)
    assert await pages(store, 5, SessionStatus.ACTIVE) == [["1", "4", "2", "0"]]
    assert await pages(store, 3, SessionStatus.CLOSED) == [["3"]]
    assert await pages(store, 2, None) == [["1", "4"], ["3", "2"], ["0"]]


async def test_sessions_of_the_same_instant_are_all_listed(store: SqliteStore) -> None:  # J4
    for number in range(7):
        await store.resolve(SessionSpec("echo", str(number)))
    found = [key for page in await pages(store, 3, None) for key in page]
    assert sorted(found) == [str(number) for number in range(7)]


@pytest.mark.parametrize("cursor", ["", "x", "12", ".a", "12.", "-1.a", "1²3.a"])
async def test_a_bad_cursor(store: SqliteStore, cursor: str) -> None:  # J4
    with pytest.raises(ValueError, match="cursor"):
        await store.sessions(cursor=cursor)


async def test_a_cursor_from_anywhere_else_only_ends_the_list(store: SqliteStore) -> None:  # J4
    await store.resolve(SPEC)
    assert (await store.sessions(cursor="1.'; DROP TABLE sessions")).sessions == ()
    assert len((await store.sessions(cursor=f"{10**40}.x")).sessions) == 1
