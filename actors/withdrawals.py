"""Messages that leave a session without having been answered (H3, G11)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from actors.conversation import Conversation
from actors.drafting import withdraw_of
from actors.outbox import Due
from actors.persistence import decided, until_written
from actors.queue import QueueMessage, Status, Withdraw
from actors.services import Services
from actors.session_messages import Cancel
from runtime.kernel import ActorRef, ActorStopped, Helper
from runtime.sessions.rows import DropReason, InboundRow, ReplyAddress
from runtime.sessions.settling import TurnEnd
from runtime.sessions.withdrawing import STOPPED, WITHDRAWN, DropNotice
from runtime.storage.requests import DropPending

ASK_LIMIT = 30.0
"""Seconds within which the queue must answer; it never waits for anything itself."""


class Withdrawals:
    """Takes messages back, out of the queue first and then out of the store.

    Args:
        services: what all actors share.
        conversation: the session.
        queue: the session's queue.
        outbox: delivers what chats are told of it.
        gone: told of messages that wait no more; nothing more is fetched for them.
        start: starts a task of the session's actor: a function and its arguments.
    """

    def __init__(
        self,
        services: Services,
        conversation: Conversation,
        queue: ActorRef[QueueMessage],
        outbox: ActorRef[Due],
        gone: Callable[[tuple[InboundRow, ...]], object],
        start: Callable[..., Helper],
    ) -> None:
        self._services = services
        self._conversation = conversation
        self._queue = queue
        self._outbox = outbox
        self._when_gone = gone
        self._start = start

    def notice(self, text: str, asked: InboundRow | None = None) -> DropNotice:
        """What chats are told of one withdrawal, except for the one that asked for it, if any."""
        answered = asked.reply_to if asked is not None else None
        return DropNotice(self._services.ids.new(), text, answered)

    async def cancel(self, message: Cancel) -> bool:
        """See `Front.cancel`. A turn that has claimed nothing yet does not run: its messages wait,
        and of these only the ones that are meant go (G11).
        """
        turn, connection, named = self._conversation.turn, message.connection, message.message_id
        carried = turn.batch.message_ids if turn is not None else ()
        whole = connection is None and named is None
        ids = carried if whole else () if named is None else (named,)

        def meant(row: InboundRow) -> bool:
            return row.id in ids or (connection is not None and row.connection == connection)

        hit, steered = False, None
        reason, notice = DropReason.CANCELLED, self.notice(STOPPED)
        if turn is not None and not turn.let_go(meant):
            theirs = named is None or named in carried
            hit = theirs and turn.stopping.request(TurnEnd.CANCELLED, notice)
            if whole and turn.started is not None:
                return hit  # nothing of it waits
            steered = turn.steering.withdraw(meant, reason, notice)
        request = Withdraw(connection=connection, message_ids=ids)
        withdrawn = await self._withdraw(request, reason, notice)
        return hit or steered is not None or withdrawn > 0

    async def stop(self, asked: InboundRow, *, everything: bool) -> tuple[bool, int]:
        """What ``/stop`` does about what was said before it (H3).

        Args:
            asked: the message that says it.
            everything: withdraw what others have said, too.

        Returns:
            Whether a turn is cancelled, and how many messages are withdrawn.
        """

        def meant(row: InboundRow) -> bool:
            return row.seq < asked.seq and (everything or row.sender == asked.sender)

        notice, turn, stopped = self.notice(STOPPED, asked), self._conversation.turn, False
        if turn is not None and turn.let_go(meant):
            stopped = not turn.batch.rows
        elif turn is not None and turn.batch.rows[0].seq < asked.seq:
            withdrawn = everything and turn.stopping.withdraw(notice)
            stopped = withdrawn or turn.stopping.request(TurnEnd.CANCELLED, notice)
        work = self.clear(asked, notice) if everything else self._clear_some(meant, notice)
        return stopped, await work

    async def _clear_some(self, meant: Callable[[InboundRow], bool], notice: DropNotice) -> int:
        """What waits and is meant."""
        turn, reason = self._conversation.turn, DropReason.CLEARED
        steered = turn.steering.withdraw(meant, reason, notice) if turn is not None else None
        waiting = await self._queue.ask(Status(), timeout=ASK_LIMIT)
        offered = waiting.offered.rows if waiting.offered is not None else ()
        ids = tuple(row.id for row in (*offered, *waiting.rows) if meant(row))
        dropped = await self._withdraw(Withdraw(message_ids=ids), reason, notice)
        return dropped + (steered is not None)

    async def clear(self, asked: InboundRow | None = None, notice: DropNotice | None = None) -> int:
        """All that waits, in the queue and in the store, and a turn that has not begun (H3).

        Args:
            asked: the message that says it, for what was said before it; None for all.
            notice: what chats are told of it; None for the usual.

        Returns:
            How many messages are withdrawn.
        """
        before = asked.seq if asked is not None else None
        notice = notice or self.notice(WITHDRAWN, asked)

        def meant(row: InboundRow) -> bool:
            return before is None or row.seq < before

        # The turn first: one that ends while the rows are dropped would let its own wait again.
        gone, turn = set[str](), self._conversation.turn
        if turn is not None:
            claimed = not turn.let_go(meant)
            if claimed and meant(turn.batch.rows[0]) and turn.stopping.withdraw(notice):
                gone.update(turn.batch.message_ids)
            steered = turn.steering.withdraw(meant, DropReason.CLEARED, notice)
            gone.update(() if steered is None else (steered,))
        await self._queue.ask(Withdraw(everything=True, before=before), timeout=ASK_LIMIT)
        request = DropPending(self._conversation.id, DropReason.CLEARED, None, before, notice)
        gone.update(row.id for row in await self._drop(request))
        return len(gone)

    async def _withdraw(self, request: Withdraw, reason: DropReason, notice: DropNotice) -> int:
        """Take rows out of the queue and then out of the store: neither runs them then."""
        ids = await self._queue.ask(request, timeout=ASK_LIMIT)
        if not ids:
            return 0
        drop = DropPending(self._conversation.id, reason, ids, notice=notice)
        return len(await self._drop(drop))

    async def _drop(self, request: DropPending) -> tuple[InboundRow, ...]:
        """Drop rows. The queue may have got some back meanwhile, from a turn that has ended: it
        forgets those too, which would hold up others until they are due.
        """
        dropped = await decided(self._services.store.drop_pending(request))
        self._gone(dropped, request.reason)
        ids = tuple(row.id for row in dropped)
        if ids:
            await self._queue.ask(Withdraw(message_ids=ids), timeout=ASK_LIMIT)
        return dropped

    async def withdrawn(
        self, rows: tuple[InboundRow, ...], end: TurnEnd, notice: DropNotice | None
    ) -> tuple[InboundRow, ...]:
        """Rows of a turn that a person ended before it could begin."""
        reason = DropReason.CLEARED if end is TurnEnd.WITHDRAWN else DropReason.CANCELLED
        ids = tuple(row.id for row in rows)
        request = DropPending(self._conversation.id, reason, ids, notice=notice)
        dropped = await until_written(lambda: self._services.store.drop_pending(request))
        self._gone(dropped, reason)
        return ()

    async def forget(
        self, dropped: tuple[InboundRow, ...], reason: DropReason, notice: DropNotice
    ) -> None:
        """Rows that went with their conversation, and the lines of those that went before."""
        self._gone(dropped, reason, notice.also)
        before = max((row.seq + 1 for row in dropped), default=0)
        await self._queue.ask(Withdraw(everything=True, before=before), timeout=ASK_LIMIT)

    def _gone(
        self,
        dropped: tuple[InboundRow, ...],
        reason: DropReason,
        also: tuple[ReplyAddress, ...] = (),
    ) -> None:
        """Tell who watches or waits, let what the chats are told of it be delivered, and let them
        not go on showing half an answer (R8).
        """
        self._when_gone(dropped)
        self._services.watchers.dropped(self._conversation.id, dropped, reason)
        told = (*also, *(row.reply_to for row in dropped if row.reply_to is not None))
        for place in {(address.channel, address.account) for address in told}:
            self._outbox.tell(Due(*place))
        if any(row.turn_id is not None for row in dropped):
            with suppress(ActorStopped):
                self._start(withdraw_of, self._services, dropped, name="drafts")
