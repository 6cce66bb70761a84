"""The beginning: both sides say what they can do, and a conversation is opened or resumed (P4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import msgspec
import trio

import runtime
from actors.agents.acp.client import Client
from actors.agents.acp.connection import Connection
from actors.agents.acp.options import Options
from actors.agents.acp.words import AUTH_CODE, failure_words, shortened
from runtime.log import get_logger
from runtime.ports.agent import AgentContext, AgentGone, AgentRefused, AgentUnusable
from runtime.protocol.acp import PROTOCOL_VERSION, Implementation
from runtime.protocol.acp_agent import (
    AgentCapabilities,
    ClientCapabilities,
    FileSystemCapabilities,
    InitializeParams,
    InitializeResult,
    McpCapabilities,
    Opened,
    OpenParams,
    ReopenParams,
)
from runtime.protocol.lenient import Unusable, lenient
from runtime.protocol.peer import CallFailed
from runtime.sessions.updates import AgentNotice

START_LIMIT = 9.0
"""Seconds in which a conversation has to be open: a second less than the runtime allows (P2), so
that it can be said what the agent was busy with.
"""

NOT_FOUND = -32002
"""The protocol's error for a session that the agent does not know."""

_SAYS_UNKNOWN = re.compile(r"not found|unknown|no such|does(n't| not) exist|invalid session", re.I)

FORGOTTEN = (
    "The agent does not know the conversation any more. It has started a new one; it does not "
    "remember what was said before."
)

T = TypeVar("T")


class UnclearRefusal(AgentGone):
    """The agent did not resume, and not because it does not know the conversation."""


log = get_logger(__name__)


class Opening:
    """Opens the conversation of one session.

    Args:
        connection: the agent.
        client: learns which session it is.
        context: the session.
        options: what the agent may do.
        cwd: the folder that it works in.
        gives_up: whether the conversation is given up even if the agent refuses it for unclear
            reasons.
    """

    def __init__(
        self,
        connection: Connection,
        client: Client,
        context: AgentContext,
        options: Options,
        cwd: str,
        *,
        gives_up: bool = False,
    ) -> None:
        self._connection = connection
        self._client = client
        self._context = context
        self._options = options
        self._cwd = cwd
        self._gives_up = gives_up
        self._step = "initialize"

    async def run(self, latest: float) -> AgentCapabilities:
        """Open it until ``latest``, on Trio's clock.

        Raises:
            UnclearRefusal: it did not resume; that may be different next time.
            AgentGone: it cannot be opened; the text says why and what to do.
        """
        try:
            with trio.fail_at(latest):
                can = await self._initialize()
                servers = tuple(self._mcp_servers(can.mcp_capabilities))
                if not await self._resume(can, servers):
                    await self._begin(servers)
                return can
        except trio.TooSlowError:
            last = self._connection.said_last()
            raise AgentGone(
                f"it did not answer {self._step} within {START_LIMIT:g} s{last}"
            ) from None
        except CallFailed as failure:
            raise AgentGone(f"it refused {self._step}: {failure_words(failure)}") from None
        except AgentRefused as refused:
            unusable = refused.code == AUTH_CODE
            raise (AgentUnusable if unusable else AgentGone)(str(refused)) from None

    async def _initialize(self) -> AgentCapabilities:
        options = self._options
        files = FileSystemCapabilities(
            read_text_file=options.files != "off", write_text_file=options.files == "write"
        )
        params = InitializeParams(
            client_capabilities=ClientCapabilities(fs=files, terminal=options.terminals),
            client_info=Implementation(
                name="greenroom", title="Greenroom", version=runtime.__version__
            ),
        )
        said = await self._call("initialize", params, _initialized)
        if said.protocol_version != PROTOCOL_VERSION:
            raise AgentUnusable(
                f"it speaks version {said.protocol_version} of the Agent Client Protocol, and "
                f"Greenroom speaks version {PROTOCOL_VERSION}: install another version of the agent"
            )
        self._connection.auth_methods = said.auth_methods
        return said.agent_capabilities

    async def _resume(self, can: AgentCapabilities, servers: tuple[dict[str, Any], ...]) -> bool:
        """Go on with the conversation of an earlier time; False when there is none any more."""
        known = self._context.resume
        if known is None:
            return False
        if can.session_capabilities.resume is not None:
            method = "session/resume"
        elif can.load_session:
            method = "session/load"
        else:
            self._forgotten("it cannot resume conversations")
            return False
        self._client.session_id = known
        self._client.replaying = True
        try:
            await self._call(
                method, ReopenParams(known, self._cwd, servers), partial(self._opened, known)
            )
        except CallFailed as failure:
            self._client.session_id = None
            if not (_is_unknown(failure) or self._gives_up):
                raise UnclearRefusal(f"it refused {method}: {failure_words(failure)}") from None
            self._forgotten(failure_words(failure))
            return False
        finally:
            self._client.replaying = False
        return True

    async def _begin(self, servers: tuple[dict[str, Any], ...]) -> None:
        await self._call("session/new", OpenParams(self._cwd, servers), partial(self._opened, None))

    def _opened(self, session_id: str | None, answer: msgspec.Raw) -> None:
        # The answer to session/load may be null.
        opened = Opened() if bytes(answer) == b"null" else lenient(answer, Opened)
        identity = session_id or opened.session_id
        if not identity:
            raise Unusable("there is no sessionId in it")
        self._client.opened(identity, opened)

    async def _call(self, method: str, params: Any, read: Callable[[msgspec.Raw], T]) -> T:
        self._step = method
        return await self._connection.call(method, params, read, limit=START_LIMIT)

    def _forgotten(self, reason: str) -> None:
        log.warning("agent_forgot", agent=self._context.agent_id, reason=shortened(reason, 200))
        self._context.announce(AgentNotice("agent_forgot", FORGOTTEN))

    def _mcp_servers(self, can: McpCapabilities) -> Iterator[dict[str, Any]]:
        """The servers that this agent can reach, in the form of the protocol."""
        for server in (*(self._options.mcp_servers or ()), *self._context.mcp_servers):
            match server.get("type", "stdio"):
                case "stdio":
                    yield {"args": [], "env": [], **server}
                case "http" if can.http:
                    yield {"headers": [], **server}
                case "sse" if can.sse:
                    yield {"headers": [], **server}
                case kind:
                    self._skipped(str(server.get("name", "?"))[:100], str(kind)[:20])

    def _skipped(self, name: str, kind: str) -> None:
        log.warning("mcp_server_skipped", agent=self._context.agent_id, server=name, transport=kind)
        words = f"The agent cannot use the MCP server {name!r}: it does not speak {kind}."
        self._context.announce(AgentNotice("mcp_server_skipped", words))


def _is_unknown(failure: CallFailed) -> bool:
    """Whether the agent says that it does not know the conversation."""
    return failure.code == NOT_FOUND or _SAYS_UNKNOWN.search(failure_words(failure)) is not None


def _initialized(answer: msgspec.Raw) -> InitializeResult:
    return lenient(answer, InitializeResult)
