"""Files in the store: fetched, evicted, told of, forgotten (Q7, M5, M8, M9, S43)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from runtime.sessions.content import text_content
from runtime.sessions.media import Leased, MediaItem
from runtime.sessions.rows import DropReason, InboundState, SessionSpec
from runtime.storage.codec import to_json
from runtime.storage.errors import UnknownSession
from runtime.storage.media_requests import MOST_TOLD, Attach, BlobRef
from runtime.storage.migrations import bundled
from runtime.storage.requests import DropPending, NewInbound
from runtime.storage.sqlite import SqliteStore, open_sqlite
from tests.sessions.rows import address
from tests.storage.media_messages import Feed, new_blob, running, with_files
from tests.storage.stage import SPEC, START, Actor, Clock, admit, message

OTHER = SessionSpec("echo", "agent:echo:other")


def announced(*references: str, **fields: object) -> NewInbound:
    """A message whose files are still to be fetched."""
    fields.setdefault("media", tuple(MediaItem(reference=each) for each in references))
    return msgspec.structs.replace(message(), **fields)


async def answered(store: SqliteStore, *names: str, told: tuple[str, ...] = ()) -> str:
    """Files that were handed over in a turn that is over; the session."""
    actor, ids, turn_id = await running(store, with_files(*names))
    await store.end_turn(actor.ending(turn_id, *ids, first_event_at=START, told=told))
    return actor.session.id


async def evict(store: SqliteStore, session_id: str, *names: str) -> None:
    await store.blobs_evicted([BlobRef(session_id, name) for name in names])


async def files(store: SqliteStore) -> list[str]:
    return [row.file for row in (await store.blobs()).blobs]


async def known(store: SqliteStore) -> list[str]:
    """What there is a row of, also when it is gone."""
    return await store._reads.read(
        lambda transaction: [
            str(row[0]) for row in transaction.rows("SELECT file FROM blobs ORDER BY n")
        ]
    )


async def untold(store: SqliteStore, session_id: str) -> list[str]:
    return [row.file for row in await store.untold_evictions(session_id)]


# -- fetching --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [InboundState.PENDING, InboundState.HELD])
async def test_a_fetched_file_is_its_messages(store: SqliteStore, state: InboundState) -> None:
    # Q7 H2
    row = (await admit(store, announced("r0", "r1", state=state))).message
    feed = Feed(store)
    item = MediaItem(file="b", size=10)
    fetched = await store.attach(Attach(row.id, 1, item, new_blob("b")))
    assert fetched is not None
    assert fetched == msgspec.structs.replace(row, media=(row.media[0], item))
    (change,) = feed.take()
    assert isinstance(change, Leased)
    assert (change.message_id, change.files) == (row.id, ("b",))
    assert [blob.file for blob in change.blobs] == ["b"]
    status = await store.message_status(row.id)
    assert status is not None
    assert status.message == fetched
    assert await files(store) == ["b"]


async def test_a_file_that_is_not_to_be_had_has_no_row(store: SqliteStore) -> None:  # Q7
    row = (await admit(store, announced("r0"))).message
    fetched = await store.attach(Attach(row.id, 0, MediaItem(problem="it is gone")))
    assert fetched is not None
    assert not fetched.fetching
    assert await files(store) == []
    assert await store.media_in_flight() == ()


GONE = MediaItem(name="cat", problem="it is gone")
TOLD = "Not taken:\ncat: it is gone"


async def told(store: SqliteStore) -> list[str]:
    return [row.text for row in await store.outbox_due("test", "default", 10)]


async def test_the_sender_is_told_with_the_last_file_and_once(store: SqliteStore) -> None:  # Q4
    new = announced("r0", "r1", "r2", reply_to=address())
    row = (await admit(store, new)).message
    assert await store.attach(Attach(row.id, 2, GONE)) is not None
    assert await store.attach(Attach(row.id, 0, MediaItem(file="a"), new_blob("a"))) is not None
    assert await told(store) == []
    last = Attach(row.id, 1, GONE)
    assert await store.attach(last) is not None
    assert await told(store) == [f"{TOLD}\ncat: it is gone"]
    assert await store.attach(last) is None
    assert await told(store) == [f"{TOLD}\ncat: it is gone"]


async def test_of_files_that_all_came_nobody_is_told(store: SqliteStore) -> None:  # Q4
    row = (await admit(store, announced("r0", reply_to=address()))).message
    await store.attach(Attach(row.id, 0, MediaItem(file="a"), new_blob("a")))
    client = (await admit(store, announced("r0"))).message
    await store.attach(Attach(client.id, 0, GONE))
    assert await told(store) == []


@pytest.mark.parametrize(
    "media, state, notices",
    [
        ((GONE,), InboundState.PENDING, [TOLD]),
        ((GONE, MediaItem(file="a")), InboundState.HELD, [TOLD]),
        ((GONE, MediaItem(reference="r")), InboundState.PENDING, []),
        ((GONE,), InboundState.EXPIRED, []),
        ((MediaItem(file="a"),), InboundState.PENDING, []),
    ],
)
async def test_what_is_known_when_it_comes_is_told_at_once(
    store: SqliteStore, media: tuple[MediaItem, ...], state: InboundState, notices: list[str]
) -> None:  # Q4 M5
    blobs = tuple(new_blob(item.file) for item in media if item.file is not None)
    new = announced(media=media, blobs=blobs, reply_to=address(), state=state)
    admitted = await admit(store, new)
    assert [row.text for row in admitted.notices] == notices
    assert await told(store) == notices
    assert (await admit(store, new)).notices == ()
    assert await told(store) == notices


async def test_nobody_waits_for_it_any_more(store: SqliteStore) -> None:  # H2, H3, Q7
    row = (await admit(store, announced("r0"))).message
    attach = Attach(row.id, 0, MediaItem(file="a"), new_blob("a"))
    feed = Feed(store)
    assert await store.attach(msgspec.structs.replace(attach, message_id="unknown")) is None
    assert await store.attach(attach) is not None
    assert await store.attach(attach) is None  # it was fetched before
    feed.take()
    other = (await admit(store, announced("r1"))).message
    await store.drop_pending(DropPending(other.session_id, DropReason.CLEARED))
    late = Attach(other.id, 0, MediaItem(file="b"), new_blob("b"))
    feed.take()
    assert await store.attach(late) is None
    assert feed.take() == []
    assert await files(store) == ["a"]


async def test_a_claimed_message_takes_no_files(store: SqliteStore) -> None:  # Q7
    actor, ids, _ = await running(store, announced("r0"))
    assert await store.attach(Attach(ids[0], 0, MediaItem(file="a"), new_blob("a"))) is None
    assert await files(store) == []
    await Actor.wake(store, actor.session.id)  # it waits again
    assert await store.attach(Attach(ids[0], 0, MediaItem(file="a"), new_blob("a"))) is not None


# -- what is on disk -------------------------------------------------------------------------------


async def test_all_files_in_pages(store: SqliteStore) -> None:  # M7, M8
    for number in range(5):
        await admit(store, with_files(f"f{number}"))
    session_id = (await admit(store, with_files("f5", session=OTHER))).session.id
    await evict(store, session_id, "f5")
    first = await store.blobs(limit=2)
    assert [row.file for row in first.blobs] == ["f0", "f1"]
    assert first.next is not None
    second = await store.blobs(after=first.next, limit=2)
    assert [row.file for row in second.blobs] == ["f2", "f3"]
    assert second.next is not None
    third = await store.blobs(after=second.next, limit=2)
    assert ([row.file for row in third.blobs], third.next) == (["f4"], None)


async def test_files_of_closed_sessions_are_unwanted(store: SqliteStore) -> None:  # S43
    await admit(store, with_files("a"))
    closed = (await admit(store, with_files("b", session=OTHER))).session.id
    await store.close_session(closed)
    page = await store.blobs()
    assert [row.file for row in page.blobs] == ["a", "b"]
    assert page.unwanted == (BlobRef(closed, "b"),)


async def test_who_refers_to_what_at_a_start(store: SqliteStore) -> None:  # H6
    held = (await admit(store, with_files("a", state=InboundState.HELD))).message
    gone = (await admit(store, with_files("b"))).message
    actor, claimed, _ = await running(store, with_files("c", "d", session=OTHER))
    await store.drop_pending(DropPending(gone.session_id, DropReason.CLEARED))
    assert set(await store.media_in_flight()) == {
        Leased(held.session_id, held.id, ("a",)),
        Leased(actor.session.id, claimed[0], ("c", "d")),
    }


async def test_a_forgotten_file_leaves_no_row(store: SqliteStore) -> None:  # H2
    session_id = await answered(store, "a", "b")
    await store.blobs_forgotten([BlobRef(session_id, "a"), BlobRef("other", "b")])
    assert await files(store) == ["b"]
    await evict(store, session_id, "a")
    assert await untold(store, session_id) == []


# -- evictions -------------------------------------------------------------------------------------


async def test_what_was_evicted_is_told_once(store: SqliteStore, clock: Clock) -> None:  # M9
    session_id = await answered(store, "a", "b", "c")
    assert await store.sessions_with_untold_evictions() == ()
    clock.now += 5
    await evict(store, session_id, "b")
    clock.now += 5
    await evict(store, session_id, "a", "b", "unknown")
    assert await store.sessions_with_untold_evictions() == (session_id,)
    gone = await store.untold_evictions(session_id)
    assert [(row.file, row.evicted_at) for row in gone] == [("b", START + 5), ("a", START + 10)]
    assert await files(store) == ["c"]
    assert await answered(store, "d", told=("b",)) == session_id
    assert await untold(store, session_id) == ["a"]
    await answered(store, "e", told=("a", "unknown"))
    assert await untold(store, session_id) == []
    assert await store.sessions_with_untold_evictions() == ()


async def test_an_agent_that_said_nothing_was_not_told(store: SqliteStore) -> None:  # M9
    session_id = await answered(store, "a")
    await evict(store, session_id, "a")
    actor, ids, turn_id = await running(store, message())
    await store.end_turn(actor.ending(turn_id, *ids, told=("a",)))
    assert await untold(store, session_id) == ["a"]


async def test_a_new_conversation_is_not_told(store: SqliteStore) -> None:  # M9, S18
    session_id = await answered(store, "a", "b")
    await store.new_epoch(session_id)
    await evict(store, session_id, "a")
    assert await untold(store, session_id) == []
    await answered(store, "b")  # the same file, for the new conversation
    await evict(store, session_id, "b")
    assert await untold(store, session_id) == ["b"]
    with pytest.raises(UnknownSession):
        await store.untold_evictions("unknown")


async def test_an_agent_is_told_of_so_many_at_once(store: SqliteStore) -> None:  # M9
    names = [f"f{number}" for number in range(MOST_TOLD + 3)]
    session_id = await answered(store, *names)
    await evict(store, session_id, *names)
    assert await untold(store, session_id) == names[:MOST_TOLD]
    await answered(store, "last", told=tuple(names[:MOST_TOLD]))
    assert await untold(store, session_id) == names[MOST_TOLD:]


async def test_an_evicted_file_that_is_used_again_is_there(store: SqliteStore) -> None:  # M4, H6
    """It was to go, and stayed: whoever wrote that it goes did not come to remove it."""
    session_id = await answered(store, "a")
    await evict(store, session_id, "a")
    await admit(store, with_files("a"))
    assert await files(store) == ["a"]
    assert await untold(store, session_id) == []
    await evict(store, session_id, "a")
    assert await untold(store, session_id) == ["a"]


async def test_old_evictions_are_forgotten(store: SqliteStore, clock: Clock) -> None:  # M9
    session_id = await answered(store, "a", "b", "c")
    await evict(store, session_id, "a")
    clock.now += 10
    await evict(store, session_id, "b")
    await answered(store, "d", told=("a", "b"))
    await store.forget_old_evictions(START)
    assert await known(store) == ["a", "b", "c", "d"]
    await store.forget_old_evictions(START + 1)
    assert await known(store) == ["b", "c", "d"]
    await store.forget_old_evictions(START + 1_000)
    assert await known(store) == ["c", "d"]


async def test_what_the_agent_is_to_be_told_of_is_not_forgotten(store: SqliteStore) -> None:
    # M9 S18 S43: a person may come back after months
    session_id = await answered(store, "a", "b")
    await evict(store, session_id, "a")
    await store.forget_old_evictions(START + 1_000)
    assert await untold(store, session_id) == ["a"]
    await store.new_epoch(session_id)
    await store.forget_old_evictions(START + 1_000)
    assert await known(store) == ["b"]
    await answered(store, "b")
    await evict(store, session_id, "b")
    await store.forget_old_evictions(START + 1_000)
    assert await known(store) == ["b"]
    await store.close_session(session_id)
    await store.forget_old_evictions(START + 1_000)
    assert await known(store) == []


async def test_old_evictions_are_forgotten_step_by_step(store: SqliteStore) -> None:  # M9
    names = ["a", "b", "c"]
    session_id = await answered(store, *names)
    await evict(store, session_id, *names)
    await answered(store, "d", told=tuple(names))
    after = await store.forget_old_evictions(START + 1, limit=2)
    assert await known(store) == ["c", "d"]
    assert after is not None
    assert await store.forget_old_evictions(START + 1, after=after, limit=3) is None
    assert await known(store) == ["d"]


# -- idle sessions ---------------------------------------------------------------------------------


async def test_files_of_sessions_in_which_nobody_speaks(store: SqliteStore, clock: Clock) -> None:
    # S41 S43
    await admit(store, with_files("old"))
    clock.now += 10
    await admit(store, with_files("new", session=OTHER))
    clock.now += 10

    async def idle(before: int) -> list[str]:
        return [row.file for row in (await store.idle_blobs(before)).blobs]

    assert await idle(START) == []
    assert await idle(START + 1) == ["old"]
    assert await idle(START + 11) == ["old", "new"]
    await admit(store, message(from_person=False))  # nobody spoke
    assert await idle(START + 11) == ["old", "new"]
    await admit(store, message())
    assert await idle(START + 11) == ["new"]


async def test_a_file_that_was_used_lately_is_not_idle(store: SqliteStore, clock: Clock) -> None:
    # S43
    actor, ids, turn_id = await running(store, with_files("a"))
    await store.end_turn(actor.ending(turn_id, *ids, first_event_at=START + 50))
    assert (await store.idle_blobs(START + 50)).blobs == ()
    assert len((await store.idle_blobs(START + 51)).blobs) == 1


async def test_idle_files_are_looked_for_step_by_step(store: SqliteStore) -> None:  # S43
    for number in range(3):
        await admit(store, with_files(f"f{number}"))
    first = await store.idle_blobs(START + 1, limit=2)
    assert [row.file for row in first.blobs] == ["f0", "f1"]
    assert first.next is not None
    last = await store.idle_blobs(START + 1, after=first.next, limit=2)
    assert ([row.file for row in last.blobs], last.next) == (["f2"], None)
    none = await store.idle_blobs(START, limit=2)
    assert (none.blobs, none.next) == ((), first.next)


async def test_what_is_gone_is_not_idle(store: SqliteStore) -> None:  # S43
    session_id = await answered(store, "a", "b")
    await evict(store, session_id, "a")
    assert [row.file for row in (await store.idle_blobs(START + 1_000)).blobs] == ["b"]


# -- older data ------------------------------------------------------------------------------------


async def test_messages_of_before_have_no_files(clock: Clock, tmp_path: Path) -> None:  # D4
    (older,) = [each.number - 1 for each in bundled() if each.name == "media"]
    async with open_sqlite(tmp_path, clock, migrations=bundled()[:older]) as store:
        session, _ = await store.resolve(SPEC)
        row = (
            "INSERT INTO inbound (id, session_id, epoch, seq, kind, state, content, trigger,"
            " admitted_at) VALUES ('m', ?, 1, 1, 'chat', 'pending', ?, 1, 1)"
        )
        content = to_json(text_content("from before"))
        await store._writes.write(lambda transaction: transaction.run(row, session.id, content))
    async with open_sqlite(tmp_path, clock) as store:
        status = await store.message_status("m")
        assert status is not None
        assert status.message.content == text_content("from before")
        assert (status.message.media, status.message.said) == ((), None)
        assert await store.media_in_flight() == ()
        assert await files(store) == []
        session_id = await answered(store, "a")
        await evict(store, session_id, "a")
        assert await untold(store, session_id) == ["a"]
