"""One run of the agent: claim, prompt, relay, settle (T1–T6).

Not an actor: a task in the session's nursery, since "busy" is that task (T1). Whatever ends it, it
leaves through `_finish`, which commits the outcome (T2, D7); should even that be cut off, the claim
in the store is settled when the session wakes again (D8).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

import msgspec
import trio

from actors.agent import START_LIMIT, Acquire, AgentStartFailed, Discard, Lease
from actors.checking import checked_error, checked_event
from actors.persistence import until_written
from actors.queue import Batch
from actors.reporting import end_of_turn
from actors.services import Services
from runtime.kernel import ActorRef, ActorStopped, AskTimeout
from runtime.log import get_logger
from runtime.ports.agent import AgentContext, AgentGone, AgentRefused, PromptTurn
from runtime.sessions.content import Content
from runtime.sessions.events import RunningTurn, TurnEnded, TurnStarted, TurnUpdate
from runtime.sessions.prompting import build_prompt, merged_content
from runtime.sessions.relay import Reply
from runtime.sessions.rows import InboundRow, SessionRow, TurnError
from runtime.sessions.settling import TurnEnd, Verdict, settle
from runtime.sessions.updates import AgentEvent, Result, is_turn_event
from runtime.storage.errors import NotPending, StoreError, StoreUnavailable
from runtime.storage.requests import BeginTurn, EndedTurn, Owner, TurnProgress

CANCEL_LIMIT = 5.0  # T6
TAIL_LIMIT = 1.0
"""Seconds that an agent may go on after its result; the result is the end."""

PROGRESS_EVERY = 1.0  # T3
BEGIN_AGAIN = 1.0
"""Seconds until a batch is offered again whose claim the disk refused."""

log = get_logger(__name__)


WISHES = (TurnEnd.CANCELLED, TurnEnd.WITHDRAWN)
"""Ends that a person asked for."""


class TurnHooks(msgspec.Struct, frozen=True):
    """What the session does for its turn.

    Args:
        first_event: the agent has begun.
        committed: the end is durable; called in the same step in which it becomes visible.
        withdrawn: rows that a person withdrew before they were claimed; answers what is left.
        over: the batch is settled; with the rows that wait again, and overflow lines not told.
    """

    first_event: Callable[[], Awaitable[None]]
    committed: Callable[[EndedTurn, TurnEnded], None]
    withdrawn: Callable[[tuple[InboundRow, ...]], Awaitable[tuple[InboundRow, ...]]]
    over: Callable[[tuple[InboundRow, ...], tuple[InboundRow, ...]], Awaitable[None]]


class Turn:
    """A turn of one batch. `run` once, in a task of its own."""

    def __init__(
        self,
        services: Services,
        session: SessionRow,
        owner: Owner,
        agent: ActorRef[Acquire | Discard],
        context: AgentContext,
        batch: Batch,
        hooks: TurnHooks,
    ) -> None:
        self._services = services
        self._session = session
        self._owner = owner
        self._agent = agent
        self._context = context
        self.batch = batch
        self._hooks = hooks
        self._settings = services.settings.sessions  # a running turn keeps those it began with
        self._reply = Reply()
        self._lease: Lease | None = None
        self._asked_to_end: TurnEnd | None = None
        self._end_now = trio.Event()
        self._scope = trio.CancelScope()
        self._first_event_at: int | None = None
        self._last_event = 0.0
        self._start_failures = 0
        self._unsaved = trio.Event()
        self._saved = 0
        self.started: TurnStarted | None = None

    # -- what the session asks of it ----------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether the agent has said anything yet (T6)."""
        return self._first_event_at is not None

    @property
    def running(self) -> RunningTurn | None:
        """The turn so far, for somebody who comes late; None before it is claimed."""
        if self.started is None:
            return None
        return RunningTurn(self.started, self._reply.updates)

    def request_end(self, end: TurnEnd) -> bool:
        """Ask the agent to stop, and make it stop 5 s later.

        A person's wish comes before the runtime's reasons, else the first reason counts.

        Returns:
            Whether it makes a difference: not when the answer is complete.
        """
        if self._reply.result is not None:
            return False
        if self._asked_to_end is None or end in WISHES:
            self._asked_to_end = end
            self._end_now.set()
        return True

    async def steer(self, text: str) -> bool:
        """Hand a message to the agent in the middle of its turn; whether it confirmed."""
        handle = self._lease.handle if self._lease is not None else None
        if handle is None or not handle.capabilities.steer:
            return False
        with trio.move_on_after(CANCEL_LIMIT):
            try:
                return await handle.steer(text)
            except Exception:
                log.exception("agent_steer_raised", turn=self.batch.turn_id)
        return False

    # -- the run ------------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole turn. Cancelled from outside, it is settled as cut off (T5 d)."""
        if not await self._begin():
            return
        end, error = TurnEnd.SHUTDOWN, None
        self._services.metrics.running_turns.inc()
        try:
            end, error = await self._drive()
        finally:
            self._services.metrics.running_turns.dec()
            await self._finish(*self._ended_as(end, error))

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
            await self._services.store.begin_turn(request)
        except NotPending as error:
            log.info("turn_not_begun", turn=batch.turn_id, reason=str(error))
            still = [await self._services.store.message_status(row.id) for row in batch.claimed]
            again = tuple(
                s.message for s in still if s is not None and s.message.state == "pending"
            )
            await self._hooks.over(again, batch.overflow)
            return False
        except StoreUnavailable as error:
            log.error("turn_not_begun", turn=batch.turn_id, reason=str(error))
            later = self._services.now() + int(BEGIN_AGAIN * 1000)
            again = tuple(
                msgspec.structs.replace(row, not_before=later, reason="store_unavailable")
                for row in batch.claimed
            )
            if self._asked_to_end in WISHES:
                again = await self._hooks.withdrawn(again)
            await self._hooks.over(again, batch.overflow)
            return False
        self.started = TurnStarted(
            batch.turn_id, self._session.epoch, batch.message_ids, merged_content(batch.rows)
        )
        self._services.watchers.publish(self._session.id, self.started)
        return True

    async def _drive(self) -> tuple[TurnEnd, TurnError | None]:
        """Run the agent until it has ended, by itself or asked to."""
        end: tuple[TurnEnd, TurnError | None] = (TurnEnd.SHUTDOWN, None)
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_when_asked)
                end = await self._converse(nursery)
                nursery.cancel_scope.cancel()
        if self._scope.cancelled_caught:
            await self._discard()
            end = (TurnEnd.VANISHED, self._gone("it ended in the middle of the turn"))
        elif end[0] is TurnEnd.VANISHED:
            await self._discard()
        return end

    async def _converse(self, nursery: trio.Nursery) -> tuple[TurnEnd, TurnError | None]:
        try:
            lease = await self._agent.ask(Acquire(self._context), timeout=START_LIMIT * 2)
        except AgentStartFailed as error:
            self._start_failures = error.failures
            return TurnEnd.START_FAILED, TurnError("agent_start_failed", str(error))
        except (ActorStopped, AskTimeout) as error:
            return TurnEnd.START_FAILED, TurnError("agent_start_failed", str(error))
        self._lease = lease
        self._last_event = trio.current_time()
        nursery.start_soon(self._end_when_silent, lease)
        nursery.start_soon(self._end_when_lost, lease)
        nursery.start_soon(self._save_progress)
        return await self._stream(lease)

    async def _stream(self, lease: Lease) -> tuple[TurnEnd, TurnError | None]:
        """Write the prompt and relay what comes back; says how it ended."""
        if lease.handle is None:
            return TurnEnd.VANISHED, self._gone("the agent is gone")
        prompt = PromptTurn(self.batch.turn_id, self._prompt(), self.batch.message_ids)
        try:
            with trio.CancelScope() as tail:
                async with aclosing(lease.handle.prompt(prompt)) as events:  # type: ignore[type-var]
                    async for event in events:
                        await self._feed(checked_event(event))
                        if isinstance(event, Result):
                            tail.deadline = trio.current_time() + TAIL_LIMIT
                        await trio.lowlevel.checkpoint()  # an agent may yield without ever waiting
        except AgentGone as error:
            return TurnEnd.VANISHED, self._gone(str(error))
        except AgentRefused as error:
            return TurnEnd.ANSWERED_ERROR, TurnError(error.code, str(error))
        except Exception as error:
            log.exception("agent_raised", turn=self.batch.turn_id)
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

    def _prompt(self) -> Content:
        batch = self.batch
        return build_prompt(
            batch.rows,
            overflow=batch.overflow,
            context=batch.context,
            interrupted=any(row.interrupted for row in batch.rows),
            cap=max(1, len(batch.overflow)),
        )

    async def _feed(self, event: AgentEvent) -> None:
        if self._reply.result is not None:
            self._services.metrics.late_events.inc()
            return
        self._last_event = trio.current_time()
        confirmed = isinstance(event, Result) and self._asked_to_end is not None
        if self._first_event_at is None and is_turn_event(event) and not confirmed:
            self._first_event_at = self._services.now()
            await self._hooks.first_event()
        for update in self._reply.feed(event):
            self._services.watchers.publish(
                self._session.id, TurnUpdate(self.batch.turn_id, update)
            )
        self._unsaved.set()

    @staticmethod
    def _gone(reason: str) -> TurnError:
        return TurnError("agent_gone", f"the agent went away: {reason}")

    # -- what goes on beside the stream -------------------------------------------------------

    async def _end_when_asked(self) -> None:
        """Ask the agent, wait, then take the turn away from it (T4, T6)."""
        await self._end_now.wait()
        handle = self._lease.handle if self._lease is not None else None
        if handle is not None:
            with trio.move_on_after(CANCEL_LIMIT) as limit:
                try:
                    await handle.cancel()
                except Exception:
                    log.exception("agent_cancel_raised", turn=self.batch.turn_id)
            await trio.sleep_until(limit.deadline)
        self._scope.cancel()

    async def _end_when_silent(self, lease: Lease) -> None:
        """No first event, or no event, for too long (T4)."""
        limits = self._settings
        while True:
            limit = limits.turn_silence_limit if self.begun else limits.first_event_limit
            deadline = self._last_event + max(limit, self._declared_silence(lease))
            if trio.current_time() >= deadline:
                self.request_end(TurnEnd.STALLED if self.begun else TurnEnd.SILENT)
                return
            await trio.sleep_until(deadline)

    def _declared_silence(self, lease: Lease) -> float:
        try:
            return float(lease.handle.declared_silence()) if lease.handle is not None else 0.0
        except Exception:
            log.exception("agent_declared_silence_raised", turn=self.batch.turn_id)
            return 0.0

    async def _end_when_lost(self, lease: Lease) -> None:
        await lease.lost.wait()
        self._scope.cancel()

    async def _save_progress(self) -> None:
        """Keep what was said, about once a second (T3)."""
        while True:
            await self._unsaved.wait()
            await trio.sleep(PROGRESS_EVERY)
            self._unsaved = trio.Event()
            text, updates = self._reply.take_unsaved()
            progress = TurnProgress(
                turn_id=self.batch.turn_id,
                session_id=self._session.id,
                fence=self._session.fence,
                n=self._saved,
                text=text,
                data=[msgspec.to_builtins(update) for update in updates] or None,
                first_event_at=self._first_event_at,
            )
            await until_written(lambda: self._services.store.save_progress(progress))  # noqa: B023
            self._saved += 1

    async def _discard(self) -> None:
        if self._lease is not None:
            self._agent.tell(Discard(self._lease))
            with trio.move_on_after(CANCEL_LIMIT):
                await self._lease.lost.wait()

    # -- the one way out ----------------------------------------------------------------------

    async def _finish(self, end: TurnEnd, error: TurnError | None) -> None:
        """Commit the outcome, show it, hand the rest back to the queue (T2)."""
        try:
            verdict, ended = await self._commit(end, error, self._reply)
        except StoreError:
            raise
        except Exception:
            # What the agent said cannot be written down. To say so is better than to run it again.
            log.exception("turn_not_recordable", turn=self.batch.turn_id)
            unwritable = TurnError(
                "not_recordable", "The agent's answer could not be written down."
            )
            verdict, ended = await self._commit(TurnEnd.ANSWERED_ERROR, unwritable, Reply())
        await self._show(ended, verdict)

    async def _commit(
        self, end: TurnEnd, error: TurnError | None, reply: Reply
    ) -> tuple[Verdict, EndedTurn]:
        settings = self._settings
        verdict = settle(
            end,
            first_event=self.begun,
            rows=self.batch.claimed,
            now_ms=self._services.now(),
            max_tries=settings.max_tries,
            retry_delay=settings.retry_delay,
            error=checked_error(error),
            stop_reason=reply.result.stop_reason if reply.result else None,
            on_interrupted_retry=settings.on_interrupted == "retry",
            start_failures=max(1, self._start_failures),
        )
        request = end_of_turn(
            self._services, self._session, self.batch, verdict, reply, self._first_event_at
        )
        return verdict, await until_written(lambda: self._services.store.end_turn(request))

    async def _show(self, ended: EndedTurn, verdict: Verdict) -> None:
        again = tuple(
            msgspec.structs.replace(row, turn_id=self.batch.turn_id)
            for row in verdict.requeued(self.batch.claimed)
        )
        event = TurnEnded(
            turn_id=self.batch.turn_id,
            epoch=self._session.epoch,
            message_ids=self.batch.message_ids,
            state=verdict.turn_state,
            message_state=verdict.message_state,
            stop_reason=verdict.stop_reason,
            text=None if verdict.error is not None else self._reply.text or None,
            error=verdict.error,
            retry_at=verdict.retry_at,
            journal_seq=ended.session.journal_seq,
        )
        self._services.metrics.turns.labels(state=verdict.turn_state.value).inc()
        if again:
            self._services.metrics.retries.inc()
        self._hooks.committed(ended, event)
        await self._hooks.over(again, self.batch.overflow if again else ())
