"""JSON-RPC frames as a bridge sees them: only what it needs is looked at, the rest goes through."""

from __future__ import annotations

from typing import Any, Final

import msgspec

NOTHING: Final = msgspec.Raw(b"")
"""In place of a member that is not there."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class Frame(msgspec.Struct, frozen=True):
    """A JSON-RPC message: a request, a notification or an answer."""

    id: msgspec.Raw = NOTHING
    method: str | None = None
    params: msgspec.Raw = NOTHING
    result: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class RpcFailure(msgspec.Struct, frozen=True):
    """The ``error`` of an answer."""

    code: int
    message: str = ""
    data: Any = None


class Target(msgspec.Struct, frozen=True, rename="camel"):
    """The parameters that say which session is meant, and where its client is."""

    session_id: str | None = None
    cwd: msgspec.Raw = msgspec.Raw(b'"/"')
    mcp_servers: msgspec.Raw = msgspec.Raw(b"[]")


frame_of = msgspec.json.Decoder(Frame).decode
failure_of = msgspec.json.Decoder(RpcFailure).decode
_target_of = msgspec.json.Decoder(Target).decode


def target_of(params: msgspec.Raw) -> Target:
    """Which session a call is about; an empty one for a call that will be refused."""
    try:
        return _target_of(params)
    except msgspec.DecodeError:
        return Target()


def call(method: str, params: Any, identity: Any = NOTHING) -> bytes:
    """The frame of a request, or, without an id, of a notification."""
    named = {} if identity is NOTHING else {"id": identity}
    parameters = {} if params is NOTHING else {"params": params}
    return _encode({"jsonrpc": "2.0", **named, "method": method, **parameters})


def reply(identity: msgspec.Raw, frame: Frame) -> bytes:
    """An answer with another id."""
    body = {"result": frame.result} if frame.error is NOTHING else {"error": frame.error}
    return _encode({"jsonrpc": "2.0", "id": identity, **body})


def with_mark(params: msgspec.Raw, **values: str | None) -> msgspec.Raw:
    """Parameters with these members in ``_meta.runtime``, where they are not there already.

    Parameters that are no object stay as they are: who gets them will say so.
    """
    try:
        members = _members.decode(params)
        meta = _members.decode(members.get("_meta", b"{}"))
        mark = _members.decode(meta.get("runtime", b"{}"))
    except msgspec.DecodeError:
        return params
    for name, value in values.items():
        if value is not None and bytes(mark.get(name, b"null")) == b"null":
            mark[name] = msgspec.Raw(_encode(value))
    meta["runtime"] = msgspec.Raw(_encode(mark))
    members["_meta"] = msgspec.Raw(_encode(meta))
    return msgspec.Raw(_encode(members))
