"""Rows for tests, with everything but the point in question filled in."""

from typing import Any

from msgspec.structs import replace

from runtime.sessions.content import text_content
from runtime.sessions.rows import InboundKind, InboundRow, InboundState, ReplyAddress


def address(chat: str = "c1", message_id: str | None = None) -> ReplyAddress:
    """A place to reply to."""
    return ReplyAddress("test", "default", chat, message_id=message_id)


def inbound(seq: int, text: str = "", **fields: Any) -> InboundRow:
    """A pending message with the id ``m<seq>``."""
    row = InboundRow(
        id=f"m{seq}",
        session_id="s",
        epoch=0,
        seq=seq,
        kind=InboundKind.CHAT,
        state=InboundState.PENDING,
        content=text_content(text or f"text {seq}"),
        admitted_at=1_000 + seq,
    )
    return replace(row, **fields)
