"""Agents that fail, one handle at a time."""

import json
import logging
from typing import Any

import pytest
import trio
import trio.testing

from actors.agents.acp import AcpAgent, Options
from runtime.ports.agent import AgentGone, AgentHandle, AgentRefused
from runtime.sessions.updates import (
    AgentMessageChunk,
    ContextUsage,
    PermissionRequest,
    PermissionSettled,
)
from tests.agents.conftest import HOSTILE, PATIENCE, Stage, result, run_turn, said, turn


@pytest.mark.parametrize(
    "mode, reason",
    [
        (("exit-at-start", "2"), "2.*I cannot work under these conditions"),
        (("exit-on-new",), "4.*no conversation today"),
        (("version", "3"), "version 3"),
    ],
)
async def test_a_failure_to_start_says_why(
    stage: Stage, mode: tuple[str, ...], reason: str
) -> None:
    # P2
    with pytest.raises(AgentGone, match=f"(?s){reason}"):
        async with stage.open(HOSTILE, *mode):
            pass


async def test_a_command_that_does_not_exist_says_so(stage: Stage) -> None:
    # P2
    with pytest.raises(AgentGone, match="no-such-agent"):
        async with stage.open_agent(AcpAgent("x", Options(command=("no-such-agent",)))):
            pass


async def test_an_agent_that_never_answers_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # P2
    monkeypatch.setattr("actors.agents.acp.agent.START_LIMIT", 0.5)
    with pytest.raises(AgentGone, match=r"(?s)did not answer initialize.*thinking about it"):
        async with stage.open(HOSTILE, "hang-at-start"):
            pass


@pytest.mark.parametrize("mode, begun", [("exit-on-prompt", False), ("exit-after-event", True)])
async def test_the_prompt_is_told_that_the_agent_ended_and_why(
    stage: Stage, mode: str, begun: bool
) -> None:
    # T5, P2
    events, told = [], []

    async def listen(handle: AgentHandle) -> None:
        try:
            async for event in handle.prompt(turn("hello")):
                events.append(event)
                while stage.processes.live:
                    await trio.testing.wait_all_tasks_blocked(0.05)
        except AgentGone as gone:
            told.append(str(gone))

    with pytest.raises(AgentGone, match="it is all too much"):  # noqa: PT012
        async with stage.open(HOSTILE, mode) as handle:
            with trio.fail_after(PATIENCE):
                await listen(handle)
                await trio.sleep_forever()
    assert [type(event) for event in events] == [AgentMessageChunk] * begun
    assert len(told) == 1
    assert "3" in told[0]
    assert "it is all too much" in told[0]


async def test_an_answer_counts_though_the_agent_ends_after_it(stage: Stage) -> None:
    # T5
    with pytest.raises(AgentGone):  # noqa: PT012
        async with stage.open(HOSTILE, "exit-after-answer") as handle:
            events = await run_turn(handle)
            assert said(events) == "hello"
            assert result(events).stop_reason == "end_turn"
            with trio.fail_after(PATIENCE):
                await trio.sleep_forever()


async def test_an_agent_that_ends_between_prompts_leaves_by_itself(stage: Stage) -> None:
    # P3
    with pytest.raises(AgentGone, match="6"):  # noqa: PT012
        async with stage.open(HOSTILE, "exit-when-idle") as handle:
            await run_turn(handle)
            with trio.fail_after(PATIENCE):
                await trio.sleep_forever()


async def test_closing_its_output_is_an_end_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # T5
    monkeypatch.setattr("actors.agents.acp.connection.EXIT_LIMIT", 0.1)
    with pytest.raises(AgentGone, match="closed its output"):
        async with stage.open(HOSTILE, "closes-output") as handle:
            await run_turn(handle)


@pytest.mark.parametrize("mode", ["hang-on-prompt", "hang-after-event"])
async def test_a_silent_agent_can_be_asked_to_end(stage: Stage, mode: str) -> None:
    # T6
    async with stage.open(HOSTILE, mode) as handle, trio.open_nursery() as nursery:

        async def ask() -> None:
            await trio.testing.wait_all_tasks_blocked(0.05)
            await handle.cancel()

        nursery.start_soon(ask)
        assert result(await run_turn(handle)).stop_reason == "cancelled"


async def test_a_prompt_is_written_only_when_the_one_before_was_answered(stage: Stage) -> None:
    # T6
    async with stage.open(HOSTILE, "deaf-on-prompt") as handle:
        events = handle.prompt(turn("hello"))
        assert isinstance(await anext(events), AgentMessageChunk)
        await events.aclose()  # type: ignore[attr-defined]
        with pytest.raises(AgentGone, match="has not answered the prompt before"):
            await run_turn(handle, number=2)


async def test_an_error_is_the_answer(stage: Stage) -> None:
    # T5
    async with stage.open(HOSTILE, "error-on-prompt") as handle:
        with pytest.raises(AgentRefused, match=r"^Internal error: the model is on holiday$"):
            await run_turn(handle)


LOGIN = ["login --now` in a terminal", "HOSTILE_KEY", "https://example.com/keys", "/reconnect"]


async def test_how_to_log_in_is_explained(stage: Stage) -> None:
    secrets = {"HOSTILE_KEY": "hunter2-is-the-key"}
    with pytest.raises(AgentGone) as gone:
        async with stage.open(HOSTILE, "auth-on-new", env=secrets):
            pass
    async with stage.open(HOSTILE, "auth-on-prompt", env=secrets) as handle:
        with pytest.raises(AgentRefused) as refused:
            await run_turn(handle)
    assert refused.value.code == "auth_required"
    for text in (str(gone.value), str(refused.value)):
        assert all(words in text for words in LOGIN)
        assert "hunter2" not in text
        assert "HOSTILE_URL" not in text


async def test_nonsense_is_passed_over_and_logged_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    # P1
    caplog.set_level(logging.INFO)
    async with stage.open(HOSTILE, "garbage") as handle:
        for number in (1, 2):
            events = await run_turn(handle, "hello", number)
            assert said(events) == "hello"
            assert result(events).stop_reason == "end_turn"
    told = [record for record in caplog.records if "agent_oddity" in record.getMessage()]
    kinds = {vars(record)["what"] for record in told}
    assert len(told) == len(kinds) >= 4
    assert "Welcome" not in caplog.text


async def test_a_line_that_is_too_long_is_passed_over(stage: Stage) -> None:
    # P1
    async with stage.open(HOSTILE, "long-line", "50000000") as handle:
        assert said(await run_turn(handle)) == "hello"


async def test_a_flood_waits_until_it_is_taken(stage: Stage) -> None:
    # P1
    async with stage.open(HOSTILE, "flood", "20000") as handle:
        count = 0
        with trio.fail_after(PATIENCE):
            async for event in handle.prompt(turn("x" * 100)):
                count += isinstance(event, AgentMessageChunk)
                if count == 10:
                    await trio.testing.wait_all_tasks_blocked(0.1)
        assert count == 20_000


async def test_a_flood_of_requests_is_answered(stage: Stage) -> None:
    async with stage.open(HOSTILE, "flood-requests", "500") as handle:
        events = []
        with trio.fail_after(PATIENCE):
            async for event in handle.prompt(turn("x")):
                events.append(event)
                if len(events) == 64:
                    await handle.cancel()
        asked = sum(isinstance(event, PermissionRequest) for event in events)
        assert asked == sum(isinstance(event, PermissionSettled) for event in events)
        assert said(events).isdigit()


async def test_what_comes_late_or_for_others_is_passed_over(stage: Stage) -> None:
    # T6
    async with stage.open(HOSTILE, "late") as handle:
        for number in (1, 2):
            assert said(await run_turn(handle, "hello", number)) == "hello"
            await stage.until_announced(ContextUsage)
            stage.announced.clear()
    async with stage.open(HOSTILE, "foreign") as handle:
        assert said(await run_turn(handle)) == "hello"


async def test_an_agent_that_will_not_end_is_ended(stage: Stage) -> None:
    # P5
    async with stage.open(HOSTILE, "hang-on-prompt"):
        pass
    assert stage.processes.live == 0


async def test_a_tool_says_for_how_long_it_is_silent(stage: Stage) -> None:
    # T4
    call: dict[str, Any] = {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "Build"}
    slow = {**call, "status": "in_progress", "_meta": {"runtime": {"timeoutMs": 90_000}}}
    done = {"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": "completed"}
    async with stage.open(HOSTILE, "updates") as handle:
        assert handle.declared_silence() == 0
        seen = [
            handle.declared_silence()
            async for _ in handle.prompt(turn(json.dumps([call, slow, call, done])))
        ]
        assert max(seen) == 90
        assert handle.declared_silence() == 0
