"""Messages that join a running turn, and leave it again (Q3, D8)."""

from __future__ import annotations

import msgspec
import pytest

from runtime.sessions.content import FileBlock, TextBlock
from runtime.sessions.media import MediaItem, MediaKind, NewBlob
from runtime.sessions.rows import DropReason, InboundState, SessionSpec, TurnState
from runtime.storage.errors import NotPending, StaleFence, UnknownSession, UnknownTurn
from runtime.storage.joining import JoinTurn, KeepCopy, LeaveTurn
from runtime.storage.requests import DropPending, InterruptedPolicy, Owner, Settlement
from runtime.storage.sqlite import SqliteStore
from tests.storage.media_messages import Feed, with_files
from tests.storage.stage import START, Actor, admit, message, state_of

PENDING, CLAIMED = (InboundState.PENDING, None), (InboundState.CLAIMED, None)


async def running(store: SqliteStore) -> tuple[Actor, str, str, str]:
    """A running turn, its message, and one that waits."""
    first = (await admit(store, message(text="one"))).message
    actor = await Actor.wake(store, first.session_id)
    turn_id = await actor.begin(first)
    second = (await admit(store, message(text="two"))).message
    return actor, turn_id, first.id, second.id


def joining(actor: Actor, turn_id: str, message_id: str) -> JoinTurn:
    session = actor.session
    return JoinTurn(turn_id, session.id, session.epoch, session.fence, message_id)


def leaving(
    actor: Actor, turn_id: str, message_id: str, drop: DropReason | None = None
) -> LeaveTurn:
    session = actor.session
    return LeaveTurn(turn_id, session.id, session.fence, message_id, drop)


async def test_a_message_joins_a_turn_and_is_settled_with_it(store: SqliteStore) -> None:
    # Q3 D7
    actor, turn_id, first, second = await running(store)
    for _ in range(2):  # repeated, it answers the same
        turn = await store.join_turn(joining(actor, turn_id, second))
        assert turn.message_ids == (first, second)
    status = await store.message_status(second)
    assert status is not None
    assert (status.message.state, status.message.turn_id) == (InboundState.CLAIMED, turn_id)
    with pytest.raises(ValueError, match="exactly the messages"):
        await store.end_turn(actor.ending(turn_id, first))
    await store.end_turn(actor.ending(turn_id, first, second))
    assert await state_of(store, second) == (InboundState.DONE, None)


async def test_it_leaves_as_if_it_had_never_joined(store: SqliteStore) -> None:
    # Q3 Q7
    actor, turn_id, first, second = await running(store)
    before = await store.message_status(second)
    await store.join_turn(joining(actor, turn_id, second))
    left = await store.leave_turn(leaving(actor, turn_id, second))
    assert before is not None
    assert left == before.message
    assert await store.message_status(second) == before
    assert await store.leave_turn(leaving(actor, turn_id, second)) is None
    assert await store.pending_messages(actor.session.id) == (before.message,)
    await store.end_turn(actor.ending(turn_id, first))
    await actor.answer(second)


async def test_one_that_was_withdrawn_meanwhile_leaves_for_good(store: SqliteStore) -> None:
    # Q3 H3 S18
    actor, turn_id, first, second = await running(store)
    await store.join_turn(joining(actor, turn_id, second))
    left = await store.leave_turn(leaving(actor, turn_id, second, DropReason.CLEARED))
    assert left is not None
    assert (left.state, left.reason) == (InboundState.DROPPED, "cleared")
    assert await state_of(store, second) == (InboundState.DROPPED, "cleared")
    third = (await admit(store, message(text="three"))).message
    await store.join_turn(joining(actor, turn_id, third.id))
    await store.new_epoch(actor.session.id)
    assert await state_of(store, third.id) == CLAIMED
    await store.leave_turn(leaving(actor, turn_id, third.id))
    assert await state_of(store, third.id) == (InboundState.DROPPED, "reset")
    await store.end_turn(actor.ending(turn_id, first))


async def test_who_did_not_join_does_not_leave(store: SqliteStore) -> None:
    # Q3
    actor, turn_id, first, second = await running(store)
    assert await store.leave_turn(leaving(actor, turn_id, second)) is None
    assert await state_of(store, second) == PENDING
    await store.join_turn(joining(actor, turn_id, second))
    await store.end_turn(actor.ending(turn_id, first, second))
    assert await store.leave_turn(leaving(actor, turn_id, second)) is None
    assert await state_of(store, second) == (InboundState.DONE, None)


async def test_what_cannot_join(store: SqliteStore) -> None:
    # Q3 D8 S31 T5
    actor, turn_id, first, second = await running(store)
    aside = (await admit(store, message(trigger=False))).message
    elsewhere = (await admit(store, message(SessionSpec("echo", "other")))).message
    for message_id in (aside.id, elsewhere.id, "unknown"):
        with pytest.raises(NotPending, match=message_id):
            await store.join_turn(joining(actor, turn_id, message_id))
    with pytest.raises(UnknownTurn):
        await store.join_turn(joining(actor, "nobody", second))
    tried = Settlement(first, InboundState.PENDING, count_try=True)
    await store.end_turn(actor.ending(turn_id, state=TurnState.VANISHED, messages=(tried,)))
    with pytest.raises(NotPending, match="has ended"):
        await store.join_turn(joining(actor, turn_id, second))
    other = await actor.begin(second)
    with pytest.raises(NotPending, match=first):  # a turn carried it before
        await store.join_turn(joining(actor, other, first))
    third = (await admit(store, message())).message
    await store.new_epoch(actor.session.id)
    with pytest.raises(StaleFence):
        await store.join_turn(joining(actor, other, third.id))
    await store.close_session(actor.session.id)
    with pytest.raises(UnknownSession):
        await store.join_turn(joining(actor, other, third.id))


@pytest.mark.parametrize(
    "policy, state",
    [
        (InterruptedPolicy(), InboundState.PENDING),
        (InterruptedPolicy(retry=False), InboundState.FAILED),
    ],
)
async def test_a_turn_that_nobody_runs_settles_what_has_joined_it(
    store: SqliteStore, policy: InterruptedPolicy, state: InboundState
) -> None:
    # Q3 Q8 T5 D8
    actor, turn_id, first, second = await running(store)
    await store.join_turn(joining(actor, turn_id, second))
    awake = (await Actor.wake(store, actor.session.id, Owner("i", "2"), policy)).awake
    (settled,) = awake.settled
    assert settled.requeued + settled.failed == (first, second)
    assert (await state_of(store, second))[0] is state
    with pytest.raises(StaleFence):
        await store.join_turn(joining(actor, turn_id, second))
    with pytest.raises(StaleFence):
        await store.leave_turn(leaving(actor, turn_id, second))


async def test_whose_the_files_are_of_what_joins_and_leaves(store: SqliteStore) -> None:
    # Q3 H8: nobody hands them over but who knows that the agent has them
    actor, turn_id, *_ = await running(store)
    row = (await admit(store, with_files("a"))).message
    feed = Feed(store)
    await store.join_turn(joining(actor, turn_id, row.id))
    await store.leave_turn(leaving(actor, turn_id, row.id))
    assert feed.brief() == [("claimed", row.id), ("leased", row.id)]
    await store.join_turn(joining(actor, turn_id, row.id))
    await store.leave_turn(leaving(actor, turn_id, row.id, DropReason.CLEARED))
    assert feed.brief() == [("claimed", row.id), ("ended", row.id)]
    assert [blob.handed_at for blob in (await store.blobs()).blobs] == [None]


async def test_a_copy_that_waits_leaves_its_files_to_the_session(store: SqliteStore) -> None:
    # Q3 H8
    actor, turn_id, _, second = await running(store)
    item = MediaItem(MediaKind.IMAGE, file="f.png", name="cat.png")
    voice = MediaItem(MediaKind.VOICE, file="v.ogg", transcript="look there")
    content = (TextBlock("look"), FileBlock(0, "image", "cat.png"), FileBlock(1, "voice"))
    new = msgspec.structs.replace(message(), content=content, media=(item, voice))
    blob = NewBlob("f.png", "hash", 5)
    shown = (await admit(store, msgspec.structs.replace(new, blobs=(blob,)))).message
    session = actor.session
    request = KeepCopy(turn_id, session.id, session.fence, shown.id, START + 5)
    other = msgspec.structs.replace(request, message_id=second)
    feed = Feed(store)
    for each in (request, request, other):
        kept = await store.keep_copy(each)
        assert kept is not None
        assert kept.media == ()
        assert (await state_of(store, each.message_id)) == PENDING
    status = await store.message_status(shown.id)
    assert status is not None
    texts = "look", "[image: cat.png]", "[voice: no name]\nlook there"
    assert status.message.content == tuple(map(TextBlock, texts))
    (found,) = (await store.blobs()).blobs
    assert found.handed_at == START + 5
    assert await store.media_in_flight() == ()
    # Once, although it is asked twice; and of the sound nobody knows any more (H5).
    assert feed.brief() == [("handedover", shown.id), ("ended", shown.id)]
    await store.drop_pending(DropPending(session.id, DropReason.CLEARED))
    assert await store.keep_copy(request) is None
