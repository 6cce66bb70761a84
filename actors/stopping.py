"""What ends a turn before its agent has: wishes of people, the runtime's own reasons, silence, the
loss of the agent (T4, T6, H3).
"""

from __future__ import annotations

import trio

from actors.agent_messages import Lease
from actors.questions import Questions
from runtime.log import get_logger
from runtime.sessions.handover import Handover
from runtime.sessions.relay import Reply
from runtime.sessions.rows import TurnError
from runtime.sessions.settling import TurnEnd
from runtime.sessions.withdrawing import DropNotice
from runtime.settings import SessionSettings

CANCEL_LIMIT = 5.0  # T6
DISCARD_LIMIT = 1.0
"""Seconds to wait until an agent is gone before the queue goes on; one that does not go is killed
meanwhile (P5).
"""

WITHDRAWALS = (TurnEnd.CANCELLED, TurnEnd.WITHDRAWN)
"""Ends that a person asked for: of the messages too, when they were not claimed."""

WISHES = (*WITHDRAWALS, TurnEnd.SUPERSEDED)
"""Ends that people brought about, the last by saying something newer (Q3): when the agent had not
begun, that takes no message back, and they run together with what is newer.
"""

log = get_logger(__name__)


class Stopping:
    """Ends one turn, when that is asked for or its agent has been silent for too long.

    Args:
        settings: those that the turn began with.
        reply: the answer in the making; when it is complete, nothing ends the turn any more.
        handover: whether the agent has begun.
        questions: while one is open, people are thinking.
    """

    def __init__(
        self, settings: SessionSettings, reply: Reply, handover: Handover, questions: Questions
    ) -> None:
        self._settings = settings
        self._reply = reply
        self._handover = handover
        self._questions = questions
        self._now = trio.Event()
        self._last_event, self._heard = 0.0, trio.Event()
        self.asked: TurnEnd | None = None
        """How the turn was asked to end; None when it was not."""
        self.notice: DropNotice | None = None
        """What its chat is told of that; None: nothing."""
        self.waiting = trio.CancelScope()
        """Around the wait for the agent: over as soon as the turn is asked to end."""
        self.running = trio.CancelScope()
        """Around the agent's work: over when the turn is taken away from it, or it is lost."""

    def request(self, end: TurnEnd, notice: DropNotice | None = None) -> bool:
        """Ask the agent to stop, and make it stop 5 s later.

        A person's wish comes before the runtime's reasons, else the first reason counts.

        Args:
            end: how it is to end.
            notice: what its chat is told of that.

        Returns:
            Whether it makes a difference: not when the answer is complete.
        """
        if self._reply.result is not None:
            return False
        if self.asked is None or end in WITHDRAWALS:
            self.asked, self.notice = end, notice
            self._now.set()
            self.waiting.cancel()
        return True

    def withdraw(self, notice: DropNotice | None = None) -> bool:
        """Take its messages away from the turn; whether that is still possible: not once the agent
        has begun, and an event that comes later does not count any more (H3).
        """
        return self._handover.withdraw() and self.request(TurnEnd.WITHDRAWN, notice)

    def ended_as(self, end: TurnEnd, error: TurnError | None) -> tuple[TurnEnd, TurnError | None]:
        """How the turn counts: by what was asked of it, by its result, by how the stream ended.

        A complete answer stands, whatever befell the agent after it. Asked to end, an agent may
        say so in many ways, and none of them is an answer.

        Args:
            end: how the stream ended.
            error: what went wrong with it.
        """
        asked, result = self.asked, self._reply.result
        if asked in WISHES:
            return asked, None
        if result is not None and result.error is None and result.stop_reason != "cancelled":
            return TurnEnd.DONE, None
        if asked is not None:
            return asked, None
        if result is not None and result.error is not None:
            return TurnEnd.ANSWERED_ERROR, result.error
        return (end, error) if result is None else (TurnEnd.CANCELLED, None)

    # -- while the agent works ----------------------------------------------------------------

    def watch(self, lease: Lease, nursery: trio.Nursery) -> None:
        """From now on the agent works.

        Args:
            lease: the agent.
            nursery: of the turn, within `running`; runs what watches the agent.
        """
        self._last_event = trio.current_time()
        nursery.start_soon(self._when_asked, lease)
        nursery.start_soon(self._when_silent, lease)
        nursery.start_soon(self._when_lost, lease)

    def heard(self) -> None:
        """The agent has said something."""
        self._last_event = trio.current_time()
        self._heard.set()

    async def discard(self, lease: Lease) -> None:
        """Let the agent go, and wait a little until it is gone."""
        lease.release()
        with trio.move_on_after(DISCARD_LIMIT):
            await lease.lost.wait()

    async def _when_asked(self, lease: Lease) -> None:
        """Ask the agent, wait, then take the turn away from it (T4, T6)."""
        await self._now.wait()
        handle = lease.handle
        if handle is not None:
            with trio.move_on_after(CANCEL_LIMIT) as limit:
                try:
                    await handle.cancel()
                except Exception:
                    log.exception("agent_cancel_raised")
            await trio.sleep_until(limit.deadline)
        self.running.cancel()

    async def _when_silent(self, lease: Lease) -> None:
        """No first event, or no event, for too long (T4)."""
        limits = self._settings
        while True:
            begun = self._handover.at is not None
            limit = limits.turn_silence_limit if begun else limits.first_event_limit
            declared = self._declared_silence(lease)
            deadline = self._last_event + max(limit, declared)
            if trio.current_time() >= deadline:
                self.request(TurnEnd.STALLED if begun else TurnEnd.SILENT)
                return
            with trio.move_on_at(deadline):
                if declared <= limit:
                    await trio.sleep_forever()
                self._heard = trio.Event()  # with what comes next, a longer limit may be over
                await self._heard.wait()

    def _declared_silence(self, lease: Lease) -> float:
        if self._questions.open:
            return self._settings.permission_limit + CANCEL_LIMIT  # people are thinking
        try:
            return float(lease.handle.declared_silence()) if lease.handle is not None else 0.0
        except Exception:
            log.exception("agent_declared_silence_raised")
            return 0.0

    async def _when_lost(self, lease: Lease) -> None:
        await lease.lost.wait()
        self.running.cancel()
