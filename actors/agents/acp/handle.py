"""One conversation with an agent that speaks ACP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import trio

from actors.agents.acp.client import Client
from actors.agents.acp.connection import Connection
from actors.agents.acp.oddities import Oddities
from actors.agents.acp.offers import OfferBook
from actors.agents.acp.prompts import prompt_blocks
from actors.agents.acp.running import RunningPrompt
from actors.agents.acp.words import failure_words
from runtime.ports.agent import (
    AgentCapabilities,
    AgentGone,
    AgentHandle,
    AgentRefused,
    Offers,
    PromptTurn,
)
from runtime.protocol import acp_agent as acp
from runtime.protocol.acp import STOP_REASONS
from runtime.protocol.lenient import Unusable, lenient
from runtime.protocol.peer import CallFailed, ConnectionEnded, Outcome
from runtime.sessions.permissions import PermissionPolicy
from runtime.sessions.rows import Usage
from runtime.sessions.updates import AgentEvent, Result

CHOICE_LIMIT = 10.0
"""Seconds for a setting to be set."""


class AcpHandle(AgentHandle):
    """One conversation.

    Args:
        connection: the agent.
        client: what the agent may call; knows the session and the prompt that runs.
        can: what the agent can do.
        offers: what can be chosen.
        oddities: counts what is passed over.
        policy: who answers when it asks.
    """

    def __init__(
        self,
        connection: Connection,
        client: Client,
        can: acp.AgentCapabilities,
        *,
        offers: OfferBook,
        oddities: Oddities,
        policy: PermissionPolicy,
    ) -> None:
        self.permission_policy = policy
        self.capabilities = AgentCapabilities(
            images=can.prompt_capabilities.image,
            audio=can.prompt_capabilities.audio,
            resume=can.load_session or can.session_capabilities.resume is not None,
            permissions=True,
        )
        self._connection = connection
        self._client = client
        self._can = can
        self._offers = offers
        self._oddities = oddities

    @property
    def offers(self) -> Offers:
        return self._offers.current

    @property
    def agent_session_id(self) -> str | None:
        # Also of an agent that cannot resume: by it is known that a conversation was lost (P4).
        return self._client.session_id

    @property
    def _session_id(self) -> str:
        if self._client.session_id is None:
            raise AgentGone("it has no conversation")
        return self._client.session_id

    async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
        if self._client.running is not None:
            raise AgentGone("it has not answered the prompt before this one")
        blocks = prompt_blocks(turn.content, self._can.prompt_capabilities)
        params = acp.PromptParams(self._session_id, blocks)
        running = RunningPrompt(turn.turn_id)
        self._client.running = running
        sent = False

        def deliver(outcome: Outcome) -> None:
            running.deliver(outcome)
            if running.over.is_set():  # nobody listens any more, but the agent is free again
                self._client.running = None

        try:
            await self._connection.send("session/prompt", params, deliver)
            sent = True
            while True:
                event = await running.events.take()
                match event:
                    case msgspec.Raw():
                        yield self._result(event)
                        return
                    case CallFailed():
                        raise self._connection.refusal(event)
                    case ConnectionEnded():
                        raise await self._connection.gone()
                    case _:
                        yield event
        finally:
            running.close()
            if running.answered or not sent:
                self._client.running = None

    def declared_silence(self) -> float:
        return self._client.running.declared_silence if self._client.running is not None else 0.0

    async def answer_permission(self, request_id: str, option_id: str | None) -> bool:
        running = self._client.running
        return running is not None and running.settle(request_id, option_id)

    async def cancel(self) -> None:
        if self._client.running is not None:
            self._client.running.cancel()
            await self._connection.notify("session/cancel", acp.CancelParams(self._session_id))

    async def choose(self, option_id: str, value: str | bool) -> None:
        self._offers.checked(option_id, value)
        session = self._session_id
        try:
            if self._offers.has_old_mode(option_id):
                await self._connection.call(
                    "session/set_mode",
                    acp.SetModeParams(session, str(value)),
                    lambda _: self._offers.set_mode(str(value)),
                    limit=CHOICE_LIMIT,
                )
                return
            chosen = acp.SetOptionParams(
                session, option_id, value, type="boolean" if isinstance(value, bool) else None
            )
            await self._connection.call(
                "session/set_config_option", chosen, self._options_set, limit=CHOICE_LIMIT
            )
        except CallFailed as failure:
            raise AgentRefused(failure_words(failure), code="choice_refused") from None
        except trio.TooSlowError:
            what = f"the agent did not set {option_id!r} within {CHOICE_LIMIT:g} s"
            raise AgentRefused(what, code="choice_refused") from None

    def _options_set(self, answer: msgspec.Raw) -> None:
        self._offers.set_options(lenient(answer, acp.OptionsSet).config_options)

    def _result(self, answer: msgspec.Raw) -> Result:
        try:
            said = lenient(answer, acp.PromptResult)
        except Unusable:
            said = acp.PromptResult()
        if said.stop_reason not in STOP_REASONS:
            self._oddities.note("unusable_answer")
        usage = said.usage
        return Result(
            stop_reason=said.stop_reason if said.stop_reason in STOP_REASONS else "end_turn",
            usage=None
            if usage is None
            else Usage(usage.input_tokens, usage.output_tokens, usage.total_tokens),
            agent_session_id=self.agent_session_id,
        )
