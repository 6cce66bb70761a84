"""Conversations with agents that are real processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.agents.acp.agent import AcpAgent
from actors.agents.acp.options import Options
from runtime.ports.agent import AgentContext, AgentGone, AgentHandle, AgentRefused, PromptTurn
from runtime.sessions.content import EmbeddedResource, ResourceLink, TextBlock, TextResource
from runtime.sessions.rows import Usage
from runtime.sessions.updates import (
    AgentNotice,
    AgentThoughtChunk,
    ConfigOptions,
    PermissionRequest,
    PermissionSettled,
    Plan,
    Result,
    SessionInfo,
    ToolCall,
)
from tests.agents.conftest import (
    HOSTILE,
    PATIENCE,
    SDK_AGENT,
    Stage,
    result,
    run_turn,
    said,
    turn,
)


@pytest.mark.parametrize("name, answer", [("echo_agent", "hello"), ("agent", "Client sent:hello")])
async def test_the_examples_of_the_published_package(
    stage: Stage, examples: Path, name: str, answer: str
) -> None:
    # P1, T6
    async with stage.open(str(examples / f"{name}.py")) as handle:
        for number in (1, 2):
            events = await run_turn(handle, "hello", number)
            assert said(events) == answer
            assert result(events).stop_reason == "end_turn"
        assert not handle.capabilities.resume
        assert handle.agent_session_id is not None  # so that it is noticed when it is lost


async def test_an_agent_on_the_published_package(stage: Stage) -> None:
    # P4, T6
    async with stage.open(SDK_AGENT) as handle:
        (mode,) = handle.offers.config_options
        assert (mode["id"], mode["currentValue"]) == ("mode", "ask")
        await handle.choose("mode", "code")
        assert handle.offers.config_options[0]["currentValue"] == "code"
        events = []
        async for event in handle.prompt(turn("Well")):
            events.append(event)
            if isinstance(event, PermissionRequest):
                assert [option.option_id for option in event.options] == ["go", "stay"]
                assert await handle.answer_permission(event.request_id, "go")
                assert not await handle.answer_permission(event.request_id, "stay")
        kinds = [type(event).__name__ for event in events]
        assert kinds[:4] == ["AgentThoughtChunk", "Plan", "ToolCall", "PermissionRequest"]
        assert isinstance(events[0], AgentThoughtChunk)
        assert events[0].content == TextBlock("in mode code")
        assert isinstance(events[1], Plan)
        assert isinstance(events[2], ToolCall)
        assert said(events) == "Well: go"
        assert events[-1] == Result(usage=Usage(1, 2, 3), agent_session_id="talk")
        assert handle.agent_session_id == "talk"
    earlier = {"resume": "talk", "choices": {"mode": "code"}}
    async with stage.open(SDK_AGENT, context=earlier) as again:
        assert again.agent_session_id == "talk"
        assert again.offers.config_options[0]["currentValue"] == "code"
    assert stage.announced == []


async def test_what_was_said_before_is_not_said_again(stage: Stage) -> None:
    # P4
    async with stage.open(HOSTILE, "offers", context={"resume": "conversation-7"}) as handle:
        assert handle.agent_session_id == "conversation-7"
        assert handle.offers.commands[0]["name"] == "review"
        assert said(await run_turn(handle)) == "hello"


async def test_a_conversation_that_the_agent_forgot_begins_anew_and_says_so(stage: Stage) -> None:
    # P4
    async with stage.open(HOSTILE, "error-on-load", context={"resume": "gone"}) as handle:
        assert handle.agent_session_id == "conversation-1"
        assert said(await run_turn(handle)) == "hello"
    (notice,) = stage.announced
    assert isinstance(notice, AgentNotice)
    assert notice.code == "agent_forgot"
    assert "does not remember" in notice.text


async def test_a_failure_while_resuming_is_a_crash(stage: Stage) -> None:
    # P4
    with pytest.raises(AgentGone, match="5"):
        async with stage.open(HOSTILE, "error-on-load", "exit", context={"resume": "gone"}):
            pass
    assert stage.announced == []


async def test_a_conversation_that_cannot_be_resumed_begins_anew_and_says_so(stage: Stage) -> None:
    # P4
    async with stage.open(HOSTILE, "well", context={"resume": "gone"}) as handle:
        assert handle.agent_session_id == "conversation-1"
    assert stage.announced_kinds() == ["AgentNotice"]


async def test_an_unclear_refusal_is_met_twice_before_a_conversation_is_given_up(
    stage: Stage,
) -> None:
    # P4
    agent = stage.agent(HOSTILE, "busy-on-load")
    for _ in range(2):
        with pytest.raises(AgentGone, match="database is locked"):
            async with stage.open_agent(agent, resume="kept"):
                pass
        assert stage.announced == []
        async with stage.open_agent(agent, resume="kept") as handle:
            assert handle.agent_session_id == "conversation-1"
        assert stage.announced_kinds() == ["AgentNotice"]
        stage.announced.clear()


async def test_announcements_are_no_events_of_the_turn(stage: Stage) -> None:
    # T6
    agent = stage.agent(HOSTILE, "offers")
    assert agent.offers.config_options == ()
    async with stage.open_agent(agent) as handle:
        events = await run_turn(handle)
        assert [type(event).__name__ for event in events] == ["AgentMessageChunk", "Result"]
        assert stage.announced_kinds() == [
            "AvailableCommands",
            "CurrentMode",
            "ConfigOptions",
            "ConfigOptions",
            "SessionInfo",
            "ContextUsage",
        ]
        assert isinstance(stage.announced[2], ConfigOptions)
        current = {each["id"]: each["currentValue"] for each in handle.offers.config_options}
        assert current == {"model": "small", "fast": False, "mode": "code"}
    assert agent.offers.commands == ({"name": "review", "description": "Looks at it again"},)


async def test_settings_are_chosen_and_restored(stage: Stage) -> None:
    choices = {"model": "large", "fast": True, "gone": "x", "mode": "code"}
    async with stage.open(HOSTILE, "offers", context={"choices": choices}) as handle:
        current = {each["id"]: each["currentValue"] for each in handle.offers.config_options}
        assert current == {"model": "large", "fast": True, "mode": "code"}
        await handle.choose("model", "small")
        assert handle.offers.config_options[0]["currentValue"] == "small"
        with pytest.raises(AgentRefused, match="it has: small, large"):
            await handle.choose("model", "huge")
        with pytest.raises(AgentRefused, match="no such mode"):
            await handle.choose("mode", "plan")


async def test_a_prompt_has_what_the_agent_can_take(stage: Stage) -> None:
    # G3
    content = (
        TextBlock("see "),
        ResourceLink(name="n", uri="file:///n"),
        EmbeddedResource(TextResource("file:///m", "words")),
    )
    for mode, seen in (
        ("well", "see <resource_link>[resource: file:///m]\nwords"),
        ("offers", "see <resource_link><resource>"),
    ):
        async with stage.open(HOSTILE, mode) as handle:
            events = [event async for event in handle.prompt(PromptTurn("t", content, ("m",)))]
            assert said(events) == seen


async def test_the_process_gets_its_variables_and_its_folder(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # P1, G10
    for name in ("PASSED_ON", "KEPT_BACK"):
        monkeypatch.setenv(name, "value")
    options: dict[str, Any] = {"env": {"EXTRA": "1"}, "pass_env": ("PASSED_ON",)}
    workspace = stage.folder.parent / "workspace"
    elsewhere = stage.folder.parent / "elsewhere"
    elsewhere.mkdir()
    cases: list[tuple[Path, dict[str, Any], dict[str, Any]]] = [
        (stage.folder, {}, {}),
        (workspace, {"workspace": workspace}, {}),
        (elsewhere, {"workspace": workspace}, {"cwd": elsewhere}),
    ]
    for folder, context, more in cases:
        async with stage.open(HOSTILE, "environment", context=context, **options, **more) as handle:
            found = json.loads(said(await run_turn(handle)))
        agent = AcpAgent("tested", Options(("agent",), **more))
        assert agent.works_in(stage.folder, context.get("workspace")) == folder
        assert found["env"]["EXTRA"] == "1"
        assert found["env"]["PASSED_ON"] == "value"
        assert "KEPT_BACK" not in found["env"]
        assert found["cwd"] == str(folder)


async def test_the_process_is_told_where_files_go_out(stage: Stage) -> None:
    # R7 S7
    outbox = stage.folder.parent / "sessions" / "tested" / "s" / "outbox"
    for env, told in (({}, str(outbox)), ({"GREENROOM_OUTBOX": "/out"}, "/out")):
        async with stage.open(
            HOSTILE, "environment", context={"outbox": outbox}, env=env
        ) as handle:
            found = json.loads(said(await run_turn(handle)))
        assert found["env"]["GREENROOM_OUTBOX"] == told
        assert await trio.Path(outbox).is_dir()
    async with stage.open(HOSTILE, "environment") as handle:
        assert "GREENROOM_OUTBOX" not in json.loads(said(await run_turn(handle)))["env"]


async def test_an_agent_works_without_an_outbox(stage: Stage) -> None:
    # R7
    in_the_way = stage.folder.parent / "file"
    await trio.Path(in_the_way).write_text("no folder")
    context = {"outbox": in_the_way / "s" / "outbox"}
    async with stage.open(HOSTILE, "environment", context=context) as handle:
        assert said(await run_turn(handle))


async def test_a_folder_that_the_settings_name_is_not_made(stage: Stage) -> None:
    # P1
    slip = stage.folder.parent / "proejct"
    with pytest.raises(AgentGone, match="proejct, which is no folder"):
        async with stage.open(HOSTILE, "environment", cwd=slip):
            pass
    assert not await trio.Path(slip).exists()


async def test_without_a_folder_there_is_one_for_as_long_as_it_works(stage: Stage) -> None:
    async with stage.open(HOSTILE, "environment", context={"folder": None}) as handle:
        folder = trio.Path(json.loads(said(await run_turn(handle)))["cwd"])
        assert await folder.is_dir()
    assert not await folder.exists()


async def test_mcp_servers_that_the_agent_can_reach_are_passed_on(stage: Stage) -> None:
    # G10
    servers = ({"name": "local", "command": "x"}, {"name": "web", "type": "http", "url": "u"})
    async with stage.open(HOSTILE, "well", context={"mcp_servers": servers}) as handle:
        assert said(await run_turn(handle)) == "hello"
    (notice,) = stage.announced
    assert isinstance(notice, AgentNotice)
    assert (notice.code, "'web'" in notice.text) == ("mcp_server_skipped", True)


# -- permission -----------------------------------------------------------------------------------

ASK = json.dumps(
    [
        (
            "session/request_permission",
            {
                "toolCall": {"toolCallId": "t", "title": "Remove it"},
                "options": [{"optionId": "y", "name": "Yes", "kind": "allow_once"}],
            },
        )
    ]
)


async def settled(handle: AgentHandle, answer: str | None) -> tuple[list[Any], Any]:
    """Run a turn in which the agent asks; the events, and what it was told."""
    events = []
    with trio.fail_after(PATIENCE):
        async for event in handle.prompt(turn(ASK)):
            events.append(event)
            if isinstance(event, PermissionRequest):
                assert await handle.answer_permission(event.request_id, answer)
    return events, json.loads(said(events))[0]["outcome"]


@pytest.mark.parametrize(
    "answer, outcome",
    [("y", {"outcome": "selected", "optionId": "y"}), (None, {"outcome": "cancelled"})],
)
async def test_permission_is_asked_for_and_settled(
    stage: Stage, answer: str | None, outcome: dict[str, str]
) -> None:
    async with stage.open(HOSTILE, "calls", permissions="deny") as handle:
        assert handle.permission_policy == "deny"
        events, told = await settled(handle, answer)
        assert told == outcome
        assert isinstance(events[0], PermissionRequest)
        assert events[0].tool_call.title == "Remove it"
        assert events[1] == PermissionSettled(events[0].request_id, answer)


async def test_an_answer_that_was_not_offered_is_none(stage: Stage) -> None:
    async with stage.open(HOSTILE, "calls") as handle:
        async for event in handle.prompt(turn(ASK)):
            if isinstance(event, PermissionRequest):
                assert not await handle.answer_permission(event.request_id, "z")
                assert not await handle.answer_permission("other", "y")
                assert await handle.answer_permission(event.request_id, "y")


async def test_cancelling_settles_open_questions(stage: Stage) -> None:
    # T6
    async with stage.open(SDK_AGENT) as handle:
        events = []
        with trio.fail_after(PATIENCE):
            async for event in handle.prompt(turn("x")):
                events.append(event)
                if isinstance(event, PermissionRequest):
                    await handle.cancel()
        assert any(isinstance(event, PermissionSettled) for event in events)
        assert result(events).stop_reason == "cancelled"


async def test_a_question_can_be_taken_back(stage: Stage) -> None:
    async with stage.open(HOSTILE, "cancels-question") as handle:
        events = await run_turn(handle)
        assert [type(event).__name__ for event in events] == [
            "PermissionRequest",
            "PermissionSettled",
            "AgentMessageChunk",
            "Result",
        ]
        assert json.loads(said(events))["code"] == -32800


async def test_nobody_answers_between_prompts(stage: Stage) -> None:
    async with stage.open(HOSTILE, "asks-when-idle") as handle:
        await run_turn(handle)
        await stage.until_announced(SessionInfo)
        assert json.loads(said(await run_turn(handle, number=2))) == {
            "outcome": {"outcome": "cancelled"}
        }


async def test_only_with_processes(stage: Stage) -> None:
    agent = stage.agent(HOSTILE)
    with pytest.raises(AgentGone, match="no processes"):
        async with agent.open(AgentContext("s", "a", "k", 0)):
            pass
    assert agent.uses_process
    assert agent.idle_limit == 600
