"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification), one message per frame.

=====================================  ============================================================
A frame that is                        becomes
=====================================  ============================================================
no JSON                                `RpcError` with `PARSE_ERROR`, id null
JSON, but neither request nor reply    `RpcError` with `INVALID_REQUEST`, the id where there is one
a batch                                `RpcError` with `INVALID_REQUEST`: ACP has no batches
an object with a method and an id      `Request`; an id may be a string, an integer or null
an object with a method only           `Notification`
an object with a result or an error    `Reply`
=====================================  ============================================================
"""

from __future__ import annotations

import re
from typing import Any, NoReturn, TypeAlias, TypeVar, get_args

import msgspec

from runtime.sessions.content import AgentBlock

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

Id: TypeAlias = int | str | None

MAX_ID = 1_000
"""Characters of an id: each answer repeats it."""

T = TypeVar("T")

_NO_PARAMS = msgspec.Raw(b"{}")
_AT = re.compile(r"(?s)^(?P<what>.*) - at `(?P<path>\$[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]*)`$")
_BLOCK_TYPE = re.compile(r"^\$\.prompt\[\d+\]\.type$")
_BLOCKS = ", ".join(block.__struct_config__.tag for block in get_args(AgentBlock))


class RpcError(Exception):
    """An error answer.

    Args:
        code: one of the codes above, of ACP, or of `runtime.protocol.extensions`.
        message: one sentence for a person.
        data: more, for programs.
        request: the id to answer with, where the frame could not become a `Request`.
    """

    def __init__(
        self, code: int, message: str, data: dict[str, Any] | None = None, *, request: Id = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.request = request


class Request(msgspec.Struct, frozen=True):
    """A call that wants an answer."""

    id: Id
    method: str
    params: msgspec.Raw


class Notification(msgspec.Struct, frozen=True):
    """A call that wants none."""

    method: str
    params: msgspec.Raw


class Reply(msgspec.Struct, frozen=True):
    """The answer to a request of ours: ``result``, or None when it is an error of this ``code``.

    ``code`` is None also for an error without one.
    """

    id: Id
    result: msgspec.Raw | None = None
    code: int | None = None


Incoming: TypeAlias = Request | Notification | Reply


class ErrorObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ``error`` of an answer."""

    code: int
    message: str
    data: dict[str, Any] | None = None


class _Result(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: Id
    result: Any


class _Failure(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: Id
    error: ErrorObject


class _Call(msgspec.Struct, frozen=True):
    jsonrpc: str
    method: str
    params: Any


class _Question(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: Id
    method: str
    params: Any


class _Error(msgspec.Struct, frozen=True):
    code: int


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_error = msgspec.json.Decoder(_Error)
_anything = msgspec.json.Decoder(msgspec.Raw)
_id: msgspec.json.Decoder[Id] = msgspec.json.Decoder(int | str | None)
_text = msgspec.json.Decoder(str)
_encoder = msgspec.json.Encoder()


def parse(frame: str) -> Incoming:
    """One frame as a message.

    Raises:
        RpcError: it is none; answer with `failure`.
    """
    try:
        members = _object.decode(frame)
    except msgspec.ValidationError:
        raise _not_an_object(frame) from None
    except RecursionError:
        raise RpcError(PARSE_ERROR, "The JSON is nested too deeply.") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise RpcError(PARSE_ERROR, f"Not JSON: {error}.") from None
    identity = _identity(members)
    if _member(members, "jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'Expected "jsonrpc": "2.0".', request=identity)
    if "method" not in members and ("result" in members or "error" in members):
        return _reply(identity, members)
    method = _member(members, "method")
    if method is None:
        raise RpcError(INVALID_REQUEST, "Expected a method, as a string.", request=identity)
    params = members.get("params", _NO_PARAMS)
    if bytes(params) == b"null":
        params = _NO_PARAMS
    if "id" in members:
        return Request(identity, method, params)
    return Notification(method, params)


def decode_params(params: msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The parameters of a call.

    Raises:
        RpcError: `INVALID_PARAMS`; its data has the ``path`` of the field at fault, from ``$``.
    """
    try:
        return decoder.decode(params)
    except msgspec.ValidationError as error:
        invalid_params(*located(str(error)))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        invalid_params(f"Cannot be read: {error}", "$")


def invalid_params(what: str, path: str) -> NoReturn:
    """Refuse a parameter, naming it."""
    raise RpcError(INVALID_PARAMS, f"{path}: {what}", {"path": path, "message": what})


def result(request: Id, value: Any) -> bytes:
    """The frame of a successful answer."""
    return _encoder.encode(_Result("2.0", request, value))


def failure(request: Id, error: RpcError) -> bytes:
    """The frame of an error answer."""
    error_object = ErrorObject(error.code, error.message, error.data)
    return _encoder.encode(_Failure("2.0", request, error_object))


def notification(method: str, params: Any) -> bytes:
    """The frame of a call without an answer."""
    return _encoder.encode(_Call("2.0", method, params))


def request(request_id: Id, method: str, params: Any) -> bytes:
    """The frame of a call that wants an answer."""
    return _encoder.encode(_Question("2.0", request_id, method, params))


def _not_an_object(frame: str) -> RpcError:
    try:
        _anything.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        return RpcError(PARSE_ERROR, "Not JSON.")
    if frame.lstrip().startswith("["):
        what = "Batches are not supported: send one JSON-RPC object per frame."
        return RpcError(INVALID_REQUEST, what)
    return RpcError(INVALID_REQUEST, "Expected one JSON-RPC 2.0 object.")


def _identity(members: dict[str, msgspec.Raw]) -> Id:
    raw = members.get("id")
    if raw is None:
        return None
    try:
        identity = _id.decode(raw)
    except (msgspec.DecodeError, ValueError):
        raise RpcError(INVALID_REQUEST, "An id is a string, an integer or null.") from None
    if isinstance(identity, str) and len(identity) > MAX_ID:
        raise RpcError(INVALID_REQUEST, f"An id has at most {MAX_ID} characters.")
    return identity


def _reply(identity: Id, members: dict[str, msgspec.Raw]) -> Reply:
    if "error" not in members or bytes(members["error"]) == b"null":
        return Reply(identity, members.get("result"))
    try:
        return Reply(identity, code=_error.decode(members["error"]).code)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Reply(identity)


def _member(members: dict[str, msgspec.Raw], name: str) -> str | None:
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return _text.decode(raw)
    except msgspec.ValidationError:
        return None


def located(message: str) -> tuple[str, str]:
    """What is wrong, and the path of the field: msgspec names the parent of a missing field."""
    at = _AT.match(message)
    what, path = (at["what"], at["path"]) if at else (message, "$")
    missing = _MISSING.match(what)
    if missing:
        what, path = "required, but missing", f"{path}.{missing['field']}"
    if _BLOCK_TYPE.match(path):
        return f"{what}: blocks of type {_BLOCKS} are accepted in this version", path
    return what, path
