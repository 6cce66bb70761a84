"""What the metrics say about agents and refusals (P3, P6, Q4)."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from runtime.app import Runtime
from runtime.ports.front import QueueIsFull, SessionBlocked
from tests.actors.stage import settings, stage
from tests.actors.test_starting_agents import Flaky


def _value(rt: Runtime, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(rt.front.metrics().decode())
    for family in families:
        for sample in family.samples:
            if sample.name == f"greenroom_{name}" and sample.labels == labels:
                return sample.value
    raise LookupError(name)


async def test_blocked_sessions_and_starts_are_counted(autojump_clock: MockClock) -> None:
    # P3
    async with stage(agent=Flaky(5)) as rt:
        session = await rt.session("demo")
        with pytest.raises(SessionBlocked):
            await (await session.prompt("one")).result()
        assert _value(rt, "sessions_blocked") == 1
        assert _value(rt, "agent_starts_total", outcome="failed") == 5
        await (await session.prompt("/reconnect")).result()
        assert (await (await session.prompt("two")).result()).text is not None
        assert _value(rt, "sessions_blocked") == 0
        assert _value(rt, "agent_starts_total", outcome="started") == 1
        assert _value(rt, "agent_processes") == 0


async def test_a_refused_message_is_counted(autojump_clock: MockClock) -> None:
    # Q4
    async with stage(agent=Flaky(5), settings=settings(queue={"cap": 1})) as rt:
        session = await rt.session("demo")
        await session.send("one")
        with pytest.raises(QueueIsFull):
            await session.send("two")
        assert _value(rt, "admissions_total", outcome="refused_full") == 1
