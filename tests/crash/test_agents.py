"""Who outlives a run is found, told from others, and ended."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from tests.crash.agents import Agents
from tests.e2e.stage import until

WAIT = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]


# P5
async def test_an_agent_that_lives_on_is_reported(tmp_path: Path) -> None:
    agents, others = Agents(tmp_path / "ours"), Agents(tmp_path / "theirs")
    process = await trio.lowlevel.open_process([*WAIT, agents.tag])
    try:
        await until(agents.living)
        (living,) = agents.living()
        assert living.pid == process.pid
        assert others.living() == set()
        (violation,) = agents.left_of({living}, "now")
        assert agents.tag in str(violation)
        assert agents.left_of(set(), "now") == []
        agents.end()
        await until(lambda: not agents.living())
        assert agents.left_of({living}, "now") == []
        assert agents.killed == 1
    finally:
        if process.poll() is None:
            process.kill()
        await process.wait()
