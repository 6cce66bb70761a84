"""What went wrong in the runtime, in the words of the protocol."""

from __future__ import annotations

from runtime.ports.front import (
    BadRequest,
    FrontError,
    NoSuchAgent,
    NoSuchSession,
    Outcome,
    QueueIsFull,
    Refused,
    SessionBlocked,
    Submitted,
    Unavailable,
)
from runtime.protocol import jsonrpc
from runtime.protocol.acp import RESOURCE_NOT_FOUND
from runtime.protocol.extensions import QUEUE_FULL, REFUSED, SESSION_BLOCKED, UNAVAILABLE
from runtime.protocol.jsonrpc import RpcError


def from_front(error: FrontError) -> RpcError:
    """The error answer for what the front refused (G7)."""
    text = str(error)
    match error:
        case NoSuchSession():
            return RpcError(RESOURCE_NOT_FOUND, text, {"code": "no_such_session"})
        case NoSuchAgent():
            return _bad_params(text, "$._meta.runtime.agent")
        case BadRequest(path=path):
            return _bad_params(text, path)
        case QueueIsFull():
            return RpcError(QUEUE_FULL, text, {"code": "queue_full"})
        case Refused():
            return RpcError(REFUSED, text, {"code": "refused"})
        case SessionBlocked():
            return RpcError(SESSION_BLOCKED, text, {"code": "session_blocked"})
        case Unavailable():
            return RpcError(UNAVAILABLE, text, {"code": "unavailable"})
        case _:
            return RpcError(jsonrpc.INTERNAL_ERROR, text)


def from_outcome(outcome: Outcome) -> RpcError:
    """The error answer for a prompt whose turn did not end well: it names the cause (T5)."""
    if outcome.error is not None:
        code, message = outcome.error.code, outcome.error.message
    else:
        code, message = outcome.state.value, f"The message was {outcome.state.value}."
    data = {"code": code, "message": message, "messageId": outcome.message_id}
    if outcome.turn_id is not None:
        data["turnId"] = outcome.turn_id
    return RpcError(jsonrpc.INTERNAL_ERROR, message, data)


def unknown_outcome(submitted: Submitted, error: Unavailable) -> RpcError:
    """The error answer for a prompt that was accepted, and whose end is not seen here (S45, P3)."""
    if isinstance(error, SessionBlocked):
        return _kept(submitted, error)
    data = {"code": "unavailable", "messageId": submitted.message_id, "accepted": True}
    return RpcError(UNAVAILABLE, str(error), data)


def _kept(submitted: Submitted, error: SessionBlocked) -> RpcError:
    """The error answer for a prompt that nothing runs before the session is unblocked."""
    data = {
        "code": "session_blocked",
        "messageId": submitted.message_id,
        "sequence": submitted.sequence,
        "kept": True,
    }
    text = f"{str(error).rstrip('.')}. The message is kept, and runs after /reconnect."
    return RpcError(SESSION_BLOCKED, text, data)


def _bad_params(text: str, path: str) -> RpcError:
    return RpcError(jsonrpc.INVALID_PARAMS, f"{path}: {text}", {"path": path, "message": text})
