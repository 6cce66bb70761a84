"""What is asked of a `Store` to begin a new epoch because a message asks for it (S40)."""

from __future__ import annotations

import msgspec

from runtime.sessions.content import StoredContent
from runtime.sessions.rows import InboundRow, OutboundRow, SessionRow
from runtime.sessions.withdrawing import DropNotice
from runtime.storage.requests import NewOutbound


class StartAnew(msgspec.Struct, frozen=True):
    """Begin a new epoch because a message asks for it (S40).

    What waits and was said before that message is dropped (``reset``), what was said after it
    belongs to the new epoch.

    Args:
        session_id: the session.
        message_id: the message that asks.
        first: the first message of the new epoch, which the message is from then on; empty when it
            says no more: then it is done.
        outbound: what is owed to a push channel for it.
        said: what is said to it, when it says no more.
        notice: what other chats are told of what is dropped.
    """

    session_id: str
    message_id: str
    first: StoredContent = ()
    outbound: tuple[NewOutbound, ...] = ()
    said: str | None = None
    notice: DropNotice | None = None


class StartedAnew(msgspec.Struct, frozen=True):
    """The session in its new epoch, the message that asked for it, what was dropped and is owed."""

    session: SessionRow
    message: InboundRow
    dropped: tuple[InboundRow, ...] = ()
    outbound: tuple[OutboundRow, ...] = ()
