"""A real runtime in a process of its own, which does not outlive its test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A place to start runtimes in, one after another."""
    processes: list[RuntimeProcess] = []
    yield House(tmp_path / "data", tmp_path, processes)
    for process in processes:
        process.end()
        await process.ended()
