"""Reading a file of this machine that a message links to, through no symbolic link (M2)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

from runtime.storage.folders import folder, open_file


class LinkedFile:
    """One regular file. All methods block: they are for a thread, one at a time.

    Args:
        path: absolute, with no symbolic link in it as it was found. Whoever puts one there later
            gets a refusal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def open(self) -> int:
        """Open it. Returns its size in bytes.

        Raises:
            MediaUnsafe: It is no regular file, or there is a symbolic link in its path.
            OSError: It is not there, or must not be read.
        """
        root, *folders, name = self._path.parts
        with ExitStack() as opened:
            inside = opened.enter_context(folder(root, self._path, private=False))
            for each in folders:
                inside = opened.enter_context(
                    folder(each, self._path, inside=inside, private=False)
                )
            descriptor = open_file(name, self._path, inside=inside)
        self._file = FileIO(descriptor)
        return os.fstat(descriptor).st_size

    def read(self, size: int) -> bytes:
        """At most so many of the next bytes; none at its end. Raises OSError."""
        return b"" if self._file is None else self._file.read(size) or b""

    def close(self) -> None:
        """Nothing more is read."""
        if self._file is not None:
            self._file.close()
