"""Messages that are larger than a row can be: admitted as dropped, without what is large (D5, Q4).

They have their key all the same, so that one that the network delivers again is a duplicate.
"""

from __future__ import annotations

import msgspec
from msgspec import structs

from runtime.sessions.content import plain_text, text_content
from runtime.sessions.rows import DropReason, InboundState, Sender
from runtime.storage.requests import NewInbound

LARGEST_TEXT = 200_000
"""Characters of a message from a chat network."""

LARGEST_MESSAGE = 900_000
"""Bytes of one with all that belongs to it, but for the bytes of its files; below what a row may
have.
"""

KEPT = 160
"""Characters that are kept of the text of one that is too large."""

LONGEST_NAME = 200


def admissible(row: NewInbound, *, takes_files: bool) -> NewInbound:
    """A message as it can be admitted: as it is, or as one that was too large.

    Args:
        row: what is to be admitted.
        takes_files: whether its chat may send files.
    """
    problem = _problem(row)
    if problem is None:
        return row
    sender = row.sender
    if sender is not None:
        name = sender.name[:LONGEST_NAME] if sender.name is not None else None
        sender = Sender(sender.id[:LONGEST_NAME], name)
    row = structs.replace(
        row, content=text_content(plain_text(row.content)[:KEPT]), media=(), sender=sender
    )
    if row.state is not InboundState.PENDING:
        return row
    how = "in parts, or as a file" if takes_files else "in parts"
    return structs.replace(
        row,
        state=InboundState.DROPPED,
        reason=DropReason.TOO_LARGE.value,
        notice=f"That message is too long, and was not taken: {problem}. Send it {how}.",
    )


def _problem(row: NewInbound) -> str | None:
    """Why a message is too large; None when it is not."""
    length = len(plain_text(row.content))
    if length > LARGEST_TEXT:
        return f"it has {length:,} characters, and {LARGEST_TEXT:,} are allowed"
    parts = (row.content, row.media, row.sender, row.reply_to)
    size = len(msgspec.json.encode(parts))
    if size > LARGEST_MESSAGE:
        return f"with all that it brings it has {size:,} bytes, and {LARGEST_MESSAGE:,} are allowed"
    return None
