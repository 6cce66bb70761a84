"""Files that an agent put into an outbox, to be delivered (R7, A3, A4).

The agent may write there while it is read. A file is delivered as it was found, or not at all: what
was changed, swapped or linked meanwhile is refused, and found again by the next look.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

from runtime.sessions.filenames import safe_name
from runtime.sessions.media import OutboxFile
from runtime.storage.folders import checked_name, folder, open_file, status_of
from runtime.storage.media_errors import FileChanged, MediaUnsafe, UnsafeName, explained

MAX_ENTRIES = 10_000
"""How many names of one folder are looked at, and how many files of an outbox are counted (M5)."""

OUTBOX = "outbox"
"""The folder in a session's folder from which files go out (S7)."""

__all__ = ["MAX_ENTRIES", "OUTBOX", "Outbox", "OutboxFile", "listed"]

_HIDDEN = "."
_UNFINISHED = (".part", ".tmp")


class Outbox:
    """What is in one outbox: regular files in it, and in the folders that are directly in it.

    It is synchronous, belongs into a worker thread, and is safe in any number of them. Nothing is
    followed: neither the outbox nor a folder or a file in it may be a link.

    Args:
        folder: Where; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self, limit: int = MAX_ENTRIES) -> list[OutboxFile]:
        """The files that are ready, in the order of their paths, at most so many.

        Names that begin with a dot or end in ``.part`` or ``.tmp`` are of what is not ready. A
        folder in the outbox that cannot be read is as good as empty.

        Raises:
            MediaUnsafe: The outbox is a link or no folder.
            MediaFailed: It cannot be read.
        """
        with explained(self._folder), ExitStack() as stack:
            try:
                outbox = stack.enter_context(self._opened())
            except FileNotFoundError:
                return []
            return listed(outbox, self._folder, limit)

    def has(self, file: OutboxFile) -> bool:
        """Whether a file is there as it was found. Raises as `remove` does."""
        try:
            with explained(self._folder / file.path), self._holding(file) as (holder, name):
                status = status_of(name, inside=holder)
                return status is not None and _is_same(status, file)
        except FileChanged:
            return False

    def open(self, file: OutboxFile) -> int:
        """Open a file that was found, for reading.

        Returns:
            A descriptor; closing it is the caller's.

        Raises:
            FileChanged: It is gone, or not as it was found.
            MediaUnsafe: There is a link or something else at its place now.
            UnsafeName: Its path is not one of an outbox.
            MediaFailed: The disk refused.
        """
        place = self._folder / file.path
        with explained(place), self._holding(file) as (holder, name):
            try:
                descriptor = open_file(name, place, inside=holder)
            except FileNotFoundError:
                raise FileChanged(f"{place} is gone.") from None
            if not _is_same(os.fstat(descriptor), file):
                os.close(descriptor)
                raise FileChanged(f"{place} was changed after it was found.")
            return descriptor

    def remove(self, file: OutboxFile) -> bool:
        """Remove a file that was found; False when it is gone or not as it was found.

        The folder that it was in stays: it is the agent's.

        Raises:
            MediaUnsafe: The outbox or the folder of the file is a link now.
            UnsafeName: Its path is not one of an outbox.
            MediaFailed: The disk refused.
        """
        try:
            with explained(self._folder / file.path), self._holding(file) as (holder, name):
                status = status_of(name, inside=holder)
                if status is None or not _is_same(status, file):
                    return False
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=holder)
                    return True
        except FileChanged:
            pass
        return False

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The outbox, in a folder of a session that is no link either."""
        above = self._folder.parent
        with (
            folder(str(above), above, private=False) as session,
            _inside(session, self._folder.name, self._folder) as outbox,
        ):
            yield outbox

    @contextmanager
    def _holding(self, file: OutboxFile) -> Iterator[tuple[int, str]]:
        """The folder that a file is in, and the file's name there."""
        *folders, name = map(checked_name, file.path.split("/"))
        if len(folders) > 1:
            raise UnsafeName(f"{file.path!r} is not a path in an outbox.")
        with ExitStack() as stack:
            try:
                holder = stack.enter_context(self._opened())
                for each in folders:
                    holder = stack.enter_context(_inside(holder, each, self._folder / each))
            except FileNotFoundError:
                raise FileChanged(f"{self._folder / file.path} is gone.") from None
            yield holder, name


def listed(outbox: int, where: Path, limit: int) -> list[OutboxFile]:
    """The files that are ready in an open outbox, in the order of their paths, at most ``limit``.

    Args:
        outbox: Its descriptor.
        where: Its path, for messages only.
        limit: How many.

    Raises:
        OSError: It cannot be read.
    """
    names, folders = _ready(outbox, limit)
    above = _described(outbox, names, "")
    below: list[OutboxFile] = []
    for name in sorted(folders, key=lambda name: f"{name}/"):
        if len(below) >= limit:
            break
        with suppress(MediaUnsafe, OSError), _inside(outbox, name, where / name) as inner:
            below += _described(inner, _ready(inner, limit)[0], f"{name}/")
    return sorted(above + below, key=lambda file: file.path)[:limit]


def _inside(holder: int, name: str, where: Path) -> AbstractContextManager[int]:
    """A folder in another, whoever owns it: agents in containers are other users."""
    return folder(name, where, inside=holder, private=False)


def _ready(descriptor: int, limit: int) -> tuple[list[str], list[str]]:
    """The first names of files in a folder, and the folders in it."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in islice(entries, MAX_ENTRIES):
            if safe_name(entry.name) is None or entry.name.startswith(_HIDDEN):
                continue
            if entry.name.endswith(_UNFINISHED):
                continue
            if entry.is_file(follow_symlinks=False):
                files.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
    return heapq.nsmallest(limit, files), folders


def _described(descriptor: int, names: list[str], prefix: str) -> list[OutboxFile]:
    """What the files of these names are like, without those that are gone or swapped."""
    described: list[OutboxFile] = []
    for name in names:
        status = status_of(name, inside=descriptor)
        if status is not None and stat.S_ISREG(status.st_mode):
            size, mtime, inode = status.st_size, status.st_mtime_ns, status.st_ino
            described.append(OutboxFile(prefix + name, size, mtime, inode))
    return described


def _is_same(status: os.stat_result, file: OutboxFile) -> bool:
    same = (status.st_size, status.st_mtime_ns, status.st_ino)
    return stat.S_ISREG(status.st_mode) and same == (file.size, file.mtime_ns, file.inode)
