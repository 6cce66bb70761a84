"""JSON-RPC 2.0 frames (G7). The codes over the wire are in tests/gateway/test_bad_input.py."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.protocol import jsonrpc
from runtime.protocol.jsonrpc import Notification, Reply, Request, RpcError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.integers() | st.text() | JSON,
        "method": st.sampled_from(["initialize", "session/prompt"]) | JSON,
        "params": JSON,
        "result": JSON,
        "error": JSON,
    },
)


@pytest.mark.parametrize("identity", [0, -1, 2**53 + 1, "", "a", "\u2028", None])
def test_ids_are_kept_as_they_are(identity: Any) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": identity, "method": "m"})
    message = jsonrpc.parse(frame)
    assert isinstance(message, Request)
    assert type(message.id) is type(identity)
    assert json.loads(jsonrpc.result(message.id, {}))["id"] == identity
    assert json.loads(jsonrpc.failure(message.id, RpcError(-1, "x")))["id"] == identity


def test_kinds_of_messages() -> None:
    assert isinstance(jsonrpc.parse('{"jsonrpc":"2.0","method":"m"}'), Notification)
    cases = [
        ('"result":null', b"null", None),
        ('"result":{"a":1}', b'{"a":1}', None),
        ('"result":{},"error":null', b"{}", None),
        ('"error":{"code":1}', None, 1),
        ('"result":{},"error":{"code":1}', None, 1),
        ('"error":"broken"', None, None),
        ('"error":null', None, None),
    ]
    for members, result, code in cases:
        reply = jsonrpc.parse(f'{{"jsonrpc":"2.0","id":1,{members}}}')
        assert isinstance(reply, Reply)
        said = None if reply.result is None else bytes(reply.result)
        assert (reply.id, said, reply.code) == (1, result, code), members
    both = jsonrpc.parse('{"jsonrpc":"2.0","id":1,"method":"m","params":null}')
    assert isinstance(both, Request)
    assert bytes(both.params) == b"{}"


def parsed(frame: str) -> jsonrpc.Incoming | RpcError:
    try:
        return jsonrpc.parse(frame)
    except RpcError as error:
        return error


# G7: whatever comes is a message or an error with a code
@given(st.text() | JSON.map(json.dumps) | MEMBERS.map(json.dumps))
def test_parsing_never_fails_otherwise(frame: str) -> None:
    outcome = parsed(frame)
    if isinstance(outcome, RpcError):
        assert outcome.code in (jsonrpc.PARSE_ERROR, jsonrpc.INVALID_REQUEST)
        answer = json.loads(jsonrpc.failure(outcome.request, outcome))
        assert answer["error"]["code"] == outcome.code
    else:
        assert json.loads(frame)["jsonrpc"] == "2.0"
        assert isinstance(outcome, Request | Notification | Reply)


class Inner(msgspec.Struct, rename="camel"):
    user_name: str


class Outer(msgspec.Struct, rename="camel"):
    items: list[Inner]
    size: int = 0


@pytest.mark.parametrize(
    "params, path",
    [
        (b"{}", "$.items"),
        (b'{"items":[{}]}', "$.items[0].userName"),
        (b'{"items":[{"userName":"a"},{"userName":5}]}', "$.items[1].userName"),
        (b'{"items":[],"size":"x"}', "$.size"),
        (b"[]", "$"),
        (b"5", "$"),
    ],
)
def test_a_wrong_parameter_is_named(params: bytes, path: str) -> None:
    with pytest.raises(RpcError) as raised:
        jsonrpc.decode_params(msgspec.Raw(params), msgspec.json.Decoder(Outer))
    assert raised.value.code == jsonrpc.INVALID_PARAMS
    assert raised.value.data is not None
    assert raised.value.data["path"] == path
