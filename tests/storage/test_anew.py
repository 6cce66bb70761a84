"""New epochs that a message asks for, and what is withdrawn before it (S18, S40, H3)."""

from __future__ import annotations

from runtime.sessions.content import text_content
from runtime.sessions.rows import DropReason, InboundState
from runtime.storage.anew import StartAnew
from runtime.storage.requests import DropPending, NewOutbound
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import CHAT, Actor, admit, cap, message, new_id, state_of

PENDING, DONE = (InboundState.PENDING, None), (InboundState.DONE, "command")
RESET = (InboundState.DROPPED, "reset")


async def three(store: SqliteStore) -> tuple[Actor, str, str, str]:
    """A session, and three messages that wait."""
    rows = [(await admit(store, message(text=text))).message for text in ("a", "/new", "c")]
    actor = await Actor.wake(store, rows[0].session_id)
    return actor, rows[0].id, rows[1].id, rows[2].id


async def test_what_was_said_before_is_dropped_and_the_rest_goes_on(store: SqliteStore) -> None:
    # S18 S40
    actor, before, asked, after = await three(store)
    notice = NewOutbound(new_id(), CHAT, "a new conversation", kind="notice")
    request = StartAnew(actor.session.id, asked, outbound=(notice,))
    started = await store.start_anew(request)
    assert started is not None
    assert (started.session.epoch, started.session.generation) == (2, 1)
    assert [row.id for row in started.dropped] == [before]
    assert [row.id for row in started.outbound] == [notice.id]
    assert await state_of(store, before) == RESET
    assert await state_of(store, asked) == DONE
    (waits,) = await store.pending_messages(actor.session.id)
    assert (waits.id, waits.epoch) == (after, 2)
    assert await store.start_anew(request) is None
    session = await store.session(actor.session.id)
    assert session is not None
    assert session.epoch == 2


async def test_the_message_becomes_the_first_of_the_epoch(store: SqliteStore) -> None:
    # S40 Q7
    actor, _, asked, after = await three(store)
    request = StartAnew(actor.session.id, asked, text_content("hello"))
    started = await store.start_anew(request)
    assert started is not None
    first, second = await store.pending_messages(actor.session.id)
    assert started.message == first
    assert (first.id, first.content, first.epoch) == (asked, text_content("hello"), 2)
    assert second.id == after


async def test_a_message_of_elsewhere_begins_nothing(store: SqliteStore) -> None:
    # S40
    actor, _, asked, _ = await three(store)
    await actor.begin(asked)
    assert await store.start_anew(StartAnew(actor.session.id, asked)) is None
    assert await store.start_anew(StartAnew(actor.session.id, "unknown")) is None


async def test_lines_of_dropped_messages_go_with_their_epoch(store: SqliteStore) -> None:
    # S18 Q4
    limit = cap(1, "summarize")
    await admit(store, message(text="a", limit=limit))
    admitted = await admit(store, message(text="b", limit=limit))
    asked = (await admit(store, message(text="/new"))).message
    assert (await Actor.wake(store, asked.session_id)).awake.overflow
    await store.start_anew(StartAnew(asked.session_id, asked.id))
    assert not (await Actor.wake(store, asked.session_id)).awake.overflow
    assert await state_of(store, admitted.message.id) == RESET


async def test_what_was_said_before_a_message_is_withdrawn(store: SqliteStore) -> None:
    # H3 Q5
    actor, before, asked, after = await three(store)
    session_id = actor.session.id
    (row,) = [each for each in await store.pending_messages(session_id) if each.id == asked]
    request = DropPending(session_id, DropReason.CLEARED, before=row.seq)
    assert [each.id for each in await store.drop_pending(request)] == [before]
    assert await state_of(store, asked) == await state_of(store, after) == PENDING
    assert await store.drop_pending(request) == ()
