"""The one way out of a turn: commit what came of it, show it, hand the rest back (T2, D7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from actors.checking import checked_error
from actors.drafting import Drafts
from actors.persistence import until_written
from actors.queue import Batch
from actors.reporting import end_of_turn, is_left_over
from actors.services import Services
from actors.uploads import looked_into
from runtime.kernel import Helper
from runtime.log import get_logger
from runtime.sessions.events import TurnEnded
from runtime.sessions.queueing import Heard
from runtime.sessions.relay import Reply
from runtime.sessions.rows import InboundRow, SessionRow, TurnError, TurnState
from runtime.sessions.settling import TurnEnd, Verdict, settle
from runtime.sessions.updates import PermissionRequest
from runtime.sessions.withdrawing import DropNotice
from runtime.settings import SessionSettings
from runtime.storage.errors import StoreError
from runtime.storage.requests import EndedTurn

log = get_logger(__name__)


HandBack: TypeAlias = Callable[[tuple[InboundRow, ...], tuple[InboundRow, ...]], Awaitable[None]]
"""Told of the rows that wait again and of the overflow lines not told; see `TurnHooks.over`."""


class TurnHooks(msgspec.Struct, frozen=True):
    """What the session does for its turn.

    Args:
        first_event: the agent has begun; with the time in ms since 1970.
        committed: the end is durable; called in the same step in which it becomes visible.
        withdrawn: rows that a person withdrew before they were claimed, how, and what their chats
            are told; answers what is left.
        over: the batch is settled; with the rows that wait again, and overflow lines not told.
        ask: the agent asks people something; puts it in words where there is no dialog.
        heard: what became of a message that the running turn was to take in (H8).
        start: starts a task, by its name, that may go on for a little when the turn has ended.
    """

    first_event: Callable[[int], Awaitable[None]]
    committed: Callable[[EndedTurn, TurnEnded], None]
    withdrawn: Callable[
        [tuple[InboundRow, ...], TurnEnd, DropNotice | None], Awaitable[tuple[InboundRow, ...]]
    ]
    over: Callable[[tuple[InboundRow, ...], tuple[InboundRow, ...]], Awaitable[None]]
    ask: Callable[[PermissionRequest], Awaitable[None]]
    heard: Callable[[InboundRow, Heard], Awaitable[None]]
    start: Callable[[Callable[[], Awaitable[object]], str], Helper]


class Ending:
    """Writes down the end of one turn."""

    def __init__(
        self,
        services: Services,
        session: SessionRow,
        batch: Batch,
        reply: Reply,
        drafts: Drafts,
        hooks: TurnHooks,
        hand_back: HandBack,
    ) -> None:
        self._services = services
        self._session = session
        self._batch = batch
        self._reply = reply
        self._drafts = drafts
        self._hooks = hooks
        self._hand_back = hand_back

    async def write(
        self,
        end: TurnEnd,
        error: TurnError | None,
        settings: SessionSettings,
        first_event_at: int | None,
        told: tuple[str, ...] = (),
        notice: DropNotice | None = None,
    ) -> None:
        """Commit the outcome, show it, hand the rest back to the queue.

        Args:
            end: how the turn ended.
            error: what went wrong, in the agent's words.
            settings: those that the turn began with.
            first_event_at: when the agent had begun, in ms since 1970; None when it had not.
            told: evicted files that the prompt named (M9).
            notice: what the chat is told of it when somebody elsewhere ended it.
        """

        async def commit(
            end: TurnEnd, error: TurnError | None, reply: Reply
        ) -> tuple[Verdict, EndedTurn]:
            verdict = settle(
                end,
                first_event=first_event_at is not None,
                rows=self._batch.claimed,
                now_ms=self._services.now(),
                max_tries=settings.max_tries,
                retry_delay=settings.retry_delay,
                error=checked_error(error),
                stop_reason=reply.result.stop_reason if reply.result else None,
                on_interrupted_retry=settings.on_interrupted == "retry",
            )
            done = verdict.turn_state is TurnState.DONE
            address = self._batch.rows[0].reply_to if done else None
            async with looked_into(self._services, self._session, address) as outgoing:
                request = end_of_turn(
                    self._services,
                    self._session,
                    self._batch,
                    verdict,
                    reply,
                    first_event_at,
                    told,
                    self._drafts,
                    outgoing,
                    notice,
                )
                return verdict, await until_written(lambda: self._services.store.end_turn(request))

        try:
            verdict, ended = await commit(end, error, self._reply)
        except StoreError:
            raise
        except Exception:
            # What the agent said cannot be written down. To say so is better than to run it again.
            log.exception("turn_not_recordable", turn=self._batch.turn_id)
            unwritable = TurnError(
                "not_recordable", "The agent's answer could not be written down."
            )
            verdict, ended = await commit(TurnEnd.RAISED, unwritable, Reply())
        self._services.library.outbox_used(self._session.agent_id, self._session.id)
        await self._show(ended, verdict)
        if is_left_over(verdict, ended.outbound, self._reply):
            await self._drafts.withdraw()

    async def _show(self, ended: EndedTurn, verdict: Verdict) -> None:
        batch = self._batch
        again = tuple(
            msgspec.structs.replace(row, turn_id=batch.turn_id if row.tries else None)
            for row in verdict.requeued(batch.claimed)
        )
        event = TurnEnded(
            turn_id=batch.turn_id,
            epoch=self._session.epoch,
            message_ids=batch.message_ids,
            state=verdict.turn_state,
            message_state=verdict.message_state,
            stop_reason=verdict.stop_reason,
            text=None if verdict.error is not None else self._reply.text or None,
            error=verdict.error,
            retry_at=verdict.retry_at,
            journal_seq=ended.session.journal_seq,
        )
        self._services.metrics.turns.labels(state=verdict.turn_state.value).inc()
        if again and verdict.turn_state is not TurnState.CANCELLED:
            self._services.metrics.retries.inc()
        self._hooks.committed(ended, event)
        await self._hand_back(again, batch.overflow if again else ())
