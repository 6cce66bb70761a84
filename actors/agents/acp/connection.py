"""A process as the other end of a JSON-RPC connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import trio

from actors.agents.acp.oddities import Oddities
from actors.agents.acp.words import AUTH_CODE, failure_words, login_words, wants_login
from runtime.ports.agent import AgentGone, AgentRefused
from runtime.processes import ChildProcess, ProcessGone
from runtime.protocol.acp_agent import AuthMethod
from runtime.protocol.lenient import Unusable
from runtime.protocol.peer import CallFailed, ConnectionEnded, Outcome, Peer, Records, Service

EXIT_LIMIT = 2.0
"""Seconds that a process gets to end after it has closed its output, so that it can be said how."""

T = TypeVar("T")


class _Lines(Records):
    """The lines of a process."""

    def __init__(self, process: ChildProcess, oddities: Oddities) -> None:
        self._process = process
        self._oddities = oddities
        self._skipped = 0

    async def read_record(self) -> bytes | None:
        record = await self._process.read_record()
        for _ in range(self._process.skipped - self._skipped):
            self._oddities.note("too_long")
        self._skipped = self._process.skipped
        return record

    async def write(self, record: bytes) -> None:
        try:
            await self._process.write(record)
        except ProcessGone as error:
            raise ConnectionEnded(str(error)) from error


class Connection:
    """Calls to an agent's process; what goes wrong is said as the agent port has it.

    Args:
        process: the agent.
        service: what it may call.
        oddities: counts what is passed over.
        name: under which the agent is configured.
        command: how it was started.
    """

    def __init__(
        self,
        process: ChildProcess,
        service: Service,
        oddities: Oddities,
        *,
        name: str,
        command: tuple[str, ...],
    ) -> None:
        self.auth_methods: tuple[AuthMethod, ...] = ()
        self._process = process
        self._peer = Peer(_Lines(process, oddities), service)
        self._name = name
        self._command = command

    async def run(self) -> None:
        """Take what the agent says until it will say nothing more."""
        await self._peer.run()

    async def call(
        self, method: str, params: Any, read: Callable[[msgspec.Raw], T], *, limit: float
    ) -> T:
        """Call the agent and wait; as `Peer.call`.

        Raises:
            CallFailed: it answered with an error, other than that somebody has to log in.
            AgentRefused: somebody has to log in; or its answer cannot be used.
            AgentGone: it has ended.
            trio.TooSlowError: it has not answered in time.
        """
        try:
            return await self._peer.call(method, params, read, limit=limit)
        except CallFailed as failure:
            if wants_login(failure):
                raise self.refusal(failure) from None
            raise
        except Unusable as error:
            what = f"the agent's answer to {method} cannot be used: {error}"
            raise AgentRefused(what, code="bad_answer") from None
        except ConnectionEnded:
            raise await self.gone() from None

    async def send(self, method: str, params: Any, deliver: Callable[[Outcome], None]) -> None:
        """Call the agent without waiting; as `Peer.send`. Raises `AgentGone`."""
        try:
            await self._peer.send(method, params, deliver)
        except ConnectionEnded:
            raise await self.gone() from None

    async def notify(self, method: str, params: Any) -> None:
        """Tell the agent something; when it has ended, nobody is told."""
        try:
            await self._peer.notify(method, params)
        except ConnectionEnded:
            return

    def refusal(self, failure: CallFailed) -> AgentRefused:
        """An error of the agent, for people."""
        if wants_login(failure):
            words = login_words(self._name, self._command, self.auth_methods)
            return AgentRefused(words, code=AUTH_CODE)
        return AgentRefused(failure_words(failure))

    async def gone(self) -> AgentGone:
        """Why it says nothing more."""
        with trio.move_on_after(EXIT_LIMIT):
            await self._process.wait()
        if self._process.exit_status is None:
            return AgentGone("the agent has closed its output, though it still runs")
        return AgentGone(self._process.describe_exit())

    def said_last(self) -> str:
        """What the process wrote to standard error last, for the end of a message."""
        tail = self._process.stderr_tail()
        return f"; it wrote: {tail}" if tail else ""
