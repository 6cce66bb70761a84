"""Which message of a chat shows an answer in the making, and what takes its place (R8, O2, T5)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from runtime.sessions.rows import Draft, InboundState, ReplyAddress, TurnState
from runtime.storage.errors import StaleFence, UnknownTurn
from runtime.storage.requests import InterruptedPolicy, NewOutbound, Owner, SaveDraft, Settlement
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import CHAT, POLICY, START, Actor, admit, message, new_id

NEXT = Owner("instance-2", "incarnation-1")
NOTIFY = InterruptedPolicy(retry=False)
DRAFT = Draft(CHAT, "p1")


def draft_of(actor: Actor, turn_id: str, draft: Draft = DRAFT) -> SaveDraft:
    return SaveDraft(turn_id, actor.session.id, actor.session.fence, draft)


async def begun(store: SqliteStore) -> tuple[Actor, str, str]:
    """A turn of one message, its id and the message's."""
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id)
    return actor, await actor.begin(row), row.id


async def shown(store: SqliteStore, message_id: str) -> Draft | None:
    """The draft of the turn that carried a message last."""
    status = await store.message_status(message_id)
    assert status is not None
    assert status.turn is not None
    return status.turn.draft


async def inherited(store: SqliteStore, actor: Actor, *message_ids: str) -> Draft | None:
    """What the next turn of these messages begins with."""
    again = await Actor.wake(store, actor.session.id, NEXT)
    return (await store.begin_turn(again.beginning(*message_ids))).draft


async def test_a_turn_begins_without_a_draft(store: SqliteStore) -> None:  # R8
    actor, turn_id, message_id = await begun(store)
    assert await shown(store, message_id) is None
    await store.save_draft(draft_of(actor, turn_id))
    assert await shown(store, message_id) == DRAFT


async def test_a_cut_off_turn_leaves_its_draft_to_the_next(store: SqliteStore) -> None:  # R8, T5
    actor, turn_id, message_id = await begun(store)
    await store.save_draft(draft_of(actor, turn_id))
    assert await inherited(store, actor, message_id) == DRAFT
    assert await inherited(store, actor, message_id) == DRAFT  # also when that showed nothing more


async def test_a_turn_that_is_tried_again_leaves_it_too(store: SqliteStore) -> None:  # R8, T5
    actor, turn_id, message_id = await begun(store)
    await store.end_turn(
        actor.ending(
            turn_id,
            state=TurnState.VANISHED,
            messages=(Settlement(message_id, InboundState.PENDING, count_try=True),),
            draft=DRAFT,
        )
    )
    other = (await admit(store, message())).message
    assert await inherited(store, actor, message_id, other.id) == DRAFT


async def test_other_messages_have_other_drafts(store: SqliteStore) -> None:  # R8
    actor, turn_id, _ = await begun(store)
    await store.save_draft(draft_of(actor, turn_id))
    other = (await admit(store, message())).message
    assert await inherited(store, actor, other.id) is None


async def test_a_message_that_wakes_nobody_brings_no_draft(store: SqliteStore) -> None:  # R8, S31
    context = (await admit(store, message(trigger=False))).message
    row = (await admit(store, message())).message
    actor = await Actor.wake(store, row.session_id)
    turn_id = await actor.begin(context, row)
    await store.save_draft(draft_of(actor, turn_id))
    again = await Actor.wake(store, actor.session.id, NEXT)
    assert (await store.begin_turn(again.beginning(context))).draft is None


async def test_only_the_running_turn_saves_one(store: SqliteStore) -> None:  # R8, D8
    actor, turn_id, message_id = await begun(store)
    with pytest.raises(UnknownTurn):
        await store.save_draft(draft_of(actor, "unknown"))
    await store.end_turn(actor.ending(turn_id, message_id))
    await store.save_draft(draft_of(actor, turn_id))
    assert await shown(store, message_id) is None
    await Actor.wake(store, actor.session.id, NEXT)
    with pytest.raises(StaleFence):
        await store.save_draft(draft_of(actor, turn_id))


async def test_the_notice_of_a_cut_off_turn_takes_its_place(store: SqliteStore) -> None:  # R8, T5
    there = ReplyAddress("telegram", "bot", "chat-2")
    actor, turn_id, _ = await begun(store)
    other = (await admit(store, message(reply_to=there))).message
    await Actor.wake(store, actor.session.id, NEXT, POLICY)
    again = await Actor.wake(store, actor.session.id, NEXT, POLICY)
    pending = [row.id for row in again.awake.pending]
    assert other.id in pending
    turn_id = await again.begin(*pending)
    await store.save_draft(draft_of(again, turn_id))
    await Actor.wake(store, actor.session.id, NEXT, NOTIFY)
    notices = await store.outbox_due("telegram", "bot", 10)
    assert [(notice.reply_to, notice.edits) for notice in notices] == [(CHAT, "p1"), (there, None)]


async def test_what_a_later_try_goes_on_with_is_not_given_to_a_notice(  # R8, T5
    store: SqliteStore,
) -> None:
    actor, _, first = await begun(store)
    late = (await admit(store, message())).message.id
    policy = InterruptedPolicy(max_tries=1)
    again = await Actor.wake(store, actor.session.id, NEXT, policy)
    turn_id = await again.begin(first, late)  # one was tried before, the other was not
    await store.save_draft(draft_of(again, turn_id))
    last = await Actor.wake(store, actor.session.id, NEXT, policy)
    (settled,) = last.awake.settled
    assert (settled.failed, settled.requeued) == ((first,), (late,))
    (notice,) = await store.outbox_due("telegram", "bot", 10)
    assert notice.edits is None
    assert await inherited(store, actor, late) == DRAFT


async def test_what_it_was_to_edit_is_gone(store: SqliteStore) -> None:  # R8, O1, O2
    session = (await admit(store, message())).session
    row = await store.notify(session.id, NewOutbound(new_id(), CHAT, "hi", edits="p1"))
    assert (row.edits, await store.outbox_send_anew(row.id, "x")) == ("p1", None)
    await store.outbox_attempt(row.id)
    await store.outbox_retry(row.id, not_before=START, error="lost", ambiguous=True)
    attempt = await store.outbox_attempt(row.id)
    assert attempt is not None
    assert (attempt.edits, attempt.ambiguous) == ("p1", True)
    anew = await store.outbox_send_anew(row.id, "anew")
    assert anew is not None
    assert (anew.edits, anew.ambiguous, anew.state) == (None, False, "attempting")
    assert (anew.text, anew.attempts) == ("anew", 2)
    assert await store.outbox_recover("telegram", "bot") == 1
    (again,) = await store.outbox_due("telegram", "bot", 10)
    assert (again.edits, again.ambiguous, again.text) == (None, True, "anew")


async def test_what_is_to_be_withdrawn_is_found_until_it_is_gone(store: SqliteStore) -> None:  # R6
    left, account = replace(DRAFT, left_over=True), (CHAT.channel, CHAT.account)
    actor, turn_id, message_id = await begun(store)
    await store.save_draft(draft_of(actor, turn_id, left))
    await store.draft_gone(turn_id)
    assert await store.drafts_left_over(*account) == ()  # the turn goes on
    assert await shown(store, message_id) == left
    await store.end_turn(replace(actor.ending(turn_id, message_id), draft=left))
    assert await store.drafts_left_over(*account) == ((turn_id, left),)
    assert await store.drafts_left_over(CHAT.channel, "another") == ()
    await store.draft_gone(turn_id)
    assert await store.drafts_left_over(*account) == ()
    assert await shown(store, message_id) is None


async def test_what_takes_its_place_later_is_not_to_be_withdrawn(  # R6, R8
    store: SqliteStore,
) -> None:
    actor, turn_id, message_id = await begun(store)
    await store.end_turn(replace(actor.ending(turn_id, message_id), draft=DRAFT))
    assert await store.drafts_left_over(CHAT.channel, CHAT.account) == ()
