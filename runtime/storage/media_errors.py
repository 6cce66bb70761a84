"""What can go wrong with files on disk, by type, with what to do next in the message."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MediaError(Exception):
    """Base of all errors of media on disk. The text is for a person and says what to do next."""


class MediaUnsafe(MediaError):
    """Something at a place of ours is not ours: a link, another user's, no folder (M2)."""


class MediaInUse(MediaError):
    """Another runtime works on this folder (M8)."""


class MediaFull(MediaError):
    """No space left, or no quota. What was being written is removed."""


class MediaFailed(MediaError):
    """The disk refused for another reason."""


class NoAnswer(MediaError):
    """The disk does not answer within a limit. What was begun goes on, and nobody waits for it."""


class FileTooLarge(MediaError):
    """A file is over its limit (M3)."""


class UnsafeName(MediaError):
    """A name that is not the name of a file in one folder (A2)."""


class NameTaken(MediaError):
    """There is a file of this name; it was not touched."""


class NoSuchFile(MediaError):
    """There is no such file."""


class FileChanged(MediaError):
    """The file is no longer the one that was found."""


@contextmanager
def explained(where: Path) -> Iterator[None]:
    """Turn what the system reports into errors of media.

    Args:
        where: What to name in the message when the system does not.
    """
    try:
        yield
    except OSError as error:
        raise as_media_error(error, where) from error


def as_media_error(error: OSError, where: Path) -> MediaError:
    """The error of media for an error of the system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MediaFull(
            f"No space is left for media in {where}. What was being written is removed; free some "
            "space, and the next file is taken again."
        )
    return MediaFailed(
        f"The disk refused to work on {where} ({error.strerror or error}). Look at its "
        "permissions, the disk and the system's log."
    )


def not_for_media(root: Path, foreign: str) -> str:
    """Why a folder with other things in it is left alone, and what to do next."""
    return (
        f"{root} is open to others and holds what is not of this runtime ({foreign}). It was not "
        "touched: it would be closed to everybody else. Choose an empty or a new folder for media "
        "in the settings."
    )
