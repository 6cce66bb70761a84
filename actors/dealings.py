"""What a session and its agent have to do with each other beside turns (P3, P4, G2, G10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import trio

from actors.agent_messages import AgentMessage, AgentReady, AgentTrouble, Refresh, Unblock
from actors.agent_messages import Choose as ChooseOfAgent
from actors.agent_messages import GetOffers as GetOffersOfAgent
from actors.conversation import Conversation
from actors.questions import NoSuchOption
from actors.queue import QueueMessage, Status
from actors.reception import Reception
from actors.services import Services
from actors.session_messages import Answer, Choose
from runtime.kernel import ActorRef, ActorStopped, AskTimeout, Reply
from runtime.log import get_logger
from runtime.ports.agent import AgentRefused, Offers
from runtime.ports.front import FrontError, SessionBlocked
from runtime.sessions.events import AgentAnnounced, Notice
from runtime.sessions.rows import InboundRow, Overrides, SessionRow, Workplace
from runtime.sessions.updates import AgentNotice, AvailableCommands, ConfigOptions, SessionUpdate
from runtime.storage.errors import StoreError
from runtime.storage.requests import SessionPatch

ASK_LIMIT = 30.0
"""Seconds within which the agent's actor answers, a start of the agent included."""

log = get_logger(__name__)


class Dealings:
    """The session's side towards its agent's actor."""

    def __init__(
        self,
        services: Services,
        conversation: Conversation,
        reception: Reception,
        agent: ActorRef[AgentMessage],
        queue: ActorRef[QueueMessage],
    ) -> None:
        self._services = services
        self._conversation = conversation
        self._reception = reception
        self._agent = agent
        self._queue = queue
        self._patching = trio.Lock()
        self._open: AgentReady | None = None

    async def set_workplace(self, workplace: Workplace) -> SessionRow:
        """Where the agent works from its next start on (G10)."""
        async with self._patching:
            overrides = self._conversation.row.overrides
            changed = msgspec.structs.replace(overrides, workplace=workplace)
            await self._override(changed)
            return self._conversation.row

    async def offers(self, reply: Reply[Offers]) -> None:
        """What can be chosen now."""
        try:
            reply.set(await self._agent.ask(GetOffersOfAgent(), timeout=ASK_LIMIT))
        except (ActorStopped, AskTimeout) as error:
            reply.fail(error)

    async def choose(self, choice: Choose, reply: Reply[Offers]) -> None:
        """Choose now, and at each start of the agent from now on (G2)."""
        why = self._services.watchers.blocked(self._conversation.id)
        try:
            if why is not None:
                raise SessionBlocked(why)
            asked = ChooseOfAgent(choice.option_id, choice.value)
            offers = await self._agent.ask(asked, timeout=ASK_LIMIT)
            async with self._patching:
                overrides = self._conversation.row.overrides
                choices = {**overrides.choices, choice.option_id: choice.value}
                changed = msgspec.structs.replace(overrides, choices=choices)
                await self._override(changed)
            reply.set(offers)
        except (AgentRefused, FrontError, StoreError, ActorStopped, AskTimeout) as error:
            reply.fail(error)

    async def answer(self, answer: Answer, reply: Reply[bool]) -> None:
        """Pass an answer on to the turn that asked."""
        turn = self._conversation.turn
        try:
            if turn is None:
                reply.set(False)
            else:
                reply.set(await turn.questions.answer(answer.request_id, answer.option_id))
        except NoSuchOption as error:
            reply.fail(error)

    async def reconnect(self) -> None:
        """Start the agent again, whatever failed before."""
        self._services.watchers.unblock(self._conversation.id)
        await self._agent.send(Unblock())

    async def refresh(self) -> None:
        """The settings have changed; perhaps the agent can be started now."""
        self._services.watchers.unblock(self._conversation.id)
        await self._agent.send(Refresh())

    async def ready(self, news: AgentReady) -> None:
        """The agent is open: show what can be chosen."""
        self._services.watchers.unblock(self._conversation.id)
        if news.offers.config_options:
            self.announced(ConfigOptions(list(news.offers.config_options)))
        if news.offers.commands:
            self._reception.learn(_names(news.offers.commands))
        self._open = news

    async def keep_id(self) -> None:
        """The agent has begun to answer: from now on there is a conversation to resume (P4)."""
        here, news = self._conversation, self._open
        own_id = news.agent_session_id if news is not None else None
        if news is None or own_id in (None, here.row.agent_session_id):
            return
        if news.epoch != here.row.epoch:
            return
        try:
            patch = SessionPatch(agent_session_id=own_id)
            await self._services.store.patch_session(here.id, patch)
            here.row = msgspec.structs.replace(here.row, agent_session_id=own_id)
        except StoreError as error:  # the end of its turn writes it as well
            log.warning("agent_session_id_not_written", reason=str(error))

    async def trouble(self, news: AgentTrouble) -> None:
        """The agent could not be started: say so; the messages wait (P3)."""
        if news.retry_in is not None:
            self._services.watchers.unblock(self._conversation.id)
            await self._reception.say("agent_start_failed", news.text, None)
            return
        services = self._services
        services.watchers.block(self._conversation.id, news.text)
        await self._reception.say("agent_blocked", news.text, self._conversation.address)
        turn = self._conversation.turn
        rows = turn.batch.rows if turn is not None else ()
        waiting = await self._queue.ask(Status(), timeout=ASK_LIMIT)
        services.watchers.held_up((row.id for row in (*rows, *waiting.rows)), news.text)

    def hold_up(self, rows: Iterable[InboundRow]) -> None:
        """Tell those who wait for these rows when nothing will run them (P3)."""
        why = self._services.watchers.blocked(self._conversation.id)
        if why is not None:
            self._services.watchers.held_up((row.id for row in rows), why)

    def say_if_blocked(self) -> None:
        """Tell those who watch, now that somebody has said something."""
        why = self._services.watchers.blocked(self._conversation.id)
        if why is not None:
            self._services.watchers.publish(self._conversation.id, Notice("agent_blocked", why))

    async def say(self, notice: AgentNotice) -> None:
        """Tell people what the agent has to say about itself (P4)."""
        await self._reception.say(notice.code, notice.text, self._conversation.address)

    def announced(self, update: SessionUpdate) -> None:
        """The agent says something that is not of a turn (T6)."""
        if isinstance(update, AvailableCommands):
            self._reception.learn(_names(update.available_commands))
        self._services.watchers.publish(self._conversation.id, AgentAnnounced(update))

    async def _override(self, overrides: Overrides) -> None:
        here, patch = self._conversation, SessionPatch(overrides=overrides)
        patched = await self._services.store.patch_session(here.id, patch)
        here.row = msgspec.structs.replace(here.row, overrides=patched.overrides)


def _names(commands: Iterable[Any]) -> frozenset[str]:
    """The names of an agent's commands; it may announce anything."""
    named = (each.get("name") for each in commands if isinstance(each, dict))
    return frozenset(name.lower() for name in named if isinstance(name, str))
