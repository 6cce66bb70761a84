"""Whatever is said on a connection, what is answered is JSON-RPC 2.0, and the connection stays."""

from __future__ import annotations

import json
from typing import Any

import acp.schema
import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtime.gateway import Gateway, GatewayConfig, serve_gateway
from runtime.protocol import jsonrpc
from runtime.protocol.catalogue import FROM_CLIENT, FROM_RUNTIME
from runtime.protocol.jsonrpc import Request, RpcError
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
IDS = st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.none()
SESSION = "session-1"
PARAMS: list[dict[str, Any]] = [
    {"protocolVersion": 1},
    {"cwd": "/", "mcpServers": [], "_meta": {"runtime": {"key": "a key"}}},
    {"sessionId": SESSION, "cwd": "/", "mcpServers": []},
    said(SESSION, "hello there"),
    {"sessionId": SESSION, "configId": "queue_mode", "value": "followup"},
    {"sessionId": SESSION, "after": 0},
    {},
]
RESULTS: dict[str, Any] = {
    "session/new": acp.schema.NewSessionResponse,
    "session/load": acp.schema.LoadSessionResponse,
    "session/resume": acp.schema.ResumeSessionResponse,
    "session/list": acp.schema.ListSessionsResponse,
    "session/prompt": acp.schema.PromptResponse,
    "session/set_config_option": acp.schema.SetSessionConfigOptionResponse,
}


@st.composite
def nearly_valid(draw: st.DrawFn) -> str:
    """A request with at most a few things changed or gone."""
    params = dict(draw(st.sampled_from(PARAMS)))
    for name in draw(st.lists(st.sampled_from([*params, "_meta", "other"]), max_size=2)):
        params[name] = draw(JSON)
    message: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": draw(IDS),
        "method": draw(st.sampled_from([method.name for method in FROM_CLIENT])),
        "params": params,
    }
    for name in draw(st.lists(st.sampled_from([*message, "result", "error"]), max_size=1)):
        if draw(st.booleans()):
            message.pop(name, None)
        else:
            message[name] = draw(JSON)
    return json.dumps(message)


@st.composite
def cut_or_doubled(draw: st.DrawFn) -> str:
    """Text that was a request."""
    text = draw(nearly_valid())
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return draw(st.sampled_from([text[:end], text[start:], text[:start] + text[end:], text + text]))


def expected(frame: str) -> tuple[bool, Any]:
    """Whether a frame is to be answered, and with which id."""
    try:
        message = jsonrpc.parse(frame)
    except RpcError as error:
        return True, error.request
    return isinstance(message, Request), getattr(message, "id", None)


def check_shape(message: Any, methods: dict[Any, str]) -> None:
    """The rules of the specification, and those of the protocol's published schema."""
    assert message["jsonrpc"] == "2.0"
    if "method" in message:
        assert set(message) == {"jsonrpc", "method", "params"}
        assert message["method"] in {method.name for method in FROM_RUNTIME}
        if message["method"] == "session/update":
            acp.schema.SessionNotification.model_validate(message["params"])
        return
    assert set(message) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    assert isinstance(message["id"], int | str | None)
    assert not isinstance(message["id"], bool)
    if "error" in message:
        error = message["error"]
        assert set(error) <= {"code", "message", "data"}
        assert type(error["code"]) is int
        assert error["code"] != jsonrpc.INTERNAL_ERROR, error
        assert error["message"]
        acp.schema.Error.model_validate(error)
    else:
        schema = RESULTS.get(methods.get(message["id"], ""))
        if schema is not None:
            schema.model_validate(message["result"])


def method_of(frame: str) -> str:
    try:
        return str(json.loads(frame).get("method"))
    except (ValueError, AttributeError, RecursionError):
        return ""


async def exchange(client: AcpClient, frame: str, number: int) -> None:
    """Send one frame; it has its one answer, or none, and the next request is served."""
    wanted, identity = expected(frame)
    sentinel = f"sentinel-{number}"
    client.messages.clear()
    await client.websocket.send_message(frame)
    await client.send("session/list", id=sentinel)
    methods = {identity: method_of(frame)}
    missing = [sentinel, *([identity] if wanted else [])]
    while missing:
        message = await client.receive()
        check_shape(message, methods)
        if "method" not in message:
            assert message["id"] in missing, message
            missing.remove(message["id"])


# G7
@pytest.mark.parametrize("role", ["initialized", "not initialized"])
async def test_every_answer_is_well_formed_and_the_connection_survives(
    nursery: trio.Nursery, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    front = ScriptedFront(echo=True)
    gateway: Gateway = await nursery.start(serve_gateway, front, GatewayConfig(port=0))
    async with connected(gateway.url, initialize=role == "initialized") as client:
        if role == "initialized":
            assert await client.new_session() == SESSION
        numbers = iter(range(1_000_000))

        @settings(max_examples=300, suppress_health_check=list(HealthCheck))
        @example("")
        @example("[" * 100_000)
        @example('{"jsonrpc":"2.0","id":1,"id":2,"method":"session/list"}')
        @given(nearly_valid() | cut_or_doubled() | JSON.map(json.dumps) | st.text(max_size=50))
        def fuzz(frame: str) -> None:
            trio.from_thread.run(exchange, client, frame, next(numbers))

        await trio.to_thread.run_sync(fuzz)
    await gateway.close()
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
