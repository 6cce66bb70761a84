"""One run of the agent: wait for it, claim, prompt, relay, settle (T1–T6).

The messages are claimed when the agent is open: while it is being started, or cannot be, they are
rows that wait (T5 a).

Not an actor: a task in the session's nursery, since "busy" is that task (T1). Whatever ends it, its
agent or `actors.stopping`, it leaves through `actors.ending`, which commits the outcome (T2, D7);
should even that be cut off, the claim in the store is settled when the session wakes again (D8).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import aclosing
from itertools import filterfalse

import msgspec
import trio

from actors.agent_messages import Acquire, Claim, Lease
from actors.checking import checked_event
from actors.drafting import Drafts
from actors.ending import Ending, TurnHooks
from actors.giving import NotMade, prompt_of
from actors.progress import Progress
from actors.questions import Questions
from actors.queue import Batch
from actors.services import Services
from actors.steering import Steering
from actors.stopping import WITHDRAWALS, Stopping
from runtime.kernel import ActorRef, ActorStopped
from runtime.log import get_logger, log_context
from runtime.ports.agent import AgentGone, AgentHandle, AgentRefused, PromptTurn
from runtime.sessions.content import PromptContent, StoredContent
from runtime.sessions.events import MessageSteered, RunningTurn, TurnStarted, TurnUpdate
from runtime.sessions.handover import Handover
from runtime.sessions.media import Media
from runtime.sessions.prompting import merged_content
from runtime.sessions.relay import Reply
from runtime.sessions.rows import InboundRow, SessionRow, TurnError
from runtime.sessions.settling import TurnEnd
from runtime.sessions.updates import (
    AgentEvent,
    PermissionRequest,
    PermissionSettled,
    Result,
    is_turn_event,
)
from runtime.storage.errors import NotPending, StoreUnavailable
from runtime.storage.requests import BeginTurn, Owner

TAIL_LIMIT = 1.0
"""Seconds that an agent may go on after its result; the result is the end."""

BEGIN_AGAIN = 1.0
"""Seconds until a batch is offered again whose claim the disk refused, and until the agent is asked
for again when whoever looks after it has just crashed.
"""

log = get_logger(__name__)


class Turn:
    """A turn of one batch. `run` once, in a task of its own."""

    def __init__(
        self,
        services: Services,
        session: SessionRow,
        owner: Owner,
        agent: ActorRef[Acquire],
        batch: Batch,
        hooks: TurnHooks,
    ) -> None:
        self._services = services
        self._session = session
        self._owner = owner
        self._agent = agent
        self.batch = batch
        self._hooks = hooks
        self._settings = services.settings.sessions  # a running turn keeps those it began with
        self._reply = Reply()
        self._claim = Claim()
        self._claimed: BeginTurn | None = None
        self.questions = Questions(services, session.id, batch.turn_id, hooks.ask)
        self.steering = Steering(
            services, session, batch.turn_id, self._ends, self._take_in, hooks.heard
        )
        self._handover = Handover()
        self.stopping = Stopping(self._settings, self._reply, self._handover, self.questions)
        self._beside: trio.Nursery | None = None
        self._progress = Progress(services, session, batch.turn_id, self._reply)
        self._told: tuple[str, ...] = ()
        self._drafts = Drafts(services, session, batch, self._reply, hooks.start)
        self.started: TurnStarted | None = None

    # -- what the session asks of it ----------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the agent has said anything yet (T6)."""
        return self._handover.at is not None

    @property
    def running(self) -> RunningTurn | None:
        """The turn so far, for somebody who comes late; None before it is claimed."""
        if self.started is None:
            return None
        return RunningTurn(self.started, self._reply.updates, self.questions.open)

    @property
    def steerable(self) -> bool:
        """Whether its agent can be told of messages while it works (Q3)."""
        return self._handle is not None and self._handle.capabilities.steer

    def let_go(self, meant: Callable[[InboundRow], bool]) -> bool:
        """Leave out messages while it waits for its agent: they are none of its own then, and the
        others wait on. Without any left it ends.

        Returns:
            Whether that could still be: not once it has set out to claim them.
        """
        if self._claimed is not None:
            return False
        rows = tuple(filterfalse(meant, self.batch.rows))
        context = tuple(filterfalse(meant, self.batch.context))
        self.batch = msgspec.structs.replace(self.batch, rows=rows, context=context)
        if not rows:
            self.stopping.request(TurnEnd.CANCELLED)
        return True

    def take(self, row: InboundRow, *, keep: bool) -> None:
        """Hand a message to the agent, unless the turn is about to end; see `Steering.offer`."""
        handle, beside = self._handle, self._beside
        if handle is not None and beside is not None and not self._ends():
            self.steering.offer(row, handle, beside, keep=keep)

    def _ends(self) -> bool:
        """Whether it has its result, or was asked to end."""
        return self.stopping.asked is not None or self._reply.result is not None

    async def steer(self, content: StoredContent, media: Media = ()) -> bool:
        """Give the agent something to read in the middle of its turn; whether it confirmed."""
        return self._handle is not None and await self.steering.ask(self._handle, content, media)

    # -- the run ------------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole turn. Cancelled from outside, it is settled as cut off (T5 d)."""
        with log_context(turn=self.batch.turn_id):
            try:
                lease = await self._obtain()
                if lease is None:  # asked to end before the messages were claimed
                    await self._hand_back(self.batch.claimed, self.batch.overflow)
                elif await self._begin():
                    await self._run(lease)
            finally:
                self._claim.leave()

    async def _run(self, lease: Lease) -> None:
        end, error = TurnEnd.SHUTDOWN, None
        self._services.metrics.running_turns.inc()
        try:
            if self.stopping.asked is None:  # while it was claimed: then no agent is asked
                end, error = await self._drive(lease)
        finally:
            self._services.metrics.running_turns.dec()
            self.questions.close()
            await self.steering.settle()
            ending = Ending(
                self._services,
                self._session,
                self.batch,
                self._reply,
                self._drafts,
                self._hooks,
                self._hand_back,
            )
            end, error = self.stopping.ended_as(end, error)
            notice = self.stopping.notice
            await ending.write(end, error, self._settings, self._handover.at, self._told, notice)

    async def _obtain(self) -> Lease | None:
        """The open agent, however often it has to be started (P3); None when the turn was asked to
        end before there was one.
        """
        with self.stopping.waiting:
            async with self._drafts.typing():
                while True:
                    try:
                        lease = await self._agent.ask(Acquire(self._claim), timeout=math.inf)
                    except ActorStopped as error:
                        log.warning("agent_actor_stopped", reason=str(error))
                        await trio.sleep(BEGIN_AGAIN)
                    else:
                        return lease if self.stopping.asked is None else None
        return None

    async def _hand_back(
        self, again: tuple[InboundRow, ...], overflow: tuple[InboundRow, ...]
    ) -> None:
        """It is over, and these wait again, except for those that a person withdrew meanwhile. When
        it had not claimed them, a cancel was of some of them, and who asked for it drops those.
        """
        meant, asked = tuple(row for row in again if row.trigger), self.stopping.asked
        whole = asked is TurnEnd.WITHDRAWN or self.started is not None
        if meant and whole and asked in WITHDRAWALS:
            context = (row for row in again if not row.trigger)
            again = (*context, *await self._hooks.withdrawn(meant, asked, self.stopping.notice))
        await self._hooks.over(again, overflow)

    async def _begin(self) -> bool:
        """Claim the batch; False when there is nothing to run, or the disk refuses."""
        batch = self.batch
        self._claimed = request = BeginTurn(
            turn_id=batch.turn_id,
            session_id=self._session.id,
            epoch=self._session.epoch,
            fence=self._session.fence,
            owner=self._owner,
            message_ids=tuple(row.id for row in batch.claimed),
            overflow=tuple(row.id for row in batch.overflow),
        )
        try:
            turn = await self._services.store.begin_turn(request)
        except NotPending as error:
            log.info("turn_not_begun", reason=str(error))
            still = [await self._services.store.message_status(row.id) for row in batch.claimed]
            again = tuple(
                s.message for s in still if s is not None and s.message.state == "pending"
            )
            await self._hand_back(again, batch.overflow)
            return False
        except StoreUnavailable as error:
            log.error("turn_not_begun", reason=str(error))
            later = self._services.now() + int(BEGIN_AGAIN * 1000)
            again = tuple(
                msgspec.structs.replace(row, not_before=later, reason="store_unavailable")
                for row in batch.claimed
            )
            await self._hand_back(again, batch.overflow)
            return False
        self._drafts.inherit(turn.draft)
        self.started = TurnStarted(
            batch.turn_id, self._session.epoch, batch.message_ids, merged_content(batch.rows)
        )
        self._services.watchers.publish(self._session.id, self.started)
        return True

    async def _drive(self, lease: Lease) -> tuple[TurnEnd, TurnError | None]:
        """Run the agent until it has ended, by itself or asked to."""
        end: tuple[TurnEnd, TurnError | None] = (TurnEnd.SHUTDOWN, None)
        async with self._drafts.shown():
            with self.stopping.running as running:
                async with trio.open_nursery() as nursery:
                    self._beside = nursery
                    self.stopping.watch(lease, nursery)
                    nursery.start_soon(self._progress.save_forever)
                    try:
                        end = await self._stream(lease, nursery)
                    finally:
                        self._beside = None
                    nursery.cancel_scope.cancel()
        if running.cancelled_caught:
            await self.stopping.discard(lease)
            end = (TurnEnd.VANISHED, self._gone(lease.loss))
        elif end[0] is TurnEnd.VANISHED:
            await self.stopping.discard(lease)
        return end

    async def _stream(
        self, lease: Lease, nursery: trio.Nursery
    ) -> tuple[TurnEnd, TurnError | None]:
        """Write the prompt and relay what comes back; says how it ended."""
        if lease.handle is None:
            return TurnEnd.VANISHED, self._gone(lease.loss)
        handle = lease.handle
        try:
            content = await self._prompt(handle)
            prompt = PromptTurn(self.batch.turn_id, content, self.batch.message_ids)
            with trio.CancelScope() as tail:
                async with aclosing(handle.prompt(prompt)) as events:  # type: ignore[type-var]
                    async for event in events:
                        checked = checked_event(event)
                        await self._feed(checked)
                        if isinstance(checked, PermissionRequest | PermissionSettled):
                            self.questions.heard(checked, handle, nursery)
                        if isinstance(event, Result):
                            tail.deadline = trio.current_time() + TAIL_LIMIT
                        await trio.lowlevel.checkpoint()  # an agent may yield without ever waiting
        except AgentGone as error:
            return TurnEnd.VANISHED, self._gone(str(error))
        except AgentRefused as error:
            return TurnEnd.ANSWERED_ERROR, TurnError(error.code, str(error))
        except NotMade as error:
            return TurnEnd.ANSWERED_ERROR, TurnError("prompt_not_made", str(error))
        except Exception as error:
            log.exception("agent_raised")
            text = f"The agent failed: {type(error).__name__}: {error}"
            return TurnEnd.RAISED, TurnError("agent_raised", text)
        return TurnEnd.DONE, None

    async def _prompt(self, handle: AgentHandle) -> PromptContent:
        library = self._services.library
        evicted = await library.untold_evictions(self._session.id)
        self._told = tuple(row.file for row in evicted)
        return await prompt_of(self.batch, library, self._session, evicted, handle.capabilities)

    async def _feed(self, event: AgentEvent) -> None:
        if self._reply.result is not None or self._handover.withdrawn:
            self._services.metrics.late_events.inc()
            return
        if self.begun or is_turn_event(event):  # announcements do not count as a beginning (T6)
            self.stopping.heard()
        confirmed = isinstance(event, Result) and self.stopping.asked is not None
        counts = is_turn_event(event) and not confirmed
        if counts and not self.begun and self._handover.first_event(now := self._services.now()):
            await self._hooks.first_event(now)
        if isinstance(event, PermissionRequest | PermissionSettled):
            return
        for update in self._reply.feed(event):
            self._services.watchers.publish(
                self._session.id, TurnUpdate(self.batch.turn_id, update)
            )
        self._progress.note(self._handover.at)
        self._drafts.note()

    def _take_in(self, row: InboundRow) -> None:
        """The agent has confirmed a message: it is answered by this turn (Q3)."""
        self.batch = self.batch.joined_by(row)
        if self.started is not None:
            ids, prompt = self.batch.message_ids, merged_content(self.batch.rows)
            self.started = msgspec.structs.replace(self.started, message_ids=ids, prompt=prompt)
        steered = MessageSteered(self.batch.turn_id, row.id, merged_content((row,)))
        self._services.watchers.publish(self._session.id, steered)

    @staticmethod
    def _gone(reason: str) -> TurnError:
        return TurnError("agent_gone", f"The agent went away: {reason}")

    @property
    def _handle(self) -> AgentHandle | None:
        return self._claim.lease.handle if self._claim.lease is not None else None
