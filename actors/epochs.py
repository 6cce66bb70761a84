"""The end of a conversation: begun anew, or closed for good (S18, S43)."""

from __future__ import annotations

import msgspec
import trio

from actors import projecting
from actors.agent_messages import AgentMessage, Discard
from actors.conversation import Conversation
from actors.persistence import decided
from actors.services import Services
from actors.withdrawals import Withdrawals
from runtime.kernel import ActorRef, Helper
from runtime.sessions.events import EpochStarted, SessionClosed
from runtime.sessions.rows import DropReason, InboundRow, SessionRow
from runtime.sessions.settling import TurnEnd
from runtime.sessions.withdrawing import BEGUN_ANEW, CLOSED, DropNotice
from runtime.storage.anew import StartAnew, StartedAnew
from runtime.storage.errors import StoreUnavailable

END_LIMIT = 15.0
"""Seconds for a turn to end before a session is reset or closed: the agent's 5, the commit."""


class Epochs:
    """Ends epochs of one session."""

    def __init__(
        self,
        services: Services,
        conversation: Conversation,
        withdrawals: Withdrawals,
        agent: ActorRef[AgentMessage],
    ) -> None:
        self._services = services
        self._conversation = conversation
        self._withdrawals = withdrawals
        self._agent = agent

    async def reset(self, turn_task: Helper | None) -> SessionRow:
        """Begin a new epoch (S18).

        Args:
            turn_task: the task of the turn that there is, or was last.

        Raises:
            StoreError: the disk refuses; nothing was changed but the turn, which has ended.
        """
        notice = self._notice(BEGUN_ANEW)
        await self._end_everything(turn_task, notice)
        # Later on only the newest two epochs are checked: none is left before its file is complete.
        here = self._conversation
        row, dropped = await decided(self._services.store.new_epoch(here.id, notice))
        here.learn(row)
        await self._withdrawals.forget(dropped, DropReason.RESET, notice)
        self._services.watchers.publish(here.id, EpochStarted(here.row.epoch))
        return here.row

    async def start_anew(
        self, asked: InboundRow, request: StartAnew, turn_task: Helper | None
    ) -> StartedAnew | None:
        """Begin a new epoch because a message asks for it (S40). What was said after that message
        belongs to the new epoch; it is to be read again.

        Args:
            asked: that message.
            request: what is to become of it.
            turn_task: the task of the turn that there is, or was last.

        Returns:
            What became of it; None when the message was withdrawn meanwhile.

        Raises:
            StoreError: the disk refuses; nothing was changed but the turn, which has ended.
        """
        notice = self._notice(BEGUN_ANEW, asked)
        await self._end_everything(turn_task, notice)
        request = msgspec.structs.replace(request, notice=notice)
        started = await decided(self._services.store.start_anew(request))
        if started is not None:
            here = self._conversation
            here.learn(started.session)
            await self._withdrawals.forget(started.dropped, DropReason.RESET, notice)
            self._services.watchers.publish(here.id, EpochStarted(here.row.epoch))
        return started

    async def close(self, turn_task: Helper | None) -> None:
        """Close the session (S43); its actor is to stop. See `reset`."""
        notice = self._notice(CLOSED)
        # And its file is complete: a closed session never wakes again.
        await self._end_everything(turn_task, notice)
        here = self._conversation
        row, dropped = await decided(self._services.store.close_session(here.id, notice))
        here.learn(row)
        await self._withdrawals.forget(dropped, DropReason.CLOSED, notice)
        self._services.watchers.publish(here.id, SessionClosed())

    def _notice(self, text: str, asked: InboundRow | None = None) -> DropNotice:
        """What is told to the chat of the conversation, and to that of the turn."""
        here = self._conversation
        also = tuple(each for each in (here.row.origin, here.address) if each is not None)
        return msgspec.structs.replace(self._withdrawals.notice(text, asked), also=also)

    async def _end_everything(self, turn_task: Helper | None, notice: DropNotice) -> None:
        """Nothing runs, nothing is open any more, and the transcript file is complete."""
        turn = self._conversation.turn
        # One that has not begun leaves nothing (H3).
        if turn is not None and not turn.stopping.withdraw(notice):
            turn.stopping.request(TurnEnd.CANCELLED, notice)
        with trio.move_on_after(END_LIMIT) as limit:
            if turn_task is not None:
                await turn_task.wait()
        if limit.cancelled_caught:
            raise StoreUnavailable("the running turn cannot be written down now; try again later")
        await self._agent.send(Discard(None))
        row = self._conversation.row
        await projecting.project(self._services, row, row.epoch)
