"""Opening a data directory (D3, D4, S23).

All that may be refused is refused before anything in the directory is changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from runtime.storage.errors import (
    DataDirectoryError,
    NewerDatabase,
    StoreError,
    UnreadableDatabase,
)
from runtime.storage.failures import STORAGE_FAILURES, unavailable
from runtime.storage.lock import LOCK, InstanceLock
from runtime.storage.migrations import Migration, migrate, schema_version
from runtime.storage.reader import BUSY_TIMEOUT_MS, stable_plans
from runtime.storage.sizes import Sizes, file_size, measure

DATABASE = "runtime.db"

APPLICATION_ID = int.from_bytes(b"Grnr", "big")
"""Says in the header of a database that it is ours."""

CHECKPOINT_PAGES = 4_000
"""The budget of a checkpoint (D3), in pages of 4 KiB.

The log is moved into the database when it has so many, so that no checkpoint has to move much more.
"""

LOG_LIMIT_BYTES = 32 * 1024 * 1024
"""To what the log's file is cut back when a burst made it grow."""

CACHE_KIB = 16 * 1024
"""What the writer keeps in memory of the database, at most; it fills up as the database grows."""

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_COMPANIONS = ("-wal", "-shm", "-journal")


class OpenDatabase:
    """An open database, the lock of its directory, and the sizes found at opening."""

    def __init__(
        self, connection: apsw.Connection, database: Path, lock: InstanceLock, sizes: Sizes
    ) -> None:
        self.connection = connection
        self.database = database
        self.lock = lock
        self.sizes = sizes


def open_directory(data_dir: Path, migrations: Sequence[Migration]) -> OpenDatabase:
    """Lock a data directory and open its database, made or migrated as needed.

    When it is refused, nothing in the directory is changed and what was made for it is removed.

    Raises:
        DataDirectoryError: The directory cannot be made, read or written.
        InstanceLocked: Another runtime works on it.
        NewerDatabase: It was written by a newer version.
        UnreadableDatabase: The file is not a database of ours, or is damaged.
        DiskFull: There is no room to make or migrate it.
        StorageIOError: The disk refused.
    """
    database = data_dir / DATABASE
    with _explained(data_dir):
        made_directory = not data_dir.exists()
        if not made_directory:
            _check_directory(data_dir)
            _check_header(database, migrations)
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = InstanceLock.take(data_dir / LOCK)
        except BaseException:
            _remove_if_empty(data_dir, made_directory)
            raise
        try:
            connection = _open_database(database, migrations)
            data_dir.chmod(0o700)
        except BaseException:
            lock.release(remove=lock.created)
            _remove_if_empty(data_dir, made_directory)
            raise
    return OpenDatabase(connection, database, lock, measure(database))


def open_memory_database(migrations: Sequence[Migration]) -> apsw.Connection:
    """A database in memory with the newest schema."""
    connection = apsw.Connection(":memory:", statementcachesize=400)
    _configure(connection)
    migrate(connection, migrations, None)
    return connection


# -- checks that read only -------------------------------------------------------------------------


def _check_directory(data_dir: Path) -> None:
    if not data_dir.is_dir():
        raise DataDirectoryError(
            f"{data_dir} is not a directory. Move it away, or choose another directory with "
            "--data-dir."
        )
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise DataDirectoryError(
            f"The data directory {data_dir} cannot be read and written. Make it writable for the "
            "user that starts the runtime, or choose another directory with --data-dir."
        )


def _check_header(database: Path, migrations: Sequence[Migration]) -> None:
    """Refuse a file that is not ours or is newer by its header alone, which opens nothing."""
    try:
        with database.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    if not header:
        if file_size(_beside(database, "-wal")) > 0:
            raise _unreadable(database, "it is missing or empty, but its write-ahead log is there")
        return
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise _unreadable(database, "it is not an SQLite database")
    version = int.from_bytes(header[60:64], "big")
    application = int.from_bytes(header[68:72], "big")
    # A first start that was killed at once leaves a database without any mark or table.
    if application != APPLICATION_ID and (application, version) != (0, 0):
        raise _unreadable(database, "it is a database of another program")
    _check_version(database, version, migrations)


def _check_content(database: Path, migrations: Sequence[Migration]) -> None:
    """Refuse what is damaged, foreign or newer by more than the header, which changes no file."""
    connection = _look(database)
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        application = connection.pragma("application_id") & 0xFFFF_FFFF
        if tables and application != APPLICATION_ID:
            raise _unreadable(database, "it is a database of another program")
        _check_version(database, schema_version(connection), migrations)
    finally:
        connection.close()


def _look(database: Path) -> apsw.Connection:
    """Open a database so that looking at it changes no file.

    With a write-ahead log, which counts, the log's index is kept in memory and the log left as it
    is. Without one, SQLite would make it, unless told that nobody will write.
    """
    if file_size(_beside(database, "-wal")) == 0:
        name = f"{database.absolute().as_uri()}?immutable=1"
        return apsw.Connection(name, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("locking_mode", "exclusive")
    return connection


def _check_version(database: Path, version: int, migrations: Sequence[Migration]) -> None:
    known = len(migrations)
    if version > known:
        raise NewerDatabase(
            f"{database} has schema {version}, and this version of the runtime knows {known}. "
            "It was not touched. Install the version that wrote it, or a newer one."
        )


# -- making and opening ----------------------------------------------------------------------------


def _open_database(database: Path, migrations: Sequence[Migration]) -> apsw.Connection:
    new = file_size(database) == 0
    logged = _beside(database, "-wal").exists()
    if not new:
        _check_content(database, migrations)
    else:
        os.close(os.open(database, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
    try:
        connection = apsw.Connection(
            str(database), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=400
        )
        try:
            _prepare(connection, database, migrations)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        if new:
            database.unlink(missing_ok=True)
        if new or not (logged or file_size(_beside(database, "-wal"))):
            for suffix in _COMPANIONS:
                _beside(database, suffix).unlink(missing_ok=True)
        raise
    return connection


def _prepare(connection: apsw.Connection, database: Path, migrations: Sequence[Migration]) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    if connection.pragma("application_id") != APPLICATION_ID:
        connection.pragma("application_id", APPLICATION_ID)
    if connection.pragma("journal_mode", "wal") != "wal":
        raise DataDirectoryError(
            f"The file system of {database.parent} cannot hold a write-ahead log (network file "
            "systems cannot). Choose a local directory with --data-dir."
        )
    _configure(connection)
    before = schema_version(connection)
    migrate(connection, migrations, database)
    if schema_version(connection) != before:
        # The header then tells an older version what it must not open.
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    database.chmod(0o600)


def _configure(connection: apsw.Connection) -> None:
    stable_plans(connection)
    connection.pragma("synchronous", "full")
    connection.pragma("foreign_keys", "on")
    connection.pragma("temp_store", "memory")
    connection.pragma("cache_size", -CACHE_KIB)
    connection.pragma("journal_size_limit", LOG_LIMIT_BYTES)
    connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)


# -- help ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Turn what the system and SQLite report into the store's own errors."""
    try:
        yield
    except StoreError:
        raise
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _unreadable(data_dir / DATABASE, str(error)) from error
    except STORAGE_FAILURES as error:
        raise unavailable(error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise unavailable(error) from error
        raise DataDirectoryError(
            f"The data directory {data_dir} cannot be used ({error.strerror}: {error.filename}). "
            "Make it readable and writable for the user that starts the runtime, or choose another "
            "directory with --data-dir."
        ) from error


def _unreadable(database: Path, why: str) -> UnreadableDatabase:
    return UnreadableDatabase(
        f"{database} cannot be used: {why}. It was kept as it is. Run `python -m runtime doctor` "
        "to look into it, put a backup in its place, or choose another directory with --data-dir."
    )


def _beside(database: Path, suffix: str) -> Path:
    return database.with_name(database.name + suffix)


def _remove_if_empty(data_dir: Path, made: bool) -> None:
    if made:
        with contextlib.suppress(OSError):
            data_dir.rmdir()
