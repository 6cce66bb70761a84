"""What is asked of the store about files of messages, and what it answers."""

from __future__ import annotations

import msgspec

from runtime.sessions.media import BlobRow, MediaItem, NewBlob, OutboxFile

MOST_TOLD = 50
"""How many evicted files an agent is told of at once (M9)."""


class HandOver(msgspec.Struct, frozen=True):
    """The agent has begun to answer: the files of these messages of the turn are handed over.

    ``at``: when, in ms since 1970.
    """

    turn_id: str
    session_id: str
    fence: int
    at: int
    message_ids: tuple[str, ...]


class Attach(msgspec.Struct, frozen=True):
    """A file of a message was fetched, or has become text, or neither is to be had.

    Args:
        message_id: the message that waits for it.
        index: which of its items.
        item: the item as it is from now on.
        blob: the file, when there is one.
    """

    message_id: str
    index: int
    item: MediaItem
    blob: NewBlob | None = None


class BlobRef(msgspec.Struct, frozen=True):
    """Which file; ``outgoing``: what it is like, when it is in the session's outbox."""

    session_id: str
    file: str
    outgoing: OutboxFile | None = None


class BlobPage(msgspec.Struct, frozen=True):
    """Files that are on disk. ``unwanted`` are those of them whose session is closed; ``next`` is
    where to go on, None at the end.
    """

    blobs: tuple[BlobRow, ...]
    unwanted: tuple[BlobRef, ...] = ()
    next: int | None = None
