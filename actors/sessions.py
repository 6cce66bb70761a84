"""The live sessions: wakes them, finds them, lets them rest (S42, S45).

    Wake      there may be something to do in a session
    Obtain    the session's actor, woken if it sleeps         → ActorRef
    FindLive  the actors of those that are awake              → by session id
    MayStop   (from a session) may it hibernate now?          → bool
    Gone      (watch) a session's actor has ended
    Reconfigured  the settings have changed
    Drain     stop them all, working ones within a grace      → when all have ended

It is the only one that starts a session's actor and the only way for messages to it, so a session
that goes to sleep never
misses one: what comes meanwhile wakes it again, and the rows are in the store.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from actors.outbox import Due
from actors.queue import Arrived
from actors.services import Services
from actors.session import SessionActor
from actors.session_messages import Drain as DrainSession
from actors.session_messages import MayStop, Recheck, Reconfigure, SessionMessage
from runtime.kernel import (
    Actor,
    ActorRef,
    ActorStopped,
    Message,
    Reply,
    Request,
    Restart,
    StopOrder,
    StopReason,
)
from runtime.log import get_logger
from runtime.sessions.rows import InboundRow

SETTLE_LIMIT = 6.0
"""Seconds for a turn that was cut off to be written down: what an agent gets to answer, and one."""

log = get_logger(__name__)


class Wake(Message, frozen=True):
    """Rows were admitted to a session, or something is due there."""

    session_id: str
    rows: tuple[InboundRow, ...] = ()
    dropped: tuple[InboundRow, ...] = ()
    overflow: tuple[InboundRow, ...] = ()


class Obtain(Request[ActorRef[SessionMessage]], frozen=True):
    """Ask for the actor of a session, awake. Fails with `ActorStopped` while everything stops."""

    session_id: str


class FindLive(Request[dict[str, ActorRef[SessionMessage]]], frozen=True):
    """Ask for the actors of those of these sessions that are awake."""

    session_ids: tuple[str, ...]


class Gone(Message, frozen=True):
    """A session's actor has ended for good."""

    session_id: str
    reason: StopReason


class Reconfigured(Message, frozen=True):
    """The settings have changed: those that are awake are told."""


class Drain(Request[None], frozen=True):
    """Stop all sessions; those that work get ``grace`` seconds."""

    grace: float


SessionsMessage = Wake | Obtain | FindLive | MayStop | Gone | Reconfigured | Drain


class Resting:
    """A session on its way to sleep, and whether it is wanted again."""

    def __init__(self) -> None:
        self.wanted = False
        self.replies: list[Reply[ActorRef[SessionMessage]]] = []


class Sessions(Actor[SessionsMessage]):
    """The supervisor of all sessions."""

    stop_order = StopOrder.TOGETHER  # the graces of a thousand sessions must not add up

    def __init__(self, services: Services, outbox: ActorRef[Due]) -> None:
        self._services = services
        self._outbox = outbox
        self._live: dict[str, ActorRef[SessionMessage]] = {}
        self._resting: dict[str, Resting] = {}
        self._drained: Reply[None] | None = None

    async def on_message(self, message: SessionsMessage) -> object:
        match message:
            case Wake():
                self._wake(message)
            case Obtain():
                self._obtain(message)
            case FindLive():
                return self._find(message.session_ids)
            case MayStop():
                return self._may_stop(message.session_id)
            case Gone():
                self._gone(message)
            case Reconfigured():
                for live in self._live.values():
                    self._say(live, Reconfigure())
            case Drain():
                self._drain(message)
        return None

    def _find(self, session_ids: tuple[str, ...]) -> dict[str, ActorRef[SessionMessage]]:
        return {
            session_id: self._live[session_id]
            for session_id in session_ids
            if session_id in self._live and session_id not in self._resting
        }

    def _wake(self, message: Wake) -> None:
        session_id = message.session_id
        resting = self._resting.get(session_id)
        if resting is not None:
            resting.wanted = True
            return
        live = self._live.get(session_id)
        if live is None:
            self._spawn(session_id)
            return
        news: SessionMessage = Recheck()
        if message.rows or message.dropped:
            news = Arrived(message.rows, message.dropped, message.overflow)
        self._say(live, news)

    def _say(self, live: ActorRef[SessionMessage], news: SessionMessage) -> None:
        if not live.tell(news):
            self.start(self._send_later, live, news, name="send-later")

    async def _send_later(self, live: ActorRef[SessionMessage], news: SessionMessage) -> None:
        """A session with a full mailbox gets it when there is room; one that ended reads its
        rows.
        """
        with suppress(ActorStopped):
            await live.send(news)

    def _obtain(self, message: Obtain) -> None:
        reply = self.defer(message)
        resting = self._resting.get(message.session_id)
        if resting is not None:
            resting.replies.append(reply)
            return
        live = self._live.get(message.session_id) or self._spawn(message.session_id)
        _give(reply, live)

    def _spawn(self, session_id: str) -> ActorRef[SessionMessage] | None:
        if self._drained is not None:
            return None
        live = self.spawn(
            lambda: self._make(session_id),
            name=session_id,
            restart=Restart.TRANSIENT,
        )
        self._live[session_id] = live
        self._services.metrics.live_sessions.inc()
        live.watch(self.ref, lambda reason: Gone(session_id, reason))
        return live

    def _make(self, session_id: str) -> SessionActor:
        """An incarnation of a session. One that crashed on its way to sleep is awake again."""
        resting = self._resting.pop(session_id, None)
        for reply in resting.replies if resting is not None else ():
            _give(reply, self._live.get(session_id))
        stopping = self._drained is not None
        return SessionActor(self._services, session_id, self.ref, self._outbox, stopping=stopping)

    def _may_stop(self, session_id: str) -> bool:
        """Yes, unless a message is on its way; from now on what comes waits for the next
        incarnation.
        """
        live = self._live.get(session_id)
        if live is None or live.mailbox_depth > 0:
            return False
        self._resting[session_id] = Resting()
        return True

    def _gone(self, message: Gone) -> None:
        session_id = message.session_id
        if self._live.pop(session_id, None) is not None:
            self._services.metrics.live_sessions.dec()
        if message.reason.error is not None:
            self._services.metrics.given_up.inc()
            log.error("session_given_up", session=session_id, reason=str(message.reason))
        resting = self._resting.pop(session_id, None)
        if resting is not None and (resting.wanted or resting.replies):
            live = self._spawn(session_id)
            for reply in resting.replies:
                _give(reply, live)
        if self._drained is not None and not self._live:
            self._drained.set(None)

    def _drain(self, message: Drain) -> None:
        self._drained = self.defer(message)
        for live in self._live.values():
            self._say(live, DrainSession(message.grace))
        if not self._live:
            self._drained.set(None)
        self.start(self._stop_the_rest, message.grace + SETTLE_LIMIT, name="drain")

    async def _stop_the_rest(self, seconds: float) -> None:
        """A session that was just restarting did not hear of the end: it is stopped by name."""
        await trio.sleep(seconds)
        async with trio.open_nursery() as nursery:
            for live in self._live.values():
                nursery.start_soon(live.stop, SETTLE_LIMIT)


def _give(reply: Reply[ActorRef[SessionMessage]], live: ActorRef[SessionMessage] | None) -> None:
    if live is not None:
        reply.set(live)
    else:
        reply.fail(ActorStopped("the runtime is stopping: no session is woken any more"))
