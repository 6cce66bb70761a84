"""The answers of the methods about files of messages."""

from __future__ import annotations

import msgspec


class SessionMediaResult(msgspec.Struct, frozen=True, rename="camel"):
    """The files of one session."""

    session_id: str
    files: int
    size: int


class MediaUsageResult(msgspec.Struct, frozen=True, rename="camel"):
    """What files of messages take on disk, in bytes; ``cap`` is what they may take together.

    ``in_flight`` are those that no agent has been given yet, ``evictable`` those that may be
    removed when room is needed, ``reserved`` is counted for files that are being received.
    ``stuck`` is how many pieces of work the disk does not finish, more than 0 when it hangs.
    ``root`` is null where no files are kept. ``largest`` are the sessions that take most.
    """

    root: str | None
    cap: int
    files: int
    size: int
    in_flight: int
    evictable: int
    reserved: int
    stuck: int
    largest: tuple[SessionMediaResult, ...]


class MediaSweepResult(msgspec.Struct, frozen=True, rename="camel"):
    """What was removed: files and their bytes; ``problems`` files could not be."""

    files: int
    size: int
    problems: int
