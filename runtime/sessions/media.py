"""Files that come with messages, and files that agents send, as rows know them (Q7, M3, M9, R7).

A message's *items* say what came with it and where it is; a *blob* is a file in the session's media
folder, which several messages of the session may refer to (M4). A file of an agent is in its
outbox, and rows know it only when it is owed to a chat.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from runtime.sessions.content import FileBlock, StoredContent, TextBlock, plain_text

LONGEST_NOTICE = 1_000
"""Characters in which a sender is told what was not taken; less than any network takes."""


class MediaKind(StrEnum):
    """What sort of file it is, for people and for the ending of its name."""

    IMAGE = "image"
    AUDIO = "audio"
    VOICE = "voice"
    VIDEO = "video"
    FILE = "file"


HERE = ""
"""The reference of a file that needs no fetching: it is here, and is to become text (H5)."""


class MediaItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file of a message.

    Args:
        kind: what sort of file it is.
        name: what its sender called it; never part of a path.
        mime_type: as it was said, or found out from the first bytes.
        size: bytes; as it was announced until the file is here.
        reference: by which the channel fetches it; `HERE` while it is on disk and its words are
            waited for; None for what came with the message itself, and when all is settled.
        file: the blob's name in the session's media folder; None while there is none.
        problem: why there is no file and will be none, in words.
        transcript: what was said in a voice note: then the file lives for one turn only (H5).
        source: the address of what it is a copy of, if it is one.
    """

    kind: MediaKind = MediaKind.FILE
    name: str | None = None
    mime_type: str | None = None
    size: int | None = None
    reference: str | None = None
    file: str | None = None
    problem: str | None = None
    transcript: str | None = None
    source: str | None = None

    @property
    def fetching(self) -> bool:
        """Whether it is still on its way, or becomes text: its message holds its place in the queue
        (Q7, H5).
        """
        return self.reference is not None


def to_be_heard(item: MediaItem) -> MediaItem:
    """A file that is here; a voice note is on its way until it was heard (H5)."""
    return msgspec.structs.replace(item, reference=HERE) if item.kind is MediaKind.VOICE else item


Media: TypeAlias = tuple[MediaItem, ...]


def kept_files(media: Media) -> tuple[str, ...]:
    """The blobs that are handed over when the agent begins: all but those of one turn (H1, H5)."""
    return tuple(item.file for item in media if item.file is not None and item.transcript is None)


def files(media: Media) -> tuple[str, ...]:
    """The blobs that a message refers to."""
    return tuple(item.file for item in media if item.file is not None)


def not_taken(media: Media) -> str | None:
    """What the sender of a message is told of its files, once it is known what became of all of
    them: which were not taken, and why (Q4, M5). None before that, and when there is nothing to
    tell.
    """
    refused = [item for item in media if item.problem is not None]
    if not refused or any(item.fetching for item in media):
        return None
    text, room = "Not taken:", LONGEST_NOTICE - len("\nand 999 more")
    for number, item in enumerate(refused):
        name = " ".join((item.name or "").split()) or str(item.kind)  # a name is no line of ours
        line = f"\n{name}: {item.problem}"
        if number and len(text) + len(line) > room:
            return f"{text}\nand {len(refused) - number} more"
        text = (text + line)[:room]
    return text


class NewBlob(msgspec.Struct, frozen=True):
    """A file that is on disk and wants its row.

    Args:
        file: its name in the session's media folder.
        hash: SHA-256 of its bytes, hexadecimal.
        size: bytes.
        mime_type: what it is.
        name: what its sender called it.
    """

    file: str
    hash: str
    size: int
    mime_type: str | None = None
    name: str | None = None


class BlobRow(msgspec.Struct, frozen=True):
    """A file of a session as the store has it. Times in ms since 1970.

    ``handed_at``: when an agent first began to answer a prompt with it (H1). ``evicted_at``: since
    when it is not on disk any more (M5).
    """

    session_id: str
    file: str
    hash: str
    size: int
    epoch: int
    created_at: int
    used_at: int
    mime_type: str | None = None
    name: str | None = None
    handed_at: int | None = None
    evicted_at: int | None = None


def without_files(content: StoredContent, media: Media) -> StoredContent:
    """A message's content with words in the places of its files: what was said, or a name."""

    def in_words(block: FileBlock) -> TextBlock:
        named, said = plain_text((block,)), media[block.index].transcript
        return TextBlock(named if said is None else f"{named}\n{said}")

    return tuple(in_words(block) if isinstance(block, FileBlock) else block for block in content)


class OutboxFile(msgspec.Struct, frozen=True):
    """A regular file in an agent's outbox, as it was when it was found (R7).

    Args:
        path: ``name``, or ``folder/name``: relative to the outbox.
        size: in bytes.
        mtime_ns: when it was written last, in nanoseconds since 1970.
        inode: its number in the file system.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int

    @property
    def name(self) -> str:
        """Its own name, without the folder."""
        return self.path.rpartition("/")[2]

    @property
    def key(self) -> str:
        """The name that the index knows it by, which no file in a media folder has. What is written
        anew under the same path is another file, so that the one is never taken for the other.
        """
        return f"outbox/{self.path}/{self.inode}-{self.mtime_ns}-{self.size}"


def is_outgoing(file: str) -> bool:
    """Whether a file of the index is in an outbox: a name in a media folder has no slash."""
    return "/" in file


# -- what the store says when a message or a blob has changed -------------------------------------


class Leased(msgspec.Struct, frozen=True):
    """A message waits, or waits again, and refers to these files: they are in flight."""

    session_id: str
    message_id: str
    files: tuple[str, ...]
    blobs: tuple[BlobRow, ...] = ()


class Claimed(msgspec.Struct, frozen=True):
    """A turn has the message; its agent has not begun."""

    session_id: str
    message_id: str


class HandedOver(msgspec.Struct, frozen=True):
    """The agent has begun: these files of a message are the session's own from now on (H1)."""

    session_id: str
    message_id: str
    files: tuple[str, ...]
    at: int


class Ended(msgspec.Struct, frozen=True):
    """A message has come to its end, whichever: it refers to nothing any more."""

    session_id: str
    message_id: str


class SessionEnded(msgspec.Struct, frozen=True):
    """A session was closed: none of its files is wanted any more (S43)."""

    session_id: str


class Owed(msgspec.Struct, frozen=True):
    """A file of an outbox is to be delivered. ``at``: since when, in ms since 1970."""

    session_id: str
    outbound_id: str
    file: OutboxFile
    at: int


class Settled(msgspec.Struct, frozen=True):
    """The delivery of a file has come to its end: it has arrived, or it is given up."""

    session_id: str
    outbound_id: str
    file: OutboxFile
    delivered: bool


MediaChange: TypeAlias = Leased | Claimed | HandedOver | Ended | SessionEnded | Owed | Settled
