"""Messages that need no turn: commands to the runtime, answers to the agent's questions (S36, D10).

They are rows like all others. They are taken out before the queue sees them, done, and finished;
what is not finished when the process dies is done again at the next start, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from actors.conversation import Conversation
from actors.orders import DENIED, Orders
from actors.outbox import Due
from actors.persistence import decided, until_written
from actors.reporting import parts
from actors.services import Services
from actors.turn import Turn
from runtime.kernel import ActorRef
from runtime.log import get_logger
from runtime.ports.front import Outcome
from runtime.sessions.commands import ANEW, Command, Typed, command_in
from runtime.sessions.events import Notice
from runtime.sessions.permissions import question
from runtime.sessions.rows import InboundKind, InboundRow, InboundState, ReplyAddress
from runtime.sessions.updates import PermissionRequest
from runtime.storage.anew import StartAnew
from runtime.storage.errors import StoreError
from runtime.storage.requests import FinishPending

log = get_logger(__name__)


class Work(msgspec.Struct, frozen=True):
    """What is to be done about a message that needs no turn.

    Args:
        do: does it; whether what was said after it may go on.
        in_order: what was said after it waits until it is done.
        renews: what was said after it belongs to another epoch then.
    """

    do: Callable[[], Awaitable[bool]]
    in_order: bool = False
    renews: bool = False


class Reception:
    """Sorts out what is not for the agent."""

    def __init__(
        self,
        services: Services,
        conversation: Conversation,
        outbox: ActorRef[Due],
        orders: Orders,
    ) -> None:
        self._services = services
        self._conversation = conversation
        self._id = conversation.id
        self._outbox = outbox
        self._orders = orders
        self._busy_with: set[str] = set()
        self._taken = services.announced.get(conversation.row.agent_id, frozenset())

    def learn(self, commands: frozenset[str]) -> None:
        """The agent has commands of its own of these names, which are not ours then; also when it
        is not open, in a session that was asleep.
        """
        self._taken = self._services.announced[self._conversation.row.agent_id] = commands

    def work_on(self, row: InboundRow) -> Work | None:
        """What to do about a message that needs no turn; None for one that is for the queue."""
        if row.id in self._busy_with:
            return Work(_nothing)
        if row.kind is not InboundKind.CHAT or not row.trigger:
            return None
        typed = self.command_in(row)
        if typed is not None:
            self._busy_with.add(row.id)
            in_order = typed.command not in (Command.RECONNECT, Command.STATUS, Command.QUEUE)
            renews = typed.command is Command.RESET
            return Work(lambda: self._obey(row, typed), in_order, renews)
        turn = self._conversation.turn
        meant = turn.questions.meant_by(row) if turn is not None else None
        if turn is None or meant is None:
            return None
        self._busy_with.add(row.id)
        return Work(lambda: self._answer(row, turn, *meant))

    def command_in(self, row: InboundRow) -> Typed | None:
        """The command that a message is."""
        triggers = self._services.settings.sessions.reset_triggers
        return command_in(row.content, self._taken, triggers)

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

    async def _obey(self, row: InboundRow, typed: Typed) -> bool:
        if not await self._still_waits(row):
            return True
        if self._orders.denied(row, typed.command):
            await self._finish(row, "command", DENIED)
            return True
        try:
            if typed.command is Command.RESET:
                await self._start_anew(row, typed)
            else:
                await self._finish(row, "command", await self._orders.carry_out(row, typed))
        except StoreError as error:  # the row waits; the next look at it does it
            log.warning("command_not_done", message_id=row.id, reason=str(error))
            return typed.command is not Command.RESET
        finally:
            self._busy_with.discard(row.id)
        return True

    async def _start_anew(self, row: InboundRow, typed: Typed) -> None:
        """The message is done with the new epoch, or is its first one, in the same commit (S40)."""
        address = row.reply_to
        outbound = parts(self._services, address, ANEW, "notice") if address is not None else ()
        request = StartAnew(self._id, row.id, typed.first, outbound, ANEW)
        started = await self._orders.start_anew(row, request)
        if started is None:
            return  # it was withdrawn meanwhile, and that was told
        if started.message.state is InboundState.DONE:
            self._ended(row, "command", ANEW)
        else:
            self._services.watchers.publish(self._id, Notice("command", ANEW))
        if address is not None:
            self._outbox.tell(Due(address.channel, address.account))

    async def _still_waits(self, row: InboundRow) -> bool:
        """Whether it was not done yet: one may hear of a message twice, or long after (D8)."""
        try:
            status = await self._services.store.message_status(row.id)
        except StoreError as error:  # the next look at it does it
            log.warning("command_not_read", message_id=row.id, reason=str(error))
            status = None
        now = status.message if status is not None else None
        waits = (
            now is not None
            and now.state is InboundState.PENDING
            and now.content == row.content  # else it is the first message of an epoch by now
        )
        if not waits:
            self._busy_with.discard(row.id)
        return waits

    async def _answer(self, row: InboundRow, turn: Turn, request_id: str, option_id: str) -> bool:
        if await self._still_waits(row):
            in_time = await turn.questions.answer(request_id, option_id)
            await self._finish(row, "answer", "" if in_time else "That question is no longer open.")
        return True

    async def _finish(self, row: InboundRow, reason: str, text: str) -> None:
        address = row.reply_to
        outbound = parts(self._services, address, text, "notice") if address is not None else ()
        request = FinishPending(self._id, (row.id,), reason, outbound, text or None)
        try:
            finished = await decided(self._services.store.finish_pending(request))
        except StoreError as error:  # the row waits; the next look at it does it again
            log.warning("command_not_finished", message_id=row.id, reason=str(error))
            return
        finally:
            self._busy_with.discard(row.id)
        if not finished.messages:
            return  # it was withdrawn meanwhile, and that was told
        self._ended(row, reason, text)
        if address is not None:
            self._outbox.tell(Due(address.channel, address.account))

    def _ended(self, row: InboundRow, reason: str, text: str) -> None:
        """A message is done without a turn: whoever watches or waits for it is told."""
        self._services.watchers.publish(self._id, Notice(reason, text, row.id))
        outcome = Outcome(row.id, InboundState.DONE, stop_reason="end_turn", text=text or None)
        self._services.watchers.ended_so(outcome)


async def _nothing() -> bool:
    """Somebody is at it already."""
    return True
