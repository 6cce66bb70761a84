"""What the end of a turn means for files, and its first event, commit by commit (H1–H6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from runtime.sessions.media import HandedOver, Leased
from runtime.sessions.rows import InboundState, TurnState
from runtime.storage.errors import StaleFence, UnknownSession
from runtime.storage.media_requests import HandOver
from runtime.storage.requests import InterruptedPolicy, Owner, Settlement, TurnProgress
from runtime.storage.sqlite import SqliteStore
from tests.storage.media_messages import Feed, running, with_files
from tests.storage.stage import POLICY, START, Actor, admit, message

NEXT = Owner("instance-2", "incarnation-1")
NOTIFY = InterruptedPolicy(retry=False)


@pytest.fixture
def feed(store: SqliteStore) -> Feed:
    return Feed(store)


def handing_over(actor: Actor, turn_id: str, *message_ids: str, at: int = START + 5) -> HandOver:
    return HandOver(turn_id, actor.session.id, actor.session.fence, at, message_ids)


# -- the end of a turn -----------------------------------------------------------------------------

DONE, FAILED, PENDING = InboundState.DONE, InboundState.FAILED, InboundState.PENDING
ENDS: list[tuple[TurnState, InboundState, int | None, list[str]]] = [
    (TurnState.DONE, DONE, START + 3, ["handedover", "ended"]),
    (TurnState.DONE, DONE, None, ["ended"]),  # H4
    (TurnState.FAILED, FAILED, START + 3, ["handedover", "ended"]),  # H1: an error later
    (TurnState.FAILED, FAILED, None, ["ended"]),  # H2: for good
    (TurnState.FAILED, PENDING, None, ["leased"]),  # H2: while a retry is due
    (TurnState.FAILED, PENDING, START + 3, ["handedover", "leased"]),
    (TurnState.CANCELLED, InboundState.DROPPED, None, ["ended"]),  # H3
    (TurnState.CANCELLED, InboundState.DROPPED, START + 3, ["handedover", "ended"]),
]


@pytest.mark.parametrize("state, settle, first_event_at, expected", ENDS)
async def test_the_end_of_a_turn(
    store: SqliteStore,
    feed: Feed,
    state: TurnState,
    settle: InboundState,
    first_event_at: int | None,
    expected: list[str],
) -> None:
    actor, ids, turn_id = await running(store, with_files("a", "b"), message())
    assert [brief[0] for brief in feed.brief()] == ["leased", "claimed"]
    end = actor.ending(turn_id, *ids, state=state, settle=settle, first_event_at=first_event_at)
    await store.end_turn(end)
    changes = feed.take()
    assert [type(change).__name__.lower() for change in changes] == expected
    for change in changes:
        if isinstance(change, HandedOver):
            assert change == HandedOver(actor.session.id, ids[0], ("a", "b"), START + 3)
        if isinstance(change, Leased):
            assert change == Leased(actor.session.id, ids[0], ("a", "b"))
    handed = None if first_event_at is None else START + 3
    assert [row.handed_at for row in (await store.blobs()).blobs] == [handed] * 2
    await store.end_turn(end)  # again
    assert feed.take() == []


async def test_what_is_said_of_one_turn_with_several_messages(
    store: SqliteStore, feed: Feed
) -> None:
    actor, ids, turn_id = await running(store, with_files("a"), with_files("b"))
    feed.take()
    messages = (Settlement(ids[0], DONE), Settlement(ids[1], PENDING))
    await store.end_turn(actor.ending(turn_id, messages=messages, first_event_at=START))
    assert feed.brief() == [
        ("handedover", ids[0]),
        ("ended", ids[0]),
        ("handedover", ids[1]),
        ("leased", ids[1]),
    ]


async def test_files_of_one_turn_are_not_handed_over(store: SqliteStore, feed: Feed) -> None:  # H5
    new = with_files("kept", "voice")
    said = msgspec.structs.replace(new.media[1], transcript="hello")
    actor, ids, turn_id = await running(
        store, msgspec.structs.replace(new, media=(new.media[0], said))
    )
    feed.take()
    await store.hand_over(handing_over(actor, turn_id, *ids))
    await store.end_turn(actor.ending(turn_id, *ids))
    changes = feed.take()
    handed = [change for change in changes if isinstance(change, HandedOver)]
    assert {change.files for change in handed} == {("kept",)}
    assert [row.handed_at for row in (await store.blobs()).blobs] == [START + 5, None]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("begun", [True, False])
async def test_a_turn_whose_session_went_on_meanwhile(
    store: SqliteStore, feed: Feed, begun: bool, closed: bool
) -> None:  # H3, S18, S43
    actor, ids, turn_id = await running(store, with_files("a"))
    if closed:
        await store.close_session(actor.session.id)
    else:
        await store.new_epoch(actor.session.id)
    feed.take()
    end = actor.ending(turn_id, *ids, settle=PENDING, first_event_at=START if begun else None)
    await store.end_turn(end)
    assert [brief[0] for brief in feed.brief()] == (["handedover"] if begun else []) + ["ended"]


# -- the first event -------------------------------------------------------------------------------


async def test_handing_over_is_for_the_files_of_the_turn(
    store: SqliteStore, feed: Feed
) -> None:  # H1
    other = await admit(store, with_files("waits"))
    actor, ids, turn_id = await running(store, with_files("a"))
    feed.take()
    await store.hand_over(handing_over(actor, turn_id, *ids, other.message.id, "unknown"))
    assert feed.take() == [HandedOver(actor.session.id, ids[0], ("a",), START + 5)]
    rows = {row.file: row for row in (await store.blobs()).blobs}
    assert (rows["a"].handed_at, rows["a"].used_at) == (START + 5, START + 5)
    assert (rows["waits"].handed_at, rows["waits"].used_at) == (None, START)


async def test_handing_over_again_keeps_the_first_time(store: SqliteStore) -> None:  # H1
    actor, ids, turn_id = await running(store, with_files("a"))
    await store.hand_over(handing_over(actor, turn_id, *ids))
    await store.hand_over(handing_over(actor, turn_id, *ids, at=START + 50))
    await store.end_turn(actor.ending(turn_id, *ids, first_event_at=START + 60))
    (row,) = (await store.blobs()).blobs
    assert row.handed_at == START + 5
    status = await store.message_status(ids[0])
    assert status is not None
    assert status.turn is not None
    assert status.turn.first_event_at == START + 5


async def test_a_later_epoch_has_the_file_that_it_was_given_again(store: SqliteStore) -> None:  # M9
    actor, ids, turn_id = await running(store, with_files("a"))
    await store.end_turn(actor.ending(turn_id, *ids, first_event_at=START))
    await store.new_epoch(actor.session.id)
    actor, ids, turn_id = await running(store, with_files("a"))
    await store.hand_over(handing_over(actor, turn_id, *ids))
    (row,) = (await store.blobs()).blobs
    assert (row.epoch, row.handed_at) == (2, START)


async def test_of_a_turn_that_has_ended_nothing_is_handed_over(
    store: SqliteStore, feed: Feed
) -> None:  # H3, H4
    actor, ids, turn_id = await running(store, with_files("a"))
    await store.end_turn(actor.ending(turn_id, *ids))
    feed.take()
    await store.hand_over(handing_over(actor, turn_id, *ids))
    await store.hand_over(handing_over(actor, "no such turn", *ids))
    assert feed.take() == []
    (row,) = (await store.blobs()).blobs
    assert row.handed_at is None


async def test_who_may_hand_over(store: SqliteStore, feed: Feed) -> None:  # D8
    actor, ids, turn_id = await running(store, with_files("a"))
    feed.take()
    stale = msgspec.structs.replace(handing_over(actor, turn_id, *ids), fence=99)
    with pytest.raises(StaleFence, match="newer owner"):
        await store.hand_over(stale)
    with pytest.raises(UnknownSession):
        await store.hand_over(msgspec.structs.replace(stale, session_id="unknown"))
    assert feed.take() == []


# -- what an earlier owner left --------------------------------------------------------------------


async def waking(store: SqliteStore, session_id: str, policy: InterruptedPolicy) -> None:
    await Actor.wake(store, session_id, NEXT, policy)


async def recovering(store: SqliteStore, session_id: str, policy: InterruptedPolicy) -> None:
    await store.recover(NEXT.instance, policy)


async def handed(store: SqliteStore, actor: Actor, turn_id: str, message_id: str) -> None:
    await store.hand_over(handing_over(actor, turn_id, message_id))


async def noted(store: SqliteStore, actor: Actor, turn_id: str, message_id: str) -> None:
    """The handover could not be written, but the progress of the turn was."""
    session = actor.session
    await store.save_progress(
        TurnProgress(turn_id, session.id, session.fence, 0, "x", first_event_at=START + 5)
    )


@pytest.mark.parametrize("policy", [POLICY, NOTIFY])
@pytest.mark.parametrize("begun", [None, handed, noted])
@pytest.mark.parametrize("settle", [waking, recovering])
async def test_a_cut_off_turn(
    store: SqliteStore,
    feed: Feed,
    settle: Callable[..., Any],
    begun: Callable[..., Any] | None,
    policy: InterruptedPolicy,
) -> None:  # H6, T5
    actor, ids, turn_id = await running(store, with_files("a"))
    if begun is not None:
        await begun(store, actor, turn_id, ids[0])
    feed.take()
    await settle(store, actor.session.id, policy)
    expected = [] if begun is None else ["handedover"]
    assert [brief[0] for brief in feed.brief()] == [
        *expected,
        "leased" if policy.retry else "ended",
    ]
    (row,) = (await store.blobs()).blobs
    assert row.handed_at == (None if begun is None else START + 5)
    assert len(await store.media_in_flight()) == int(policy.retry)


@pytest.mark.parametrize("settle", [waking, recovering])
async def test_a_cut_off_turn_of_another_epoch(
    store: SqliteStore, feed: Feed, settle: Callable[..., Any]
) -> None:  # H3, S18
    actor, ids, _ = await running(store, with_files("a"))
    await store.new_epoch(actor.session.id)
    feed.take()
    await settle(store, actor.session.id, POLICY)
    assert feed.brief() == [("ended", ids[0])]
