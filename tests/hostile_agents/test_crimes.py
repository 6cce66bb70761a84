"""No agent can hurt another session, nor the queue behind it.

``make villains COUNT=20`` goes on for longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.client import connected, said
from tests.hostile_agents.den import SAINT, Den
from tests.hostile_agents.scenes import let_loose

pytestmark = pytest.mark.slow


@pytest.fixture
def den(tmp_path: Path) -> Iterator[Den]:
    den = Den(tmp_path)
    yield den
    den.end()


# P1 P2 P3 P5 T2 T4 T5 T6
async def test_every_crime_is_told_and_the_queue_goes_on(den: Den) -> None:
    async with den.runtime() as process:
        await let_loose(den, process)
        den.is_well(process)
        assert await process.stop() == 0
    assert "Traceback" not in den.log


# P5
@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_nobody_outlives_a_runtime(den: Den, how: str) -> None:
    idle, busy = ("bears-children-quietly", SAINT), ("ignores-its-end", "floods")
    async with den.runtime() as process:
        async with connected(process.url) as client:
            for name in idle:
                await client.call("session/prompt", said(await client.new_session(agent=name), "x"))
            for name in busy:
                session_id = await client.new_session(agent=name)
                await client.request("session/prompt", said(session_id, "x"))
                await client.until("session/update", sessionUpdate="agent_message_chunk")
        assert all(den.living(name) for name in (*idle, *busy))
        if how == "stopped":
            assert await process.stop() == 0
            assert den.living() == set()
            return
        await process.kill()
    earlier = den.living()
    assert earlier, "a daemon was left behind"
    async with den.runtime() as process:
        assert not earlier & den.living()
        assert await process.stop() == 0
    assert den.living() == set()
    assert "Traceback" not in den.log
