"""What earlier owners left behind: waking and recovery (D8, T5 d, O2)."""

from __future__ import annotations

import pytest

from runtime.sessions.rows import (
    DropReason,
    InboundState,
    OutboundState,
    ReplyAddress,
    SessionSpec,
    TurnState,
)
from runtime.storage.errors import StaleFence, UnknownSession
from runtime.storage.requests import InterruptedPolicy, Owner, SettledTurn, TurnProgress
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import (
    CHAT,
    POLICY,
    START,
    Actor,
    Clock,
    admit,
    cap,
    message,
    new_id,
    prompt,
    state_of,
)

NEXT = Owner("instance-2", "incarnation-1")
NOTIFY = InterruptedPolicy(retry=False)


async def say(actor: Actor, turn_id: str, text: str) -> None:
    await actor.store.save_progress(
        TurnProgress(turn_id, actor.session.id, actor.session.fence, 0, text)
    )


async def test_waking_raises_the_fence(store: SqliteStore) -> None:  # D8
    session = (await admit(store, message())).session
    fences = [(await Actor.wake(store, session.id)).session.fence for _ in range(3)]
    assert fences == [1, 2, 3]
    with pytest.raises(UnknownSession):
        await store.wake("unknown", NEXT, POLICY)
    await store.close_session(session.id)
    with pytest.raises(UnknownSession, match="closed"):
        await store.wake(session.id, NEXT, POLICY)


@pytest.mark.parametrize("owner", [NEXT, Owner("instance-1", "incarnation-2")])
async def test_a_cut_off_turn_runs_again(store: SqliteStore, owner: Owner) -> None:  # T5, D8
    rows = [(await admit(store, message(text=f"q{n}"))).message for n in range(2)]
    old = await Actor.wake(store, rows[0].session_id)
    turn_id = await old.begin(*rows)
    new = await Actor.wake(store, rows[0].session_id, owner)
    ids = tuple(row.id for row in rows)
    assert new.awake.settled == (SettledTurn(turn_id, old.session.id, requeued=ids),)
    assert [(row.id, row.tries, row.interrupted) for row in new.awake.pending] == [
        (ids[0], 1, True),
        (ids[1], 1, True),
    ]
    status = await store.message_status(ids[0])
    assert status is not None
    assert status.turn is not None
    assert (status.turn.state, status.turn.ended_at) == (TurnState.INTERRUPTED, START)
    assert await store.journal(old.session.id) == ()
    with pytest.raises(StaleFence):
        await store.end_turn(old.ending(turn_id, *ids))
    await new.answer(*ids)


@pytest.mark.parametrize("policy", [POLICY, NOTIFY])
async def test_lines_that_a_cut_off_turn_had_are_owed_to_the_next_try(  # Q4, T5
    store: SqliteStore, policy: InterruptedPolicy
) -> None:
    limit = cap(1, "summarize")
    dropped, kept = [(await admit(store, message(limit=limit))).message for _ in range(2)]
    old = await Actor.wake(store, kept.session_id)
    assert [row.id for row in old.awake.overflow] == [dropped.id]
    await old.begin(kept, overflow=(dropped.id,))
    awake = (await Actor.wake(store, kept.session_id, NEXT, policy)).awake
    assert [row.id for row in awake.overflow] == ([dropped.id] if policy.retry else [])


async def test_what_was_said_until_then_is_kept(store: SqliteStore) -> None:  # T3, T5
    row = (await admit(store, message(text="a question"))).message
    actor = await Actor.wake(store, row.session_id)
    turn_id = await actor.begin(row)
    await say(actor, turn_id, "half an ans")
    await Actor.wake(store, row.session_id, NEXT)
    asked, said = await store.journal(row.session_id)
    assert (asked.id, asked.role, asked.content) == (row.id, "user", "a question")
    assert (said.role, said.content, said.turn_id) == ("assistant", "half an ans", turn_id)
    assert said.data == {"updates": [], "interrupted": True}
    again = await Actor.wake(store, row.session_id, NEXT)
    await again.answer(row.id)
    lines = await store.journal(row.session_id)
    assert [line.role for line in lines] == ["user", "assistant", "assistant"]


async def test_after_the_last_try_it_is_failed_and_told(store: SqliteStore) -> None:  # T5
    row = (await admit(store, message(text="deadly"))).message
    turn_id = ""
    for tries in range(1, 7):
        actor = await Actor.wake(store, row.session_id)
        assert [each.tries for each in actor.awake.pending] == [tries - 1]
        turn_id = await actor.begin(row)
    last = await Actor.wake(store, row.session_id, NEXT)
    assert last.awake.settled == (SettledTurn(turn_id, row.session_id, failed=(row.id,)),)
    assert last.awake.pending == ()
    assert await state_of(store, row.id) == (InboundState.FAILED, "interrupted")
    asked, error = await store.journal(row.session_id)
    assert (asked.id, error.role, error.id) == (row.id, "system", f"{turn_id}:error")
    assert error.data is not None
    assert error.data["error"]["code"] == "interrupted"
    (notice,) = await store.outbox_due("telegram", "bot", 10)
    assert (notice.kind, notice.reply_to, notice.text) == ("notice", CHAT, error.content)


async def test_on_interrupted_notify(store: SqliteStore) -> None:  # T5
    here = [(await admit(store, message())).message for _ in range(2)]
    there = ReplyAddress("telegram", "bot", "chat-2")
    rows = [*here, (await admit(store, message(reply_to=there))).message]
    waits = (await admit(store, prompt())).message
    actor = await Actor.wake(store, waits.session_id)
    turn_id = await actor.begin(*rows, waits)
    new = await Actor.wake(store, waits.session_id, NEXT, NOTIFY)
    (settled,) = new.awake.settled
    assert settled.failed == tuple(row.id for row in (*rows, waits))
    notices = await store.outbox_due("telegram", "bot", 10)
    assert [notice.reply_to for notice in notices] == [CHAT, there]
    assert {notice.turn_id for notice in notices} == {turn_id}


async def test_messages_of_an_older_epoch_do_not_come_back(store: SqliteStore) -> None:  # S18, T5
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id)
    turn_id = await actor.begin(row)
    await say(actor, turn_id, "old words")
    await store.new_epoch(row.session_id)
    new = await Actor.wake(store, row.session_id, NEXT)
    assert new.awake.settled == (SettledTurn(turn_id, row.session_id, dropped=(row.id,)),)
    assert await state_of(store, row.id) == (InboundState.DROPPED, DropReason.RESET)
    assert [line.epoch for line in await store.journal(row.session_id)] == [1, 1]


async def test_recovery_at_start(store: SqliteStore, clock: Clock) -> None:  # D8
    specs = [SessionSpec("echo", str(n)) for n in range(3)]
    rows = [(await admit(store, message(spec))).message for spec in specs]
    actors = [await Actor.wake(store, row.session_id) for row in rows]
    turns = [await actor.begin(row) for actor, row in list(zip(actors, rows, strict=True))[:2]]
    await store.close_session(rows[1].session_id)
    clock.now += 77
    recovery = await store.recover("instance-2", POLICY)
    assert recovery.settled == (
        SettledTurn(turns[0], rows[0].session_id, requeued=(rows[0].id,)),
        SettledTurn(turns[1], rows[1].session_id, dropped=(rows[1].id,)),
    )
    assert (recovery.at, recovery.instance) == (START + 77, "instance-2")
    assert recovery.pending_messages == 2
    assert await state_of(store, rows[1].id) == (InboundState.DROPPED, DropReason.CLOSED)
    assert await store.sessions_with_due_messages(9) == (rows[0].session_id, rows[2].session_id)
    assert await store.last_recovery() == recovery
    assert await store.recover("instance-2", POLICY) == recovery
    with pytest.raises(StaleFence):
        await store.end_turn(actors[0].ending(turns[0], rows[0].id))


async def test_recovery_leaves_the_own_instance_alone(store: SqliteStore) -> None:  # D8
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id, NEXT)
    turn_id = await actor.begin(row)
    assert (await store.recover(NEXT.instance, POLICY)).settled == ()
    await store.end_turn(actor.ending(turn_id, row.id))


async def test_no_recovery_yet(store: SqliteStore) -> None:  # D8
    assert await store.last_recovery() is None


async def test_the_newest_recovery_is_shown_and_the_old_are_forgotten(  # D8
    store: SqliteStore,
) -> None:
    names = [f"instance-{n}" for n in range(103)]
    for name in names:
        await store.recover(name, POLICY)
    newest = await store.last_recovery()
    assert newest is not None
    assert newest.instance == names[-1]


async def test_deliveries_in_flight_become_ambiguous(store: SqliteStore) -> None:  # O2
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id)
    end = await actor.answer(row.id)
    await store.outbox_attempt(end.outbound[0].id)
    assert await store.outbox_due("telegram", "bot", 10) == ()
    recovery = await store.recover(new_id(), POLICY)
    assert recovery.ambiguous_deliveries == 1
    (found,) = await store.outbox_due("telegram", "bot", 10)
    assert (found.state, found.ambiguous, found.attempts) == (OutboundState.PENDING, True, 1)
