"""Turns: claims, progress, the turn commit (T1, T3, D7, D8)."""

from __future__ import annotations

import msgspec
import pytest

from runtime.sessions.rows import (
    DropReason,
    InboundState,
    OutboundState,
    SessionSpec,
    TurnError,
    TurnState,
    Usage,
)
from runtime.storage.errors import (
    NotPending,
    StaleFence,
    TurnRunning,
    UnknownSession,
    UnknownTurn,
)
from runtime.storage.requests import NewEntry, NewOutbound, Owner, Settlement, TurnProgress
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
    state_of,
)


async def started(store: SqliteStore, *, messages: int = 1) -> tuple[Actor, tuple[str, ...], str]:
    """A session with a running turn: its actor, the messages, the turn."""
    rows = [(await admit(store, message(text=f"q{n}"))).message for n in range(messages)]
    actor = await Actor.wake(store, rows[0].session_id)
    turn_id = await actor.begin(*rows)
    return actor, tuple(row.id for row in rows), turn_id


# -- beginning -------------------------------------------------------------------------------------


async def test_a_turn_claims_its_messages(store: SqliteStore) -> None:  # T3, D8
    actor, ids, turn_id = await started(store, messages=2)
    status = await store.message_status(ids[0])
    assert status is not None
    assert status.message.state is InboundState.CLAIMED
    assert status.message.turn_id == turn_id
    turn = status.turn
    assert turn is not None
    assert (turn.state, turn.message_ids, turn.epoch) == (TurnState.RUNNING, ids, 1)
    assert (turn.tries, turn.started_at, turn.ended_at) == (0, START, None)
    assert (await Actor.wake(store, actor.session.id, Owner("i", "2"))).awake.settled


async def test_claims_are_all_or_nothing(store: SqliteStore) -> None:  # D8
    first = (await admit(store, message())).message
    done = (await admit(store, message())).message
    actor = await Actor.wake(store, first.session_id)
    await actor.answer(done.id)
    for other in (done.id, "unknown"):
        with pytest.raises(NotPending, match=other):
            await actor.begin(first, other)
        assert (await state_of(store, first.id))[0] is InboundState.PENDING
    elsewhere = (await admit(store, message(SessionSpec("echo", "other")))).message
    with pytest.raises(NotPending):
        await actor.begin(elsewhere)
    await actor.begin(first)


async def test_one_turn_at_a_time(store: SqliteStore) -> None:  # T1
    actor, _, turn_id = await started(store)
    second = (await admit(store, message())).message
    with pytest.raises(TurnRunning, match=turn_id):
        await actor.begin(second)
    assert (await state_of(store, second.id))[0] is InboundState.PENDING


async def test_beginning_again_answers_the_same(store: SqliteStore) -> None:  # D1
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id)
    request = actor.beginning(row)
    assert await store.begin_turn(request) == await store.begin_turn(request)


async def test_who_may_begin(store: SqliteStore) -> None:  # D8, S18
    row = (await admit(store, message())).message
    old = await Actor.wake(store, row.session_id)
    new = await Actor.wake(store, row.session_id, Owner("instance-2", "a"))
    with pytest.raises(StaleFence, match="newer owner"):
        await old.begin(row)
    await store.new_epoch(row.session_id)
    after_reset = (await admit(store, message())).message
    with pytest.raises(StaleFence, match="epoch 2, not 1"):
        await new.begin(after_reset)
    await store.close_session(row.session_id)
    with pytest.raises(UnknownSession, match="closed"):
        await new.begin(after_reset)


# -- progress --------------------------------------------------------------------------------------


async def test_progress_is_appended_once(store: SqliteStore) -> None:  # T3
    actor, ids, turn_id = await started(store)
    fence = actor.session.fence
    tool = {"tool": "search"}
    parts = [
        TurnProgress(turn_id, actor.session.id, fence, 0, "one ", first_event_at=START + 1),
        TurnProgress(turn_id, actor.session.id, fence, 1, "two", [tool], first_event_at=START + 9),
    ]
    for part in (*parts, *parts):
        await store.save_progress(part)
    status = await store.message_status(ids[0])
    assert status is not None
    assert status.turn is not None
    assert status.turn.first_event_at == START + 1
    await Actor.wake(store, actor.session.id)
    _, said = await store.journal(actor.session.id)
    assert (said.content, said.data) == ("one two", {"updates": [tool], "interrupted": True})


async def test_progress_of_others(store: SqliteStore) -> None:  # T3, D8
    actor, ids, turn_id = await started(store)
    session_id, fence = actor.session.id, actor.session.fence
    with pytest.raises(StaleFence):
        await store.save_progress(TurnProgress(turn_id, session_id, fence + 1, 0, "x"))
    with pytest.raises(UnknownTurn):
        await store.save_progress(TurnProgress("unknown", session_id, fence, 0, "x"))
    await store.end_turn(actor.ending(turn_id, *ids))
    await store.save_progress(TurnProgress(turn_id, session_id, fence, 0, "late"))
    assert await store.journal(session_id) == ()


# -- ending ----------------------------------------------------------------------------------------


async def test_the_turn_commit(store: SqliteStore, clock: Clock) -> None:  # D7, J1, T3
    actor, ids, turn_id = await started(store, messages=2)
    clock.now += 1_000
    end = actor.ending(
        turn_id,
        *ids,
        stop_reason="end_turn",
        usage=Usage(10, 5, 15, 100),
        first_event_at=START + 3,
        journal=(
            NewEntry(ids[0], "user", "q0", ts=START),
            NewEntry(f"{turn_id}:answer", "assistant", "a", data={"stopReason": "end_turn"}),
        ),
        outbound=(NewOutbound(new_id(), CHAT, "a1"), NewOutbound(new_id(), CHAT, "a2", part=1)),
        agent_session_id="theirs",
    )
    ended = await store.end_turn(end)
    assert [(line.seq, line.ts, line.role) for line in ended.journal] == [
        (1, START, "user"),
        (2, START + 1_000, "assistant"),
    ]
    assert {line.turn_id for line in ended.journal} == {turn_id}
    assert [(row.part, row.state) for row in ended.outbound] == [
        (0, OutboundState.PENDING),
        (1, OutboundState.PENDING),
    ]
    session = ended.session
    assert session.usage == Usage(10, 5, 15, 100)
    assert (session.agent_session_id, session.journal_seq) == ("theirs", 2)
    assert session.last_active_at == START + 1_000
    assert await store.journal(session.id) == ended.journal
    status = await store.message_status(ids[1])
    assert status is not None
    assert status.turn is not None
    assert status.message.state is InboundState.DONE
    assert status.turn.stop_reason == "end_turn"
    assert status.turn.first_event_at == START + 3
    assert status.turn.ended_at == START + 1_000


async def test_ending_again_changes_nothing_and_answers_the_same(store: SqliteStore) -> None:  # D7
    actor, ids, turn_id = await started(store)
    end = actor.ending(
        turn_id,
        *ids,
        usage=Usage(1, 1, 2),
        journal=(NewEntry(ids[0], "user", "q"), NewEntry("a", "assistant", "a")),
        outbound=(NewOutbound(new_id(), CHAT, "a"),),
    )
    first = await store.end_turn(end)
    assert await store.end_turn(end) == first
    assert len(await store.journal(actor.session.id)) == 2


async def test_a_line_is_written_once_however_often_it_is_tried(store: SqliteStore) -> None:  # J1
    actor, ids, turn_id = await started(store)
    line = NewEntry(ids[0], "user", "q0")
    again = (Settlement(ids[0], InboundState.PENDING, count_try=True),)
    vanished = actor.ending(turn_id, state=TurnState.VANISHED, messages=again, journal=(line,))
    await store.end_turn(vanished)
    turn_id = await actor.begin(ids[0])
    ended = await store.end_turn(actor.ending(turn_id, ids[0], journal=(line,)))
    assert [entry.seq for entry in ended.journal] == [1]
    assert len(await store.journal(actor.session.id)) == 1


async def test_a_message_that_is_tried_again(store: SqliteStore, clock: Clock) -> None:  # T5
    actor, ids, turn_id = await started(store)
    later = Settlement(ids[0], InboundState.PENDING, "agent_gone", START + 5_000, count_try=True)
    end = actor.ending(turn_id, state=TurnState.VANISHED, messages=(later,))
    await store.end_turn(end)
    status = await store.message_status(ids[0])
    assert status is not None
    row = status.message
    assert (row.state, row.tries, row.not_before) == (InboundState.PENDING, 1, START + 5_000)
    assert not row.interrupted
    assert await store.sessions_with_due_messages(5) == ()
    clock.now += 5_000
    assert await store.sessions_with_due_messages(5) == (actor.session.id,)
    turn = await store.begin_turn(actor.beginning(ids[0]))
    assert turn.tries == 1


async def test_lines_of_dropped_messages_are_owed_again_with_the_retry(  # Q4, T5
    store: SqliteStore,
) -> None:
    for n in range(2):
        await admit(store, message(text=str(n), limit=cap(1, "summarize")))
    last = await admit(store, message(text="last", limit=cap(1, "summarize")))
    actor = await Actor.wake(store, last.session.id)
    (line,) = actor.awake.overflow
    turn_id = await actor.begin(last.message.id, overflow=(line.id,))
    assert (await store.message_status(last.message.id)) is not None
    again = (Settlement(last.message.id, InboundState.PENDING),)
    await store.end_turn(actor.ending(turn_id, state=TurnState.VANISHED, messages=again))
    assert (await Actor.wake(store, last.session.id)).awake.overflow == (line,)


async def test_every_claimed_message_is_settled(store: SqliteStore) -> None:  # T2
    actor, ids, turn_id = await started(store, messages=2)
    for named in ((ids[0],), (*ids, "another"), (ids[0], ids[0])):
        with pytest.raises(ValueError, match="exactly"):
            await store.end_turn(actor.ending(turn_id, *named))
    for state in (InboundState.CLAIMED, InboundState.HELD):
        with pytest.raises(ValueError, match=state):
            await store.end_turn(actor.ending(turn_id, *ids, settle=state))
    with pytest.raises(ValueError, match="running"):
        await store.end_turn(actor.ending(turn_id, *ids, state=TurnState.RUNNING))
    assert (await state_of(store, ids[0]))[0] is InboundState.CLAIMED


async def test_who_may_end(store: SqliteStore) -> None:  # D8
    old, ids, turn_id = await started(store)
    with pytest.raises(UnknownTurn):
        await store.end_turn(old.ending("unknown"))
    other_epoch = msgspec.structs.replace(old.ending(turn_id, *ids), epoch=7)
    with pytest.raises(StaleFence, match="epoch"):
        await store.end_turn(other_epoch)
    await store.wake(old.session.id, Owner("instance-2", "a"), POLICY)
    with pytest.raises(StaleFence):
        await store.end_turn(old.ending(turn_id, *ids))
    assert (await state_of(store, ids[0]))[0] is InboundState.PENDING


async def test_a_turn_ends_in_its_own_epoch(store: SqliteStore) -> None:  # S18
    actor, ids, turn_id = await started(store, messages=2)
    session, _ = await store.new_epoch(actor.session.id)
    assert (await state_of(store, ids[0]))[0] is InboundState.CLAIMED
    ended = await store.end_turn(
        actor.ending(
            turn_id,
            state=TurnState.CANCELLED,
            messages=(
                Settlement(ids[0], InboundState.FAILED, "cancelled"),
                Settlement(ids[1], InboundState.PENDING),
            ),
            journal=(NewEntry("half", "assistant", "half an answer"),),
            agent_session_id="of the old epoch",
        )
    )
    assert ended.session.epoch == session.epoch == 2
    assert ended.session.agent_session_id is None
    assert [line.epoch for line in ended.journal] == [1]
    assert await store.journal(session.id, epoch=2) == ()
    assert await state_of(store, ids[1]) == (InboundState.DROPPED, DropReason.RESET)


async def test_a_turn_of_a_closed_session_still_ends(store: SqliteStore) -> None:  # S43
    actor, ids, turn_id = await started(store)
    await store.close_session(actor.session.id)
    again = (Settlement(ids[0], InboundState.PENDING),)
    await store.end_turn(actor.ending(turn_id, state=TurnState.CANCELLED, messages=again))
    assert await state_of(store, ids[0]) == (InboundState.DROPPED, DropReason.CLOSED)


async def test_a_failed_turn_keeps_its_error(store: SqliteStore) -> None:  # T5
    actor, ids, turn_id = await started(store)
    error = TurnError("agent_error", "no credit")
    await store.end_turn(
        actor.ending(turn_id, *ids, state=TurnState.FAILED, settle=InboundState.FAILED, error=error)
    )
    status = await store.message_status(ids[0])
    assert status is not None
    assert status.turn is not None
    assert (status.turn.state, status.turn.error) == (TurnState.FAILED, error)
