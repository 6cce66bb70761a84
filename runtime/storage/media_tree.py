"""The files of all sessions on disk: ``<root>/<session>/<file>`` (M1–M3, M6, M8).

What is done here is synchronous and belongs into a worker thread. Each operation opens the root
anew, not through a link, and works relative to that descriptor; so nothing outside the tree is ever
touched, whatever is swapped for what and when. The folders above the root are trusted.

======================================  ===========================================================
what is found                           what is done
======================================  ===========================================================
the root, or a session's folder, is a   refused with `MediaUnsafe`; nothing is touched
link, no folder, or another user's
a folder or a file is open to others    it is closed to them (0700, 0600)
the root is not the one prepared        refused with `MediaUnsafe`, until that is back
a link in a session's folder            told by a scan, removed itself by a removal, never followed
a folder in a session's folder          told, and left as it is
======================================  ===========================================================
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from runtime.storage.folders import (
    FOLDER_MODE,
    checked_name,
    folder,
    make_private,
    open_file,
    open_folder,
    status_of,
    unsafe,
)
from runtime.storage.media_errors import (
    FileTooLarge,
    MediaError,
    MediaFailed,
    MediaInUse,
    MediaUnsafe,
    NoSuchFile,
    UnsafeName,
    explained,
    not_for_media,
)
from runtime.storage.media_partial import Partial
from runtime.storage.media_scan import (
    Found,
    Removed,
    Scan,
    clear,
    foreign_name,
    found,
    look_through,
)

_ATTEMPTS = 10
"""How often a session's folder is made again when it is removed at the same time."""

_CHUNK_BYTES = 256 * 1024


class Space(msgspec.Struct, frozen=True):
    """Bytes that may still be written, and bytes in all, of the file system of the root."""

    free: int
    total: int


class MediaTree:
    """The files of all sessions below one root.

    It is safe in any number of threads. Between `prepare` and `release` it holds a lock, so that no
    other runtime works on the same root.

    Args:
        root: Where; made by `prepare`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock: int | None = None
        self._prepared: os.stat_result | None = None

    # -- the root ----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the root, or take the one that is there, and lock it until `release`.

        The lock is an `flock` on the folder itself: the kernel gives it back when the process ends,
        however it ends, and services that tidy up a shared directory leave a locked folder alone.

        Raises:
            MediaUnsafe: At its place is something that is not a folder of this user, or a folder
                that is open to others and holds what is not ours.
            MediaInUse: Another runtime works on it.
            MediaFull: There is no room to make it.
            MediaFailed: It cannot be made or locked.
        """
        with explained(self.root):
            self._make_root()
            descriptor = open_folder(str(self.root), self.root, private=False)
            try:
                self._adopt(descriptor)
                self._flock(descriptor)
                self._prepared = os.fstat(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            self._lock = descriptor

    def release(self) -> None:
        """Give the lock back. Does nothing when there is none."""
        held, self._lock, self._prepared = self._lock, None, None
        if held is not None:
            os.close(held)

    def space(self) -> Space:
        """How much room the file system of the root has.

        Raises:
            MediaError: The root cannot be used.
        """
        with explained(self.root), self._opened() as root:
            status = os.fstatvfs(root)
        return Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)

    def scan(self) -> Scan:
        """Find all files. What cannot be read, or is not ours, is told and skipped (M6).

        Raises:
            MediaError: The root cannot be used.
        """
        with explained(self.root), self._opened() as root:
            return look_through(root, self.root)

    # -- one file ----------------------------------------------------------------------------------

    def path(self, session: str, file: str) -> Path:
        """Where a file is, for whoever reads it by path. Does not look at the disk.

        Raises:
            UnsafeName: A name is not safe (A2).
        """
        return self._place(session) / checked_name(file)

    def create(self, session: str, *, limit: int) -> Partial:
        """Begin a new file, in the session's folder, which is made when it is missing.

        Args:
            session: The name of the folder.
            limit: How large the file may become, in bytes.

        Raises:
            UnsafeName: The name of the session is not safe, or begins with a dot.
            MediaUnsafe: The root or the folder must not be used.
            MediaFull: There is no space.
            MediaFailed: The disk refused.
        """
        place = self._place(session)
        with explained(place):
            for _ in range(_ATTEMPTS):
                with suppress(FileNotFoundError), self._opened() as root:
                    descriptor = self._made_folder(root, session)
                    return Partial(descriptor, place, limit, lambda it: self._is_at(it, session))
        raise MediaFailed(f"{place} was removed again and again while a file was to be made in it.")

    def open(self, session: str, file: str) -> int:
        """Open a file for reading.

        Returns:
            A descriptor; closing it is the caller's.

        Raises:
            UnsafeName: A name is not safe.
            NoSuchFile: There is no such file.
            MediaUnsafe: The root, the folder or the file is a link or something else of not ours.
            MediaFailed: The disk refused.
        """
        place = self.path(session, file)
        with explained(place), self._opened() as root:
            try:
                with folder(session, place.parent, inside=root) as descriptor:
                    return open_file(file, place, inside=descriptor)
            except FileNotFoundError:
                raise NoSuchFile(f"There is no file {place}.") from None

    @contextmanager
    def inside(self, session: str) -> Iterator[int]:
        """The descriptor of a session's folder, for the block. Raises as `open` does."""
        place = self._place(session)
        with explained(place), self._opened() as root:
            try:
                descriptor = open_folder(session, place, inside=root)
            except FileNotFoundError:
                raise NoSuchFile(f"There is no folder {place}.") from None
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    def read(self, session: str, file: str, *, limit: int) -> bytes:
        """Read a file as a whole.

        Args:
            session: The name of the folder.
            file: The name of the file.
            limit: How many bytes are taken into memory at most.

        Raises:
            FileTooLarge: It has more.
            MediaError: As for `open`.
        """
        place = self.path(session, file)
        descriptor = self.open(session, file)
        data = bytearray()
        try:
            with explained(place):
                while chunk := os.read(descriptor, _CHUNK_BYTES):
                    data += chunk
                    if len(data) > limit:
                        raise FileTooLarge(f"{place} is larger than the {limit} bytes allowed.")
        finally:
            os.close(descriptor)
        return bytes(data)

    def holds(self, session: str, file: str, content_hash: str) -> bool:
        """Whether a file has the bytes of this SHA-256, in hexadecimal. An agent may write and
        remove in the folder of its session.

        Raises:
            UnsafeName: A name is not safe.
        """
        place = self.path(session, file)
        try:
            descriptor = self.open(session, file)
            with explained(place), os.fdopen(descriptor, "rb") as opened:
                return hashlib.file_digest(opened, "sha256").hexdigest() == content_hash
        except MediaError:
            return False

    def stat(self, session: str, file: str) -> Found | None:
        """What is known about a file; None when there is no regular file of that name.

        Raises:
            UnsafeName: A name is not safe.
            MediaUnsafe: The root or the folder must not be used.
            MediaFailed: The disk refused.
        """
        place = self.path(session, file)
        with explained(place), self._opened() as root:
            try:
                with folder(session, place.parent, inside=root) as descriptor:
                    status = status_of(file, inside=descriptor)
            except FileNotFoundError:
                return None
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return found(session, file, status)

    def exists(self, session: str, file: str) -> bool:
        """Whether there is a regular file of that name. Raises as `stat` does."""
        return self.stat(session, file) is not None

    # -- removing ----------------------------------------------------------------------------------

    def remove(self, session: str, file: str) -> bool:
        """Remove a file, or a link itself; False when it was not there.

        Raises:
            UnsafeName: A name is not safe.
            MediaUnsafe: The root or the folder must not be used, or a folder has that name.
            MediaFailed: The disk refused.
        """
        place = self.path(session, file)
        with explained(place), self._opened() as root:
            try:
                with folder(session, place.parent, inside=root) as descriptor:
                    status = status_of(file, inside=descriptor)
                    if status is not None and stat.S_ISDIR(status.st_mode):
                        raise unsafe(f"{place} is a folder, not a file")
                    os.unlink(file, dir_fd=descriptor)
            except FileNotFoundError:
                return False
        return True

    def remove_session(self, session: str) -> Removed:
        """Remove all files of a session, and its folder. What fails is told and left (M6).

        A link at the folder's place is left too, and nothing that it leads to is touched.

        Raises:
            UnsafeName: The name is not safe, or begins with a dot.
            MediaUnsafe: The root or the folder must not be used.
            MediaFailed: The folder cannot be read.
        """
        place = self._place(session)
        with explained(place), self._opened() as root:
            try:
                with folder(session, place, inside=root) as descriptor:
                    removed = clear(descriptor, place)
            except FileNotFoundError:
                return Removed()
            try:
                os.rmdir(session, dir_fd=root)
            except FileNotFoundError:
                pass
            except OSError as error:
                problems = [*removed.problems, f"{place}: {error}"]
                failed = removed.failed + 1
                return msgspec.structs.replace(removed, problems=problems, failed=failed)
        return removed

    def remove_empty(self, session: str) -> bool:
        """Remove the folder of a session if there is nothing in it; whether it was removed.

        Raises:
            UnsafeName: The name is not safe, or begins with a dot.
            MediaUnsafe: The root must not be used.
            MediaFailed: The disk refused, or at the folder's place is something else.
        """
        place = self._place(session)
        with explained(place), self._opened() as root:
            try:
                os.rmdir(session, dir_fd=root)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
        return True

    # -- help --------------------------------------------------------------------------------------

    def _place(self, session: str) -> Path:
        if checked_name(session).startswith("."):
            raise UnsafeName(f"{session!r} begins with a dot, as no session's folder does.")
        return self.root / session

    def _make_root(self) -> None:
        missing = [self.root]
        while not os.path.lexists(missing[-1].parent):
            missing.append(missing[-1].parent)
        for each in reversed(missing):  # `parents=True` would make those above for everybody
            with suppress(FileExistsError):
                each.mkdir(mode=FOLDER_MODE)

    def _adopt(self, descriptor: int) -> None:
        """Close the root to others, unless others may need what is in it: it may be anybody's."""
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and status.st_mode & 0o077:
            foreign = foreign_name(descriptor)
            if foreign is not None:
                raise MediaUnsafe(not_for_media(self.root, foreign))
        make_private(descriptor, self.root)

    def _flock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise MediaInUse(
                    f"Another runtime works on the media in {self.root}. Stop it, or choose "
                    "another folder for media in the settings."
                ) from None
            raise MediaFailed(
                f"{self.root} cannot be locked ({error.strerror}); network file systems cannot. "
                "Choose a local folder for media in the settings."
            ) from error

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The root, closed at the end of the block."""
        try:
            descriptor = open_folder(str(self.root), self.root, private=False)
        except FileNotFoundError:
            raise MediaFailed(
                f"The folder for media, {self.root}, is gone. Start the runtime again to make it."
            ) from None
        try:
            prepared = self._prepared
            if prepared is not None and not os.path.samestat(prepared, os.fstat(descriptor)):
                raise unsafe(f"{self.root} is not the folder that it was at the start")
            if prepared is None:
                self._adopt(descriptor)
            else:
                make_private(descriptor, self.root)
            yield descriptor
        finally:
            os.close(descriptor)

    def _made_folder(self, root: int, session: str) -> int:
        place = self.root / session
        try:
            return open_folder(session, place, inside=root)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(session, mode=FOLDER_MODE, dir_fd=root)
            os.fsync(root)  # a file that is durable in a folder that is not would be lost
            return open_folder(session, place, inside=root)

    def _is_at(self, descriptor: int, session: str) -> bool:
        """Whether an open folder is the one of that session now."""
        with self._opened() as root:
            status = status_of(session, inside=root)
        return status is not None and os.path.samestat(status, os.fstat(descriptor))
