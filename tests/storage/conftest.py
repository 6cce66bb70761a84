"""Stores for the tests: the same engine inline in memory, and with its threads on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import Clock, opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "disk"])
async def store(
    request: pytest.FixtureRequest, clock: Clock, tmp_path: Path
) -> AsyncIterator[SqliteStore]:
    async with opened(request.param, clock, tmp_path / "data") as store:
        yield store


@pytest.fixture
async def disk_store(clock: Clock, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with opened("disk", clock, tmp_path / "data") as store:
        yield store
