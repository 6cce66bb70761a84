"""One conversation: a supervised actor that owns its queue, its agent and its turn.

    Arrived        rows were admitted                          → to the queue
    Recheck        rows may wait that nobody told of (D8)
    Offered        the queue has a batch                       → a turn, as a task here
    InterruptTurn  something newer waits
    Cancel         end the running turn, withdraw messages     → whether there was anything
    Clear          withdraw all that has not begun             → how many
    GetStatus      what waits and runs                         → QueueStatus
    GetSnapshot    this instant, for a late watcher            → Snapshot
    Reset          begin anew (S18)                            → SessionRow
    Close          end for good (S43)
    SetQueue       the session's own queue settings            → SessionRow
    Reconfigure    the settings have changed
    Drain          no new turn; finish within the grace (S45)
    Rest           has it been idle for long enough? (S42)

Everything it knows is in the store; when it starts, it takes the session there, settles what an
earlier incarnation left behind (D8), and goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

import trio

from actors.agent import AgentActor, Discard
from actors.outbox import Due
from actors.persistence import until_written
from actors.queue import (
    Arrived,
    Batch,
    Configure,
    Ended,
    FirstEvent,
    Hold,
    InterruptTurn,
    Offered,
    QueueActor,
    QueueMessage,
    Status,
    Withdraw,
)
from actors.services import Services
from actors.session_messages import (
    Cancel,
    Clear,
    Close,
    Drain,
    GetSnapshot,
    GetStatus,
    GraceOver,
    MayStop,
    Recheck,
    Reconfigure,
    Reset,
    Rest,
    SessionMessage,
    SetQueue,
)
from actors.turn import Turn, TurnHooks
from actors.watch import outcome_of
from runtime.kernel import Actor, ActorRef, ActorStopped, Helper, Request, Restart, StopReason
from runtime.log import get_logger
from runtime.sessions.events import (
    EpochStarted,
    QueueStatus,
    SessionClosed,
    Snapshot,
    TurnEnded,
)
from runtime.sessions.rows import (
    DropReason,
    InboundRow,
    InboundState,
    QueueOverrides,
    SessionRow,
    TurnState,
)
from runtime.sessions.settling import TurnEnd
from runtime.storage.errors import StoreError, StoreUnavailable, UnknownSession
from runtime.storage.requests import DropPending, EndedTurn, Owner, SessionPatch

ASK_LIMIT = 30.0
"""Seconds within which a child of this actor must answer; they never wait for anything
themselves.
"""

END_LIMIT = 15.0
"""Seconds for a turn to end before a session is reset or closed: the agent's 5, the commit."""

STEER_TEXT = "The runtime is about to stop. Finish what you are doing now, briefly."

R = TypeVar("R")

log = get_logger(__name__)


class SessionActor(Actor[SessionMessage]):
    """The actor of one session."""

    _row: SessionRow
    _queue: ActorRef[QueueMessage]
    _agent: ActorRef[Any]

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
        self._turn: Turn | None = None
        self._task: Helper | None = None
        self._stopping = stopping
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
        self._row = awake.session
        for settled in awake.settled:
            services.metrics.recovered.inc()
            log.warning("turn_settled", turn=settled.turn_id)
            self._publish_interrupted(settled.turn_id, settled.requeued, InboundState.PENDING)
            self._publish_interrupted(settled.turn_id, settled.failed, InboundState.FAILED)
        for address in services.channels if awake.settled else ():
            self._outbox.tell(Due(*address))
        agent = services.agents.get(self._row.agent_id)
        self._agent = self.spawn(lambda: AgentActor(agent), name="agent", restart=Restart.TRANSIENT)
        policy, cap = services.queue_policy(self._row)
        queue = self.spawn(
            lambda: QueueActor(services, self.ref, policy, cap, awake.pending, awake.overflow),
            name="queue",
            restart=Restart.TEMPORARY,
        )
        self._queue = queue
        self.start(self._fail_with_queue, queue, name="queue-watch")
        self.start(self._verify, name="transcript")
        self.after(services.settings.sessions.hibernate_after, Rest())

    async def on_stop(self, reason: StopReason) -> None:
        log.debug("session_stopped", reason=str(reason))

    async def _fail_with_queue(self, queue: ActorRef[QueueMessage]) -> None:
        """A queue that is gone has forgotten what it offered: begin again from the rows."""
        raise RuntimeError(f"the queue ended: {await queue.stopped()}")

    # -- messages -----------------------------------------------------------------------------

    async def on_message(self, message: SessionMessage) -> object:  # noqa: C901 - a table of contents
        if not isinstance(message, Rest | GetStatus | GetSnapshot):
            self._active_at = trio.current_time()
        match message:
            case Arrived():
                await self._queue.send(message)
            case Recheck():
                await self._recheck()
            case Offered():
                self._run(message.batch)
            case InterruptTurn():
                if self._turn is not None and self._turn.batch.turn_id == message.turn_id:
                    self._turn.request_end(TurnEnd.CANCELLED)
            case Cancel():
                await self._answer(message, self._cancel(message))
            case Clear():
                await self._answer(message, self._clear())
            case GetStatus():
                return await self._status()
            case GetSnapshot():
                return self._snapshot()
            case Reset():
                await self._answer(message, self._reset())
            case Close():
                await self._answer(message, self._close())
            case SetQueue():
                await self._answer(message, self._set_queue(message.overrides))
            case Reconfigure():
                await self._configure()
            case Drain():
                await self._drain(message.grace)
            case GraceOver():
                if self._turn is not None:
                    self._turn.request_end(TurnEnd.SHUTDOWN)
            case Rest():
                await self._rest()
        return None

    async def _answer(self, request: Request[R], work: Awaitable[R]) -> None:
        """A store that refuses is an answer to the asker, not the end of this actor."""
        reply = self.defer(request)
        try:
            reply.set(await work)
        except StoreError as error:
            reply.fail(error)

    async def _recheck(self) -> None:
        try:
            rows = await self._services.store.pending_messages(self._id)
        except StoreError as error:
            log.warning("recheck_failed", reason=str(error))
            return
        await self._queue.send(Arrived(rows))

    # -- the turn -----------------------------------------------------------------------------

    def _run(self, batch: Batch) -> None:
        """Start the turn of a batch. There is at most one, since the queue offers one at a time
        (T1).
        """
        services = self._services

        async def first_event() -> None:
            with suppress(ActorStopped):
                await self._queue.send(FirstEvent(batch.turn_id))

        async def over(again: tuple[InboundRow, ...], overflow: tuple[InboundRow, ...]) -> None:
            self._turn = None
            self._active_at = trio.current_time()
            with suppress(ActorStopped):  # the queue ends with this session; the rows are settled
                await self._queue.send(Ended(batch.turn_id, again, overflow))
            if self._stopping:
                self.stop()

        self._turn = Turn(
            services,
            self._row,
            self._owner,
            self._agent,
            services.agent_context(self._row),
            batch,
            TurnHooks(first_event, self._committed, self._withdrawn, over),
        )
        self._task = self.start(self._turn.run, name=f"turn-{batch.turn_id}")

    def _committed(self, ended: EndedTurn, event: TurnEnded) -> None:
        """The end of a turn is durable: from this step on it is no longer running, but written
        down.
        """
        self._row = ended.session
        self._turn = None
        self._services.watchers.publish(self._id, event)
        if event.message_state is not InboundState.PENDING:
            self._services.watchers.ended(event.message_ids, outcome_of(event))
        for address in {(row.reply_to.channel, row.reply_to.account) for row in ended.outbound}:
            self._outbox.tell(Due(*address))
        with suppress(ActorStopped):  # when it wakes again, the file is brought in step
            self.start(self._project, event.epoch, name="transcript")

    async def _verify(self) -> None:
        """Mend the transcript file if need be; the rows are the truth, so a failure is logged."""
        try:
            await self._services.transcripts.verify(self._row)
        except (OSError, StoreError) as error:
            log.warning("transcript_behind", reason=str(error))

    async def _project(self, epoch: int) -> None:
        """Append what a turn has written to the transcript file (J2)."""
        try:
            await self._services.transcripts.project(self._row, epoch)
        except (OSError, StoreError) as error:
            log.warning("transcript_behind", reason=str(error))

    # -- requests -----------------------------------------------------------------------------

    async def _cancel(self, message: Cancel) -> bool:
        turn = self._turn
        meant = turn is not None and (
            message.message_id is None or message.message_id in turn.batch.message_ids
        )
        hit = turn is not None and meant and turn.request_end(TurnEnd.CANCELLED)
        withdrawn = 0
        if message.connection is not None or message.message_id is not None:
            ids = (message.message_id,) if message.message_id is not None else ()
            request = Withdraw(connection=message.connection, message_ids=ids)
            withdrawn = await self._withdraw(request, DropReason.CANCELLED)
        return hit or withdrawn > 0

    async def _clear(self) -> int:
        """All that waits, in the queue and in the store, and a turn that has not begun (H3)."""
        await self._queue.ask(Withdraw(everything=True), timeout=ASK_LIMIT)
        dropped = await self._services.store.drop_pending(DropPending(self._id, DropReason.CLEARED))
        self._services.watchers.dropped(self._id, dropped, DropReason.CLEARED)
        turn = self._turn
        if turn is not None and not turn.begun and turn.request_end(TurnEnd.WITHDRAWN):
            return len(dropped) + len(turn.batch.rows)
        return len(dropped)

    async def _withdraw(self, request: Withdraw, reason: DropReason) -> int:
        """Take rows out of the queue and then out of the store: neither runs them then."""
        ids = await self._queue.ask(request, timeout=ASK_LIMIT)
        if not ids:
            return 0
        dropped = await self._services.store.drop_pending(DropPending(self._id, reason, ids))
        self._services.watchers.dropped(self._id, dropped, reason)
        return len(dropped)

    async def _withdrawn(self, rows: tuple[InboundRow, ...]) -> tuple[InboundRow, ...]:
        """Rows of a turn that a person cancelled before the disk let it begin."""
        ids = tuple(row.id for row in rows)
        request = DropPending(self._id, DropReason.CANCELLED, ids)
        dropped = await until_written(lambda: self._services.store.drop_pending(request))
        self._services.watchers.dropped(self._id, dropped, DropReason.CANCELLED)
        return ()

    async def _status(self) -> QueueStatus:
        waiting = await self._queue.ask(Status(), timeout=ASK_LIMIT)
        running = self._turn.batch.turn_id if self._turn is not None else None
        return QueueStatus(waiting.mode, running, waiting.count, waiting.oldest)

    def _snapshot(self) -> Snapshot:
        running = self._turn.running if self._turn is not None else None
        return Snapshot(self._services.watchers.number, self._row.journal_seq, running)

    async def _reset(self) -> SessionRow:
        await self._end_everything()
        # Later on only the newest two epochs are checked: none is left before its file is complete.
        await self._project(self._row.epoch)
        self._row, dropped = await self._services.store.new_epoch(self._id)
        await self._forget(dropped, DropReason.RESET)
        self._services.watchers.publish(self._id, EpochStarted(self._row.epoch))
        return self._row

    async def _close(self) -> None:
        await self._end_everything()
        await self._project(self._row.epoch)  # a closed session never wakes to be mended
        self._row, dropped = await self._services.store.close_session(self._id)
        await self._forget(dropped, DropReason.CLOSED)
        self._services.watchers.publish(self._id, SessionClosed())
        self.stop()

    async def _end_everything(self) -> None:
        """Nothing runs and nothing is open any more."""
        if self._turn is not None:
            self._turn.request_end(TurnEnd.CANCELLED)
        with trio.move_on_after(END_LIMIT) as limit:
            if self._task is not None:
                await self._task.wait()
        if limit.cancelled_caught:
            raise StoreUnavailable("the running turn cannot be written down now; try again later")
        await self._agent.send(Discard(None))

    async def _forget(self, dropped: tuple[InboundRow, ...], reason: DropReason) -> None:
        ids = tuple(row.id for row in dropped)
        await self._queue.ask(Withdraw(message_ids=ids), timeout=ASK_LIMIT)
        self._services.watchers.dropped(self._id, dropped, reason)

    async def _set_queue(self, overrides: QueueOverrides) -> SessionRow:
        self._row = await self._services.store.patch_session(
            self._id, SessionPatch(queue=overrides)
        )
        await self._configure()
        return self._row

    async def _configure(self) -> None:
        policy, cap = self._services.queue_policy(self._row)
        await self._queue.send(Configure(policy, cap))

    # -- rest and stop ------------------------------------------------------------------------

    async def _drain(self, grace: float) -> None:
        self._stopping = True
        turn = self._turn
        if turn is None:
            self.stop()
            return
        await self._queue.send(Hold())
        self.after(grace, GraceOver())
        self.start(turn.steer, STEER_TEXT, name="steer")

    async def _rest(self) -> None:
        """Hibernate when there has been nothing to do for long enough (S42)."""
        limit = self._services.settings.sessions.hibernate_after
        idle = trio.current_time() - self._active_at
        if self._turn is None and idle >= limit:
            waiting = await self._queue.ask(Status(), timeout=ASK_LIMIT)
            nothing = waiting.count == 0 and waiting.handed_over is None
            if nothing and await self._parent.ask(MayStop(self._id), timeout=ASK_LIMIT):
                self.stop()
                return
        self.after(max(limit - idle, limit / 10, 0.01), Rest())

    # -- what it tells ------------------------------------------------------------------------

    def _publish_interrupted(self, turn_id: str, ids: tuple[str, ...], state: InboundState) -> None:
        if not ids:
            return
        event = TurnEnded(
            turn_id,
            self._row.epoch,
            ids,
            TurnState.INTERRUPTED,
            state,
            None,
            journal_seq=self._row.journal_seq,
        )
        self._services.watchers.publish(self._id, event)
        if state is not InboundState.PENDING:
            self._services.watchers.ended(ids)
