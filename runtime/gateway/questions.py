"""What the runtime asks a client, and what becomes of the answers.

A request of ours is open until it was answered or withdrawn. Whatever comes for another id, or too
late, or in another shape, decides nothing and harms nobody (G7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import msgspec
import trio

from runtime.gateway import translate
from runtime.gateway.outgoing import Outgoing
from runtime.ports.front import Front, FrontError
from runtime.protocol import jsonrpc
from runtime.protocol.acp import CancelRequestParams, PermissionResult
from runtime.protocol.jsonrpc import Id, Reply
from runtime.sessions.updates import PermissionRequest

MAX_OPEN = 100
"""Requests of ours that one client may leave unanswered; more are not sent."""

Answered: TypeAlias = Callable[[Reply], None]

_result = msgspec.json.Decoder(PermissionResult)
_log = logging.getLogger("runtime.gateway")


class Requests:
    """The requests of ours to one client.

    Args:
        outgoing: where messages to the client go.
    """

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._open: dict[Id, Answered] = {}
        self._unknown: set[str] = set()
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, method: str, params: Any, answered: Answered) -> int | None:
        """Send a request.

        Args:
            method: one of the protocol's client methods.
            params: its parameters.
            answered: called once with the answer, unless the request is withdrawn before.

        Returns:
            Its id; None when it was not sent, since the client has no such method or answers
            nothing.

        Raises:
            SlowReader: the client does not read.
        """
        if method in self._unknown or len(self._open) >= MAX_OPEN:
            return None
        self._last += 1
        self._outgoing.post(jsonrpc.request(self._last, method, params))
        self._open[self._last] = partial(self._answered, method, answered)
        return self._last

    def withdraw(self, request_id: int) -> None:
        """Say that no answer is wanted any more; one that comes all the same is ignored.

        Raises:
            SlowReader: the client does not read.
        """
        if self._open.pop(request_id, None) is not None:
            params = CancelRequestParams(request_id)
            self._outgoing.post(jsonrpc.notification("$/cancel_request", params))

    def take(self, reply: Reply) -> None:
        """Take in what the client answers. Raises `SlowReader`."""
        answered = self._open.pop(reply.id, None)
        if answered is None:
            _log.debug("an answer to no open request was ignored")
        else:
            answered(reply)

    def _answered(self, method: str, answered: Answered, reply: Reply) -> None:
        if reply.code == jsonrpc.METHOD_NOT_FOUND:
            self._unknown.add(method)
        answered(reply)


class _Asked(msgspec.Struct, frozen=True):
    """A question of the agent that is open; ``request`` is None when it was put in words."""

    turn_id: str
    request: int | None


class Dialogs:
    """The questions of a session's agent before one client: a dialog if it has one, else words.

    Args:
        front: takes the answers.
        session_id: the session.
        outgoing: where messages to the client go.
        requests: the requests to the client.
        nursery: of the connection; passes the answers on.
    """

    def __init__(
        self,
        front: Front,
        session_id: str,
        outgoing: Outgoing,
        requests: Requests,
        nursery: trio.Nursery,
    ) -> None:
        self._front = front
        self._id = session_id
        self._outgoing = outgoing
        self._requests = requests
        self._nursery = nursery
        self._asked: dict[str, _Asked] = {}

    def ask(self, turn_id: str, asked: PermissionRequest) -> None:
        """Put a question to the client, unless that was done. Raises `SlowReader`."""
        if asked.request_id in self._asked:
            return
        request = self._requests.ask(
            "session/request_permission",
            translate.permission(self._id, turn_id, asked),
            partial(self._answered, turn_id, asked),
        )
        self._asked[asked.request_id] = _Asked(turn_id, request)
        if request is None:
            self._say(turn_id, asked)

    def settle(self, request_id: str) -> None:
        """A question is not open any more. Raises `SlowReader`."""
        asked = self._asked.pop(request_id, None)
        if asked is not None and asked.request is not None:
            self._requests.withdraw(asked.request)

    def end_turn(self, turn_id: str) -> None:
        """A turn has ended, and with it its questions. Raises `SlowReader`."""
        for request_id, asked in list(self._asked.items()):
            if asked.turn_id == turn_id:
                self.settle(request_id)

    def _answered(self, turn_id: str, asked: PermissionRequest, reply: Reply) -> None:
        """The client has answered; an answer that decides nothing leaves the question open."""
        self._asked[asked.request_id] = _Asked(turn_id, None)
        try:
            option_id = _chosen(asked, reply)
        except ValueError as error:
            _log.info("an answer to a question of session %s was ignored: %s", self._id, error)
            self._say(turn_id, asked)
        else:
            self._nursery.start_soon(self._pass_on, asked.request_id, option_id)

    def _say(self, turn_id: str, asked: PermissionRequest) -> None:
        self._outgoing.post_update(translate.permission_in_words(self._id, turn_id, asked))

    async def _pass_on(self, request_id: str, option_id: str | None) -> None:
        try:
            await self._front.answer_permission(self._id, request_id, option_id)
        except FrontError as error:
            _log.info("an answer to a question of session %s was refused: %s", self._id, error)
        except Exception:
            _log.exception("an answer to a question of session %s failed", self._id)


def _chosen(asked: PermissionRequest, reply: Reply) -> str | None:
    """The option that an answer names, None when nobody chose. Raises ValueError for neither."""
    if reply.result is None:
        raise ValueError(f"the client shows no dialog (error {reply.code})")
    try:
        outcome = _result.decode(reply.result).outcome
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if outcome.outcome == "cancelled":
        return None
    if outcome.option_id not in {option.option_id for option in asked.options}:
        raise ValueError("there is no such option")
    return outcome.option_id
