"""What SQLite reports, as the store's own errors with what to do next."""

from __future__ import annotations

import errno

import apsw

from runtime.storage.errors import DiskFull, StorageIOError, StoreUnavailable

STORAGE_FAILURES = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.IOError,
    apsw.InterruptError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ReadOnlyError,
)
"""The errors that are the disk's or the machine's, not the request's."""

_DAMAGED = (apsw.CorruptError, apsw.NotADBError)


def unavailable(error: BaseException) -> StoreUnavailable:
    """The store's error for one of `STORAGE_FAILURES` or an `OSError`."""
    if _no_space(error):
        return DiskFull(
            "No space is left on the disk for the database. Nothing was written; "
            "free some space, and writes succeed again by themselves."
        )
    if isinstance(error, _DAMAGED):
        return StorageIOError(
            f"The database is damaged ({error}). Stop the runtime, keep the file, and run "
            "`python -m runtime doctor`."
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StorageIOError(
            f"Another program holds the database ({error}). Close it; writes succeed again then."
        )
    detail = str(error)
    code = getattr(error, "extendedresult", 0)
    if code:
        detail = f"{detail}, SQLite code {code}"
    return StorageIOError(
        f"The disk refused a read or a write of the database ({detail}). Nothing was written; "
        "look at the disk and the system's log."
    )


def _no_space(error: BaseException) -> bool:
    """Whether there is no room. SQLite has a code of its own for the index of the log
    (https://sqlite.org/rescode.html#ioerr_shmsize).
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    index_cannot_grow = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    return isinstance(error, apsw.FullError) or index_cannot_grow
