"""Health, upkeep and what the store is (D3)."""

from __future__ import annotations

from pathlib import Path

import apsw

from runtime.storage.migrations import bundled
from runtime.storage.opening import CHECKPOINT_PAGES
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import SPEC, admit, message


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
