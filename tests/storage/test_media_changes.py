"""What the store says of files, commit by commit: leased, claimed, handed over, ended (H1–H6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import msgspec
import pytest
import trio

from runtime.sessions.media import BlobRow, Leased, MediaItem
from runtime.sessions.rows import DropReason, InboundState
from runtime.storage import sql_admission
from runtime.storage.engine import Transaction
from runtime.storage.errors import QueueFull, StorageIOError, UnknownSession
from runtime.storage.media_requests import HandOver
from runtime.storage.requests import (
    DropPending,
    FinishPending,
)
from runtime.storage.sqlite import SqliteStore
from tests.storage.media_messages import Feed, new_blob, running, with_files
from tests.storage.stage import (
    SPEC,
    START,
    Clock,
    admit,
    cap,
    key,
    message,
)
from tests.storage.test_group_commit import all_joined, writer_held, writer_of


@pytest.fixture
def feed(store: SqliteStore) -> Feed:
    return Feed(store)


# -- admission -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [InboundState.PENDING, InboundState.HELD])
async def test_an_admitted_message_refers_to_its_files(
    store: SqliteStore, feed: Feed, clock: Clock, state: InboundState
) -> None:  # H2, M4
    session = (await admit(store, message())).session
    await store.new_epoch(session.id)
    clock.now += 7
    new = with_files("a", "b", session=session.id, state=state)
    assert feed.take() == []
    await admit(store, new)
    rows = tuple(
        BlobRow(
            session.id,
            name,
            f"hash of {name}",
            10,
            2,
            clock.now,
            clock.now,
            "image/png",
            f"{name}.png",
        )
        for name in "ab"
    )
    assert feed.take() == [Leased(session.id, new.id, ("a", "b"), rows)]
    assert (await store.blobs()).blobs == rows
    assert await store.media_in_flight() == (Leased(session.id, new.id, ("a", "b")),)


async def test_a_message_without_files_says_nothing(store: SqliteStore, feed: Feed) -> None:
    actor, ids, turn_id = await running(store, message())
    await store.hand_over(HandOver(turn_id, actor.session.id, actor.session.fence, START, ids))
    await store.end_turn(actor.ending(turn_id, *ids, first_event_at=START))
    assert feed.take() == []


async def test_a_message_that_is_not_taken_refers_to_nothing(
    store: SqliteStore, feed: Feed
) -> None:  # Q4, Q6, H2
    await admit(store, message(limit=cap(1)))
    await admit(store, with_files("late", state=InboundState.EXPIRED, reason="expired"))
    await admit(store, with_files("full", limit=cap(1, "new")))
    assert feed.take() == []
    assert (await store.blobs()).blobs == ()
    assert await store.media_in_flight() == ()


async def test_the_same_message_again_changes_nothing(store: SqliteStore, feed: Feed) -> None:  # D5
    new = with_files("a", key=key(1))
    await admit(store, new)
    feed.take()
    await admit(store, new)
    await admit(store, msgspec.structs.replace(new, id="another", blobs=(new_blob("b"),)))
    assert feed.take() == []
    assert [row.file for row in (await store.blobs()).blobs] == ["a"]


async def test_the_same_bytes_again_are_used_now(
    store: SqliteStore, feed: Feed, clock: Clock
) -> None:  # M4, M5
    session_id = (await admit(store, with_files("a"))).session.id
    clock.now += 9
    await admit(store, with_files("a"))
    (_, again) = feed.take()
    assert isinstance(again, Leased)
    assert [(row.file, row.created_at, row.used_at) for row in again.blobs] == [
        ("a", START, START + 9)
    ]
    assert len((await store.blobs()).blobs) == 1
    assert [lease.session_id for lease in await store.media_in_flight()] == [session_id] * 2


async def test_a_message_whose_files_are_on_their_way(store: SqliteStore, feed: Feed) -> None:  # Q7
    new = msgspec.structs.replace(message(), media=(MediaItem(reference="r"),))
    session = (await admit(store, new)).session
    assert feed.take() == [Leased(session.id, new.id, ())]
    assert await store.media_in_flight() == ()


# -- messages that end without a turn --------------------------------------------------------------


async def by_cap(store: SqliteStore, session_id: str, message_id: str) -> None:
    await admit(store, message(session_id, limit=cap(1)))


async def with_a_line(store: SqliteStore, session_id: str, message_id: str) -> None:
    await admit(store, message(session_id, limit=cap(1, "summarize")))


async def by_withdrawal(store: SqliteStore, session_id: str, message_id: str) -> None:
    request = DropPending(session_id, DropReason.CLEARED, (message_id, message_id, "unknown"))
    await store.drop_pending(request)


async def by_clearing(store: SqliteStore, session_id: str, message_id: str) -> None:
    await store.drop_pending(DropPending(session_id, DropReason.CLEARED))


async def by_new_epoch(store: SqliteStore, session_id: str, message_id: str) -> None:
    await store.new_epoch(session_id)


async def without_a_turn(store: SqliteStore, session_id: str, message_id: str) -> None:
    await store.finish_pending(FinishPending(session_id, (message_id,), "answered"))


@pytest.mark.parametrize(
    "way", [by_cap, with_a_line, by_withdrawal, by_clearing, by_new_epoch, without_a_turn]
)
async def test_a_waiting_message_ends_once(
    store: SqliteStore, feed: Feed, way: Callable[..., Any]
) -> None:  # H2, H3, Q4, Q5
    admitted = await admit(store, with_files("a"))
    feed.take()
    await way(store, admitted.session.id, admitted.message.id)
    assert feed.brief() == [("ended", admitted.message.id)]
    await store.new_epoch(admitted.session.id)
    assert feed.take() == []
    assert await store.media_in_flight() == ()
    assert [row.file for row in (await store.blobs()).blobs] == ["a"]  # until it is gone from disk


async def test_the_oldest_context_goes(store: SqliteStore, feed: Feed) -> None:  # S31, H2
    first = await admit(store, with_files("a", trigger=False))
    feed.take()
    for _ in range(50):
        await admit(store, message(trigger=False))
    assert feed.brief() == [("ended", first.message.id)]


async def test_a_closed_session_ends_all(store: SqliteStore, feed: Feed) -> None:  # S43
    held = await admit(store, with_files("a", state=InboundState.HELD))
    waits = await admit(store, with_files("b"))
    feed.take()
    await store.close_session(held.session.id)
    assert sorted(feed.brief()[:2]) == sorted(
        [("ended", held.message.id), ("ended", waits.message.id)]
    )
    await store.close_session(held.session.id)
    assert feed.take() == []
    page = await store.blobs()
    assert {ref.file for ref in page.unwanted} == {"a", "b"}
    assert {ref.session_id for ref in page.unwanted} == {held.session.id}


async def test_closing_says_so_last(store: SqliteStore, feed: Feed) -> None:  # S43
    admitted = await admit(store, with_files("a"))
    feed.take()
    await store.close_session(admitted.session.id)
    assert feed.brief() == [("ended", admitted.message.id), ("sessionended", admitted.session.id)]


# -- commits ---------------------------------------------------------------------------------------


async def test_a_request_that_fails_says_nothing_of_what_it_tried(
    store: SqliteStore, feed: Feed
) -> None:  # D1
    with pytest.raises(UnknownSession):
        await store.admit([with_files("a"), message("unknown")])
    assert feed.take() == []
    assert (await store.blobs()).blobs == ()


async def test_in_a_shared_commit_only_what_succeeded_is_said(
    disk_store: SqliteStore,
) -> None:  # D1
    session, _ = await disk_store.resolve(SPEC)
    feed = Feed(disk_store)
    good = [with_files(name, session=session.id) for name in "ab"]

    async def refused() -> None:
        with pytest.raises(UnknownSession):
            await disk_store.admit([with_files("bad", session=session.id), message("unknown")])

    async with trio.open_nursery() as nursery, writer_held(writer_of(disk_store)):
        nursery.start_soon(admit, disk_store, good[0])
        await all_joined(disk_store, 2)
        nursery.start_soon(refused)
        await all_joined(disk_store, 3)
        nursery.start_soon(admit, disk_store, good[1])
        await all_joined(disk_store, 4)
    assert feed.brief() == [("leased", good[0].id), ("leased", good[1].id)]


async def test_what_the_disk_refused_is_not_said(store: SqliteStore, feed: Feed) -> None:  # D1
    new = with_files("a")

    def refused(transaction: Transaction) -> None:
        sql_admission.admit(transaction, [new], None)
        raise apsw.IOError("disk I/O error")

    with pytest.raises(StorageIOError):
        await store._writes.write(refused)
    assert feed.take() == []
    await admit(store, new)
    assert feed.brief() == [("leased", new.id)]


async def test_it_is_said_before_the_caller_goes_on(store: SqliteStore) -> None:  # M3
    """Who let go of a staged file earlier would make it nobody's for a moment."""
    heard: list[object] = []
    store.listen(heard.extend)
    await admit(store, with_files("a"))
    assert len(heard) == 1


async def test_a_caller_who_waits_has_its_files_too(store: SqliteStore, feed: Feed) -> None:  # Q4
    new = with_files("a", reply_to=None, refuse_when_full=True, limit=cap(1))
    await admit(store, new)
    with pytest.raises(QueueFull):
        await admit(store, msgspec.structs.replace(new, id="other", blobs=(new_blob("b"),)))
    assert feed.brief() == [("leased", new.id)]


async def test_one_listener_at_a_time(store: SqliteStore) -> None:
    first, second = Feed(store), Feed(store)
    await admit(store, with_files("a"))
    assert (len(first.take()), len(second.take())) == (0, 1)
