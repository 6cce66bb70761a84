"""Admission to a full queue: who is told of what goes, and what never goes (Q4, S36)."""

from __future__ import annotations

import pytest

from runtime.sessions.capping import Overflow
from runtime.sessions.rows import (
    DropReason,
    InboundState,
    QueueOverrides,
    ReplyAddress,
    SessionSpec,
)
from runtime.storage.anew import StartAnew
from runtime.storage.errors import QueueFull
from runtime.storage.requests import DropPending, QueueLimit, SessionPatch
from runtime.storage.sql_admission import CONVERSATIONS_TOLD, MOST_COMMANDS
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import CHAT, admit, cap, message, prompt
from tests.storage.test_admission import waiting


async def test_each_conversation_gets_the_notice_once(store: SqliteStore) -> None:  # Q4, S34
    elsewhere = ReplyAddress("telegram", "bot", "chat-1", thread="7")
    for address in (CHAT, elsewhere, CHAT, elsewhere):
        await admit(store, message(limit=cap(4), reply_to=address))
    lowered = await admit(store, message(limit=cap(2)))
    assert [notice.reply_to for notice in lowered.notices] == [CHAT, elsewhere]
    assert (await admit(store, message(limit=cap(1), reply_to=elsewhere))).notices == ()
    there = ReplyAddress("telegram", "bot", "chat-2")
    await admit(store, message(limit=cap(1), reply_to=there))
    (notice,) = (await admit(store, message(limit=cap(1)))).notices
    assert notice.reply_to == there
    new = ReplyAddress("telegram", "bot", "chat-3")
    refused = await admit(store, message(limit=cap(1, "new"), reply_to=new))
    assert [notice.reply_to for notice in refused.notices] == [new]


async def test_what_was_told_of_another_policy_does_not_count(store: SqliteStore) -> None:  # Q4
    await admit(store, message(limit=cap(1)))
    told = []
    for drop in ("old", "new", "new", "summarize", "old", "new"):
        told += [
            notice.text for notice in (await admit(store, message(limit=cap(1, drop)))).notices
        ]
    assert told == [Overflow.OLD.notice, Overflow.NEW.notice, Overflow.SUMMARIZE.notice]


async def test_what_is_remembered_of_a_burst_has_an_end(store: SqliteStore) -> None:  # Q4
    def elsewhere(number: int) -> ReplyAddress:
        return ReplyAddress("telegram", "bot", f"chat-{number}")

    full = cap(1, "new")
    session_id = (await admit(store, message(limit=full))).session.id
    for number in range(CONVERSATIONS_TOLD + 5):
        refused = await admit(store, message(limit=full, reply_to=elsewhere(number)))
        assert [notice.reply_to for notice in refused.notices] == [elsewhere(number)]
    assert (await admit(store, message(limit=full, reply_to=elsewhere(number)))).notices == ()
    told = await store._reads.read(
        lambda transaction: transaction.row(
            "SELECT json_array_length(cap_noticed) FROM sessions WHERE id = ?", session_id
        )
    )
    assert told == (CONVERSATIONS_TOLD,)


@pytest.mark.parametrize("how", ["cleared", "a new epoch", "begun anew"])
async def test_with_the_queue_a_burst_is_over(store: SqliteStore, how: str) -> None:  # Q4, H3, S18
    session_id = (await admit(store, message(limit=cap(1)))).session.id
    assert len((await admit(store, message(limit=cap(1)))).notices) == 1
    match how:
        case "cleared":
            await store.drop_pending(DropPending(session_id, DropReason.CLEARED))
        case "a new epoch":
            await store.new_epoch(session_id)
        case _:
            asked = await admit(store, message(command=True, limit=cap(1)))
            await store.start_anew(StartAnew(session_id, asked.message.id))
    assert (await admit(store, message(limit=cap(1)))).notices == ()
    assert len((await admit(store, message(limit=cap(1)))).notices) == 1


async def test_a_command_neither_fills_the_queue_nor_falls_out_of_it(  # Q4, S36
    store: SqliteStore,
) -> None:
    command = await admit(store, message(text="/stop", limit=cap(1), command=True))
    first = await admit(store, message(text="first", limit=cap(1)))
    assert (first.dropped, first.message.state) == ((), InboundState.PENDING)
    second = await admit(store, message(text="second", limit=cap(1)))
    assert second.dropped[0].id == first.message.id
    assert await waiting(store, command.session.id) == ["/stop", "second"]
    with pytest.raises(QueueFull):
        await admit(store, prompt(limit=cap(1)))
    await admit(store, prompt(text="/queue", limit=cap(1), command=True))


async def test_the_room_for_commands_has_an_end(store: SqliteStore) -> None:  # Q4, S36
    for _ in range(MOST_COMMANDS):
        await admit(store, prompt(limit=cap(1), command=True))
    with pytest.raises(QueueFull):
        await admit(store, prompt(limit=cap(1), command=True))
    last = await admit(store, message(limit=cap(1), command=True))
    assert last.message.state is InboundState.DROPPED
    assert [notice.text for notice in last.notices] == [Overflow.COMMANDS.notice]


@pytest.mark.parametrize("state", [InboundState.EXPIRED, InboundState.HELD])
async def test_what_does_not_wait_makes_nobody_go(store: SqliteStore, state: InboundState) -> None:
    # Q4, Q6, S33
    first = await admit(store, message(text="first", limit=cap(1)))
    other = await admit(store, message(text="other", limit=cap(1), state=state))
    assert (other.dropped, other.notices, other.message.state) == ((), (), state)
    assert await waiting(store, first.session.id) == ["first"]


async def test_the_cap_is_that_of_the_channel_of_the_session(store: SqliteStore) -> None:
    # Q3, Q4
    limit = QueueLimit(1, "old", {"telegram": (2, "new"), "client": (3, "old")})
    of_chat = SessionSpec("echo", "agent:echo:telegram", origin=CHAT)
    session_id = (await admit(store, message(of_chat, limit=limit))).session.id
    await admit(store, prompt(session_id, limit=limit))
    with pytest.raises(QueueFull):
        await admit(store, prompt(session_id, limit=limit))
    elsewhere = ReplyAddress("slack", "bot", "chat-1")
    refused = await admit(store, message(session_id, reply_to=elsewhere, limit=limit))
    assert refused.message.state is InboundState.DROPPED
    await store.patch_session(session_id, SessionPatch(queue=QueueOverrides(cap=3, drop="old")))
    await admit(store, message(session_id, reply_to=elsewhere, limit=limit))
    assert len((await admit(store, message(session_id, limit=limit))).dropped) == 1
    of_nobody = SessionSpec("echo", "agent:echo:slack", origin=elsewhere)
    await admit(store, message(of_nobody, limit=limit))
    assert len((await admit(store, message(of_nobody, limit=limit))).dropped) == 1
    for _ in range(3):
        await admit(store, prompt(limit=limit))
    with pytest.raises(QueueFull):
        await admit(store, prompt(limit=limit))
