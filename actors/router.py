"""Where every message enters: which session, then the store, then the session is told (D5, S6).

    Submit    a client's message to a session          → Admitted
    Deliver   messages of a push channel, with offset  → when they are durable

Each is admitted in a task of its own, so that all share the next commit; the answer comes after it.
What one account delivers is admitted in the order in which it came, however long its files take.
"""

from __future__ import annotations

from typing import Any

from actors.arrivals import Arrival, arrival, is_command
from actors.drafting import withdraw_of
from actors.enclosed import Enclosed
from actors.intake import Intake
from actors.library import Staged
from actors.line import Line, Place
from actors.outbox import Due
from actors.services import Services
from actors.sessions import Wake
from runtime.kernel import Actor, ActorRef, Reply, Request
from runtime.log import get_logger
from runtime.ports.channel import Inbound
from runtime.sessions.content import StoredContent, shown
from runtime.sessions.events import MessageAccepted
from runtime.sessions.rows import CLIENTS, DropReason, InboundState, MessageKey, Sender
from runtime.storage.errors import QueueFull, UnknownSession
from runtime.storage.requests import (
    Admitted,
    ChannelOffset,
    NewInbound,
)

IN_FLIGHT = 10_000
"""How many admissions may be under way; more are refused, since the disk does not keep up."""

ATTEMPTS = 3
"""How often files are received for a session that is closed before their message is admitted."""

log = get_logger(__name__)


class Overloaded(Exception):
    """Too many messages wait for the disk; nothing was accepted."""


class Submit(Request[Admitted], frozen=True):
    """A message of a client that waits for an answer.

    ``files``: those that it brings or leads to, if any; when it begins, the router takes over what
    is there of them, and lets go of it when the message is accepted, or is not.
    """

    session_id: str
    content: StoredContent
    message_id: str | None = None
    connection: str | None = None
    sender: Sender | None = None
    files: Intake | None = None


class Deliver(Request[None], frozen=True):
    """Messages of one account of a push channel, and the offset that covers them."""

    channel: str
    account: str
    messages: tuple[Inbound, ...]
    offset: str | None = None


class Router(Actor[Submit | Deliver]):
    """Admits messages."""

    def __init__(self, services: Services, sessions: ActorRef[Wake], outbox: ActorRef[Due]) -> None:
        self._services = services
        self._sessions = sessions
        self._outbox = outbox
        self._in_flight = 0
        self._line = Line()

    async def on_message(self, message: Submit | Deliver) -> object:
        match message:
            case Submit():
                submitted = self.defer(message)
                if self._has_room(submitted):
                    self.start(self._submit, message, submitted, name="submit")
            case Deliver():
                delivered = self.defer(message)
                if self._has_room(delivered):
                    place = self._line.join((message.channel, message.account))
                    self.start(self._deliver, message, delivered, place, name="deliver")
        return None

    def _has_room(self, reply: Reply[Any]) -> bool:
        if self._in_flight >= IN_FLIGHT:
            reply.fail(Overloaded("too many messages wait for the disk: send it again later"))
            return False
        self._in_flight += 1
        return True

    async def _submit(self, message: Submit, reply: Reply[Admitted]) -> None:
        staged = message.files.taken_over() if message.files is not None else ()
        if staged is None:
            self._in_flight -= 1
            reply.fail(Overloaded("it took too long, and nobody waits for it any more"))
            return
        try:
            (admitted,) = await self._services.store.admit((self._submitted(message, staged),))
        except Exception as error:
            if isinstance(error, QueueFull):
                self._services.metrics.refused_full.inc()
            reply.fail(error)
            return
        finally:
            self._in_flight -= 1
            # By now the message refers to its files, or nobody does.
            for each in staged:
                self._services.library.unstage(each)
        self._tell(admitted)
        reply.set(admitted)

    def _submitted(self, message: Submit, staged: tuple[Staged, ...]) -> NewInbound:
        """A client's message as a row."""
        return NewInbound(
            id=self._services.ids.new(),
            session=message.session_id,
            content=message.content,
            key=None
            if message.message_id is None
            else MessageKey(CLIENTS, "", message.session_id, message.message_id),
            limit=self._services.queue_limit,
            refuse_when_full=True,
            command=is_command(self._services, message.content),
            connection=message.connection,
            sender=message.sender,
            media=message.files.media if message.files is not None else (),
            blobs=tuple(each.blob for each in staged),
        )

    async def _deliver(self, message: Deliver, reply: Reply[None], place: Place) -> None:
        """Messages, and the offset that covers them: all of them, or they would come for ever."""
        offset = None
        if message.offset is not None:
            offset = ChannelOffset(message.channel, message.account, message.offset)
        try:
            # What a channel gets wrong is its own affair (N5).
            arrivals = tuple(
                arrival(self._services, message.channel, message.account, inbound)
                for inbound in message.messages
            )
            all_admitted = await self._admitted(arrivals, offset, place)
        except Exception as error:
            reply.fail(error)
            return
        finally:
            self._in_flight -= 1
            place.leave()
        for admitted in all_admitted:
            self._tell(admitted)
        reply.set(None)

    async def _admitted(
        self, arrivals: tuple[Arrival, ...], offset: ChannelOffset | None, place: Place
    ) -> tuple[Admitted, ...]:
        """Admit messages with their files; anew when a session was closed in between."""
        attempt = 1
        while True:
            with Enclosed(self._services) as files:
                rows = await files.take(arrivals)
                await place.turn()
                place.leave()  # the store has them before the next one wakes
                try:
                    return await self._services.store.admit(rows, offset)
                except UnknownSession:
                    if attempt == ATTEMPTS:
                        raise
            attempt += 1

    def _tell(self, admitted: Admitted) -> None:
        """Count it, show it, wake its session."""
        services, message = self._services, admitted.message
        if admitted.duplicate:
            services.metrics.duplicates.inc()
            return
        if message.state is not InboundState.DROPPED:
            services.metrics.accepted.inc()
        session_id = admitted.session.id
        services.watchers.dropped(session_id, admitted.dropped, DropReason.CAP)
        if any(row.turn_id is not None for row in admitted.dropped):
            self.start(withdraw_of, services, admitted.dropped, name="drafts")
        for notice in admitted.notices:
            self._outbox.tell(Due(notice.reply_to.channel, notice.reply_to.account))
        if message.state is InboundState.PENDING:
            services.watchers.publish(
                session_id,
                MessageAccepted(message.id, message.seq, shown(message.content, message.id)),
            )
            news = Wake(session_id, (message,), admitted.dropped, admitted.overflow)
            self._sessions.tell(news)
        else:
            reason = DropReason(message.reason or DropReason.EXPIRED)
            services.watchers.dropped(session_id, (message,), reason)
