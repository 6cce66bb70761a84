"""Where an agent finds the files that it was given, when it sees nothing but the folder of its
session (M5).

A file is in ``inbox/<id of the file>/<name>``: a hard link to the one in the media folder, so that
its bytes are there once; a copy where no link can be made. The folder of a file is ours, and goes
with it. Everything else in the inbox is the agent's, who may move things about at any time: then
what is in our folder's place is left alone.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from runtime.sessions.filenames import safe_name
from runtime.sessions.ids import is_id
from runtime.storage.folders import (
    FOLDER_MODE,
    checked_name,
    folder,
    make_file,
    status_of,
    unsafe,
)
from runtime.storage.media_errors import MediaError, MediaFailed, explained
from runtime.storage.media_scan import Problems, clear
from runtime.storage.media_tree import MediaTree
from runtime.storage.session_scan import each_session, folders_in
from runtime.storage.transcript import make_session_folder

INBOX = "inbox"
"""The folder in a session's folder in which files come (S7)."""

_UNFINISHED = ".unfinished"
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)


class InboxScan(msgspec.Struct, frozen=True):
    """What is in all inboxes.

    Attributes:
        inboxes: Those in which there is anything of ours, by the names of their sessions' folders.
        copies: The folders in them, as session and id of the file, each with the bytes in it that
            are nowhere else.
        problems: What could not be read, one sentence each, not all of them when there are many.
    """

    inboxes: dict[str, Inbox]
    copies: dict[tuple[str, str], int]
    problems: list[str]


class Inbox:
    """One inbox. All methods block: they are for a thread, any number at a time.

    Args:
        folder: Where; made when something is put into it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, file: str, name: str) -> Path:
        """Where a file of the media folder is here, under its name. Does not look at the disk."""
        return self._folder / file_id(file) / checked_name(name)

    def link(self, tree: MediaTree, session: str, file: str, name: str) -> bool:
        """Put a file here; False where no link can be made.

        Args:
            tree: Has it.
            session: The name of its folder there.
            file: Its name there.
            name: What it is called here; what has that name already makes way.

        Raises:
            UnsafeName: A name is not safe.
            NoSuchFile: There is no such file.
            MediaUnsafe: There is a link, or another user's folder, where a folder of ours would be.
            MediaError: The disk refused.
        """
        place = self.path(file, name)
        with explained(place), ExitStack() as stack:
            original = tree.open(session, file)
            stack.callback(os.close, original)
            media = stack.enter_context(tree.inside(session))
            here = stack.enter_context(self._made(file))
            if _is_file(status_of(name, inside=here), original):
                return True
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=here)
            try:
                os.link(file, name, src_dir_fd=media, dst_dir_fd=here, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NO_LINKS:
                    return False
                raise
            if not _is_file(status_of(name, inside=here), original):
                os.unlink(name, dir_fd=here)
                raise unsafe(f"{tree.path(session, file)} was replaced while it was linked")
        return True

    def copy(self, tree: MediaTree, session: str, file: str, name: str) -> None:
        """Put a copy of a file here. Arguments and errors are those of `link`."""
        place = self.path(file, name)
        with explained(place), ExitStack() as stack:
            original = stack.enter_context(os.fdopen(tree.open(session, file), "rb"))
            here = stack.enter_context(self._made(file))
            with suppress(FileNotFoundError):
                os.unlink(_UNFINISHED, dir_fd=here)
            try:
                with os.fdopen(make_file(_UNFINISHED, inside=here), "wb") as copy:
                    shutil.copyfileobj(original, copy, 1024 * 1024)
                os.rename(_UNFINISHED, name, src_dir_fd=here, dst_dir_fd=here)
            except BaseException:
                with suppress(OSError):
                    os.unlink(_UNFINISHED, dir_fd=here)
                raise

    def copies(self, file: str) -> int:
        """Bytes that are here for a file, and nowhere else. Raises MediaError."""
        place = self._folder / file_id(file)
        with explained(place):
            try:
                with self._opened() as inbox, folder(place.name, place, inside=inbox) as here:
                    return _copies_in(here)
            except FileNotFoundError:
                return 0

    def drop(self, file: str, name: str) -> None:
        """Remove what is here of a file under one name. Raises as `remove` does."""
        place = self.path(file, name)
        with (
            explained(place),
            suppress(FileNotFoundError),
            self._opened() as inbox,
            folder(place.parent.name, place.parent, inside=inbox) as here,
        ):
            os.unlink(name, dir_fd=here)

    def remove(self, file: str) -> None:
        """Remove what is here of a file, under all names.

        Raises:
            MediaUnsafe: The inbox, or the folder in it, is a link or another user's now.
            MediaFailed: The disk refused, and a file is still there.
        """
        place = self._folder / file_id(file)
        with explained(place), suppress(FileNotFoundError), self._opened() as inbox:
            with folder(place.name, place, inside=inbox) as here:
                os.fchmod(here, FOLDER_MODE)  # an agent may have closed it to us
                problems = clear(here, place).problems
                if _has_files(here):
                    why = next(iter(problems), f"{place}: another one came meanwhile")
                    raise MediaFailed(f"A file in an inbox could not be removed. {why}")
            try:
                os.rmdir(place.name, dir_fd=inbox)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    @contextmanager
    def _opened(self, *, made: bool = False) -> Iterator[int]:
        """The inbox, in a folder of a session that is no link either."""
        above = self._folder.parent
        if made and not os.path.lexists(above):
            make_session_folder(above)
        with folder(str(above), above, private=False) as session:
            if made:
                _make(self._folder.name, session)
            with folder(self._folder.name, self._folder, inside=session, private=False) as inbox:
                yield inbox

    @contextmanager
    def _made(self, file: str) -> Iterator[int]:
        """The folder of a file, which is made when it is missing."""
        place = self._folder / file_id(file)
        with self._opened(made=True) as inbox:
            _make(place.name, inbox)
            with folder(place.name, place, inside=inbox) as here:
                yield here


def _make(name: str, inside: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, mode=FOLDER_MODE, dir_fd=inside)


def file_id(file: str) -> str:
    """The id of a file of a media folder: its name without the ending."""
    return checked_name(file).partition(".")[0]


def inbox_name(name: str | None, file: str) -> str:
    """What a file is called in an inbox: as its sender called it, if that can only be the name of a
    file in one folder (A2); else as in the media folder.
    """
    safe = safe_name(name)
    return file if safe is None or safe.startswith(".") else safe


def scan_inboxes(root: Path) -> InboxScan:
    """Look through all inboxes. What cannot be read, or is a link, is told and skipped.

    Args:
        root: Where the folders of agents are, with those of their sessions in them; it need not
            exist.

    Raises:
        MediaUnsafe: It is a link or no folder.
        MediaFailed: It cannot be read.
    """
    scan, problems = InboxScan({}, {}, []), Problems()
    for sessions, session, where in each_session(root, problems):
        _look_into(sessions, session, where, scan, problems)
    return msgspec.structs.replace(scan, problems=problems.told)


def _look_into(
    sessions: int, session: str, where: Path, scan: InboxScan, problems: Problems
) -> None:
    place = where / INBOX
    try:
        status = os.stat(f"{session}/{INBOX}", dir_fd=sessions, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode) or status.st_nlink == 2:  # no folder in it
            return
        with (
            folder(session, where, inside=sessions, private=False) as above,
            folder(INBOX, place, inside=above, private=False) as inbox,
        ):
            for file in filter(is_id, folders_in(inbox)):
                try:
                    with folder(file, place / file, inside=inbox) as here:
                        scan.copies[session, file] = _copies_in(here)
                    scan.inboxes.setdefault(session, Inbox(place))
                except (MediaError, OSError) as error:
                    problems.add(place / file, error)
    except FileNotFoundError:
        return
    except (MediaError, OSError) as error:
        problems.add(place, error)


def _has_files(descriptor: int) -> bool:
    with os.scandir(descriptor) as entries:
        return any(entry.is_file(follow_symlinks=False) for entry in entries)


def _copies_in(descriptor: int) -> int:
    with os.scandir(descriptor) as entries:
        found = [entry.stat(follow_symlinks=False) for entry in entries]
    return sum(each.st_size for each in found if stat.S_ISREG(each.st_mode) and each.st_nlink == 1)


def _is_file(status: os.stat_result | None, descriptor: int) -> bool:
    return status is not None and os.path.samestat(status, os.fstat(descriptor))
