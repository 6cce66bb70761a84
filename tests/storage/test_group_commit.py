"""Group commit: shared transactions, own errors, cancellation, back-pressure (D1, D2)."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
import trio
import trio.testing

from runtime.sessions.content import text_content
from runtime.sessions.rows import SessionSpec
from runtime.storage.engine import LARGEST_KEPT, Engine, Limits, Transaction
from runtime.storage.errors import (
    QueueFull,
    RowTooLarge,
    StorageIOError,
    StoreClosed,
    UnknownSession,
)
from runtime.storage.migrations import bundled
from runtime.storage.opening import open_memory_database
from runtime.storage.requests import NewInbound, SessionPatch
from runtime.storage.sqlite import SqliteStore, open_memory, open_sqlite
from runtime.storage.writer import GroupCommit
from tests.e2e.stage import until
from tests.storage.stage import SPEC, START, Clock, admit, cap, message, new_id, prompt


class Gate:
    """An operation that keeps the writer's thread until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.entered = threading.Event()

    def __call__(self, transaction: Transaction) -> None:
        self.entered.set()
        assert self._open.wait(30)

    def open(self) -> None:
        self._open.set()


@asynccontextmanager
async def writer_held(writer: GroupCommit) -> AsyncIterator[Gate]:
    """A block in which the writer is busy, so that what arrives waits for the next transaction."""
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.write, gate)
        await trio.to_thread.run_sync(gate.entered.wait)
        try:
            yield gate
        finally:
            gate.open()


def writer_of(store: SqliteStore) -> GroupCommit:
    writer = store._writes
    assert isinstance(writer, GroupCommit)
    return writer


@asynccontextmanager
async def bare_writer(
    *, queue_limit: int = 100, batch_limit: int = 100
) -> AsyncIterator[tuple[GroupCommit, Engine]]:
    """A writer on a database in memory."""
    engine = Engine(open_memory_database(bundled()), Limits())
    writer = GroupCommit(engine, lambda: START, queue_limit=queue_limit, batch_limit=batch_limit)
    writer.start()
    try:
        yield writer, engine
    finally:
        await writer.aclose()


def put(name: str) -> Callable[[Transaction], str]:
    """An operation that writes one small row."""

    def operation(transaction: Transaction) -> str:
        transaction.run("INSERT INTO meta (key, value) VALUES (?, '')", name)
        return name

    return operation


def names(transaction: Transaction) -> list[str]:
    return [row[0] for row in transaction.rows("SELECT key FROM meta ORDER BY key")]


async def all_joined(store: SqliteStore, count: int) -> None:
    """Until so many requests are on their way."""
    while store.health().queued_requests < count:
        await trio.lowlevel.checkpoint()


# -- sharing ---------------------------------------------------------------------------------------


async def test_what_arrives_meanwhile_shares_one_commit(disk_store: SqliteStore) -> None:  # D1
    session, _ = await disk_store.resolve(SPEC)
    before = disk_store.health().batches
    async with trio.open_nursery() as nursery, writer_held(writer_of(disk_store)):
        for _ in range(100):
            nursery.start_soon(admit, disk_store, message(session.id))
        await all_joined(disk_store, 101)
    assert disk_store.health().batches - before == 2
    assert disk_store.health().queued_requests == 0


async def test_a_batch_is_bounded() -> None:  # D1
    async with bare_writer(batch_limit=10) as (writer, engine):
        async with trio.open_nursery() as nursery, writer_held(writer):
            for number in range(25):
                nursery.start_soon(writer.write, put(str(number)))
            await trio.testing.wait_all_tasks_blocked()
        assert engine.batches == 4


async def test_one_that_fails_does_not_fail_its_neighbours(disk_store: SqliteStore) -> None:  # D1
    session, _ = await disk_store.resolve(SPEC)
    await admit(disk_store, prompt(session.id, limit=cap(1)))
    good = [message(session.id) for _ in range(10)]
    too_large = NewInbound(new_id(), session.id, text_content("x" * 2_000_000))

    async def refused(error: type[Exception], new: NewInbound) -> None:
        with pytest.raises(error):
            await disk_store.admit([good[0], message(), new])

    before = disk_store.health().batches
    async with trio.open_nursery() as nursery, writer_held(writer_of(disk_store)):
        for new in good[1:6]:
            nursery.start_soon(admit, disk_store, new)
        nursery.start_soon(refused, QueueFull, prompt(session.id, limit=cap(1)))
        nursery.start_soon(refused, UnknownSession, message("unknown"))
        nursery.start_soon(refused, RowTooLarge, too_large)
        for new in good[6:]:
            nursery.start_soon(admit, disk_store, new)
        await all_joined(disk_store, 13)
    assert disk_store.health().batches - before == 2
    found = [await disk_store.message_status(new.id) for new in good]
    assert [status is not None for status in found] == [False] + [True] * 9


async def test_an_operation_that_fails_after_writing_is_undone_alone() -> None:  # D1
    def half(transaction: Transaction) -> None:
        put("half")(transaction)
        raise ZeroDivisionError

    def twice(transaction: Transaction) -> None:
        put("twice")(transaction)
        put("twice")(transaction)

    async def refused(error: type[Exception], operation: Callable[[Transaction], None]) -> None:
        with pytest.raises(error):
            await writer.write(operation)

    async with bare_writer() as (writer, engine):
        async with trio.open_nursery() as nursery, writer_held(writer):
            nursery.start_soon(writer.write, put("first"))
            nursery.start_soon(refused, ZeroDivisionError, half)
            nursery.start_soon(refused, apsw.ConstraintError, twice)
            nursery.start_soon(writer.write, put("last"))
            await trio.testing.wait_all_tasks_blocked()
        assert await writer.write(names) == ["first", "last"]
        assert engine.batches == 3


async def test_when_the_disk_fails_a_batch_each_is_tried_alone() -> None:  # D1
    tries: list[int] = []

    def refused_by_the_disk(transaction: Transaction) -> None:
        tries.append(1)
        put("lost")(transaction)
        raise apsw.IOError("disk I/O error")

    async def refused() -> None:
        with pytest.raises(StorageIOError, match="disk I/O error"):
            await writer.write(refused_by_the_disk)

    async with bare_writer() as (writer, _):
        async with trio.open_nursery() as nursery, writer_held(writer):
            nursery.start_soon(writer.write, put("before"))
            nursery.start_soon(refused)
            nursery.start_soon(writer.write, put("after"))
            await trio.testing.wait_all_tasks_blocked()
        assert await writer.write(names) == ["after", "before"]
        assert len(tries) == 2


async def test_results_go_to_who_asked(disk_store: SqliteStore) -> None:  # D1
    found: dict[str, str] = {}

    async def resolve(key: str) -> None:
        found[key] = (await disk_store.resolve(SessionSpec("echo", key)))[0].key

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(resolve, str(number))
    assert found == {str(number): str(number) for number in range(50)}


# -- cancellation ----------------------------------------------------------------------------------


async def test_cancelled_before_joining_nothing_happens(store: SqliteStore) -> None:  # D1
    new = message()
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.admit([new])
    assert scope.cancelled_caught
    assert await store.message_status(new.id) is None


async def test_cancelled_after_joining_the_outcome_comes_first(  # D1
    disk_store: SqliteStore,
) -> None:
    outcomes: list[object] = []
    scope = trio.CancelScope()

    async def caller() -> None:
        with scope:
            outcomes.append(await admit(disk_store, message()))
            await trio.lowlevel.checkpoint()
            outcomes.append("went on")
        outcomes.append("cancelled")

    async with trio.open_nursery() as nursery, writer_held(writer_of(disk_store)):
        nursery.start_soon(caller)
        await all_joined(disk_store, 2)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == []
    assert len(outcomes) == 2
    assert outcomes[1] == "cancelled"
    assert len((await disk_store.sessions()).sessions) == 1


async def test_an_error_is_delivered_to_a_cancelled_caller(disk_store: SqliteStore) -> None:  # D1
    failed: list[BaseException] = []
    scope = trio.CancelScope()

    async def caller() -> None:
        with scope:
            try:
                await disk_store.patch_session("unknown", SessionPatch(label="x"))
            except UnknownSession as error:
                failed.append(error)

    async with trio.open_nursery() as nursery, writer_held(writer_of(disk_store)):
        nursery.start_soon(caller)
        await all_joined(disk_store, 2)
        scope.cancel()
    assert len(failed) == 1


async def test_reads_may_be_cancelled_at_any_time(disk_store: SqliteStore) -> None:  # D1
    entered, leave = threading.Event(), threading.Event()

    def slow(transaction: Transaction) -> None:
        entered.set()
        assert leave.wait(30)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk_store._reads.read, slow)
        await trio.to_thread.run_sync(entered.wait)
        nursery.cancel_scope.cancel()
    leave.set()
    assert await disk_store.session("unknown") is None


# -- back-pressure and the end ---------------------------------------------------------------------


async def test_a_full_queue_makes_callers_wait_where_they_can_be_cancelled() -> None:  # D1
    async with bare_writer(queue_limit=2) as (writer, _), writer_held(writer) as gate:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.write, put("joined"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(writer.write, put("waits"))
            await trio.testing.wait_all_tasks_blocked()
            assert writer.queued == 3
            with trio.CancelScope() as scope:
                scope.cancel()
                await writer.write(put("cancelled"))
            assert scope.cancelled_caught
            gate.open()
        assert await writer.write(names) == ["joined", "waits"]
        assert writer.queued == 0


async def test_closing_decides_what_was_handed_over(clock: Clock, tmp_path: Path) -> None:  # D1
    new = message()
    async with (
        open_sqlite(tmp_path, clock) as store,
        trio.open_nursery() as nursery,
        writer_held(writer_of(store)),
    ):
        nursery.start_soon(admit, store, new)
        await all_joined(store, 2)
        nursery.start_soon(store.aclose)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StoreClosed):
            await store.resolve(SPEC)
    async with open_sqlite(tmp_path, clock) as store:
        assert await store.message_status(new.id) is not None


async def test_callers_who_wait_for_room_when_it_closes() -> None:  # D1
    async with bare_writer(queue_limit=2) as (writer, _), trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(StoreClosed):
                await writer.write(put("too late"))

        async with writer_held(writer):
            nursery.start_soon(writer.write, put("joined"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(refused)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(writer.aclose)
            await trio.testing.wait_all_tasks_blocked()


async def test_a_closed_store_says_so(store: SqliteStore) -> None:  # D1
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreClosed):
        await store.resolve(SPEC)
    with pytest.raises(StoreClosed):
        await store.session("x")


async def test_closing_is_not_cut_short_by_cancellation(clock: Clock, tmp_path: Path) -> None:
    # D1
    with trio.CancelScope() as scope:
        async with open_sqlite(tmp_path, clock) as store:
            await admit(store, message())
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert not (tmp_path / "runtime.db-wal").exists()
    async with open_sqlite(tmp_path, clock) as store:
        assert len((await store.sessions()).sessions) == 1


# -- where it runs ---------------------------------------------------------------------------------


async def test_the_loop_goes_on_while_the_writer_is_busy(disk_store: SqliteStore) -> None:  # D2
    async with writer_held(writer_of(disk_store)):
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert await disk_store.session("unknown") is None
        assert disk_store.health().queued_requests == 1


async def test_two_stores_live_side_by_side(clock: Clock, tmp_path: Path) -> None:  # D1
    async with (
        open_sqlite(tmp_path / "a", clock) as first,
        open_sqlite(tmp_path / "b", clock) as second,
        open_memory(clock) as third,
    ):
        for store in (first, second, third):
            await admit(store, message())
            assert len((await store.sessions()).sessions) == 1


async def test_in_memory_no_thread_is_used(clock: Clock) -> None:  # D1
    before = threading.active_count()
    async with open_memory(clock) as store:
        await admit(store, message())
        await store.sessions()
        await store.maintain()
        assert threading.active_count() == before


async def test_every_operation_in_memory_is_a_checkpoint(clock: Clock) -> None:  # D1
    async with open_memory(clock) as store:
        with trio.testing.assert_checkpoints():
            await store.session("x")
        with trio.testing.assert_checkpoints():
            await store.resolve(SPEC)
        with trio.testing.assert_checkpoints():
            await store.maintain()


# What was written is not kept


# D1
async def test_an_idle_writer_keeps_nothing_of_its_last_batch() -> None:
    async with bare_writer() as (writer, _):
        gate = Gate()
        gate.open()
        kept = weakref.ref(gate)
        await writer.write(gate)
        del gate
        await until(lambda: gc.collect() is not None and kept() is None)


# D1
def test_cached_statements_do_not_keep_large_values(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "any.db"))
    transaction = Transaction(connection, Limits())
    text = "x" * (64 * LARGEST_KEPT)
    before = apsw.memory_used()
    for number in range(20):
        assert transaction.rows(f"SELECT length(?) + {number}", text) == [(len(text) + number,)]
    assert apsw.memory_used() < before + len(text)
    connection.close()
