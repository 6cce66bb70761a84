"""A file that is being written: under a name of its own until it is whole (M3)."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.storage.folders import checked_name, make_file, status_of, unsafe
from runtime.storage.media_errors import FileTooLarge, NameTaken, UnsafeName, explained

_BEGIN = ".unfinished-"


def is_partial(name: str) -> bool:
    """Whether a name is that of a file that was never finished."""
    return name.startswith(_BEGIN)


class Partial:
    """A file on its way into a session's folder. Made by `MediaTree.create`.

    Whatever fails, a write or the finish, removes the file at once. As a context manager it is
    aborted at the end of the block unless it was finished. Only one thread may use it at a time;
    which one does not matter.
    """

    def __init__(self, folder: int, where: Path, limit: int, is_there: Callable[[int], bool]):
        """Make the file; `MediaTree.create` does.

        Args:
            folder: The descriptor of the session's folder, closed by this object from now on,
                also when the file cannot be made.
            where: The path of that folder.
            limit: How large the file may become, in bytes.
            is_there: Whether a descriptor is that of the folder which is at the path now.

        Raises:
            OSError: The file cannot be made.
        """
        self._where = where
        self._limit = limit
        self._is_there = is_there
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._name = _BEGIN + secrets.token_hex(8)
        self._folder = folder
        try:
            self._descriptor = make_file(self._name, inside=folder)
        except BaseException:
            os.close(folder)
            raise
        self._open = True

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    @property
    def hash(self) -> str:
        """SHA-256 of what was written so far, in hexadecimal."""
        return self._sha256.hexdigest()

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the file.

        Raises:
            FileTooLarge: It would be over the limit; nothing of the chunk was written.
            MediaFull: There is no space.
            MediaFailed: The disk refused.
            ValueError: The file was finished or aborted before.
        """
        self._check_open()
        try:
            with explained(self._where):
                self._append(memoryview(chunk).cast("B"))
        except BaseException:
            self.abort()
            raise

    def finish(self, name: str) -> None:
        """Make the file durable and give it its name.

        It goes into the folder that was opened by `MediaTree.create`. If that is not at its path
        any more, because somebody moved or swapped it, the file could not be found again: then it
        is removed and the finish fails.

        Args:
            name: A safe name (A2) that does not begin with a dot.

        Raises:
            UnsafeName: The name is not safe, or begins with a dot.
            NameTaken: Something has that name; it is as it was.
            MediaUnsafe: The folder or the file was moved away or swapped meanwhile.
            MediaFull: There is no space.
            MediaFailed: The disk refused, or the folder was removed meanwhile.
            ValueError: The file was finished or aborted before.
        """
        self._check_open()
        try:
            with explained(self._where):
                self._publish(name)
        except BaseException:
            self.abort()
            raise
        self._close()

    def abort(self) -> None:
        """Remove the file, unless it was finished. Does nothing the second time.

        A file that cannot be removed is left over, and `MediaTree.scan` lists it as such.
        """
        if self._open:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def _append(self, data: memoryview) -> None:
        if self._size + len(data) > self._limit:
            raise FileTooLarge(f"The file is larger than the {self._limit} bytes allowed.")
        self._sha256.update(data)
        self._size += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _publish(self, name: str) -> None:
        if checked_name(name).startswith("."):
            raise UnsafeName(f"{name!r} begins with a dot, as only unfinished files do.")
        os.fsync(self._descriptor)
        try:
            # An empty file takes the name, since a rename alone would replace what has it.
            os.close(make_file(name, inside=self._folder))
        except FileExistsError:
            raise NameTaken(f"There is a file {self._where / name} already.") from None
        try:
            os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._check_place(name)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder)
            raise

    def _check_place(self, name: str) -> None:
        status = status_of(name, inside=self._folder)
        if status is None or not os.path.samestat(status, os.fstat(self._descriptor)):
            raise unsafe(f"{self._where / name} was swapped while it was written")
        os.fsync(self._folder)
        if not self._is_there(self._folder):
            raise unsafe(f"{self._where} was swapped while a file was written into it")

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("the file was finished or aborted")

    def _close(self) -> None:
        self._open = False
        for descriptor in (self._descriptor, self._folder):
            with suppress(OSError):  # what matters was said by fsync
                os.close(descriptor)
