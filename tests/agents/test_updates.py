import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.protocol.acp_agent import InitializeResult, PermissionParams, PromptResult
from runtime.protocol.agent_updates import KINDS, read_update
from runtime.protocol.lenient import Unusable, lenient
from runtime.sessions.content import TextBlock
from runtime.sessions.updates import AgentMessageChunk, Plan, PlanEntry, ToolCall


def read(body: Any) -> Any:
    return read_update(msgspec.Raw(json.dumps(body).encode()))


def test_a_block_of_an_unknown_kind_becomes_words() -> None:
    body = {"sessionUpdate": "agent_message_chunk", "content": {"type": "smell", "mimeType": "a/b"}}
    assert read(body) == AgentMessageChunk(TextBlock("[smell: a/b]"))


def test_what_is_wrong_in_one_place_costs_no_more_than_that_place() -> None:
    call = {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "T", "content": 5, "kind": []}
    assert read(call) == ToolCall("t", title="T")
    entries = [{"content": "do it", "priority": None}, {"content": 3}, {"content": "then this"}]
    plan = read({"sessionUpdate": "plan", "entries": entries})
    assert plan == Plan((PlanEntry("do it"), PlanEntry("then this")))


def test_unknown_kinds_are_told_from_unusable_ones() -> None:
    assert read({"sessionUpdate": "hologram"}) is None
    bodies: list[Any] = [{"sessionUpdate": "tool_call"}, {"sessionUpdate": 5}, {}, [], None, "x"]
    for body in bodies:
        with pytest.raises(Unusable):
            read(body)


def test_members_that_cannot_be_read_count_as_absent() -> None:
    said = lenient(
        b'{"protocolVersion":1,"agentCapabilities":{"loadSession":"yes","promptCapabilities":null,'
        b'"mcpCapabilities":{"http":true}},"authMethods":[3,{"name":"Key","vars":{}}]}',
        InitializeResult,
    )
    assert not said.agent_capabilities.load_session
    assert said.agent_capabilities.mcp_capabilities.http
    assert [method.name for method in said.auth_methods] == ["Key"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = [
    "content",
    "entries",
    "toolCallId",
    "title",
    "kind",
    "status",
    "locations",
    "used",
    "size",
]
UPDATES = st.dictionaries(st.sampled_from([*FIELDS, "configOptions", "currentModeId"]), JSON)


@given(st.sampled_from([*KINDS, "other"]), UPDATES)
def test_any_update_is_read_or_refused(kind: str, fields: dict[str, Any]) -> None:
    try:
        update = read({"sessionUpdate": kind, **fields})
    except Unusable:
        return
    assert update is None or type(update) is KINDS[kind]


@given(st.sampled_from([InitializeResult, PermissionParams, PromptResult]), st.binary() | JSON)
def test_any_answer_is_read_or_refused(kind: type[msgspec.Struct], answer: Any) -> None:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    try:
        assert isinstance(lenient(raw, kind), kind)
    except Unusable:
        return
