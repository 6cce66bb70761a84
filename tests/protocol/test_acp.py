"""Our structs against the published schema of the protocol (G1, G2, G3)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from acp import meta, schema
from pydantic import BaseModel

from runtime.protocol import acp
from runtime.protocol.catalogue import FROM_CLIENT, FROM_RUNTIME
from runtime.protocol.extensions import (
    QuestionMark,
    RuntimeMark,
    ServerMark,
    SessionMark,
    UpdateMark,
)
from runtime.sessions.content import (
    AgentResource,
    AudioBlock,
    EmbeddedResource,
    ImageBlock,
    ResourceContents,
    ResourceLink,
    TextBlock,
    TextResource,
)
from runtime.sessions.principals import Role
from runtime.sessions.updates import (
    AgentMessageChunk,
    AgentThoughtChunk,
    AvailableCommands,
    ConfigOptions,
    ContextUsage,
    CurrentMode,
    PermissionOption,
    Plan,
    PlanEntry,
    SessionInfo,
    ToolCall,
    ToolCallUpdate,
    UserMessageChunk,
)

OPTION = msgspec.to_builtins(
    acp.ConfigOption("queue_mode", "Queue mode", "a", (acp.SelectOption("a", "A"),), "Why")
)
MODES = acp.ModeState("ask", (acp.SessionMode("ask", "Ask", "Asks first"),))
SESSION = RuntimeMark(SessionMark("k", "echo", 1, "run", 0, 0))

ANSWERS: list[tuple[type[BaseModel], Any]] = [
    (
        schema.InitializeResponse,
        acp.InitializeResult(
            1,
            acp.AgentCapabilities(),
            acp.Implementation("greenroom", "1", "Greenroom"),
            RuntimeMark(ServerMark("run", "c", "local", Role.OWNER, ("echo",), ())),
        ),
    ),
    (schema.NewSessionResponse, acp.NewSessionResult("s", (OPTION,), SESSION, MODES)),
    (schema.SetSessionModeResponse, acp.Empty()),
    (schema.LoadSessionResponse, acp.AttachResult((OPTION,), SESSION)),
    (schema.ResumeSessionResponse, acp.AttachResult((OPTION,), SESSION)),
    (schema.SetSessionConfigOptionResponse, acp.SetConfigOptionResult((OPTION,))),
    (
        schema.ListSessionsResponse,
        acp.ListSessionsResult(
            (acp.ListedSession("s", "/", RuntimeMark(), "Title", "1970-01-01T00:00:00+00:00"),), "n"
        ),
    ),
    (schema.CloseSessionResponse, acp.Empty()),
    *(
        (schema.PromptResponse, acp.PromptResult(reason, RuntimeMark()))
        for reason in acp.STOP_REASONS
    ),
]

UPDATES = [
    UserMessageChunk(TextBlock("hello")),
    AgentMessageChunk(TextBlock("hello")),
    AgentMessageChunk(ResourceLink("notes", "file:///notes", size=3, mime_type="text/plain")),
    UserMessageChunk(EmbeddedResource(TextResource("file:///n", "text", "text/plain"))),
    AgentMessageChunk(ImageBlock("aGk=", "image/png", "file:///i")),
    AgentMessageChunk(AudioBlock("aGk=", "audio/wav")),
    AgentMessageChunk(AgentResource(ResourceContents("file:///n", text="text"))),
    AgentMessageChunk(AgentResource(ResourceContents("file:///n", blob="aGk=", mime_type="a/b"))),
    AgentThoughtChunk(TextBlock("hm")),
    Plan((PlanEntry("Look"), PlanEntry("Speak", "high", "completed"))),
    ToolCall("t", "Read", kind="read", status="pending", raw_input={"a": 1}),
    ToolCallUpdate("t", status="completed", locations=[{"path": "/x", "line": 3}]),
    AvailableCommands([{"name": "new", "description": "Begin anew"}]),
    CurrentMode("ask"),
    ConfigOptions([OPTION]),
    SessionInfo("Title", "1970-01-01T00:00:00Z"),
    ContextUsage(3, 10, {"amount": 0.1, "currency": "EUR"}),
]

REQUESTS: list[tuple[BaseModel, Any]] = [
    (
        schema.InitializeRequest(
            protocol_version=1,
            client_info=schema.Implementation(name="x", version="1"),
            client_capabilities=schema.ClientCapabilities(),
            field_meta={"runtime": {"localKey": "k"}},
        ),
        acp.InitializeParams,
    ),
    (
        schema.NewSessionRequest(
            cwd="/",
            mcp_servers=[
                schema.McpServerStdio(name="a", command="b", args=[], env=[]),
                schema.HttpMcpServer(type="http", name="a", url="http://x", headers=[]),
            ],
            field_meta={"runtime": {"key": "k", "agent": "a"}},
        ),
        acp.NewSessionParams,
    ),
    (schema.LoadSessionRequest(session_id="s", cwd="/", mcp_servers=[]), acp.AttachParams),
    (schema.ResumeSessionRequest(session_id="s", cwd="/"), acp.AttachParams),
    (schema.ListSessionsRequest(), acp.ListSessionsParams),
    (schema.ListSessionsRequest(cursor="c", cwd="/"), acp.ListSessionsParams),
    (schema.CloseSessionRequest(session_id="s"), acp.SessionParams),
    (schema.CancelNotification(session_id="s"), acp.SessionParams),
    (
        schema.SetSessionConfigOptionSelectRequest(
            session_id="s", config_id="queue_mode", value="collect"
        ),
        acp.SetConfigOptionParams,
    ),
    (
        schema.SetSessionConfigOptionBooleanRequest(
            session_id="s", config_id="fast", value=True, type="boolean"
        ),
        acp.SetConfigOptionParams,
    ),
    (schema.SetSessionModeRequest(session_id="s", mode_id="ask"), acp.SetModeParams),
    (schema.CancelRequestNotification(request_id=3), acp.CancelRequestParams),
    (schema.CancelRequestNotification(request_id="a"), acp.CancelRequestParams),
    (
        schema.PromptRequest(
            session_id="s",
            prompt=[
                schema.TextContentBlock(
                    type="text", text="x", annotations=schema.Annotations(priority=1)
                ),
                schema.ResourceContentBlock(type="resource_link", name="n", uri="file:///n"),
                schema.EmbeddedResourceContentBlock(
                    type="resource",
                    resource=schema.TextResourceContents(uri="file:///n", text="x"),
                ),
            ],
            field_meta={"runtime": {"messageId": "m"}},
        ),
        acp.PromptParams,
    ),
]


@pytest.mark.parametrize("model, answer", ANSWERS, ids=lambda each: type(each).__name__)
def test_answers_are_valid_and_nothing_is_lost(model: type[BaseModel], answer: Any) -> None:
    sent = msgspec.json.decode(msgspec.json.encode(answer))
    read = model.model_validate(sent)
    back = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert back == sent


@pytest.mark.parametrize("update", UPDATES, ids=lambda each: type(each).__name__)
def test_updates_are_valid_and_nothing_is_lost(update: Any) -> None:
    mark = RuntimeMark(UpdateMark(turn_id="t", message_id="m", number=1, seq=2, at=3, notice="x"))
    sent = msgspec.json.decode(msgspec.json.encode(acp.UpdateParams("s", update, mark)))
    read = schema.SessionNotification.model_validate(sent)
    assert read.update.session_update == sent["update"]["sessionUpdate"]
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == sent


@pytest.mark.parametrize("request_model, struct", REQUESTS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "with nulls"])
def test_requests_of_the_sdk_are_understood(
    request_model: BaseModel, struct: Any, sparse: bool
) -> None:
    text = request_model.model_dump_json(by_alias=True, exclude_none=sparse, exclude_unset=sparse)
    read = msgspec.json.decode(text, type=struct)
    again = msgspec.to_builtins(read)
    known = msgspec.json.decode(text)
    for name in set(again) & set(known) - {"prompt", "clientCapabilities", "clientInfo"}:
        assert again[name] == known[name]


# G3: the question of an agent as the SDK's clients read it
def test_a_request_for_permission_is_valid_and_nothing_is_lost() -> None:
    asked = acp.PermissionParams(
        "s",
        acp.AskedToolCall("t", "Delete", "delete", raw_input={"path": "/"}),
        (PermissionOption("yes", "Do it", "allow_once"),),
        RuntimeMark(QuestionMark("turn", "q")),
    )
    sent = msgspec.json.decode(msgspec.json.encode(asked))
    read = schema.RequestPermissionRequest.model_validate(sent)
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == sent


# G3
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "with nulls"])
def test_answers_to_a_request_for_permission_are_understood(sparse: bool) -> None:
    selected = schema.AllowedOutcome(outcome="selected", option_id="yes")
    cancelled = schema.DeniedOutcome(outcome="cancelled")
    for outcome, expected in ((selected, ("selected", "yes")), (cancelled, ("cancelled", None))):
        sent = schema.RequestPermissionResponse(outcome=outcome)
        text = sent.model_dump_json(by_alias=True, exclude_none=sparse)
        read = msgspec.json.decode(text, type=acp.PermissionResult).outcome
        assert (read.outcome, read.option_id) == expected


def test_methods_have_their_published_names() -> None:
    published = {*meta.AGENT_METHODS.values(), *meta.CLIENT_METHODS.values()}
    names = {each.name for each in (*FROM_CLIENT, *FROM_RUNTIME)}
    assert {name for name in names if not name.startswith(("_runtime/", "$/"))} <= published
    assert meta.PROTOCOL_VERSION == acp.PROTOCOL_VERSION
