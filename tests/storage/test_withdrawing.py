"""What chats are owed when messages of theirs are taken from a queue."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from msgspec import structs

from runtime.sessions.rows import DropReason, ReplyAddress
from runtime.sessions.withdrawing import DropNotice
from runtime.storage.anew import StartAnew
from runtime.storage.joining import JoinTurn, LeaveTurn
from runtime.storage.requests import DropPending
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import CHAT, Actor, admit, message, new_id

HERE = structs.replace(CHAT, message_id=None)
THERE = ReplyAddress("telegram", "bot", "chat-2", thread="7")


async def owed(store: SqliteStore) -> list[tuple[ReplyAddress, str, str]]:
    rows = await store.outbox_due("telegram", "bot", 10)
    return [(row.reply_to, row.text, row.kind) for row in rows]


async def by_clearing(store: SqliteStore, session_id: str, notice: DropNotice) -> None:
    await store.drop_pending(DropPending(session_id, DropReason.CLEARED, notice=notice))


async def by_name(store: SqliteStore, session_id: str, notice: DropNotice) -> None:
    ids = tuple(row.id for row in await store.pending_messages(session_id))
    await store.drop_pending(DropPending(session_id, DropReason.CANCELLED, ids, notice=notice))


async def by_new_epoch(store: SqliteStore, session_id: str, notice: DropNotice) -> None:
    await store.new_epoch(session_id, notice)


async def by_closing(store: SqliteStore, session_id: str, notice: DropNotice) -> None:
    await store.close_session(session_id, notice)


async def by_a_message(store: SqliteStore, session_id: str, notice: DropNotice) -> None:
    asked = (await admit(store, message(session_id, "/new", reply_to=None, command=True))).message
    await store.start_anew(StartAnew(session_id, asked.id, notice=notice))


Way = Callable[[SqliteStore, str, DropNotice], Coroutine[Any, Any, None]]
ENDS: tuple[Way, ...] = (by_new_epoch, by_closing, by_a_message)


@pytest.mark.parametrize("way", [by_clearing, by_name, *ENDS])
async def test_each_conversation_is_owed_one_notice_with_the_drop(
    store: SqliteStore, way: Way
) -> None:
    # Q4 S34 S40
    session_id = (await admit(store, message())).session.id
    for number, address in enumerate((CHAT, THERE)):
        again = structs.replace(address, message_id=f"again-{number}")
        await admit(store, message(session_id, reply_to=again))
    await admit(store, message(session_id, reply_to=None))
    notice = DropNotice(new_id(), "withdrawn")
    await way(store, session_id, notice)
    assert await owed(store) == [(HERE, "withdrawn", "notice"), (THERE, "withdrawn", "notice")]
    await admit(store, message())
    await by_clearing(store, (await admit(store, message())).session.id, notice)
    assert len(await owed(store)) == 2  # it is the same withdrawal


@pytest.mark.parametrize("way", [by_clearing, *ENDS])
async def test_where_it_was_asked_for_nothing_is_owed(store: SqliteStore, way: Way) -> None:
    # Q4 S36
    session_id = (await admit(store, message())).session.id
    await admit(store, message(session_id, reply_to=THERE))
    await way(store, session_id, DropNotice(new_id(), "withdrawn", answered=CHAT, also=(CHAT,)))
    assert [address for address, _, _ in await owed(store)] == [THERE]


@pytest.mark.parametrize("way", [by_clearing, *ENDS])
async def test_the_end_of_a_conversation_is_told_although_nothing_waits(
    store: SqliteStore, way: Way
) -> None:
    # S40 S43
    session_id = (await admit(store, message(trigger=False))).session.id
    await way(store, session_id, DropNotice(new_id(), "it ended", also=(THERE,)))
    assert await owed(store) == ([] if way is by_clearing else [(THERE, "it ended", "notice")])


async def test_a_message_that_leaves_a_turn_to_be_dropped_is_told_of(store: SqliteStore) -> None:
    # Q3 Q4
    first = (await admit(store, message())).message
    second = (await admit(store, message(reply_to=THERE))).message
    actor = await Actor.wake(store, first.session_id)
    turn_id, here = await actor.begin(first), actor.session
    await store.join_turn(JoinTurn(turn_id, here.id, here.epoch, here.fence, second.id))
    notice = DropNotice(new_id(), "withdrawn")
    leave = LeaveTurn(turn_id, here.id, here.fence, second.id, DropReason.CLEARED, notice)
    await store.leave_turn(leave)
    await store.leave_turn(leave)
    assert await owed(store) == [(THERE, "withdrawn", "notice")]
