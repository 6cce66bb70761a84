"""Readers: a few connections of their own, in threads, each for one short transaction at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw
import trio

from runtime.storage.engine import Limits, Operation, Transaction
from runtime.storage.errors import StoreClosed
from runtime.storage.failures import STORAGE_FAILURES, unavailable

T = TypeVar("T")

READERS = 4
"""How many reads run at once: they wait for the disk, and hold the interpreter in between."""

BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for a lock that another program holds."""

CACHE_KIB = 2 * 1024
"""What each of them keeps in memory of the database, at most."""

CLOSE_DEADLINE = 10.0
"""How many seconds closing waits for reads that were abandoned."""


class Readers:
    """Reads a database beside its writer. A read sees all that was committed before it began.

    Args:
        database: The file.
        clock: Milliseconds since 1970; called on the Trio side only.
        limits: Handed to operations.
    """

    def __init__(self, database: Path, clock: Callable[[], int], limits: Limits) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self._limiter = trio.CapacityLimiter(READERS)
        self._idle: deque[apsw.Connection] = deque()
        self._closed = False

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, in a thread.

        Raises:
            StoreUnavailable: The disk refused.
            StoreClosed: The store was closed.

        Cancellation returns at once; the thread ends its read by itself and keeps its place until
        then.
        """
        if self._closed:
            raise StoreClosed("The store is closed.")
        return await trio.to_thread.run_sync(
            self._read,
            operation,
            self._clock(),
            limiter=self._limiter,
            abandon_on_cancel=True,
        )

    async def aclose(self) -> None:
        """Wait for reads under way, then close the connections. Not to be cancelled."""
        self._closed = True
        with trio.move_on_after(CLOSE_DEADLINE, shield=True):
            places = [object() for _ in range(READERS)]
            for place in places:
                await self._limiter.acquire_on_behalf_of(place)
            for place in places:
                self._limiter.release_on_behalf_of(place)
            await trio.to_thread.run_sync(self._close_idle)

    def _read(self, operation: Operation[T], now: int) -> T:
        try:
            connection = self._take()
            try:
                connection.execute("BEGIN")
                try:
                    return operation(Transaction(connection, self._limits, now))
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            finally:
                self._idle.append(connection)
        except STORAGE_FAILURES as error:
            raise unavailable(error) from error

    def _take(self) -> apsw.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            connection = apsw.Connection(
                str(self._database), flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=200
            )
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.pragma("cache_size", -CACHE_KIB)
            stable_plans(connection)
            return connection

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


def stable_plans(connection: apsw.Connection) -> None:
    """Let SQLite choose the plan of a statement once, without regard to the values bound to it.

    Otherwise it prepares a statement that joins anew for each value, which takes ten times as long
    as running it. No index here needs to know the values: partial ones are chosen by constants.
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
