"""What is asked of a `Store` about a message that is handed to a running turn (Q3)."""

from __future__ import annotations

import msgspec

from runtime.sessions.rows import DropReason
from runtime.sessions.withdrawing import DropNotice


class JoinTurn(msgspec.Struct, frozen=True):
    """Claim a waiting message for a turn that runs already: it is settled with that turn's others.

    The message was never carried by a turn before.
    """

    turn_id: str
    session_id: str
    epoch: int
    fence: int
    message_id: str


class LeaveTurn(msgspec.Struct, frozen=True):
    """Take back a `JoinTurn`: the agent has not taken the message.

    Args:
        drop: why it does not wait again, when somebody withdrew it meanwhile; one whose session was
            closed, or got a new epoch, is dropped in any case.
        notice: what its chat is told when it is dropped.
    """

    turn_id: str
    session_id: str
    fence: int
    message_id: str
    drop: DropReason | None = None
    notice: DropNotice | None = None


class KeepCopy(msgspec.Struct, frozen=True):
    """The agent of a running turn was told of a message that waits all the same
    (``steer-backlog``): its files are handed over, and the copy that waits has none.

    ``at``: when, in ms since 1970.
    """

    turn_id: str
    session_id: str
    fence: int
    message_id: str
    at: int
