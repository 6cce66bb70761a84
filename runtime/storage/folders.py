"""Private folders that are worked on by descriptor, so that no link can lead elsewhere (M1, M2).

A folder is opened once for an operation, never through a link, and everything in it is named
relative to that descriptor. Whoever swaps a path for a link while the operation runs gets either
the folder that was opened or a refusal.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.sessions.filenames import safe_name
from runtime.storage.media_errors import MediaUnsafe, UnsafeName

FOLDER_MODE = 0o700
FILE_MODE = 0o600

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe that somebody put there must not hold up whoever opens it.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NOT_A_FOLDER = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)
_NOT_A_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENODEV)
_OTHERS = 0o077


def checked_name(name: str) -> str:
    """The name, if it is safe (A2).

    Raises:
        UnsafeName: It is not.
    """
    if safe_name(name) is None:
        raise UnsafeName(f"{name!r} is not the name of a file in one folder.")
    return name


def open_folder(name: str, where: Path, *, inside: int | None = None, private: bool = True) -> int:
    """Open a folder, never through a link.

    Args:
        name: Its path, or its name relative to a descriptor.
        where: Its path, for messages only.
        inside: The descriptor of the folder that it is in.
        private: It must belong to this user, and is closed to others if it was open to them.

    Returns:
        A descriptor; closing it is the caller's.

    Raises:
        MediaUnsafe: It is a link or no folder; or another user's, if it must be private.
        OSError: It is not there, or cannot be opened.
    """
    try:
        descriptor = os.open(name, _OPEN_FOLDER, dir_fd=inside)
    except OSError as error:
        problem = _look(name, where, inside) if error.errno != errno.ENOENT else None
        if problem is None and error.errno in _NOT_A_FOLDER:
            problem = f"{where} is not a folder"
        if problem is None:
            raise
        raise unsafe(problem) from None
    try:
        if private:
            make_private(descriptor, where)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def folder(
    name: str, where: Path, *, inside: int | None = None, private: bool = True
) -> Iterator[int]:
    """`open_folder`, closed at the end of the block."""
    descriptor = open_folder(name, where, inside=inside, private=private)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_private(descriptor: int, where: Path) -> None:
    """Close an open folder to others.

    Raises:
        MediaUnsafe: It is another user's.
        OSError: Its permissions cannot be changed.
    """
    status = os.fstat(descriptor)
    problem = _strangeness(status, where)
    if problem is not None:
        raise unsafe(problem)
    if status.st_mode & _OTHERS:
        os.fchmod(descriptor, FOLDER_MODE)


def open_file(name: str, where: Path, *, inside: int) -> int:
    """Open a regular file for reading, never through a link.

    Raises:
        MediaUnsafe: It is a link, or no regular file.
        OSError: It is not there, or cannot be opened.
    """
    try:
        descriptor = os.open(name, _OPEN_FILE, dir_fd=inside)
    except OSError as error:
        if error.errno not in _NOT_A_FILE:
            raise
        raise unsafe(f"{where} is a link or a device, not a file") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise unsafe(f"{where} is not a regular file")
    return descriptor


def make_file(name: str, *, inside: int) -> int:
    """Make an empty file for this user only and open it for writing.

    Raises:
        OSError: Something has the name, or the file cannot be made.
    """
    return os.open(name, _MAKE_FILE, FILE_MODE, dir_fd=inside)


def status_of(name: str, *, inside: int) -> os.stat_result | None:
    """What a name in a folder stands for, a link for itself; None when there is nothing."""
    try:
        return os.stat(name, dir_fd=inside, follow_symlinks=False)
    except FileNotFoundError:
        return None


def unsafe(problem: str) -> MediaUnsafe:
    """The refusal, with what to do next."""
    return MediaUnsafe(
        f"{problem}. It was not touched: files are kept only in real folders of the user that "
        "starts the runtime. See whose it is and move it elsewhere, or choose another folder for "
        "media in the settings."
    )


def _look(name: str, where: Path, inside: int | None) -> str | None:
    """Why something that could not be opened must not be, if that is why."""
    try:
        status = os.stat(name, dir_fd=inside, follow_symlinks=False)
    except OSError:
        return None
    return _strangeness(status, where)


def _strangeness(status: os.stat_result, where: Path) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return f"{where} is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return f"{where} is not a folder"
    if status.st_uid != os.geteuid():
        return f"{where} belongs to another user (number {status.st_uid})"
    return None
