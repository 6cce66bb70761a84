"""Admission: duplicates, order, the cap, budgets (D5, D6, Q4, Q7, S6, S22)."""

from __future__ import annotations

import pytest
from msgspec import structs

from runtime.sessions.capping import Overflow
from runtime.sessions.content import plain_text, text_content
from runtime.sessions.rows import (
    DropReason,
    InboundKind,
    InboundState,
    OutboundState,
    ReplyAddress,
    Sender,
    SessionSpec,
)
from runtime.storage.engine import Limits
from runtime.storage.errors import QueueFull, RowTooLarge, UnknownSession
from runtime.storage.requests import ChannelOffset, Drop, DropPending, NewInbound
from runtime.storage.sqlite import SqliteStore, open_memory
from runtime.storage.store import Store
from tests.storage.stage import (
    CHAT,
    OWNER,
    POLICY,
    SPEC,
    START,
    Actor,
    Clock,
    admit,
    cap,
    key,
    message,
    new_id,
    prompt,
    state_of,
)


async def waiting(store: Store, session_id: str) -> list[str]:
    awake = await store.wake(session_id, OWNER, POLICY)
    return [plain_text(row.content) for row in awake.pending]


# -- one message -----------------------------------------------------------------------------------


async def test_an_admitted_message_is_a_row(store: SqliteStore) -> None:  # D5, D6, S34
    new = message(
        sender=Sender("42", "Ada"), sent_at=START - 5, connection="c-1", not_before=START + 9
    )
    admitted = await admit(store, new)
    assert admitted.created_session
    assert not admitted.duplicate
    row = admitted.message
    assert (row.id, row.state, row.seq, row.epoch) == (new.id, InboundState.PENDING, 1, 1)
    assert (row.reply_to, row.sender, row.content) == (CHAT, new.sender, new.content)
    status = await store.message_status(new.id)
    assert status is not None
    assert status.message == row
    assert status.turn is None


async def test_numbers_follow_the_order_of_admission(store: SqliteStore) -> None:  # Q7
    texts = [str(number) for number in range(5)]
    rows = [(await admit(store, message(text=text))).message for text in texts]
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert await waiting(store, rows[0].session_id) == texts


async def test_several_messages_and_the_offset_are_one_transaction(  # D5
    store: SqliteStore,
) -> None:
    offset = ChannelOffset("telegram", "bot", "17")
    await store.admit([message(), message()], offset)
    assert await store.channel_offset("telegram", "bot") == "17"
    bad = message("no-such-session")
    good = message()
    with pytest.raises(UnknownSession, match="no-such-session"):
        await store.admit([good, bad], ChannelOffset("telegram", "bot", "19"))
    assert await store.channel_offset("telegram", "bot") == "17"
    assert await store.message_status(good.id) is None
    await store.admit([], ChannelOffset("telegram", "bot", "18"))
    assert await store.channel_offset("telegram", "bot") == "18"
    assert await store.channel_offset("telegram", "other") is None


async def test_times_of_the_session(store: SqliteStore, clock: Clock) -> None:  # S41
    person = (await admit(store, message())).session
    assert (person.last_interaction_at, person.last_active_at) == (START, START)
    clock.now += 10
    timer = (await admit(store, message(from_person=False, kind=InboundKind.TASK))).session
    assert (timer.last_interaction_at, timer.last_active_at) == (START, START + 10)
    clock.now -= 100
    late = (await admit(store, message())).session
    assert (late.last_active_at, late.updated_at) == (START + 10, START + 10)
    assert await store.session(late.id) == late


async def test_states_that_a_message_may_be_admitted_in(store: SqliteStore) -> None:  # D6, Q6, S33
    held = (await admit(store, message(state=InboundState.HELD))).message
    expired = await admit(store, message(state=InboundState.EXPIRED, reason=DropReason.EXPIRED))
    assert held.finished_at is None
    assert expired.message.finished_at == START
    assert await state_of(store, expired.message.id) == (InboundState.EXPIRED, "expired")
    assert await waiting(store, held.session_id) == []
    with pytest.raises(ValueError, match="claimed"):
        await admit(store, message(state=InboundState.CLAIMED))


async def test_a_session_that_is_closed_takes_no_message(store: SqliteStore) -> None:  # S43
    session, _ = await store.resolve(SPEC)
    await store.close_session(session.id)
    with pytest.raises(UnknownSession, match="closed"):
        await admit(store, message(session.id))
    again = await admit(store, message(SPEC))
    assert again.created_session
    assert again.session.id != session.id


# -- the same message again ------------------------------------------------------------------------


async def test_a_duplicate_is_accepted_and_stored_once(store: SqliteStore) -> None:  # D5
    first = await admit(store, message(key=key(1)))
    again = await admit(store, message(key=key(1)))
    assert again.duplicate
    assert again.message == first.message
    edited = await admit(store, message(key=key(1, version=1)))
    assert not edited.duplicate
    assert await waiting(store, first.session.id) == ["hello", "hello"]


async def test_a_duplicate_in_the_same_request(store: SqliteStore) -> None:  # D5
    first, second = await store.admit([message(key=key(1)), message(key=key(1))])
    assert not first.duplicate
    assert second.duplicate
    assert second.message.id == first.message.id


async def test_a_duplicate_makes_no_session_and_no_room(store: SqliteStore) -> None:  # D5, Q4
    first = await admit(store, message(key=key(1), limit=cap(1)))
    other = SessionSpec("echo", "another")
    again = await admit(store, message(other, key=key(1), limit=cap(1)))
    assert again.duplicate
    assert again.dropped == ()
    assert again.session.id == first.session.id
    assert await store.find_session("echo", "another") is None


async def test_a_duplicate_of_a_finished_message_tells_its_state(store: SqliteStore) -> None:  # D5
    first = await admit(store, message(key=key(1)))
    actor = await Actor.wake(store, first.session.id)
    await actor.answer(first.message.id)
    again = await admit(store, message(key=key(1)))
    assert again.message.state is InboundState.DONE


async def test_a_request_may_be_repeated(store: SqliteStore) -> None:  # D1
    new = message()
    first, again = await admit(store, new), await admit(store, new)
    assert again.duplicate
    assert again.message == first.message


async def test_what_came_before_is_known(store: SqliteStore) -> None:  # D5, A1
    keys = [key(1), key(2), key(1, version=1)]
    assert await store.known_messages(keys) == frozenset()
    await admit(store, message(key=keys[0]))
    assert await store.known_messages(keys) == {keys[0]}
    assert await store.known_messages([]) == frozenset()


async def test_a_key_whose_row_is_gone_is_free_again(clock: Clock) -> None:  # D5, S46
    async with open_memory(clock) as store:
        await admit(store, message(key=key(1)))
        await store._writes.write(lambda transaction: transaction.run("DELETE FROM inbound"))
        assert await store.known_messages([key(1)]) == frozenset()
        assert not (await admit(store, message(key=key(1)))).duplicate
        assert (await admit(store, message(key=key(1)))).duplicate


# -- the cap ---------------------------------------------------------------------------------------


async def test_cap_old_drops_the_oldest(store: SqliteStore) -> None:  # Q4
    rows = [await admit(store, message(text=str(n), limit=cap(2))) for n in range(4)]
    assert [[row.id for row in each.dropped] for each in rows] == [
        [],
        [],
        [rows[0].message.id],
        [rows[1].message.id],
    ]
    assert await waiting(store, rows[0].session.id) == ["2", "3"]
    assert await state_of(store, rows[0].message.id) == (InboundState.DROPPED, DropReason.CAP)


async def test_cap_new_drops_the_newcomer(store: SqliteStore) -> None:  # Q4
    first = await admit(store, message(text="first", limit=cap(1, "new")))
    second = await admit(store, message(text="second", limit=cap(1, "new")))
    assert second.message.state is InboundState.DROPPED
    assert second.message.reason == DropReason.CAP
    assert second.dropped == ()
    assert await waiting(store, first.session.id) == ["first"]


async def test_summarize_owes_a_line_for_each_and_at_most_cap(store: SqliteStore) -> None:  # Q4
    limit = cap(2, "summarize")
    rows = [await admit(store, message(text=str(n), limit=limit)) for n in range(6)]
    actor = await Actor.wake(store, rows[0].session.id)
    assert [plain_text(row.content) for row in actor.awake.overflow] == ["2", "3"]
    owed = tuple(row.id for row in actor.awake.overflow)
    turn_id = await actor.begin(*actor.awake.pending, overflow=owed)
    end = actor.ending(turn_id, *(row.id for row in actor.awake.pending))
    await store.end_turn(end)
    assert (await Actor.wake(store, rows[0].session.id)).awake.overflow == ()


async def test_one_notice_per_burst(store: SqliteStore) -> None:  # Q4
    limit = cap(1)
    first = await admit(store, message(limit=limit))
    second = await admit(store, message(limit=limit))
    third = await admit(store, message(limit=limit))
    (notice,) = second.notices
    assert (notice.kind, notice.text, notice.reply_to) == ("notice", Overflow.OLD.notice, CHAT)
    assert notice.state is OutboundState.PENDING
    assert (first.notices, third.notices) == ((), ())
    assert await store.outbox_due("telegram", "bot", 10) == (notice,)
    actor = await Actor.wake(store, first.session.id)
    await actor.begin(third.message.id)
    await admit(store, message(limit=limit))
    assert len((await admit(store, message(limit=limit))).notices) == 1


async def test_the_dropped_sender_gets_the_notice(store: SqliteStore) -> None:  # Q4, S34
    elsewhere = ReplyAddress("telegram", "bot", "chat-1", thread="7")
    await admit(store, message(limit=cap(1), reply_to=elsewhere))
    old = await admit(store, message(limit=cap(1)))
    assert [notice.reply_to for notice in old.notices] == [elsewhere]


async def test_who_waits_is_refused_before_acceptance(store: SqliteStore) -> None:  # Q4
    await admit(store, prompt(limit=cap(1)))
    refused = prompt(limit=cap(1), key=key(7))
    with pytest.raises(QueueFull, match="with 1 message of at most 1"):
        await admit(store, refused)
    assert await store.message_status(refused.id) is None
    with pytest.raises(QueueFull):
        await store.admit([message(), refused])


async def test_what_was_accepted_from_who_waits_is_never_dropped(  # Q4
    store: SqliteStore,
) -> None:
    kept = await admit(store, prompt(text="waits", limit=cap(2)))
    await admit(store, message(text="goes", limit=cap(2)))
    newest = await admit(store, message(text="newest", limit=cap(2)))
    assert [plain_text(row.content) for row in newest.dropped] == ["goes"]
    assert await waiting(store, kept.session.id) == ["waits", "newest"]


async def test_a_queue_full_of_who_waits_drops_the_newcomer(store: SqliteStore) -> None:  # Q4
    for _ in range(2):
        await admit(store, prompt(limit=cap(2)))
    newcomer = await admit(store, message(limit=cap(2, "old")))
    assert newcomer.message.state is InboundState.DROPPED
    assert len(newcomer.notices) == 1


@pytest.mark.parametrize("drop", ["old", "new", "summarize"])
async def test_what_nobody_can_be_told_about_is_not_dropped(  # Q4
    store: SqliteStore, drop: str
) -> None:
    for _ in range(2):
        row = await admit(store, message(reply_to=None, limit=cap(1, drop)))
        assert (row.message.state, row.dropped) == (InboundState.PENDING, ())


async def test_tasks_and_answers_neither_fill_the_queue_nor_fall_out(  # Q4
    store: SqliteStore,
) -> None:
    for kind in (InboundKind.TASK, InboundKind.SYSTEM):
        await admit(store, message(text=kind, kind=kind, limit=cap(1)))
    await admit(store, message(text="one", limit=cap(1)))
    last = await admit(store, message(text="two", limit=cap(1)))
    assert [plain_text(row.content) for row in last.dropped] == ["one"]
    assert await waiting(store, last.session.id) == ["task", "system", "two"]


async def test_context_is_kept_for_the_next_turn_and_bounded(store: SqliteStore) -> None:  # S31
    await admit(store, message(text="wakes", limit=cap(1)))
    context = [await admit(store, message(text=str(n), trigger=False)) for n in range(52)]
    assert [len(each.dropped) for each in context] == [0] * 50 + [1, 1]
    session_id = context[0].session.id
    assert await waiting(store, session_id) == ["wakes", *(str(n) for n in range(2, 52))]
    assert await state_of(store, context[0].message.id) == (InboundState.DROPPED, "cap")


async def test_claimed_messages_do_not_count(store: SqliteStore) -> None:  # Q4
    first = await admit(store, message(limit=cap(1)))
    actor = await Actor.wake(store, first.session.id)
    await actor.begin(first.message.id)
    assert (await admit(store, message(limit=cap(1)))).dropped == ()


# -- withdrawing -----------------------------------------------------------------------------------


async def test_withdrawing_some_and_all(store: SqliteStore) -> None:  # H3, S32
    rows = [(await admit(store, message(text=str(n)))).message for n in range(4)]
    session_id = rows[0].session_id
    actor = await Actor.wake(store, session_id)
    await actor.begin(rows[0])
    named = DropPending(session_id, DropReason.CANCELLED, (rows[0].id, rows[1].id, "unknown"))
    assert [row.id for row in await store.drop_pending(named)] == [rows[1].id]
    assert await store.drop_pending(named) == ()
    late = DropPending(session_id, DropReason.EXPIRED, (rows[2].id,))
    assert (await store.drop_pending(late))[0].state is InboundState.EXPIRED
    everything = DropPending(session_id, DropReason.CLEARED)
    (dropped,) = await store.drop_pending(everything)
    assert (dropped.id, dropped.reason) == (rows[3].id, DropReason.CLEARED)
    assert (await state_of(store, rows[0].id))[0] is InboundState.CLAIMED
    session = await store.session(session_id)
    assert session is not None
    assert session.generation == 1


async def test_drops_before_a_session_are_recorded(store: SqliteStore) -> None:  # S32
    drop = Drop(DropReason.UNKNOWN_SENDER, "telegram", "bot", "c", sender="9", detail="strict")
    await store.record_drop(drop)


# -- what is due -----------------------------------------------------------------------------------


async def test_sessions_with_due_messages(store: SqliteStore, clock: Clock) -> None:  # D8, D9
    specs = [SessionSpec("echo", str(n)) for n in range(4)]
    await admit(store, message(specs[0], not_before=START + 99))
    now = await admit(store, message(specs[0]))
    later = await admit(store, message(specs[1], not_before=START + 50))
    await admit(store, message(specs[2], trigger=False))
    both = await admit(store, message(specs[3], not_before=START + 99))
    await admit(store, message(specs[3]))
    await admit(store, message(specs[3]))
    assert await store.sessions_with_due_messages(10) == (now.session.id, both.session.id)
    clock.now += 50
    due = await store.sessions_with_due_messages(10)
    assert due == (now.session.id, later.session.id, both.session.id)
    assert await store.sessions_with_due_messages(1) == due[:1]
    assert await store.sessions_with_due_messages(10, after=due[0]) == due[1:]


# -- budgets ---------------------------------------------------------------------------------------


async def test_a_message_has_a_budget(clock: Clock) -> None:  # S22
    async with open_memory(clock, limits=Limits(message_bytes=100)) as store:
        with pytest.raises(RowTooLarge, match=r"`content` has \d+ bytes.*100 are allowed"):
            await admit(store, message(text="x" * 100))
        assert (await admit(store, message(text="short", reply_to=None))).message.seq == 1


async def test_text_is_kept_to_the_letter(store: SqliteStore) -> None:  # J1
    odd = "line\u2028sep \x00 nul \U0001f680 'quoted' -- ; DROP"
    new = NewInbound(new_id(), SPEC, text_content(odd))
    await admit(store, new)
    status = await store.message_status(new.id)
    assert status is not None
    assert plain_text(status.message.content) == odd


async def test_what_is_not_taken_is_known_when_it_comes_again(store: SqliteStore) -> None:
    # D5, Q4
    refused = message(state=InboundState.DROPPED, reason="too_large", notice="no", key=key(7))
    first = await admit(store, refused)
    assert [(each.text, each.reply_to) for each in first.notices] == [("no", CHAT)]
    again = await admit(store, structs.replace(refused, id=new_id()))
    assert (again.duplicate, again.message, again.notices) == (True, first.message, ())
    assert first.message.finished_at is not None
    assert await waiting(store, first.session.id) == []
    await admit(store, message(state=InboundState.DROPPED, reason="too_large", reply_to=None))
    assert len(await store.outbox_due("telegram", "bot", 10)) == 1
