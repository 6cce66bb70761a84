"""What an editor has asked and has not been answered, kept so that it can be asked again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import msgspec

from runtime.cli import bridge_frames as frames
from runtime.cli.bridge_link import Link
from runtime.protocol import jsonrpc
from runtime.protocol.extensions import TOO_MANY_REQUESTS, UNAVAILABLE
from runtime.protocol.jsonrpc import RpcError

MAX_ATTEMPTS = 3
"""How often a request is sent when each time the connection breaks."""

MAX_REQUESTS = 1_000
MAX_BYTES = 128 * 1024 * 1024
"""Requests that may be unanswered, and their size together."""

INITIALIZE = "initialize"
PROMPT = "session/prompt"
EVENTS = "_runtime/session/events"
FOLLOWING = frozenset(("session/load", "session/resume"))

REPEATABLE = frozenset(
    (
        INITIALIZE,
        PROMPT,
        "session/list",
        "session/resume",
        "session/set_config_option",
        "session/set_mode",
        "_runtime/queue/status",
        "_runtime/runtime/tree",
    )
)
"""Requests that may be made twice: prompts have ids, the others change nothing the second time."""


class Request:
    """A request of the editor that is not answered yet.

    Attributes:
        link: the connection on which it was sent; None when it is to be sent on the next one.
        resting: the connection on which it is sent again after a pause.
        refusals: how often the runtime could not take it.
        attempts: how often it was sent since the runtime was last known to have it.
        cancelled: whether the editor has cancelled it; said again on the next connection.
        message_id: the runtime's id of a prompt, once it is known.
    """

    def __init__(self, frame: frames.Frame, agent: str | None) -> None:
        self.id = frame.id
        self.method = frame.method or ""
        self.params = frame.params
        if self.method == PROMPT:
            self.params = frames.with_mark(self.params, messageId=f"acp-{uuid.uuid4()}")
        elif self.method == "session/new":
            self.params = frames.with_mark(self.params, agent=agent)
        self.session_id = frames.target_of(self.params).session_id
        self.link: Link | None = None
        self.resting: Link | None = None
        self.refusals = 0
        self.attempts = 0
        self.cancelled = False
        self.message_id: str | None = None

    def frame(self, local_key: str | None) -> bytes:
        """The frame to send to a runtime."""
        params = self.params
        if self.method == INITIALIZE:
            params = frames.with_mark(params, localKey=local_key)
        return frames.call(self.method, params, self.id)

    def error(self, code: int, message: str) -> bytes:
        """An error answer of the bridge to it."""
        data = {"data": {"code": "unavailable"}} if code == UNAVAILABLE else {}
        failure = {"code": code, "message": message, **data}
        return msgspec.json.encode({"jsonrpc": "2.0", "id": self.id, "error": failure})

    @property
    def repeatable(self) -> bool:
        """Whether it is to be sent on the next connection when this one is lost."""
        return self.method in REPEATABLE and self.attempts < MAX_ATTEMPTS

    def lost(self) -> bytes:
        """The answer that it is not known whether it was done."""
        what = f"The connection to the runtime was lost before it answered {self.method}: try again"
        return self.error(UNAVAILABLE, f"{what}.")


class Requests:
    """The unanswered requests, in the order in which they were made."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Request] = {}
        self._bytes = 0

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._by_id.values()))

    def add(self, request: Request) -> None:
        """Keep a request.

        Raises:
            RpcError: it cannot be made now.
        """
        identity = msgspec.json.decode(request.id)
        if bytes(request.id) in self._by_id:
            what = "There is an unanswered request with this id already."
            raise RpcError(jsonrpc.INVALID_REQUEST, what, request=identity)
        size = self._bytes + len(request.params)
        if len(self._by_id) >= MAX_REQUESTS or size > MAX_BYTES:
            what = "Too many requests are unanswered: wait for some."
            data = {"code": "too_many_requests"}
            raise RpcError(TOO_MANY_REQUESTS, what, data, request=identity)
        self._by_id[bytes(request.id)] = request
        self._bytes = size

    def find(self, identity: msgspec.Raw) -> Request | None:
        """The request with this id."""
        return self._by_id.get(bytes(identity))

    def remove(self, request: Request) -> None:
        """It is answered."""
        if self._by_id.pop(bytes(request.id), None) is not None:
            self._bytes -= len(request.params)

    def to_be_sent(self, link: Link) -> Iterator[Request]:
        """Those that are not on their way on this connection."""
        return (each for each in self if link not in (each.link, each.resting))

    def prompts(self, session_id: str | None) -> Iterator[Request]:
        """The prompts in a session."""
        return (
            request
            for request in self
            if request.method == PROMPT and request.session_id == session_id
        )
