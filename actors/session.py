"""One conversation: a supervised actor that owns its queue, its agent and its turn.

    Arrived        rows were admitted                          → to the queue
    Recheck        rows may wait that nobody told of (D8)
    Offered        the queue has a batch                       → a turn, as a task here
    InterruptTurn  something newer waits
    SteerTurn      the running turn may be told of something newer
    Cancel         end the running turn, withdraw messages     → whether there was anything
    Clear          withdraw all that has not begun             → how many
    GetStatus      what waits and runs                         → QueueStatus
    GetSnapshot    this instant, for a late watcher            → Snapshot
    Reset          begin anew (S18)                            → SessionRow
    Close          end for good (S43)
    SetQueue       the session's own queue settings            → SessionRow
    SetWorkplace   where the agent works from now on           → SessionRow
    GetOffers      what can be chosen of the agent             → Offers
    Choose         choose one of the agent's settings          → Offers
    Answer         answer a question of the agent              → whether it was open
    Reconnect      start the agent again                       → when that is under way
    AgentReady, AgentTrouble, Announced                        from the agent's actor
    Reconfigure    the settings have changed
    Drain          no new turn; finish within the grace (S45)
    Rest           has it been idle for long enough? (S42)

Everything it knows is in the store; when it starts, it takes the session there, settles what an
earlier incarnation left behind (D8), and goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import msgspec
import trio

from actors import projecting
from actors.agent import AgentActor
from actors.agent_messages import AgentMessage, AgentReady, AgentTrouble, Announced
from actors.conversation import Conversation
from actors.dealings import Dealings
from actors.epochs import Epochs
from actors.fetching import Fetching
from actors.orders import Doors, Orders
from actors.outbox import Due
from actors.queue import (
    Arrived,
    Configure,
    Hold,
    InterruptTurn,
    Offered,
    QueueActor,
    QueueMessage,
    Status,
    SteerTurn,
)
from actors.reception import Reception
from actors.services import Services
from actors.session_messages import (
    Answer,
    Cancel,
    Choose,
    Clear,
    Close,
    Drain,
    GetOffers,
    GetSnapshot,
    GetStatus,
    GraceOver,
    MayStop,
    Recheck,
    Reconfigure,
    Reconnect,
    Reset,
    Rest,
    SessionMessage,
    SetQueue,
    SetWorkplace,
)
from actors.turns import Turns
from actors.withdrawals import Withdrawals
from runtime.kernel import Actor, ActorRef, Request, Restart, StopReason
from runtime.log import get_logger
from runtime.sessions.content import text_content
from runtime.sessions.events import QueueStatus, Snapshot
from runtime.sessions.rows import InboundRow, QueueOverrides, SessionRow
from runtime.sessions.settling import TurnEnd
from runtime.sessions.updates import AgentNotice
from runtime.storage.errors import StoreError, UnknownSession
from runtime.storage.requests import Owner, SessionPatch

ASK_LIMIT = 30.0
"""Seconds within which a child of this actor must answer; they never wait for anything
themselves.
"""

STEER_TEXT = text_content("The runtime is about to stop. Finish what you are doing now, briefly.")

LOOK_AGAIN = 1.0
"""Seconds until a new conversation is begun that the disk refused."""

R = TypeVar("R")

log = get_logger(__name__)


class SessionActor(Actor[SessionMessage]):
    """The actor of one session."""

    _conversation: Conversation
    _queue: ActorRef[QueueMessage]
    _agent: ActorRef[AgentMessage]
    _reception: Reception
    _fetching: Fetching
    _withdrawals: Withdrawals
    _dealings: Dealings
    _epochs: Epochs
    _turns: Turns

    def __init__(
        self,
        services: Services,
        session_id: str,
        parent: ActorRef[MayStop],
        outbox: ActorRef[Due],
        *,
        stopping: bool,
    ) -> None:
        self._services = services
        self._id = session_id
        self._parent = parent
        self._outbox = outbox
        self._owner = Owner(services.instance, services.ids.new())
        self._stopping = stopping
        self._put_off = False
        self._active_at = trio.current_time()

    # -- start and end ------------------------------------------------------------------------

    async def on_start(self) -> None:
        services = self._services
        self.log_context["session"] = self._id
        if self._stopping:
            self.stop()
            return
        try:
            awake = await services.store.wake(self._id, self._owner, services.interrupted_policy)
        except UnknownSession:
            log.info("session_not_active")
            self.stop()
            return
        conversation = self._conversation = Conversation(awake.session)
        for settled in awake.settled:
            services.metrics.recovered.inc()
            log.warning("turn_settled", turn=settled.turn_id)
            services.watchers.interrupted(awake.session, settled)
        for address in services.channels if awake.settled else ():
            self._outbox.tell(Due(*address))
        doors = Doors(
            status=self._status,
            reconnect=lambda: self._dealings.reconnect(),
            stop=lambda row, everything: self._withdrawals.stop(row, everything=everything),
            clear=lambda row: self._withdrawals.clear(row),
            set_queue=self._set_queue,
            start_anew=lambda row, request: self._epochs.start_anew(row, request, self._turns.task),
        )
        orders = Orders(services, conversation, doors)
        self._reception = Reception(services, conversation, self._outbox, orders)
        self._agent = self.spawn(
            lambda: AgentActor(services, self.ref, lambda: conversation.row),
            name="agent",
            restart=Restart.TRANSIENT,
        )
        policy, cap = services.queue_policy(conversation.row)
        pending = self._first_rows(awake.pending)
        conversation.behind = frozenset(awake.behind)
        first = Arrived(pending, overflow=awake.overflow, behind=conversation.behind)
        queue = self.spawn(
            lambda: QueueActor(services, self.ref, policy, cap, first),
            name="queue",
            restart=Restart.TEMPORARY,
        )
        self._queue = queue
        self._fetching = Fetching(services, self._id, queue, self._outbox, self.start)
        for row in pending:
            self._fetching.begin(row)
        self._withdrawals = Withdrawals(
            services, conversation, queue, self._outbox, self._fetching.end, self.start
        )
        self._epochs = Epochs(services, conversation, self._withdrawals, self._agent)
        self._dealings = Dealings(services, conversation, self._reception, self._agent, queue)
        self._turns = Turns(
            services,
            conversation,
            self._owner,
            self._agent,
            queue,
            self._outbox,
            self._reception,
            self._dealings,
            self._withdrawals,
            lambda work, name: self.start(work, name=name),
            self._turn_is_over,
        )
        self.start(self._fail_with, queue, name="queue-watch")
        self.start(self._fail_with, self._agent, name="agent-watch")
        self.start(projecting.verify, services, conversation.row, name="transcript")
        self.after(self._idle_limit, Rest())

    async def on_stop(self, reason: StopReason) -> None:
        self._services.watchers.unblock(self._id)
        log.debug("session_stopped", reason=str(reason))

    async def _fail_with(self, child: ActorRef[Any]) -> None:
        """A queue that is gone has forgotten what it offered, and nobody starts the agent when its
        actor was given up: begin again from the rows.
        """
        raise RuntimeError(f"{child.path} ended: {await child.stopped()}")

    def _turn_is_over(self) -> None:
        self._active_at = trio.current_time()
        if self._stopping:
            self.stop()

    # -- messages -----------------------------------------------------------------------------

    async def on_message(self, message: SessionMessage) -> object:  # noqa: C901 - a table of contents
        if not isinstance(message, Rest | GetStatus | GetSnapshot | GetOffers | Announced):
            self._active_at = trio.current_time()
        match message:
            case Arrived():
                if await self._arrive(message):
                    self._dealings.say_if_blocked()
            case Recheck() if not self._stopping:
                await self._recheck()
            case Offered():
                self._turns.run(message.batch)
            case InterruptTurn():
                turn = self._conversation.turn
                if turn is not None and turn.batch.turn_id == message.turn_id:
                    turn.stopping.request(TurnEnd.SUPERSEDED)
            case SteerTurn():
                turn = self._conversation.turn
                if turn is not None and turn.batch.turn_id == message.turn_id:
                    turn.take(message.row, keep=message.keep)
            case Cancel():
                await self._answer(message, self._withdrawals.cancel(message))
            case Clear():
                await self._answer(message, self._withdrawals.clear())
            case GetStatus():
                return await self._status()
            case GetSnapshot():
                return self._snapshot()
            case Reset():
                await self._answer(message, self._epochs.reset(self._turns.task))
            case Close():
                await self._answer(message, self._close())
            case SetQueue():
                await self._answer(message, self._set_queue(message.overrides))
            case SetWorkplace():
                await self._answer(message, self._dealings.set_workplace(message.workplace))
            case GetOffers():
                self.start(self._dealings.offers, self.defer(message), name="offers")
            case Choose():
                self.start(self._dealings.choose, message, self.defer(message), name="choose")
            case Answer():
                self.start(self._dealings.answer, message, self.defer(message), name="answer")
            case Reconnect():
                await self._dealings.reconnect()
            case AgentReady():
                await self._dealings.ready(message)
            case AgentTrouble():
                await self._dealings.trouble(message)
            case Announced():
                if isinstance(message.announcement, AgentNotice):
                    self.start(self._dealings.say, message.announcement, name="notice")
                else:
                    self._dealings.announced(message.announcement)
            case Reconfigure():
                await self._configure()
                await self._dealings.refresh()
            case Drain():
                await self._drain(message.grace)
            case GraceOver():
                if self._conversation.turn is not None:
                    self._conversation.turn.stopping.request(TurnEnd.SHUTDOWN)
            case Rest() if not self._stopping:
                await self._rest()
        return None

    async def _answer(self, request: Request[R], work: Awaitable[R]) -> None:
        """A store that refuses is an answer to the asker, not the end of this actor."""
        reply = self.defer(request)
        try:
            reply.set(await work)
        except StoreError as error:
            reply.fail(error)

    async def _arrive(self, message: Arrived, *, again: bool = False) -> bool:
        """Rows that wait; whether any of them is for the queue. What needs no turn is done, at its
        place among the others where that matters (S36).
        """
        rows: list[InboundRow] = []
        self._fetching.end(message.dropped)
        await self._queue.send(msgspec.structs.replace(message, rows=()))
        if self._put_off and not again:
            await self._recheck()
            return False
        self._put_off = False
        some = False
        for row in message.rows:
            work = self._reception.work_on(row)
            if work is None:
                rows.append(row)
            elif not work.in_order:
                self.start(work.do, name="reception")
            else:
                some = await self._enqueue(rows) or some
                rows = []
                if not await work.do():
                    self._put_off = True  # it and what follows is read again later
                    self.after(LOOK_AGAIN, Recheck())
                    return some
                if work.renews:
                    await self._recheck()
                    return some
        return await self._enqueue(rows) or some

    async def _enqueue(self, rows: Sequence[InboundRow]) -> bool:
        if rows:
            await self._queue.send(Arrived(tuple(rows), behind=self._conversation.behind))
            for row in rows:
                self._fetching.begin(row)
            self._dealings.hold_up(tuple(rows))
        return bool(rows)

    def _first_rows(self, rows: tuple[InboundRow, ...]) -> tuple[InboundRow, ...]:
        """What the queue begins with: nothing, when commands among it are to be done in order."""
        if any(self._reception.command_in(row) is not None for row in rows):
            self.ref.tell(Recheck())
            return ()
        return rows

    async def _recheck(self) -> None:
        try:
            rows = await self._services.store.pending_messages(self._id)
        except StoreError as error:
            log.warning("recheck_failed", reason=str(error))
            return
        await self._arrive(Arrived(rows), again=True)

    # -- requests -----------------------------------------------------------------------------

    async def _status(self) -> QueueStatus:
        waiting = await self._queue.ask(Status(), timeout=ASK_LIMIT)
        turn = self._conversation.turn
        running = turn.batch.turn_id if turn is not None and turn.started is not None else None
        rows = (*self._conversation.not_begun(waiting.offered), *waiting.rows)
        oldest = min((row.admitted_at for row in rows), default=None)
        blocked = self._services.watchers.blocked(self._id)
        return QueueStatus(waiting.mode, running, len(rows), oldest, blocked)

    def _snapshot(self) -> Snapshot:
        running = self._conversation.turn.running if self._conversation.turn is not None else None
        return Snapshot(self._services.watchers.number, self._conversation.row.journal_seq, running)

    async def _close(self) -> None:
        await self._epochs.close(self._turns.task)
        self.stop()

    async def _set_queue(self, overrides: QueueOverrides) -> SessionRow:
        here, patch = self._conversation, SessionPatch(queue=overrides)
        patched = await self._services.store.patch_session(self._id, patch)
        here.row = msgspec.structs.replace(here.row, queue=patched.queue)
        await self._configure()
        return here.row

    async def _configure(self) -> None:
        policy, cap = self._services.queue_policy(self._conversation.row)
        await self._queue.send(Configure(policy, cap))

    # -- rest and stop ------------------------------------------------------------------------

    async def _drain(self, grace: float) -> None:
        self._stopping = True
        turn = self._conversation.turn
        if turn is None:
            self.stop()
            return
        self.after(grace, GraceOver())
        self.start(turn.steer, STEER_TEXT, name="steer")
        if turn.started is None:
            turn.stopping.request(TurnEnd.SHUTDOWN)  # it waits for the next start
        await self._queue.send(Hold())  # meanwhile the turn may end, and this actor with it

    @property
    def _idle_limit(self) -> float:
        agent = self._services.agents.get(self._conversation.row.agent_id)
        own = agent.idle_limit if agent is not None else None
        return self._services.settings.sessions.hibernate_after if own is None else own

    async def _rest(self) -> None:
        """Hibernate when there has been nothing to do for long enough (S42)."""
        limit = self._idle_limit
        idle = trio.current_time() - self._active_at
        if self._conversation.turn is None and idle >= limit:
            waiting = await self._queue.ask(Status(), timeout=ASK_LIMIT)
            nothing = not waiting.rows and waiting.offered is None
            if nothing and await self._parent.ask(MayStop(self._id), timeout=ASK_LIMIT):
                self.stop()
                return
        self.after(max(limit - idle, limit / 10, 0.01), Rest())
