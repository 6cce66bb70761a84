"""What the parts of a session's actor share: its row as it was written last, and its turn.

There is one of these per session's actor, and only that actor's own tasks touch it.
"""

from __future__ import annotations

import msgspec

from actors.queue import Batch
from actors.turn import Turn
from runtime.sessions.rows import InboundRow, ReplyAddress, SessionRow


class Conversation:
    """One session as its actor has it.

    Args:
        row: as the store has it.
    """

    def __init__(self, row: SessionRow) -> None:
        self.row = row
        self.turn: Turn | None = None
        self.settled: str | None = None
        """The turn whose end was committed last."""
        self.behind: frozenset[str] = frozenset()
        """Messages that came while an earlier incarnation of the actor ran a turn (Q2)."""

    @property
    def id(self) -> str:
        """The id of the session."""
        return self.row.id

    def learn(self, row: SessionRow) -> None:
        """The session as the end of a turn or of an epoch has left it. What was chosen meanwhile
        stays: answers of the store may come in another order than its writes.
        """
        self.row = msgspec.structs.replace(row, overrides=self.row.overrides, queue=self.row.queue)

    @property
    def address(self) -> ReplyAddress | None:
        """Where the people are whose messages the turn has; None without one, or for clients."""
        rows = self.turn.batch.rows if self.turn is not None else ()
        return rows[0].reply_to if rows else None

    def not_begun(self, offered: Batch | None) -> tuple[InboundRow, ...]:
        """The messages of an offered batch that wait: until its turn has claimed them. It has ended
        before the queue hears of it.
        """
        turn = self.turn
        if offered is None or offered.turn_id == self.settled:
            return ()
        if turn is None or turn.batch.turn_id != offered.turn_id:
            return offered.rows
        return turn.batch.rows if turn.started is None else ()
