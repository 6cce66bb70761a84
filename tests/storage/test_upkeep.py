"""Health, upkeep and what the store is (D3)."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
import trio

from runtime.storage import sql_figures
from runtime.storage.figures import Backlog
from runtime.storage.migrations import bundled
from runtime.storage.opening import CHECKPOINT_PAGES
from runtime.storage.sqlite import SqliteStore, open_sqlite
from tests.storage.stage import SPEC, Actor, Clock, admit, message


async def test_health_and_upkeep(disk_store: SqliteStore, tmp_path: Path) -> None:  # D3
    first = disk_store.health()
    assert first.ready
    assert first.problem is None
    assert first.database_bytes > 0
    assert first.free_bytes > 0
    for _ in range(50):
        await admit(disk_store, message())
    log = tmp_path / "data" / "runtime.db-wal"
    assert disk_store.health().wal_bytes == first.wal_bytes
    kept = await disk_store.maintain()
    assert kept.wal_bytes == log.stat().st_size > 0
    assert kept.database_bytes == (tmp_path / "data" / "runtime.db").stat().st_size
    assert (await disk_store.probe()).ready


async def test_the_log_is_moved_into_the_database(disk_store: SqliteStore) -> None:  # D3
    session, _ = await disk_store.resolve(SPEC)
    before = (await disk_store.maintain()).database_bytes
    for _ in range(10):
        await admit(disk_store, message(session.id, "x" * 100_000))
    sizes = await disk_store.maintain()
    assert sizes.wal_bytes > 1_000_000
    assert sizes.database_bytes > before + 1_000_000


async def test_the_log_has_a_budget(disk_store: SqliteStore) -> None:  # D3
    session, _ = await disk_store.resolve(SPEC)
    budget = CHECKPOINT_PAGES * 4096
    for _ in range(budget // 200_000):
        await disk_store.admit([message(session.id, "x" * 100_000) for _ in range(4)])
    sizes = await disk_store.maintain()
    assert sizes.database_bytes > 1.9 * budget
    assert sizes.wal_bytes < 1.1 * budget


async def test_what_the_store_is(store: SqliteStore) -> None:  # D3
    info = store.info
    assert (info.engine, info.schema_version) == ("sqlite", len(bundled()))
    assert info.engine_version == apsw.sqlite_lib_version()


async def test_the_backlog_says_what_waits(store: SqliteStore, clock: Clock) -> None:
    # D6, O1, Q8
    assert await store.backlog() == Backlog(0, None, 0, 0, 0, 0)
    session, _ = await store.resolve(SPEC)
    began = clock.now
    await admit(store, message(session.id))
    clock.now += 1_000
    await store.admit([message(session.id), message(session.id, trigger=False)])
    assert await store.backlog() == Backlog(2, began, 0, 0, 0, 0)
    actor = await Actor.wake(store, session.id)
    end = await actor.answer(actor.awake.pending[0].id)
    assert await store.backlog() == Backlog(1, began + 1_000, len(end.outbound), 0, 0, 0)
    (owed,) = end.outbound
    await store.outbox_attempt(owed.id)
    assert (await store.backlog()).attempting == 1
    await store.outbox_failed(owed.id, error="gone")
    assert await store.backlog() == Backlog(1, began + 1_000, 0, 0, 1, 0)


async def test_the_backlog_counts_up_to_a_bound(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = await store.resolve(SPEC)
    count = sql_figures.COUNTED
    await store.admit([message(session.id) for _ in range(count + 1)])
    assert (await store.backlog()).waiting == count


async def test_each_commit_is_observed(clock: Clock, tmp_path: Path) -> None:  # D1
    seen: list[tuple[int, float]] = []
    async with open_sqlite(
        tmp_path / "data", clock, observe=lambda *each: seen.append(each)
    ) as store:
        session, _ = await store.resolve(SPEC)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(store.admit, [message(session.id)])
    assert sum(requests for requests, _ in seen) == 21
    assert len(seen) < 21
    assert all(seconds > 0 for _, seconds in seen)
