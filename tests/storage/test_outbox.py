"""Deliveries: states, order per conversation, parts (O1–O3, R5)."""

from __future__ import annotations

import pytest

from runtime.sessions.media import OutboxFile
from runtime.sessions.rows import (
    OutboundRow,
    OutboundState,
    ReplyAddress,
    SessionSpec,
)
from runtime.storage.errors import UnknownMessage, UnknownSession
from runtime.storage.requests import NewOutbound
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import CHAT, SPEC, START, Actor, Clock, admit, message, new_id


def chat(number: int, account: str = "bot") -> ReplyAddress:
    return ReplyAddress("telegram", account, f"chat-{number}")


async def owe(store: SqliteStore, address: ReplyAddress = CHAT, text: str = "hi") -> OutboundRow:
    session, _ = await store.resolve(SPEC)
    return await store.notify(session.id, NewOutbound(new_id(), address, text, kind="notice"))


async def answer(store: SqliteStore, parts: int) -> tuple[OutboundRow, ...]:
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id)
    turn_id = await actor.begin(row)
    outbound = tuple(NewOutbound(new_id(), CHAT, str(part), part) for part in range(parts))
    return (await store.end_turn(actor.ending(turn_id, row.id, outbound=outbound))).outbound


async def due(store: SqliteStore, limit: int = 10) -> list[str]:
    return [row.text for row in await store.outbox_due("telegram", "bot", limit)]


async def test_a_notice_is_owed_once(store: SqliteStore) -> None:  # O1
    session, _ = await store.resolve(SPEC)
    new = NewOutbound(new_id(), CHAT, "hi", kind="notice")
    row = await store.notify(session.id, new)
    assert await store.notify(session.id, new) == row
    assert (row.state, row.attempts, row.turn_id) == (OutboundState.PENDING, 0, None)
    assert await store.outbox_due("telegram", "bot", 10) == (row,)
    with pytest.raises(UnknownSession):
        await store.notify("unknown", NewOutbound(new_id(), CHAT, "hi"))


async def test_an_attempt_is_written_before_the_call(store: SqliteStore) -> None:  # O1
    row = await owe(store)
    attempting = await store.outbox_attempt(row.id)
    assert attempting is not None
    assert (attempting.state, attempting.attempts) == (OutboundState.ATTEMPTING, 1)
    assert await store.outbox_attempt(row.id) is None
    assert await store.outbox_attempt("unknown") is None
    await store.outbox_delivered(row.id, "platform-9")
    await store.outbox_delivered(row.id, "another")
    await store.outbox_failed(row.id, error="too late")
    assert await store.outbox_attempt(row.id) is None
    assert await due(store) == []


async def test_the_head_of_each_conversation(store: SqliteStore) -> None:  # O3
    for number in (1, 2, 1, 3, 2):
        await owe(store, chat(number), f"to {number}")
    await owe(store, chat(1, account="other"), "elsewhere")
    rows = await store.outbox_due("telegram", "bot", 10)
    assert [row.text for row in rows] == ["to 1", "to 2", "to 3"]
    assert await due(store, 2) == ["to 1", "to 2"]
    await store.outbox_attempt(rows[0].id)
    assert await due(store) == ["to 2", "to 3"]
    await store.outbox_delivered(rows[0].id, None)
    assert await due(store) == ["to 2", "to 1", "to 3"]


async def test_a_row_that_waits_holds_its_conversation_only(  # O3, O4
    store: SqliteStore, clock: Clock
) -> None:
    first = await owe(store, chat(1), "first")
    await owe(store, chat(1), "second")
    await owe(store, chat(2), "other")
    await store.outbox_attempt(first.id)
    await store.outbox_retry(first.id, not_before=START + 500, error="busy", ambiguous=False)
    assert await due(store) == ["other"]
    assert await store.outbox_next_due("telegram", "bot", START) == START + 500
    assert await store.outbox_next_due("telegram", "bot", START + 500) is None
    (other,) = await store.outbox_due("telegram", "bot", 10)
    await store.outbox_attempt(other.id)
    await store.outbox_delivered(other.id, None)
    assert await store.outbox_next_due("telegram", "bot", START) == START + 500
    clock.now = START + 500
    (again,) = await store.outbox_due("telegram", "bot", 10)
    assert (again.text, again.error, again.ambiguous) == ("first", "busy", False)


async def test_nothing_is_due(store: SqliteStore) -> None:  # O3
    assert await store.outbox_due("telegram", "bot", 10) == ()
    assert await store.outbox_next_due("telegram", "bot", START) is None
    row = await owe(store)
    await store.outbox_attempt(row.id)
    assert await store.outbox_next_due("telegram", "bot", START) is None


async def test_what_a_conversation_is_owed(store: SqliteStore) -> None:  # O3
    other = ReplyAddress(CHAT.channel, CHAT.account, "elsewhere")
    await owe(store, other)
    assert not await store.outbox_owes(CHAT)
    first, second = await owe(store), await owe(store)
    for row in (first, second):
        assert await store.outbox_owes(CHAT)
        await store.outbox_attempt(row.id)
        assert await store.outbox_owes(CHAT)
    await store.outbox_delivered(first.id, None)
    await store.outbox_retry(second.id, not_before=START + 9_000, error="e", ambiguous=False)
    assert await store.outbox_owes(CHAT)
    await store.outbox_attempt(second.id)
    await store.outbox_failed(second.id, error="e")
    assert not await store.outbox_owes(CHAT)
    assert await store.outbox_owes(other)


async def test_once_ambiguous_always_ambiguous(store: SqliteStore) -> None:  # O2
    row = await owe(store)
    for ambiguous in (True, False):
        await store.outbox_attempt(row.id)
        await store.outbox_retry(row.id, not_before=START, error="lost", ambiguous=ambiguous)
    (found,) = await store.outbox_due("telegram", "bot", 1)
    assert (found.ambiguous, found.attempts) == (True, 2)


async def test_an_attempt_may_not_count(store: SqliteStore, clock: Clock) -> None:  # O4
    row = await owe(store)
    for counts, attempts in ((False, 0), (True, 1), (False, 1)):
        clock.now += 10
        await store.outbox_attempt(row.id)
        await store.outbox_retry(
            row.id, not_before=clock.now, error="busy", ambiguous=False, counts=counts
        )
        (found,) = await store.outbox_due("telegram", "bot", 1)
        assert (found.attempts, found.attempted_at) == (attempts, START + 10)


async def test_without_its_first_part_an_answer_is_abandoned(store: SqliteStore) -> None:  # R5
    first, *_ = await answer(store, parts=3)
    await owe(store, text="a notice")
    await store.outbox_attempt(first.id)
    await store.outbox_failed(first.id, error="chat is gone")
    assert await due(store) == ["a notice"]


async def test_a_later_part_that_fails_is_skipped(store: SqliteStore) -> None:  # R5, O5
    first, second, third = await answer(store, parts=3)
    await store.outbox_attempt(first.id)
    await store.outbox_delivered(first.id, "p-1")
    await store.outbox_attempt(second.id)
    await store.outbox_failed(second.id, error="too long")
    assert await store.outbox_due("telegram", "bot", 10) == (third,)


async def test_only_the_parts_of_that_answer_are_abandoned(store: SqliteStore) -> None:  # R5
    first, _ = await answer(store, parts=2)
    await answer(store, parts=2)
    await store.outbox_attempt(first.id)
    await store.outbox_failed(first.id, error="gone")
    assert await due(store) == ["0"]


async def test_only_an_attempt_can_end(store: SqliteStore) -> None:  # O1
    row = await owe(store)
    await store.outbox_delivered(row.id, "p")
    await store.outbox_failed(row.id, error="e")
    await store.outbox_retry(row.id, not_before=START + 9, error="e", ambiguous=True)
    assert await store.outbox_due("telegram", "bot", 1) == (row,)
    with pytest.raises(UnknownMessage):
        await store.outbox_delivered("unknown", None)
    with pytest.raises(UnknownMessage):
        await store.outbox_failed("unknown", error="e")
    with pytest.raises(UnknownMessage):
        await store.outbox_retry("unknown", not_before=0, error="e", ambiguous=False)


async def test_many_conversations(store: SqliteStore) -> None:  # O3
    session, _ = await store.resolve(SessionSpec("echo", "busy"))
    for number in range(120):
        await store.notify(session.id, NewOutbound(new_id(), chat(number % 40), str(number)))
    assert await due(store, 1_000) == [str(number) for number in range(40)]


def found(path: str, mtime_ns: int = 1) -> OutboxFile:
    return OutboxFile(path, 5, mtime_ns, 1)


def sent(path: str, refused: str | None = None) -> NewOutbound:
    return NewOutbound(new_id(), CHAT, path, kind="file", file=found(path), refused=refused)


async def ended_with(store: SqliteStore, *outbound: NewOutbound) -> tuple[OutboundRow, ...]:
    """The rows of a turn that owes these."""
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id)
    turn_id = await actor.begin(row)
    return (await store.end_turn(actor.ending(turn_id, row.id, outbound=outbound))).outbound


async def test_a_file_is_owed_like_a_text(store: SqliteStore) -> None:  # R7, D7
    text, file = await ended_with(store, NewOutbound(new_id(), CHAT, "hi"), sent("a.txt"))
    assert (text.file, file.file, file.kind) == (None, found("a.txt"), "file")
    assert await store.outbox_due("telegram", "bot", 10) == (text,)
    await store.outbox_attempt(text.id)
    await store.outbox_delivered(text.id, "p1")
    assert await store.outbox_due("telegram", "bot", 10) == (file,)


async def test_one_file_that_fails_does_not_stop_the_others(store: SqliteStore) -> None:  # R7
    first, second = await ended_with(store, sent("a.txt"), sent("b.txt"))
    await store.outbox_attempt(first.id)
    notice = NewOutbound(new_id(), CHAT, "no", kind="notice")
    for _ in range(2):  # said once, however often it is written
        await store.outbox_failed(first.id, error="too odd", notices=(notice,))
    assert await due(store) == ["b.txt"]
    await store.outbox_attempt(second.id)
    await store.outbox_delivered(second.id, None)
    assert await due(store) == ["no"]


async def test_a_file_that_is_refused_has_failed(store: SqliteStore) -> None:  # R7
    (row,) = await ended_with(store, sent("a.txt", refused="too large"))
    assert (row.state, row.error, row.finished_at) == (OutboundState.FAILED, "too large", START)
    assert await due(store) == []
    assert (await store.backlog()).failed == 1


async def test_what_became_of_files(store: SqliteStore) -> None:  # R7
    rows = await ended_with(store, *(sent(name) for name in ("a", "b", "c")))
    await store.outbox_attempt(rows[0].id)
    await store.outbox_failed(rows[0].id, error="e")
    await store.outbox_attempt(rows[1].id)
    await store.outbox_delivered(rows[1].id, None)
    session_id = rows[0].session_id
    asked = [found("a"), found("b"), found("c"), found("a", mtime_ns=2), found("d")]
    assert await store.outbox_files(session_id, asked) == {
        found("a"): OutboundState.FAILED,
        found("b"): OutboundState.DELIVERED,
        found("c"): OutboundState.PENDING,
    }
    await ended_with(store, sent("b"))
    assert (await store.outbox_files(session_id, asked))[found("b")] == OutboundState.PENDING
    assert await store.outbox_files("another", asked) == {}
