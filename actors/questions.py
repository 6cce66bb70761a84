"""What the agent of a running turn asks people, until it is answered or void."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from actors.services import Services
from runtime.log import get_logger
from runtime.ports.agent import AgentHandle
from runtime.sessions.content import plain_text
from runtime.sessions.events import PermissionAnswered, PermissionAsked
from runtime.sessions.permissions import answer_in_words, decided
from runtime.sessions.rows import InboundRow
from runtime.sessions.updates import PermissionRequest, PermissionSettled

MAX_OPEN = 32
"""Questions that may be open at one time; more are answered by nobody having chosen."""

ANSWER_LIMIT = 5.0
"""Seconds for an agent to take an answer."""

log = get_logger(__name__)


class NoSuchOption(ValueError):
    """The question has no such answer."""


class Questions:
    """The open questions of one turn.

    Args:
        services: for the limit, and those who watch.
        session_id: the session.
        turn_id: the turn.
        ask: puts a question to people who have no dialog.
    """

    def __init__(
        self,
        services: Services,
        session_id: str,
        turn_id: str,
        ask: Callable[[PermissionRequest], Awaitable[None]],
    ) -> None:
        self._services = services
        self._session_id = session_id
        self._turn_id = turn_id
        self._ask = ask
        self._open: dict[str, _Open] = {}

    @property
    def open(self) -> tuple[PermissionRequest, ...]:
        """Those that wait for an answer, oldest first."""
        return tuple(each.request for each in self._open.values())

    def heard(
        self,
        event: PermissionRequest | PermissionSettled,
        handle: AgentHandle,
        nursery: trio.Nursery,
    ) -> None:
        """The agent asks something, or does not ask it any more.

        Args:
            event: what it said.
            handle: where answers go.
            nursery: of the turn; runs what an answer takes.
        """
        if isinstance(event, PermissionSettled):
            self._settle(event.request_id, event.option_id)
            return
        policy = handle.permission_policy
        if policy != "ask" or len(self._open) >= MAX_OPEN:
            option = decided(policy, event.options)
            nursery.start_soon(self._give, handle, event.request_id, option)
            return
        self._settle(event.request_id, None)  # an id that is used again means the newest question
        asked = self._open[event.request_id] = _Open(event, handle, self._services.now())
        news = PermissionAsked(self._turn_id, event)
        self._services.watchers.publish(self._session_id, news)
        nursery.start_soon(self._put, asked)

    async def answer(self, request_id: str, option_id: str | None) -> bool:
        """Answer a question; the first answer counts.

        Returns:
            Whether it was still open.

        Raises:
            NoSuchOption: it has no such answer.
        """
        asked = self._open.get(request_id)
        if asked is None:
            return False
        options = {each.option_id for each in asked.request.options}
        if option_id is not None and option_id not in options:
            raise NoSuchOption(f"the question has no option {option_id!r}")
        self._settle(request_id, option_id)
        return await self._give(asked.handle, request_id, option_id)

    def meant_by(self, row: InboundRow) -> tuple[str, str] | None:
        """The oldest open question and the answer to it that a message means: nothing that was said
        before it was asked.
        """
        for asked in list(self._open.values())[:1]:
            option_id = answer_in_words(plain_text(row.content), asked.request.options)
            if option_id is not None and row.admitted_at >= asked.since:
                return asked.request.request_id, option_id
        return None

    def close(self) -> None:
        """The turn is over, and with it all that was asked."""
        for request_id in list(self._open):
            self._settle(request_id, None)

    async def _put(self, asked: _Open) -> None:
        """Ask people, and after a time take it that nobody chose."""
        with asked.waiting:
            await self._ask(asked.request)
            await trio.sleep(self._services.settings.sessions.permission_limit)
        if not asked.waiting.cancel_called:
            await self.answer(asked.request.request_id, None)

    async def _give(self, handle: AgentHandle, request_id: str, option_id: str | None) -> bool:
        try:
            with trio.move_on_after(ANSWER_LIMIT):
                return await handle.answer_permission(request_id, option_id)
        except Exception:
            log.exception("agent_answer_permission_raised", turn=self._turn_id)
        return False

    def _settle(self, request_id: str, option_id: str | None) -> None:
        asked = self._open.pop(request_id, None)
        if asked is not None:
            asked.waiting.cancel()
            event = PermissionAnswered(self._turn_id, request_id, option_id)
            self._services.watchers.publish(self._session_id, event)


class _Open:
    """A question, who asks it, and the wait for its answer."""

    def __init__(self, request: PermissionRequest, handle: AgentHandle, since: int) -> None:
        self.request = request
        self.handle = handle
        self.since = since
        self.waiting = trio.CancelScope()
