"""What tests of drafts share: a network that can show them, an agent that writes slowly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from actors.channels.scripted import ScriptedChannel
from runtime.ports.channel import ChannelCapabilities
from runtime.sessions.updates import AgentEvent, Result
from tests.actors.stage import Call, HandAgent, chunk, settings

QUICK = settings(queue={"debounce": 0.0})
ABLE = ChannelCapabilities(edit=True, delete=True, drafts=True, typing=True)
FOR_EVER = 1_000_000.0

Play = Callable[[Call], AsyncIterator[AgentEvent]]


def network(**fields: Any) -> ScriptedChannel:
    able = {name: getattr(ABLE, name) for name in ABLE.__struct_fields__}
    return ScriptedChannel(capabilities=ChannelCapabilities(**{**able, **fields}))


def slowly(*steps: str | float | Result) -> Play:
    """Says texts, waits so many seconds between them, and ends."""

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        for step in steps:
            if isinstance(step, float):
                await trio.sleep(step)
            else:
                yield chunk(step) if isinstance(step, str) else step
        yield Result()

    return play


def agent(*steps: str | float | Result) -> HandAgent:
    return HandAgent(slowly(*steps), hold=False)


def over_and_over(text: str, pause: float, times: int) -> list[str | float]:
    return [step for _ in range(times) for step in (text, pause)]


async def quiet(seconds: float = 100.0) -> None:
    """Nothing more happens."""
    await trio.sleep(seconds)
