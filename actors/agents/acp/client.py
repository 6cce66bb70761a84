"""What the agent may call: updates of its session, requests for permission, files and commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

import msgspec

from actors.agents.acp.oddities import Oddities
from actors.agents.acp.offers import OfferBook
from actors.agents.acp.pace import Pace
from actors.agents.acp.parameters import read_params
from actors.agents.acp.running import Question, RunningPrompt
from runtime.ports.agent import AgentContext
from runtime.protocol import jsonrpc, peer
from runtime.protocol.acp_agent import (
    CancelledOutcome,
    Opened,
    PermissionAnswer,
    PermissionParams,
    SessionParams,
    UpdateParams,
)
from runtime.protocol.agent_updates import declared_timeout, read_update
from runtime.protocol.jsonrpc import RpcError
from runtime.protocol.lenient import Unusable
from runtime.protocol.peer import Service, Work
from runtime.sessions.updates import ANNOUNCEMENTS, SessionUpdate, ToolCall, ToolCallUpdate

Method: TypeAlias = Callable[[msgspec.Raw], Awaitable[object]]

SETTINGS = {
    "fs/read_text_file": 'files = "read"',
    "fs/write_text_file": 'files = "write"',
    "terminal/create": "terminals = true",
    "terminal/output": "terminals = true",
    "terminal/wait_for_exit": "terminals = true",
    "terminal/kill": "terminals = true",
    "terminal/release": "terminals = true",
}
"""What enables a method."""

ANNOUNCEMENTS_AT_ONCE = 32
ANNOUNCEMENTS_PER_SECOND = 50.0
"""An agent that announces more is read more slowly: each goes to everybody who watches."""

_params = msgspec.json.Decoder(UpdateParams)


class Client(Service):
    """The runtime, as one agent's process sees it.

    Args:
        context: the session it is opened for.
        offers: is kept up to date.
        oddities: counts what is passed over.
        methods: what is enabled of `SETTINGS`.
    """

    def __init__(
        self,
        context: AgentContext,
        offers: OfferBook,
        oddities: Oddities,
        methods: Mapping[str, Method],
    ) -> None:
        self.session_id: str | None = None
        self.running: RunningPrompt | None = None
        self.replaying = False
        self._context = context
        self._offers = offers
        self._oddities = oddities
        self._methods = methods
        self._pace = Pace(ANNOUNCEMENTS_AT_ONCE, ANNOUNCEMENTS_PER_SECOND)

    def opened(self, session_id: str, opened: Opened) -> None:
        """The session is open: from now on only what is of it is taken."""
        self.session_id = session_id
        self._offers.opened(opened.config_options, opened.modes)

    async def request(self, method: str, params: msgspec.Raw) -> Work:
        if method == "session/request_permission":
            return await self._ask(params)
        served = self._methods.get(method)
        if served is None:
            raise self._not_served(method)
        if read_params(params, SessionParams).session_id != self.session_id:
            jsonrpc.invalid_params("it is not the id of the session", "$.sessionId")
        return partial(served, params)

    async def notification(self, method: str, params: msgspec.Raw) -> None:
        if method != "session/update":
            self._oddities.note("unknown_notification")
            return
        try:
            said = _params.decode(params)
            update = read_update(said.update)
        except (Unusable, msgspec.DecodeError, ValueError, RecursionError):
            self._oddities.note("unusable_update")
            return
        if self.session_id not in (None, said.session_id):
            self._oddities.note("foreign_session")
        elif update is None:
            self._oddities.note("unknown_update")
        elif isinstance(update, ANNOUNCEMENTS):
            await self._pace.take()
            for announced in self._offers.take(update):
                self._context.announce(announced)
        elif not await self._put(update, said.update) and not self.replaying:
            self._oddities.note("late_update")

    def odd(self, what: peer.Oddity, error: BaseException | None = None) -> None:
        self._oddities.note(what, error)

    def _not_served(self, method: str) -> RpcError:
        what = f"There is no method {method[:100]!r} here."
        if method in SETTINGS:
            what = (
                f"{method} is not enabled: set {SETTINGS[method]} "
                f"in [agents.{self._context.agent_id}]."
            )
        return RpcError(jsonrpc.METHOD_NOT_FOUND, what)

    async def _put(self, update: SessionUpdate, raw: msgspec.Raw) -> bool:
        """Hand an update to the prompt that runs; whether there is one."""
        if self.running is None or self.running.answered:
            return False
        if isinstance(update, ToolCall | ToolCallUpdate):
            progress = declared_timeout(raw)
            if progress is not None:
                self.running.note_tool(progress)
        return await self.running.events.put(update, memoryview(raw).nbytes)

    async def _ask(self, params: msgspec.Raw) -> Work:
        asked = read_params(params, PermissionParams)
        if not asked.options:
            jsonrpc.invalid_params("at least one option that can be chosen", "$.options")
        running = self.running
        if running is None or running.answered or asked.session_id != self.session_id:
            return _nobody_answers
        size = memoryview(params).nbytes
        question = await running.ask(asked.tool_call, asked.options, size)
        return partial(_answer, running, question)


async def _nobody_answers() -> PermissionAnswer:
    return PermissionAnswer(CancelledOutcome())


async def _answer(running: RunningPrompt, question: Question) -> PermissionAnswer:
    try:
        await question.settled.wait()
    finally:
        running.settle(question.request.request_id, None)
    return question.answer
