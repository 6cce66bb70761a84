"""Messages that leave a session without having been answered (H3, G11)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from actors.conversation import Conversation
from actors.drafting import withdraw_of
from actors.persistence import decided, until_written
from actors.queue import QueueMessage, Status, Withdraw
from actors.services import Services
from actors.session_messages import Cancel
from runtime.kernel import ActorRef, ActorStopped, Helper
from runtime.sessions.rows import DropReason, InboundRow
from runtime.sessions.settling import TurnEnd
from runtime.storage.requests import DropPending

ASK_LIMIT = 30.0
"""Seconds within which the queue must answer; it never waits for anything itself."""


class Withdrawals:
    """Takes messages back, out of the queue first and then out of the store.

    Args:
        services: what all actors share.
        conversation: the session.
        queue: the session's queue.
        gone: told of messages that wait no more; nothing more is fetched for them.
        start: starts a task of the session's actor: a function and its arguments.
    """

    def __init__(
        self,
        services: Services,
        conversation: Conversation,
        queue: ActorRef[QueueMessage],
        gone: Callable[[tuple[InboundRow, ...]], object],
        start: Callable[..., Helper],
    ) -> None:
        self._services = services
        self._conversation = conversation
        self._queue = queue
        self._when_gone = gone
        self._start = start

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
        if turn is not None and not turn.let_go(meant):
            hit = (named is None or named in carried) and turn.stopping.request(TurnEnd.CANCELLED)
            if whole and turn.started is not None:
                return hit  # nothing of it waits
            steered = turn.steering.withdraw(meant, DropReason.CANCELLED)
        request = Withdraw(connection=connection, message_ids=ids)
        withdrawn = await self._withdraw(request, DropReason.CANCELLED)
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

        turn, stopped = self._conversation.turn, False
        if turn is not None and turn.let_go(meant):
            stopped = not turn.batch.rows
        elif turn is not None and turn.batch.rows[0].seq < asked.seq:
            withdrawn = everything and turn.stopping.withdraw()
            stopped = withdrawn or turn.stopping.request(TurnEnd.CANCELLED)
        work = self.clear(asked.seq) if everything else self._clear_some(meant)
        return stopped, await work

    async def _clear_some(self, meant: Callable[[InboundRow], bool]) -> int:
        """What waits and is meant."""
        turn = self._conversation.turn
        steered = turn.steering.withdraw(meant, DropReason.CLEARED) if turn is not None else None
        waiting = await self._queue.ask(Status(), timeout=ASK_LIMIT)
        offered = waiting.offered.rows if waiting.offered is not None else ()
        ids = tuple(row.id for row in (*offered, *waiting.rows) if meant(row))
        dropped = await self._withdraw(Withdraw(message_ids=ids), DropReason.CLEARED)
        return dropped + (steered is not None)

    async def clear(self, before: int | None = None) -> int:
        """All that waits, in the queue and in the store, and a turn that has not begun (H3).

        Args:
            before: only what has a lower ``seq``; None for all.

        Returns:
            How many messages are withdrawn.
        """

        def meant(row: InboundRow) -> bool:
            return before is None or row.seq < before

        # The turn first: one that ends while the rows are dropped would let its own wait again.
        gone, turn = set[str](), self._conversation.turn
        if turn is not None:
            claimed = not turn.let_go(meant)
            if claimed and meant(turn.batch.rows[0]) and turn.stopping.withdraw():
                gone.update(turn.batch.message_ids)
            steered = turn.steering.withdraw(meant, DropReason.CLEARED)
            gone.update(() if steered is None else (steered,))
        await self._queue.ask(Withdraw(everything=True, before=before), timeout=ASK_LIMIT)
        request = DropPending(self._conversation.id, DropReason.CLEARED, before=before)
        gone.update(row.id for row in await self._drop(request))
        return len(gone)

    async def _withdraw(self, request: Withdraw, reason: DropReason) -> int:
        """Take rows out of the queue and then out of the store: neither runs them then."""
        ids = await self._queue.ask(request, timeout=ASK_LIMIT)
        if not ids:
            return 0
        return len(await self._drop(DropPending(self._conversation.id, reason, ids)))

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

    async def withdrawn(self, rows: tuple[InboundRow, ...], end: TurnEnd) -> tuple[InboundRow, ...]:
        """Rows of a turn that a person ended before it could begin."""
        reason = DropReason.CLEARED if end is TurnEnd.WITHDRAWN else DropReason.CANCELLED
        request = DropPending(self._conversation.id, reason, tuple(row.id for row in rows))
        dropped = await until_written(lambda: self._services.store.drop_pending(request))
        self._gone(dropped, reason)
        return ()

    async def forget(self, dropped: tuple[InboundRow, ...], reason: DropReason) -> None:
        """Rows that went with their conversation, and the lines of those that went before."""
        self._gone(dropped, reason)
        before = max((row.seq + 1 for row in dropped), default=0)
        await self._queue.ask(Withdraw(everything=True, before=before), timeout=ASK_LIMIT)

    def _gone(self, dropped: tuple[InboundRow, ...], reason: DropReason) -> None:
        """Tell who watches or waits, and let the chat not go on showing half an answer (R8)."""
        self._when_gone(dropped)
        self._services.watchers.dropped(self._conversation.id, dropped, reason)
        if any(row.turn_id is not None for row in dropped):
            with suppress(ActorStopped):
                self._start(withdraw_of, self._services, dropped, name="drafts")
