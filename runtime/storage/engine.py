"""The engine: one connection that runs requests in shared transactions. It knows nothing of Trio.

Requests that come together share one commit, because the commit is what costs. Each runs inside a
savepoint of its own, so that one that fails is undone alone. When the disk fails, the transaction
as a whole is gone; every request of it is then tried once more in a transaction of its own, so that
one that cannot be stored does not take its neighbours with it. That is allowed because an operation
is a function of the database and of its request: to run it again after a rollback is to run it for
the first time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import apsw
import msgspec

from runtime.sessions.ids import IdSource
from runtime.sessions.media import MediaChange
from runtime.storage.failures import STORAGE_FAILURES, unavailable

T = TypeVar("T")
SqlRow = tuple[Any, ...]
Value = str | bytes | int | float | None

LARGEST_KEPT = 16 * 1024
"""Characters or bytes of a value that a cached statement may keep: it holds what was bound to it
last until it is run again.
"""

_SIZED = (str, bytes)


class Limits(msgspec.Struct, frozen=True):
    """Budgets of what one row may hold, in bytes.

    Args:
        session_bytes: All text of a session's row together (S22).
        message_bytes: The JSON of one message.
    """

    session_bytes: int = 64 * 1024
    message_bytes: int = 1024 * 1024


class Transaction:
    """What an operation sees: the database inside a transaction, the time, ids and budgets.

    Attributes:
        now: When the request was made, in milliseconds since 1970.
        ids: Makes ids of that time.
        limits: Budgets of rows.
        media_changes: What became of files, for whoever listens after the commit.
    """

    def __init__(self, connection: apsw.Connection, limits: Limits, now: int = 0) -> None:
        self._connection = connection
        self.limits = limits
        self.now = now
        self.ids = IdSource(lambda: self.now)
        self.media_changes: list[MediaChange] = []

    def run(self, sql: str, *values: Value) -> None:
        """Run a statement that answers nothing."""
        self._execute(sql, values)

    def rows(self, sql: str, *values: Value) -> list[SqlRow]:
        """All rows of a question."""
        return self._execute(sql, values).fetchall()

    def row(self, sql: str, *values: Value) -> SqlRow | None:
        """The one row of a question that has at most one."""
        rows = self._execute(sql, values).fetchall()
        return rows[0] if rows else None

    def _execute(self, sql: str, values: tuple[Value, ...]) -> apsw.Cursor:
        for value in values:
            if isinstance(value, _SIZED) and len(value) > LARGEST_KEPT:
                return self._connection.execute(sql, values, can_cache=False)
        return self._connection.execute(sql, values)


Operation = Callable[[Transaction], T]

Observe: TypeAlias = Callable[[int, float], None]
"""Is told of a commit: how many requests shared it, and how many seconds it took."""


class Request(Generic[T]):
    """An operation on its way: handed over, decided with its batch, then a result or an error."""

    __slots__ = ("_error", "_operation", "_result", "now")

    def __init__(self, operation: Operation[T], now: int) -> None:
        self._operation = operation
        self.now = now
        self._result: T | None = None
        self._error: BaseException | None = None

    def run(self, transaction: Transaction) -> None:
        """Run the operation; what it raises leaves."""
        transaction.now = self.now
        self._error = None
        self._result = self._operation(transaction)

    def fail(self, error: BaseException) -> None:
        """Decide that the request failed."""
        self._result = None
        self._error = error

    def outcome(self) -> T:
        """The result of a decided request, or its error raised."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


class Engine:
    """Runs batches of requests on one connection. For one thread at a time.

    Args:
        connection: Belongs to it.
        limits: Handed to operations.
        observe: Is told of each commit.

    Attributes:
        problem: Why the last write failed; None since the last one that succeeded.
        batches: How many transactions were committed.
    """

    def __init__(
        self, connection: apsw.Connection, limits: Limits, observe: Observe | None = None
    ) -> None:
        self._connection = connection
        self._transaction = Transaction(connection, limits)
        self._observe = observe
        self.problem: str | None = None
        self.batches = 0
        self._committed: list[MediaChange] = []

    def take_media_changes(self) -> list[MediaChange]:
        """What became of files in what was committed since the last time, in order."""
        committed, self._committed = self._committed, []
        return committed

    def commit(self, batch: Sequence[Request[Any]]) -> None:
        """Run a batch in one transaction; afterwards every request is decided, and durable."""
        error = self._try(batch)
        if error is None:
            return
        if len(batch) > 1:
            for request in batch:
                self.commit((request,))
        elif isinstance(error, STORAGE_FAILURES):
            failure = unavailable(error)
            failure.__cause__ = error
            self.problem = str(failure)
            batch[0].fail(failure)
        else:
            batch[0].fail(error)

    def read(self, operation: Operation[T], now: int) -> T:
        """Run an operation that only reads, on the writer's own connection.

        Raises:
            StoreUnavailable: The disk refused.
        """
        self._transaction.now = now
        try:
            return operation(self._transaction)
        except STORAGE_FAILURES as error:
            raise unavailable(error) from error

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log into the database, as far as readers allow (D3)."""
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except STORAGE_FAILURES as error:
            self.problem = str(unavailable(error))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _try(self, batch: Sequence[Request[Any]]) -> Exception | None:
        """Commit a batch; why it could not be, and then nothing of it is there."""
        began = time.perf_counter()
        changes_before = self._connection.total_changes()
        self._transaction.media_changes = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for request in batch:
                self._run_alone(request)
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            return error
        self.batches += 1
        self._committed += self._transaction.media_changes
        if self._connection.total_changes() != changes_before:
            self.problem = None
        if self._observe is not None:
            self._observe(len(batch), time.perf_counter() - began)
        return None

    def _roll_back(self) -> None:
        """End a failed transaction, which SQLite has mostly done: a blind ROLLBACK would fail."""
        if self._connection.in_transaction:
            with contextlib.suppress(*STORAGE_FAILURES):
                self._connection.execute("ROLLBACK")

    def _run_alone(self, request: Request[Any]) -> None:
        changes = self._transaction.media_changes
        before = len(changes)
        self._connection.execute("SAVEPOINT request")
        try:
            request.run(self._transaction)
        except STORAGE_FAILURES:
            raise
        except Exception as error:
            self._connection.execute("ROLLBACK TO request")
            del changes[before:]
            request.fail(error)
        self._connection.execute("RELEASE request")


def decided(operation: Operation[T], now: int, engine: Engine) -> T:
    """Run one operation in a transaction of its own and give its outcome.

    Raises:
        StoreUnavailable: The disk refused.
    """
    request = Request(operation, now)
    engine.commit((request,))
    return request.outcome()
