"""Query plans: what an operation costs does not grow with what is stored (S21, J4, D8, O3)."""

from __future__ import annotations

import re
from typing import Any, cast

import apsw
import msgspec

from runtime.sessions.media import MediaItem, OutboxFile
from runtime.sessions.rows import Draft, DropReason, InboundState, SessionSpec
from runtime.storage.media_requests import Attach, BlobRef, HandOver
from runtime.storage.requests import (
    ChannelOffset,
    Drop,
    DropPending,
    NewOutbound,
    SaveDraft,
    SessionPatch,
    TurnProgress,
)
from runtime.storage.sqlite import SqliteStore, open_memory
from tests.storage.media_messages import new_blob, with_files
from tests.storage.stage import (
    CHAT,
    POLICY,
    Actor,
    Clock,
    admit,
    cap,
    key,
    message,
    new_id,
    prompt,
)

TABLE_SCAN = re.compile(r"\bSCAN (?!CONSTANT ROW|json_each|heads|waiting)\w+")
PARTIAL = re.compile(
    r"USING (COVERING )?INDEX"
    r" (inbound_pending|inbound_media|outbound_open|outbound_undelivered|turns_running"
    r"|blobs_untold|blobs_evicted)\b"
)


async def everything(store: SqliteStore) -> None:
    """Call every operation, on the paths that have statements of their own."""
    session, _ = await store.resolve(SessionSpec("echo", "k"))
    await store.find_session("echo", "k")
    await store.patch_session(session.id, SessionPatch(label="x", updated_at=1))
    for drop in ("old", "new", "summarize"):
        for number in range(3):
            new = message(session.id, key=key(number), limit=cap(1, drop))
            await store.admit([new], ChannelOffset("telegram", "bot", "1"))
    for _ in range(51):
        await admit(store, message(session.id, trigger=False))
    await admit(store, prompt(session.id))
    await store.channel_offset("telegram", "bot")
    await store.record_drop(Drop(DropReason.UNKNOWN_SENDER, "telegram", "bot", "c"))
    for _ in range(2):
        actor = await Actor.wake(store, session.id)
        pending = actor.awake.pending
        turn_id = await actor.begin(pending[0], overflow=(pending[0].id,))
        progress = TurnProgress(turn_id, session.id, actor.session.fence, 0, "x", first_event_at=1)
        await store.save_progress(progress)
        await store.save_draft(
            SaveDraft(turn_id, session.id, actor.session.fence, Draft(CHAT, "p1"))
        )
    await store.recover("instance-9", POLICY)
    await store.recover("instance-9", POLICY)
    await store.last_recovery()
    actor = await Actor.wake(store, session.id)
    end = await actor.answer(actor.awake.pending[0].id)
    await store.end_turn(end)
    await store.message_status(end.messages[0].message_id)
    await store.drafts_left_over("telegram", "bot")
    await store.draft_gone(end.turn_id)
    await store.sessions_with_due_messages(5)
    await store.sessions_with_due_messages(5, after=session.id)
    for epoch in (None, 1):
        await store.journal(session.id, epoch=epoch)
        await store.journal_tail(session.id, limit=3, epoch=epoch)
    await store.journal_extent(session.id, 1)
    await store.notify(session.id, NewOutbound(new_id(), CHAT, "hi"))
    await store.outbox_due("telegram", "bot", 5)
    await store.outbox_next_due("telegram", "bot", 0)
    await store.outbox_owes(CHAT)
    (row,) = end.outbound
    await store.outbox_attempt(row.id)
    await store.outbox_retry(row.id, not_before=1, error="e", ambiguous=True)
    await store.outbox_attempt(row.id)
    await store.outbox_send_anew(row.id, row.text)
    await store.outbox_failed(row.id, error="e")
    await store.outbox_delivered(row.id, None)
    await store.outbox_files(session.id, [OutboxFile("a", 1, 1, 1)])
    await store.outbox_standings([(session.id, OutboxFile("a", 1, 1, 1))])
    await store.files_owed()
    await store.blobs_evicted([BlobRef(session.id, "x", OutboxFile("a", 1, 1, 1))])
    await store.sessions()
    await store.sessions(status=None, limit=1)
    await store.drop_pending(DropPending(session.id, DropReason.CLEARED, (new_id(),)))
    await store.drop_pending(DropPending(session.id, DropReason.CLEARED))
    await everything_about_files(store, session.id)
    await store.new_epoch(session.id)
    await store.close_session(session.id)
    await store.probe()
    await store.maintain()
    await store.backlog()


async def everything_about_files(store: SqliteStore, session_id: str) -> None:
    """The operations on files, and those on messages that have some."""
    waits = msgspec.structs.replace(message(session_id), media=(MediaItem(reference="r"),))
    await admit(store, waits)
    await store.attach(Attach(waits.id, 0, MediaItem(file="c"), new_blob("c")))
    new = [with_files(name, session=session_id) for name in ("a", "a", "b")]
    for each in new:
        await admit(store, each)
    await store.media_in_flight()
    actor = await Actor.wake(store, session_id)
    fence = actor.session.fence
    for settle in (InboundState.PENDING, InboundState.DONE):
        turn_id = await actor.begin(*(each.id for each in new))
        ids = tuple(each.id for each in new)
        await store.hand_over(HandOver(turn_id, session_id, fence, 1, ids))
        end = actor.ending(turn_id, *ids, settle=settle, first_event_at=1, told=("a",))
        await store.end_turn(end)
    await store.drop_pending(DropPending(session_id, DropReason.CLEARED, (waits.id,)))
    await store.blobs(limit=2)
    await store.idle_blobs(1, limit=2)
    await store.blobs_evicted([BlobRef(session_id, "a"), BlobRef(session_id, "b")])
    await store.untold_evictions(session_id)
    await store.sessions_with_untold_evictions()
    await store.forget_old_evictions(1, limit=2)
    await store.blobs_forgotten([BlobRef(session_id, name) for name in "abc"])


class Schema:
    """A connection that knows the schema, to ask for plans."""

    def __init__(self, store: SqliteStore) -> None:
        self._connection = apsw.Connection(":memory:")
        made = store._engine._connection.execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
        )
        for (sql,) in made.fetchall():
            self._connection.execute(str(sql))

    def plan(self, sql: str) -> list[str]:
        """The steps of a statement's plan."""
        numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
        values = (None,) * (max(numbered) if numbered else sql.count("?"))
        steps = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
        return [str(step[3]) for step in steps]


async def plans(clock: Clock) -> dict[str, list[str]]:
    """The plan of every statement that the operations use."""
    seen: dict[str, None] = {}

    def remember(_: object, sql: str, __: object) -> bool:
        if sql.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
            seen[sql] = None
        return True

    async with open_memory(clock) as store:
        schema = Schema(store)
        store._engine._connection.exec_trace = remember
        await everything(store)
    return {sql: schema.plan(sql) for sql in seen}


async def test_no_operation_reads_a_whole_table(clock: Clock) -> None:  # S21, J4, D8, O3
    found = await plans(clock)
    assert len(found) > 50
    whole = {
        sql: steps
        for sql, steps in found.items()
        if any(TABLE_SCAN.search(step) and not PARTIAL.search(step) for step in steps)
    }
    assert whole == {}


async def test_no_operation_sorts_what_an_index_has_in_order(clock: Clock) -> None:  # J4, Q7
    sorted_again = [
        sql
        for sql, steps in (await plans(clock)).items()
        if any("TEMP B-TREE FOR ORDER BY" in step for step in steps)
    ]
    assert sorted_again == []


class Counted:
    """A store that counts the steps of SQLite's machine, operation by operation."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._steps = 0
        self.costs: dict[str, int] = {}
        store._engine._connection.set_progress_handler(self._step, 1)

    def _step(self) -> bool:
        self._steps += 1
        return False

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        async def counted(*arguments: Any, **named: Any) -> Any:
            before = self._steps
            try:
                return await operation(*arguments, **named)
            finally:
                number = sum(each.startswith(f"{name} ") for each in self.costs)
                self.costs[f"{name} {number}"] = self._steps - before

        return counted


async def costs(clock: Clock, stored: int) -> dict[str, int]:
    """What each operation costs in a store that holds so much of everything that is finished."""
    async with open_memory(clock) as store:
        session, _ = await store.resolve(SessionSpec("echo", "k"))
        actor = await Actor.wake(store, session.id)
        for number in range(stored):
            clock.now += 1
            handed = with_files(f"old {number}", session=session.id)
            await admit(store, handed)
            turn_id = await actor.begin(handed.id)
            await store.end_turn(actor.ending(turn_id, handed.id, first_event_at=1))
            if number % 2:
                await store.blobs_evicted([BlobRef(session.id, f"old {number}")])
            row = (await admit(store, message(session.id, key=key(1_000 + number)))).message
            end = await actor.answer(row.id)
            await store.outbox_attempt(end.outbound[0].id)
            await store.outbox_delivered(end.outbound[0].id, None)
            await store.resolve(SessionSpec("echo", f"other-{number}"))
        await store.new_epoch(session.id)
        counted = Counted(store)
        await everything(cast("SqliteStore", counted))
        return counted.costs


async def test_no_operation_costs_more_for_what_is_finished(clock: Clock) -> None:
    # S21, J4, D8, O3
    few, many = await costs(clock, 5), await costs(clock, 150)
    assert few.keys() == many.keys()
    assert len(few) > 90
    read_whole = {"journal 0", "journal 1", "journal_extent 0", "sessions 0"}
    read_whole.add("sessions_with_untold_evictions 0")  # at a start
    read_whole.add("drafts_left_over 0")  # at a start, of the newest turns
    dearer = {
        name: (cost, many[name])
        for name, cost in few.items()
        if many[name] > cost * 1.1 + 10 and name not in read_whole
    }
    assert dearer == {}


async def test_a_page_of_the_list_costs_the_same_wherever_it_is(clock: Clock) -> None:  # J4
    async with open_memory(clock) as store:
        for number in range(200):
            clock.now += number % 3 == 0
            await store.resolve(SessionSpec("echo", str(number)))
        counted = Counted(store)
        cursor: str | None = None
        for _ in range(10):
            page = await counted.sessions(cursor=cursor, limit=20, status=None)
            cursor = page.next_cursor
    assert cursor is None
    pages = list(counted.costs.values())[:-1]
    assert max(pages) < min(pages) * 1.2


async def test_the_scan_would_be_noticed(clock: Clock) -> None:
    async with open_memory(clock) as store:
        (step,) = Schema(store).plan("SELECT * FROM inbound WHERE reason = ?")
    assert TABLE_SCAN.search(step)
    assert not PARTIAL.search(step)
