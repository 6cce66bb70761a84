"""The sessions that an editor follows through a bridge, and the questions that it was asked."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runtime.cli import bridge_frames as frames
from runtime.cli.bridge_frames import NOTHING, Frame
from runtime.cli.bridge_link import Link
from runtime.cli.bridge_requests import EVENTS, FOLLOWING, PROMPT, Request
from runtime.cli.bridge_sessions import Followed, Happened, Shown
from runtime.protocol import jsonrpc
from runtime.protocol.extensions import PromptMark, RuntimeMark, SessionMark

CANCEL = "$/cancel_request"
"""The notification that a question needs no answer any more."""


class _Attached(msgspec.Struct, frozen=True, rename="camel"):
    session_id: str | None = None
    meta: RuntimeMark[SessionMark] | None = msgspec.field(name="_meta", default=None)


class _Prompted(msgspec.Struct, frozen=True):
    meta: RuntimeMark[PromptMark] | None = msgspec.field(name="_meta", default=None)


class _Cancelled(msgspec.Struct, frozen=True, rename="camel"):
    request_id: msgspec.Raw


class Views:
    """What the editor sees of its sessions."""

    def __init__(self) -> None:
        self._followed: dict[str, Followed] = {}
        self._wants_events: set[str] = set()

    def __iter__(self) -> Iterator[Followed]:
        return iter(list(self._followed.values()))

    def forget(self, session_id: str) -> None:
        """The session is closed."""
        self._followed.pop(session_id, None)
        self._wants_events.discard(session_id)

    def catching_up(self, session_id: str | None) -> bool:
        """Whether the editor is shown just now what it has missed of a session."""
        followed = self._followed.get(session_id) if session_id is not None else None
        return followed is not None and followed.catching_up

    def asked(self, request: Request) -> None:
        """The editor asks; what a replay shows of a running turn counts from its first update."""
        if request.session_id is None:
            return
        if request.method == EVENTS:
            self._wants_events.add(request.session_id)
        elif request.method in FOLLOWING:
            self._follow(request.session_id, request)

    def answered(self, request: Request, frame: Frame) -> None:
        """What the answer to a request says about its session."""
        session_id = request.session_id
        if frame.error is not NOTHING:
            return
        try:
            if request.method == "session/new":
                attached = msgspec.json.decode(frame.result, type=_Attached)
                if attached.session_id is not None:
                    self._attached(self._follow(attached.session_id, request), attached)
            elif request.method in FOLLOWING and session_id in self._followed:
                attached = msgspec.json.decode(frame.result, type=_Attached)
                self._attached(self._followed[session_id], attached)
            elif request.method == PROMPT and session_id is not None:
                followed = self._followed.get(session_id) or self._follow(session_id, request)
                mark = msgspec.json.decode(frame.result, type=_Prompted).meta
                if mark is not None and mark.runtime is not None:
                    followed.ended(mark.runtime.turn_id)
            elif request.method == "session/close" and session_id is not None:
                self.forget(session_id)
        except msgspec.DecodeError:
            return  # the answer of a runtime that is not ours

    def passes(self, frame: Frame) -> bool:
        """Whether the editor is to see an update."""
        try:
            shown = msgspec.json.decode(frame.params, type=Shown)
        except msgspec.DecodeError:
            return True  # of a kind that is not known here
        followed = self._followed.get(shown.session_id)
        return followed is None or followed.passes(shown)

    def happened(self, frame: Frame, line: bytes) -> Iterator[bytes]:
        """What the editor is to see of an event of a session."""
        try:
            happened = msgspec.json.decode(frame.params, type=Happened)
        except msgspec.DecodeError:
            return
        followed = self._followed.get(happened.session_id)
        if followed is not None and followed.catching_up:
            for update in followed.missed(happened.event):
                yield jsonrpc.notification("session/update", update)
        if happened.session_id in self._wants_events:
            yield line

    def _follow(self, session_id: str, request: Request) -> Followed:
        target = frames.target_of(request.params)
        followed = Followed(session_id, target.cwd, target.mcp_servers)
        self._followed[session_id] = followed
        return followed

    def _attached(self, followed: Followed, attached: _Attached) -> None:
        if attached.meta is not None and attached.meta.runtime is not None:
            followed.attached(attached.meta.runtime)


class Questions:
    """What the runtime asks the editor, under ids that no other connection has used."""

    def __init__(self) -> None:
        self._open: dict[bytes, tuple[Link, msgspec.Raw]] = {}
        self._last = 0

    def ask(self, link: Link, frame: Frame) -> bytes:
        """The frame for the editor."""
        self._last += 1
        identity = msgspec.json.encode(self._last)
        self._open[identity] = (link, frame.id)
        return frames.call(frame.method or "", frame.params, msgspec.Raw(identity))

    def answer(self, link: Link | None, frame: Frame) -> bytes | None:
        """The frame for the runtime; None when the connection that asked is gone."""
        asked_by, identity = self._open.pop(bytes(frame.id), (None, NOTHING))
        if asked_by is None or asked_by is not link:
            return None
        return frames.reply(identity, frame)

    def withdraw(self, link: Link, frame: Frame) -> Iterator[bytes]:
        """The frames for the editor when the runtime wants no answer any more."""
        try:
            original = msgspec.json.decode(frame.params, type=_Cancelled).request_id
        except msgspec.DecodeError:
            return
        for identity, (of, asked) in list(self._open.items()):
            if of is link and bytes(asked) == bytes(original):
                yield self._cancelled(identity)

    def withdraw_all(self, link: Link) -> Iterator[bytes]:
        """The frames for the editor when a connection is gone."""
        for identity, (of, _) in list(self._open.items()):
            if of is link:
                yield self._cancelled(identity)

    def _cancelled(self, identity: bytes) -> bytes:
        del self._open[identity]
        return frames.call(CANCEL, {"requestId": msgspec.Raw(identity)})
