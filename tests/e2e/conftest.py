"""A real runtime in a process of its own, which does not outlive its test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.stage import House, housed


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A place to start runtimes in, one after another."""
    async with housed(tmp_path) as made:
        yield made
