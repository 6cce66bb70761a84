"""The instance lock: one runtime per data directory (D3)."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from runtime.storage.errors import InstanceLocked

LOCK = "lock"
"""The name of the file in a data directory."""

_PID_BYTES = 32


class InstanceLock:
    """Holds a file locked by ``flock`` until `release`.

    The kernel gives the lock back when the process ends, however it ends, so there are no stale
    locks; the process id in the file is only for the message. Made by `take`.

    Attributes:
        created: Whether the file was made by this lock.
    """

    def __init__(self, path: Path, descriptor: int, created: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self.created = created

    @classmethod
    def take(cls, path: Path) -> InstanceLock:
        """Lock a file, making it when it does not exist.

        Raises:
            InstanceLocked: Another lock holds it.
            OSError: The file cannot be made or written.
        """
        while True:
            created = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            lock = cls(path, descriptor, created)
            try:
                lock._flock()
                current = lock._is_current()
            except BaseException:
                os.close(descriptor)
                raise
            if not current:
                os.close(descriptor)
                continue
            try:
                lock._write_pid()
            except BaseException:
                lock.release(remove=created)
                raise
            return lock

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back.

        Args:
            remove: Also remove the file.
        """
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _flock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise
            pid = os.pread(self._descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip()
            raise InstanceLocked(
                f"Another runtime (process {pid or 'unknown'}) works on {self._path.parent}. "
                "Stop it, or choose another directory with --data-dir."
            ) from None

    def _is_current(self) -> bool:
        """Whether the locked file is still the one of that name, not one that was just removed."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self._descriptor), there)

    def _write_pid(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock. Looks by trying a shared lock, for an instant."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
