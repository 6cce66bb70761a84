"""Looking through all media on disk, and removing a whole folder (M6, M8)."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import msgspec

from runtime.sessions.filenames import safe_name
from runtime.sessions.ids import is_id
from runtime.storage.folders import FILE_MODE, folder, open_file, status_of
from runtime.storage.media_errors import MediaError
from runtime.storage.media_partial import is_partial

TOLD = 100
"""How many problems are told in words; the others are only counted."""

_FILES_AT_A_STRETCH = 200
"""After how many files the thread lets go of the interpreter, for the loop (D2)."""

_OTHERS = 0o077
_NS_PER_MS = 1_000_000


class Found(msgspec.Struct, frozen=True, gc=False):
    """A regular file in a session's folder.

    Attributes:
        session: The name of the folder.
        file: The name of the file.
        size: In bytes.
        mtime: When it was written last, in milliseconds since the epoch.
        partial: Whether it is the leftover of a file that was never finished.
    """

    session: str
    file: str
    size: int
    mtime: int
    partial: bool = False


class Scan(msgspec.Struct, frozen=True):
    """What is on disk.

    Attributes:
        files: All regular files, in no particular order.
        empty: The folders in which there is nothing at all.
        problems: What could not be read and what is not ours, one sentence each, at most `TOLD`.
        skipped: How many of those there are in all.
    """

    files: list[Found]
    empty: list[str]
    problems: list[str]
    skipped: int


class Removed(msgspec.Struct, frozen=True):
    """What was removed with a session's folder.

    Attributes:
        count: How many files.
        bytes: Their sizes together.
        problems: What could not be removed and why, one sentence each, at most `TOLD`.
        failed: How many of those there are in all.
    """

    count: int = 0
    bytes: int = 0
    problems: list[str] = []
    failed: int = 0


class Problems:
    """Collects sentences without growing beyond `TOLD`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.count = 0

    def add(self, where: Path, why: object) -> None:
        """Note that something at a path was left as it is."""
        self.count += 1
        if len(self.told) < TOLD:
            self.told.append(f"{where}: {why}")


def found(session: str, file: str, status: os.stat_result) -> Found:
    """What there is to say about a regular file."""
    mtime = status.st_mtime_ns // _NS_PER_MS
    return Found(session, file, status.st_size, mtime, is_partial(file))


def foreign_name(root: int) -> str | None:
    """The name of something in the root that no runtime has put there, None when there is nothing.

    Hidden entries and the ``lost+found`` of a file system do not count.

    Args:
        root: The descriptor of the root.

    Raises:
        OSError: The root cannot be read.
    """
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "lost+found":
                continue
            if not (is_id(entry.name) and entry.is_dir(follow_symlinks=False)):
                return entry.name
    return None


def look_through(root: int, where: Path) -> Scan:
    """Find all files below the root. What cannot be read, or is not ours, is told and skipped.

    Only in folders that are named as sessions are is anything closed to others.

    Args:
        root: The descriptor of the root.
        where: Its path, for messages only.

    Raises:
        OSError: The root cannot be read.
    """
    files: list[Found] = []
    empty: list[str] = []
    problems = Problems()
    with os.scandir(root) as listing:
        entries = list(listing)
    for entry in entries:
        place = where / entry.name
        if safe_name(entry.name) is None or entry.name.startswith("."):
            problems.add(place, "this is not the name of a session's folder")
            continue
        try:
            ours = is_id(entry.name)
            with folder(entry.name, place, inside=root, private=ours) as descriptor:
                if not _look_into(descriptor, entry.name, place, files, problems):
                    empty.append(entry.name)
        except FileNotFoundError:
            continue
        except (MediaError, OSError) as error:
            problems.add(place, error)
    return Scan(files, empty, problems.told, problems.count)


def clear(descriptor: int, where: Path) -> Removed:
    """Remove what is in a folder: files, and links themselves, never what they lead to.

    Folders in it are not ours: they are told and left, with all that is in them.

    Args:
        descriptor: The descriptor of the folder.
        where: Its path, for messages only.

    Raises:
        OSError: The folder cannot be read.
    """
    count = size = 0
    problems = Problems()
    for number, name in enumerate(os.listdir(descriptor)):
        if number % _FILES_AT_A_STRETCH == 0:
            time.sleep(0)
        try:
            status = status_of(name, inside=descriptor)
            if status is None:
                continue
            if stat.S_ISDIR(status.st_mode):
                problems.add(where / name, "this is a folder, and not ours")
                continue
            os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.add(where / name, error)
            continue
        count += 1
        size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Removed(count, size, problems.told, problems.count)


def _look_into(
    descriptor: int, session: str, where: Path, files: list[Found], problems: Problems
) -> bool:
    """Add the files of one folder; whether there was anything in it."""
    number = 0
    with os.scandir(descriptor) as entries:
        for number, entry in enumerate(entries, start=1):
            if number % _FILES_AT_A_STRETCH == 0:
                time.sleep(0)
            try:
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode) or safe_name(entry.name) is None:
                    problems.add(where / entry.name, "this is not a file of ours")
                    continue
                if is_id(session) and status.st_mode & _OTHERS:
                    _close_to_others(descriptor, entry.name, where / entry.name)
            except FileNotFoundError:
                continue
            except (MediaError, OSError) as error:
                problems.add(where / entry.name, error)
                continue
            files.append(found(session, entry.name, status))
    return number > 0


def _close_to_others(descriptor: int, name: str, where: Path) -> None:
    """Take the permissions of others from a file, unless it has a second name elsewhere."""
    file = open_file(name, where, inside=descriptor)
    try:
        if os.fstat(file).st_nlink == 1:
            os.fchmod(file, FILE_MODE)
    finally:
        os.close(file)
