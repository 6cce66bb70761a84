"""Agents that ask for permission: policies, answers by dialog and in words, limits (T6, D10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.ports.agent import Agent, AgentContext, AgentHandle, PromptTurn
from runtime.ports.front import BadRequest, Watch
from runtime.sessions.events import (
    PermissionAnswered,
    PermissionAsked,
)
from runtime.sessions.permissions import PermissionPolicy
from runtime.sessions.updates import (
    AgentEvent,
    PermissionOption,
    PermissionRequest,
    PermissionSettled,
    Result,
    ToolCallUpdate,
)
from tests.actors.stage import chunk, settings, stage

OPTIONS = (
    PermissionOption("yes", "Allow", "allow_once"),
    PermissionOption("no", "Refuse", "reject_once"),
)


class Asks(Agent):
    """Asks for permission, and says what it was told."""

    def __init__(self, policy: PermissionPolicy = "ask") -> None:
        self.policy = policy

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        yield Asking(self.policy)


class Asking(AgentHandle):
    def __init__(self, policy: PermissionPolicy) -> None:
        self.permission_policy = policy
        self._told: trio.MemorySendChannel[str | None] | None = None

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        self._told, heard = trio.open_memory_channel[str | None](1)
        yield PermissionRequest("q1", ToolCallUpdate("t1", title="rm -r x"), OPTIONS)
        told = await heard.receive()
        yield PermissionSettled("q1", told)
        yield chunk(f"told {told}")
        yield Result()

    async def answer_permission(self, request_id: str, option_id: str | None) -> bool:
        assert request_id == "q1"
        if self._told is None:
            return False
        await self._told.send(option_id)
        self._told = None
        return True


E = TypeVar("E", PermissionAsked, PermissionAnswered)


async def _next(watch: Watch, kind: type[E]) -> E:
    async for live in watch:
        if isinstance(live.event, kind):
            return live.event
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("policy, told", [("allow", "yes"), ("deny", "no")])
async def test_a_policy_answers_by_itself(
    policy: PermissionPolicy, told: str, autojump_clock: MockClock
) -> None:
    # T6
    async with stage(agent=Asks(policy)) as rt:
        session = await rt.session("demo")
        assert (await (await session.prompt("go")).result()).text == f"told {told}"


async def test_whoever_watches_may_answer_and_the_first_answer_counts(
    autojump_clock: MockClock,
) -> None:
    # T6 G5
    async with stage(agent=Asks()) as rt:
        session = await rt.session("demo")
        with session.watch() as watch:
            turn = await session.prompt("go")
            asked = await _next(watch, PermissionAsked)
            assert asked.request.tool_call.title == "rm -r x"
            late = await rt.front.snapshot(session.id)
            assert late.running is not None
            assert late.running.questions == (asked.request,)
            with pytest.raises(BadRequest, match="no option"):
                await session.answer("q1", "perhaps")
            assert not await session.answer("q2", "yes")
            assert await session.answer("q1", "no")
            assert not await session.answer("q1", "yes")
            answered = await _next(watch, PermissionAnswered)
            assert (answered.request_id, answered.option_id) == ("q1", "no")
            assert (await turn.result()).text == "told no"


async def test_nobody_has_chosen_when_the_time_is_over(autojump_clock: MockClock) -> None:
    # T4 T6
    patient = settings(sessions={"permission_limit": 5_000.0, "turn_silence_limit": 60.0})
    async with stage(agent=Asks(), settings=patient) as rt:
        session = await rt.session("demo")
        began = trio.current_time()
        assert (await (await session.prompt("go")).result()).text == "told None"
        assert trio.current_time() - began == pytest.approx(5_000, abs=1)


async def test_a_turn_that_is_cancelled_takes_its_question_along(
    autojump_clock: MockClock,
) -> None:
    # T6 G11
    async with stage(agent=Asks()) as rt:
        session = await rt.session("demo")
        with session.watch() as watch:
            turn = await session.prompt("go")
            await trio.sleep(1)
            assert await session.cancel()
            assert (await turn.result()).stop_reason == "cancelled"
            answered = await _next(watch, PermissionAnswered)
            assert (answered.request_id, answered.option_id) == ("q1", None)
        assert not await session.answer("q1", "yes")


async def test_a_chat_is_asked_in_words_and_answers_with_a_number(
    autojump_clock: MockClock,
) -> None:
    # T6 D10
    channel = ScriptedChannel()
    async with stage(agent=Asks(), channels=[channel]):
        await channel.say("go")
        await trio.sleep(5)
        assert channel.arrived[-1].text.splitlines()[1:3] == ["1. Allow", "2. Refuse"]
        await channel.say("what do you mean?")  # no answer: it waits its turn
        await trio.sleep(5)
        await channel.say("2")
        await trio.sleep(5)
        assert [sent.text for sent in channel.arrived if sent.text.startswith("told")] == [
            "told no"
        ]
