"""Files in outboxes, as the store tells of them and knows them at a start (M5, M8, M9, H6, R7)."""

from __future__ import annotations

import pytest

from runtime.sessions.media import MediaChange, OutboxFile, Owed, SessionEnded, Settled
from runtime.sessions.outgoing import Standing
from runtime.sessions.rows import OutboundRow, SessionSpec
from runtime.storage.errors import StaleFence
from runtime.storage.media_requests import BlobRef
from runtime.storage.requests import NewOutbound
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import CHAT, START, Actor, Clock, admit, message, new_id


def file(path: str, mtime_ns: int = 1) -> OutboxFile:
    return OutboxFile(path, 5, mtime_ns, 1)


def sent(path: str, refused: str | None = None) -> NewOutbound:
    return NewOutbound(new_id(), CHAT, path, kind="file", file=file(path), refused=refused)


@pytest.fixture
def told(store: SqliteStore) -> list[MediaChange]:
    """What the store tells."""
    changes: list[MediaChange] = []
    store.listen(changes.extend)
    return changes


async def owe(
    store: SqliteStore, *outbound: NewOutbound, key: str = "k"
) -> tuple[OutboundRow, ...]:
    """The rows of a turn that owes these."""
    row = (await admit(store, message(SessionSpec("echo", key)))).message
    actor = await Actor.wake(store, row.session_id)
    turn_id = await actor.begin(row)
    return (await store.end_turn(actor.ending(turn_id, row.id, outbound=outbound))).outbound


async def test_a_file_is_told_when_it_is_owed_and_when_it_is_not_any_more(  # R7
    store: SqliteStore, told: list[MediaChange]
) -> None:
    a, b, _ = await owe(store, sent("a"), sent("b"), NewOutbound(new_id(), CHAT, "text"))
    assert told == [
        Owed(a.session_id, a.id, file("a"), START),
        Owed(b.session_id, b.id, file("b"), START),
    ]
    told.clear()
    await store.outbox_attempt(a.id)
    await store.outbox_retry(a.id, not_before=0, error="e", ambiguous=True)
    await store.outbox_attempt(a.id)
    await store.outbox_recover("telegram", "bot")
    assert told == []  # it is owed all the while
    for _ in range(2):  # told once, however often it is written
        await store.outbox_attempt(a.id)
        await store.outbox_delivered(a.id, None)
    await store.outbox_attempt(b.id)
    for _ in range(2):
        await store.outbox_failed(b.id, error="e")
    assert told == [
        Settled(a.session_id, a.id, file("a"), delivered=True),
        Settled(b.session_id, b.id, file("b"), delivered=False),
    ]


async def test_what_was_refused_or_not_written_is_not_told(  # R7
    store: SqliteStore, told: list[MediaChange]
) -> None:
    await owe(store, sent("a", refused="too large"))
    row = (await admit(store, message(SessionSpec("echo", "k")))).message
    actor = await Actor.wake(store, row.session_id)
    turn_id = await actor.begin(row)
    await Actor.wake(store, row.session_id)  # it has a newer owner now
    with pytest.raises(StaleFence):
        await store.end_turn(actor.ending(turn_id, row.id, outbound=(sent("b"),)))
    assert told == []


async def test_what_is_owed_is_known_at_a_start(store: SqliteStore) -> None:  # H6 S43
    a, b, c = await owe(store, sent("a"), sent("b"), sent("c"))
    (d,) = await owe(store, sent("d"), key="closed")
    await store.close_session(d.session_id)
    await store.outbox_attempt(a.id)  # attempting
    await store.outbox_recover("telegram", "bot")
    await store.outbox_attempt(a.id)
    assert await store.files_owed() == (
        Owed(a.session_id, a.id, file("a"), START),
        Owed(b.session_id, b.id, file("b"), START),
        Owed(c.session_id, c.id, file("c"), START),
        Owed(d.session_id, d.id, file("d"), START),
        SessionEnded(d.session_id),
    )
    await store.outbox_delivered(a.id, None)
    await store.outbox_attempt(b.id)
    await store.outbox_failed(b.id, error="e")
    owed = await store.files_owed()
    assert [each.file for each in owed if isinstance(each, Owed)] == [file("c"), file("d")]


async def test_what_is_to_become_of_files_that_are_found(store: SqliteStore) -> None:  # M8
    a, b, _ = await owe(store, sent("a"), sent("b"), sent("c"))
    await store.outbox_attempt(a.id)
    await store.outbox_delivered(a.id, None)
    await store.outbox_attempt(b.id)
    await store.outbox_failed(b.id, error="e")
    (closed,) = await owe(store, sent("d"), key="closed")
    await store.close_session(closed.session_id)
    asked = [
        (a.session_id, file("a")),
        (a.session_id, file("a", mtime_ns=2)),
        (a.session_id, file("b")),
        (a.session_id, file("c")),
        (closed.session_id, file("d")),
        (closed.session_id, file("e")),
        ("unknown", file("a")),
    ]
    assert await store.outbox_standings(asked) == (
        Standing.UNWANTED,
        Standing.KEPT,
        Standing.KEPT,
        Standing.OWED,
        Standing.OWED,
        Standing.UNWANTED,
        Standing.STRANGE,
    )


async def test_an_agent_is_told_what_went_from_its_outbox(  # M9
    store: SqliteStore, clock: Clock
) -> None:
    session, _ = await store.resolve(SessionSpec("echo", "k"))
    ref = BlobRef(session.id, file("sub/a").key, file("sub/a"))
    await store.blobs_evicted([ref, BlobRef("unknown", file("a").key, file("a"))])
    (row,) = await store.untold_evictions(session.id)
    assert (row.file, row.name, row.evicted_at) == (ref.file, "outbox/sub/a", START)
    assert await store.sessions_with_untold_evictions() == (session.id,)
    assert (await store.blobs()).blobs == ()  # it is none of a media folder, and not there
    clock.now += 1
    await store.blobs_evicted([ref])  # it could not be removed the last time
    assert await store.untold_evictions(session.id) == (row,)
    await store.blobs_forgotten([ref])  # the agent had taken it back
    assert await store.untold_evictions(session.id) == ()
