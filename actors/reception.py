"""Messages that need no turn: commands to the runtime, answers to the agent's questions (S36, D10).

They are rows like all others. They are taken out before the queue sees them, done, and finished;
what is not finished when the process dies is done again at the next start, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from actors.conversation import Conversation
from actors.outbox import Due
from actors.persistence import decided, until_written
from actors.reporting import parts
from actors.services import Services
from actors.turn import Turn
from runtime.kernel import ActorRef
from runtime.log import get_logger
from runtime.ports.front import Outcome
from runtime.sessions.commands import Command, command_in
from runtime.sessions.events import Notice, QueueStatus
from runtime.sessions.permissions import question
from runtime.sessions.rows import InboundKind, InboundRow, InboundState, ReplyAddress
from runtime.sessions.settling import TurnEnd
from runtime.sessions.updates import PermissionRequest
from runtime.storage.errors import StoreError
from runtime.storage.requests import FinishPending

log = get_logger(__name__)


class Doors(msgspec.Struct, frozen=True):
    """What the session lets its reception do.

    Args:
        status: what runs and waits.
        reconnect: start the agent again.
    """

    status: Callable[[], Awaitable[QueueStatus]]
    reconnect: Callable[[], Awaitable[None]]


class Reception:
    """Sorts out what is not for the agent."""

    def __init__(
        self,
        services: Services,
        conversation: Conversation,
        outbox: ActorRef[Due],
        doors: Doors,
    ) -> None:
        self._services = services
        self._conversation = conversation
        self._id = conversation.id
        self._outbox = outbox
        self._doors = doors
        self._busy_with: set[str] = set()
        self.taken: frozenset[str] = frozenset()
        """The names of the agent's own commands."""

    def work_on(self, row: InboundRow) -> Callable[[], Awaitable[None]] | None:
        """What to do about a message that needs no turn; None for one that is for the queue."""
        if row.id in self._busy_with:
            return _nothing
        if row.kind is not InboundKind.CHAT or not row.trigger:
            return None
        command = command_in(row.content, self.taken)
        if command is not None:
            self._busy_with.add(row.id)
            return lambda: self._obey(row, command)
        turn = self._conversation.turn
        meant = turn.questions.meant_by(row) if turn is not None else None
        if turn is None or meant is None:
            return None
        self._busy_with.add(row.id)
        return lambda: self._answer(row, turn, *meant)

    async def say(
        self, code: str, text: str, address: ReplyAddress | None, message_id: str | None = None
    ) -> None:
        """Tell everybody who watches, and the chat that an address names."""
        self._services.watchers.publish(self._id, Notice(code, text, message_id))
        if address is None:
            return
        try:
            for part in parts(self._services, address, text, "notice"):
                await self._services.store.notify(self._id, part)
        except StoreError as error:
            log.warning("notice_not_written", code=code, reason=str(error))
        self._outbox.tell(Due(address.channel, address.account))

    async def ask(self, request: PermissionRequest, address: ReplyAddress | None) -> None:
        """Put a question to a chat; those who watch have a dialog of their own."""
        if address is None:
            return
        store = self._services.store
        try:
            for part in parts(self._services, address, question(request), "notice"):
                await until_written(lambda: store.notify(self._id, part))  # noqa: B023
        except StoreError as error:
            log.warning("question_not_written", reason=str(error))
        self._outbox.tell(Due(address.channel, address.account))

    async def _obey(self, row: InboundRow, command: Command) -> None:
        if await self._still_waits(row):
            await self._finish(row, "command", await self._done(command))

    async def _still_waits(self, row: InboundRow) -> bool:
        """Whether it was not done yet: one may hear of a message twice, or long after (D8)."""
        try:
            status = await self._services.store.message_status(row.id)
        except StoreError as error:  # the next look at it does it
            log.warning("command_not_read", message_id=row.id, reason=str(error))
            status = None
        waits = status is not None and status.message.state is InboundState.PENDING
        if not waits:
            self._busy_with.discard(row.id)
        return waits

    async def _done(self, command: Command) -> str:
        """Carry out a command; what there is to say about it."""
        match command:
            case Command.RECONNECT:
                await self._doors.reconnect()
                return "The agent is connected anew."
            case Command.STOP:
                turn = self._conversation.turn
                stopped = turn is not None and turn.request_end(TurnEnd.CANCELLED)
                return "Stopped." if stopped else "Nothing is running."
            case Command.STATUS:
                return _in_words(await self._doors.status())

    async def _answer(self, row: InboundRow, turn: Turn, request_id: str, option_id: str) -> None:
        if not await self._still_waits(row):
            return
        in_time = await turn.questions.answer(request_id, option_id)
        await self._finish(row, "answer", "" if in_time else "That question is no longer open.")

    async def _finish(self, row: InboundRow, reason: str, text: str) -> None:
        address = row.reply_to
        outbound = parts(self._services, address, text, "notice") if address is not None else ()
        request = FinishPending(self._id, (row.id,), reason, outbound)
        try:
            finished = await decided(self._services.store.finish_pending(request))
        except StoreError as error:  # the row waits; the next look at it does it again
            log.warning("command_not_finished", message_id=row.id, reason=str(error))
            return
        finally:
            self._busy_with.discard(row.id)
        if not finished.messages:
            return  # it was withdrawn meanwhile, and that was told
        self._services.watchers.publish(self._id, Notice(reason, text, row.id))
        outcome = Outcome(row.id, InboundState.DONE, stop_reason="end_turn", text=text or None)
        self._services.watchers.ended((row.id,), outcome)
        if address is not None:
            self._outbox.tell(Due(address.channel, address.account))


async def _nothing() -> None:
    """Somebody is at it already."""


def _in_words(status: QueueStatus) -> str:
    if status.blocked is not None:
        return f"{status.blocked} Messages that wait: {status.waiting}."
    runs = "A turn is running." if status.running is not None else "Nothing is running."
    if status.running is None and status.waiting:
        runs = "No turn is running yet."
    return f"{runs} Messages that wait: {status.waiting}. Queue mode: {status.mode}."
