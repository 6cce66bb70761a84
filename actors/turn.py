"""One run of the agent: wait for it, claim, prompt, relay, settle (T1–T6).

The messages are claimed when the agent is open: while it is being started, or cannot be, they are
rows that wait (T5 a).

Not an actor: a task in the session's nursery, since "busy" is that task (T1). Whatever ends it, it
leaves through `_finish`, which commits the outcome (T2, D7); should even that be cut off, the claim
in the store is settled when the session wakes again (D8).
"""

from __future__ import annotations

import math
from contextlib import aclosing

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

CANCEL_LIMIT = 5.0  # T6
DISCARD_LIMIT = 1.0
"""Seconds to wait until an agent is gone before the queue goes on; one that does not go is killed
meanwhile (P5).
"""

TAIL_LIMIT = 1.0
"""Seconds that an agent may go on after its result; the result is the end."""

BEGIN_AGAIN = 1.0
"""Seconds until a batch is offered again whose claim the disk refused, and until the agent is asked
for again when whoever looks after it has just crashed.
"""

log = get_logger(__name__)

WITHDRAWALS = (TurnEnd.CANCELLED, TurnEnd.WITHDRAWN)
"""Ends that a person asked for: of the messages too, when they were not claimed."""

WISHES = (*WITHDRAWALS, TurnEnd.SUPERSEDED)
"""Ends that people brought about, the last by saying something newer (Q3). A turn that has not
begun is not ended by that: its messages go back and run together with what is newer.
"""


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
        self._starting = trio.CancelScope()
        self.questions = Questions(services, session.id, batch.turn_id, hooks.ask)
        self.steering = Steering(services, session, batch.turn_id, self._take_in, hooks.heard)
        self._asked_to_end: TurnEnd | None = None
        self._end_now = trio.Event()
        self._scope = trio.CancelScope()
        self._beside: trio.Nursery | None = None
        self._handover = Handover()
        self._last_event, self._heard = 0.0, trio.Event()
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

    def request_end(self, end: TurnEnd) -> bool:
        """Ask the agent to stop, and make it stop 5 s later.

        A person's wish comes before the runtime's reasons, else the first reason counts.

        Returns:
            Whether it makes a difference: not when the answer is complete.
        """
        if self._reply.result is not None:
            return False
        if self._asked_to_end is None or end in WITHDRAWALS:
            self._asked_to_end = end
            self._end_now.set()
            self._starting.cancel()
        return True

    def withdraw(self) -> bool:
        """Take its messages away from it; whether that is still possible: not once the agent has
        begun, and an event that comes later does not count any more (H3).
        """
        return self._handover.withdraw() and self.request_end(TurnEnd.WITHDRAWN)

    @property
    def steerable(self) -> bool:
        """Whether its agent can be told of messages while it works (Q3)."""
        return self._handle is not None and self._handle.capabilities.steer

    def take(self, row: InboundRow, *, keep: bool) -> None:
        """Hand a message to the agent, unless the turn is about to end; see `Steering.offer`."""
        handle, beside = self._handle, self._beside
        ends = self._asked_to_end is not None or self._reply.result is not None
        if handle is not None and beside is not None and not ends:
            self.steering.offer(row, handle, beside, keep=keep)

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
            if self._asked_to_end is None:  # while it was claimed: then no agent is asked
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
            end, error = self._ended_as(end, error)
            await ending.write(end, error, self._settings, self._handover.at, self._told)

    async def _obtain(self) -> Lease | None:
        """The open agent, however often it has to be started (P3); None when the turn was asked to
        end before there was one.
        """
        with self._starting:
            async with self._drafts.typing():
                while True:
                    try:
                        return await self._agent.ask(Acquire(self._claim), timeout=math.inf)
                    except ActorStopped as error:
                        log.warning("agent_actor_stopped", reason=str(error))
                        await trio.sleep(BEGIN_AGAIN)
        return None

    async def _hand_back(
        self, again: tuple[InboundRow, ...], overflow: tuple[InboundRow, ...]
    ) -> None:
        """It is over, and these wait again, except for those that a person withdrew meanwhile."""
        meant = tuple(row for row in again if row.trigger)
        if meant and self._asked_to_end in WITHDRAWALS:
            context = (row for row in again if not row.trigger)
            again = (*context, *await self._hooks.withdrawn(meant, self._asked_to_end))
        await self._hooks.over(again, overflow)

    async def _begin(self) -> bool:
        """Claim the batch; False when there is nothing to run, or the disk refuses."""
        batch = self.batch
        request = BeginTurn(
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
        self._last_event = trio.current_time()
        async with self._drafts.shown():
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._beside = nursery
                    nursery.start_soon(self._end_when_asked)
                    nursery.start_soon(self._end_when_silent, lease)
                    nursery.start_soon(self._end_when_lost, lease)
                    nursery.start_soon(self._progress.save_forever)
                    try:
                        end = await self._stream(lease, nursery)
                    finally:
                        self._beside = None
                    nursery.cancel_scope.cancel()
        if self._scope.cancelled_caught:
            await self._discard(lease)
            end = (TurnEnd.VANISHED, self._gone(lease.loss))
        elif end[0] is TurnEnd.VANISHED:
            await self._discard(lease)
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
            return TurnEnd.ANSWERED_ERROR, TurnError(
                "agent_raised", f"the agent failed: {type(error).__name__}: {error}"
            )
        return TurnEnd.DONE, None

    def _ended_as(self, end: TurnEnd, error: TurnError | None) -> tuple[TurnEnd, TurnError | None]:
        """How the turn counts: by what was asked of it, by its result, by how the stream ended.

        A complete answer stands, whatever befell the agent after it. Asked to end, an agent may
        say so in many ways, and none of them is an answer.
        """
        asked, result = self._asked_to_end, self._reply.result
        if asked in WISHES:
            return asked, None
        if result is not None and result.error is None and result.stop_reason != "cancelled":
            return TurnEnd.DONE, None
        if asked is not None:
            return asked, None
        if result is not None and result.error is not None:
            return TurnEnd.ANSWERED_ERROR, result.error
        return (end, error) if result is None else (TurnEnd.CANCELLED, None)

    async def _prompt(self, handle: AgentHandle) -> PromptContent:
        library, session_id = self._services.library, self._session.id
        evicted = await library.untold_evictions(session_id)
        self._told = tuple(row.file for row in evicted)
        return await prompt_of(self.batch, library, session_id, evicted, handle.capabilities)

    async def _feed(self, event: AgentEvent) -> None:
        if self._reply.result is not None or self._handover.withdrawn:
            self._services.metrics.late_events.inc()
            return
        if self.begun or is_turn_event(event):  # announcements do not count as a beginning (T6)
            self._last_event = trio.current_time()
            self._heard.set()
        confirmed = isinstance(event, Result) and self._asked_to_end is not None
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
        return TurnError("agent_gone", f"the agent went away: {reason}")

    # -- what goes on beside the stream -------------------------------------------------------

    async def _end_when_asked(self) -> None:
        """Ask the agent, wait, then take the turn away from it (T4, T6)."""
        await self._end_now.wait()
        handle = self._handle
        if handle is not None:
            with trio.move_on_after(CANCEL_LIMIT) as limit:
                try:
                    await handle.cancel()
                except Exception:
                    log.exception("agent_cancel_raised")
            await trio.sleep_until(limit.deadline)
        self._scope.cancel()

    async def _end_when_silent(self, lease: Lease) -> None:
        """No first event, or no event, for too long (T4)."""
        limits = self._settings
        while True:
            limit = limits.turn_silence_limit if self.begun else limits.first_event_limit
            declared = self._declared_silence(lease)
            deadline = self._last_event + max(limit, declared)
            if trio.current_time() >= deadline:
                self.request_end(TurnEnd.STALLED if self.begun else TurnEnd.SILENT)
                return
            with trio.move_on_at(deadline):
                if declared <= limit:
                    await trio.sleep_forever()
                self._heard = trio.Event()  # with what comes next, a longer limit may be over
                await self._heard.wait()

    @property
    def _handle(self) -> AgentHandle | None:
        return self._claim.lease.handle if self._claim.lease is not None else None

    def _declared_silence(self, lease: Lease) -> float:
        if self.questions.open:
            return self._settings.permission_limit + CANCEL_LIMIT  # people are thinking
        try:
            return float(lease.handle.declared_silence()) if lease.handle is not None else 0.0
        except Exception:
            log.exception("agent_declared_silence_raised")
            return 0.0

    async def _end_when_lost(self, lease: Lease) -> None:
        await lease.lost.wait()
        self._scope.cancel()

    async def _discard(self, lease: Lease) -> None:
        lease.release()
        with trio.move_on_after(DISCARD_LIMIT):
            await lease.lost.wait()
