"""Text files within a few folders, for `fs/read_text_file` and `fs/write_text_file`.

A path is followed component by component from a descriptor of the folder, and no component may be a
symbolic link: whatever is swapped meanwhile, what is opened is inside. Only regular files are read
and replaced.

Files that people sent are in a folder of their own, for reading. Those of other sessions are beside
it, and are refused also where the agent works in a folder that they are in (M4).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePath

import msgspec

from actors.agents.acp.parameters import read_params
from actors.disk import Disk
from runtime.protocol import jsonrpc
from runtime.protocol.acp import RESOURCE_NOT_FOUND, Empty
from runtime.protocol.acp_agent import FileContent, ReadFileParams, WriteFileParams
from runtime.protocol.jsonrpc import RpcError
from runtime.storage.media_errors import NoAnswer

LARGEST_FILE = 10 * 1024 * 1024
"""Bytes that are read or written."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileRefused(Exception):
    """The file is not read or written. The text names it and says why."""

    def __init__(self, path: str, reason: str, *, missing: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.missing = missing


class Folder:
    """The files of one folder. Its methods block: they are for threads.

    Args:
        root: the folder; absolute.
        closed: a folder that is as if it were not inside, should it be; absolute.
    """

    def __init__(self, root: Path, closed: Path | None = None) -> None:
        self.root = root
        self._closed = closed

    def names(self, path: str) -> bool:
        """Whether an absolute path leads below the folder, as far as its text says."""
        pure = PurePath(path)
        return "\0" not in path and pure.is_absolute() and self._relative(pure) is not None

    def read(self, path: str, line: int | None = None, limit: int | None = None) -> str:
        """The text of a file: at most ``limit`` lines from ``line`` on, counted from 1.

        Raises:
            FileRefused: it is not inside, no regular file, too large, or no UTF-8.
        """
        with self._parent(path) as (parent, name), _explained(path):
            descriptor = os.open(name, _READ, dir_fd=parent)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
                _require_regular(path, os.fstat(descriptor))
                data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise FileRefused(path, f"it is larger than {LARGEST_FILE} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise FileRefused(path, f"it is no UTF-8 text (at byte {error.start})") from None
        if line is None and limit is None:
            return text
        first = max(line or 1, 1) - 1
        lines = text.split("\n")
        last = len(lines) if limit is None else first + limit
        rest = lines[first:last]
        return "\n".join(rest) + ("\n" if rest and last < len(lines) else "")

    def write(self, path: str, content: str) -> None:
        """Make or replace a file, all at once; folders on the way are made.

        Raises:
            FileRefused: it is not inside, no regular file, or too large.
        """
        data = content.encode()
        if len(data) > LARGEST_FILE:
            raise FileRefused(path, f"the content is larger than {LARGEST_FILE} bytes")
        with self._parent(path, make=True) as (parent, name), _explained(path):
            mode = _mode_of(path, name, parent)
            draft = f".{secrets.token_hex(8)}.draft"
            descriptor = os.open(draft, _NEW, 0o666, dir_fd=parent)
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                    if mode is not None:
                        os.fchmod(descriptor, mode)
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=parent)
                raise

    def inside(self, path: str) -> Path:
        """A folder that is inside, or the folder itself.

        Raises:
            FileRefused: there is no such folder inside.
        """
        if PurePath(path) in (self.root, self.root.resolve()):
            return self.root
        with self._parent(path) as (parent, name), _explained(path):
            os.close(os.open(name, _FOLDER, dir_fd=parent))
        return self.root.joinpath(*self._parts(path))

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that a path is in, and the name in it."""
        *folders, name = self._parts(path)
        with _explained(path):
            closed = self._closed_status()
            parent = self._open_root()
        try:
            for folder in folders:
                with _explained(path):
                    if make:
                        with suppress(FileExistsError):
                            os.mkdir(folder, dir_fd=parent)
                    inner = os.open(folder, _FOLDER, dir_fd=parent)
                os.close(parent)
                parent = inner
                if closed is not None and os.path.samestat(closed, os.fstat(parent)):
                    raise FileRefused(path, "files of other sessions are in there")
            yield parent, name
        finally:
            os.close(parent)

    def _open_root(self) -> int:
        return os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _closed_status(self) -> os.stat_result | None:
        if self._closed is None:
            return None
        with suppress(FileNotFoundError):
            return self._closed.stat()
        return None

    def _relative(self, path: PurePath) -> PurePath | None:
        """An absolute path from the folder on; None when it leads elsewhere."""
        for root in (self.root, self.root.resolve()):
            if path.is_relative_to(root):
                return path.relative_to(root)
        return None

    def _parts(self, path: str) -> tuple[str, ...]:
        """The components of a path below the folder."""
        if "\0" in path:
            raise FileRefused(repr(path), "a path has no null character")
        pure = PurePath(path)
        if pure.is_absolute():
            inside = self._relative(pure)
            if inside is None:
                raise FileRefused(path, f"it is not inside {self.root}")
            pure = inside
        if not pure.parts or ".." in pure.parts:
            raise FileRefused(path, f"it does not name a file inside {self.root}")
        return pure.parts


class MediaFolder(Folder):
    """The files that people sent to one session, for reading. Neither the folder nor the one above
    it may be a link, which could lead to those of another session (M2, M4).
    """

    def _open_root(self) -> int:
        above = os.open(self.root.parent, _FOLDER)
        try:
            return os.open(self.root.name, _FOLDER, dir_fd=above)
        finally:
            os.close(above)


class FileMethods:
    """The methods ``fs/*``. Whoever is cancelled waits for neither of them: a file is written as a
    whole or not at all, by the thread itself.

    Args:
        folder: the files that may be used.
        disk: where that is done.
        media: files that may be read as well.
    """

    def __init__(self, folder: Folder, disk: Disk, media: MediaFolder | None = None) -> None:
        self._folder = folder
        self._disk = disk
        self._media = media

    def _read(self, asked: ReadFileParams) -> str:
        folder = self._folder
        if self._media is not None and self._media.names(asked.path):
            folder = self._media
        return folder.read(asked.path, asked.line, asked.limit)

    async def read(self, params: msgspec.Raw) -> FileContent:
        """Serve `fs/read_text_file`."""
        read = partial(self._read, read_params(params, ReadFileParams))
        with answered():
            return FileContent(await self._disk(read, abandon=True))

    async def write(self, params: msgspec.Raw) -> Empty:
        """Serve `fs/write_text_file`."""
        asked = read_params(params, WriteFileParams)
        write = partial(self._folder.write, asked.path, asked.content)
        with answered():
            await self._disk(write, abandon=True)
        return Empty()


@contextmanager
def answered() -> Iterator[None]:
    """Refusals as errors of the protocol."""
    try:
        yield
    except FileRefused as error:
        code = RESOURCE_NOT_FOUND if error.missing else jsonrpc.INVALID_PARAMS
        raise RpcError(code, str(error)) from None
    except NoAnswer as error:
        raise RpcError(jsonrpc.INTERNAL_ERROR, str(error)) from None


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """What the system says, with the path that was asked for."""
    try:
        yield
    except OSError as error:
        # A link that is not followed is reported as one too many, or as no folder.
        reason = {
            errno.ELOOP: "there is a symbolic link on the way",
            errno.ENOTDIR: "there is a symbolic link or a file on the way",
            errno.ENXIO: "it is no regular file",
        }.get(error.errno or 0, os.strerror(error.errno or 0))
        raise FileRefused(path, reason, missing=error.errno == errno.ENOENT) from None


def _require_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(path, "it is no regular file")


def _mode_of(path: str, name: str, parent: int) -> int | None:
    """The permissions of a file that is to be replaced; None when there is none."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        raise FileRefused(path, "it is a symbolic link")
    _require_regular(path, status)
    return stat.S_IMODE(status.st_mode)
