"""What "durable" rests on: SQLite is told to wait for the disk."""

from __future__ import annotations

from pathlib import Path

from runtime.sessions.ids import wall_clock_ms
from runtime.storage.sqlite import open_sqlite


async def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    # D1 D3
    async with open_sqlite(tmp_path, wall_clock_ms) as store:
        connection = store._engine._connection
        assert connection.pragma("synchronous") == 2  # FULL, see sqlite.org/pragma.html
        assert connection.pragma("journal_mode") == "wal"
