"""Somebody is typing (R4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import trio
from trio.testing import MockClock

from runtime.ports.agent import AgentGone
from runtime.sessions.content import TextBlock
from runtime.sessions.updates import AgentEvent, AgentThoughtChunk, Result
from tests.actors.slow_writing import (
    QUICK,
    network,
    quiet,
)
from tests.actors.stage import Call, HandAgent, chunk, says, stage


async def test_typing_lasts_until_there_is_something_to_see(autojump_clock: MockClock) -> None:
    # R4
    chat = network(typing_interval=4.0)

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield AgentThoughtChunk(TextBlock("hm"))
        await trio.sleep(10.0)
        yield chunk("so")
        await trio.sleep(10.0)
        yield Result()

    async with stage(agent=HandAgent(play, hold=False), channels=[chat], settings=QUICK):
        began = trio.current_time()
        await chat.say("hello")
        await chat.called("edit")
        typed = [round(done.at - began) for done in chat.calls("typing")]
        assert typed == [0, 4, 8]


async def test_somebody_types_before_the_agent_is_open(autojump_clock: MockClock) -> None:
    # R4
    chat = network()
    opening = HandAgent(says("hi"), hold=False)
    opened = opening.open

    def open_slowly(context: Any) -> Any:
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def slow() -> AsyncIterator[Any]:
            await trio.sleep(9.0)
            async with opened(context) as handle:
                yield handle

        return slow()

    opening.open = open_slowly  # type: ignore[method-assign]
    async with stage(agent=opening, channels=[chat], settings=QUICK):
        began = trio.current_time()
        await chat.say("hello")
        await chat.called("typing")
        assert trio.current_time() - began < 1
        assert opening.opened == 0
        await quiet()
        assert [round(done.at - began) for done in chat.calls("typing")] == [0, 4, 8]
        assert chat.visible() == ["hi"]


async def test_nobody_types_while_the_agent_cannot_be_started(autojump_clock: MockClock) -> None:
    # R4 P3
    chat = network()

    class Broken(HandAgent):
        def open(self, context: Any) -> Any:
            raise AgentGone("no")

    async with stage(agent=Broken(), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await trio.sleep(1_000)
        typed = len(chat.calls("typing"))
        assert typed > 0
        await trio.sleep(1_000)
        assert len(chat.calls("typing")) == typed
