"""Two ways to drive an engine: a thread with group commit, or inline for tests on a virtual clock.

========================  ==========================================  ============================
                          `GroupCommit`                               `Inline`
========================  ==========================================  ============================
the engine runs           in one thread of its own                    in the calling task
a transaction holds       all that waits when one begins, bounded     one request
before joining            the caller may be cancelled                 the caller may be cancelled
after joining             the outcome comes first, then `Cancelled`   there is no waiting
========================  ==========================================  ============================
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import trio

from runtime.sessions.media import MediaChange
from runtime.storage.engine import Engine, Operation, Request, decided
from runtime.storage.errors import StorageIOError, StoreClosed
from runtime.storage.media_store import MediaListener

T = TypeVar("T")

QUEUE_LIMIT = 10_000
"""How many requests may be on their way; further callers wait before they join."""

BATCH_LIMIT = 1_000
"""How many requests share one transaction at most: longer ones gain nothing and delay the first."""

CLOSE_DEADLINE = 30.0
"""How many seconds closing waits for the disk before it gives up on the thread."""


class _Chore(Generic[T]):
    """Work for the writer's thread outside of any transaction. It must not raise."""

    __slots__ = ("_function", "_result")

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: T | None = None

    def run(self) -> None:
        self._result = self._function()

    def outcome(self) -> T:
        return self._result  # type: ignore[return-value]


class _Job:
    """A piece of work and the task that waits for it."""

    __slots__ = ("task", "work")

    def __init__(self, work: Request[Any] | _Chore[Any], task: trio.lowlevel.Task) -> None:
        self.work = work
        self.task = task


class GroupCommit:
    """Writes through one thread; what arrives while a commit runs shares the next one (D1).

    The thread wakes Trio once per batch. Handing a request over is the point of no return: whether
    it is committed is not known until the thread says so, hence the waiting task cannot be
    cancelled from there.

    Args:
        engine: Belongs to the thread from `start` on.
        clock: Milliseconds since 1970; called on the Trio side only.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], int],
        *,
        queue_limit: int = QUEUE_LIMIT,
        batch_limit: int = BATCH_LIMIT,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._batch_limit = batch_limit
        self._room = trio.Semaphore(queue_limit, max_value=queue_limit)
        self._queue_limit = queue_limit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = False
        self._told_to_stop = False
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._listener: MediaListener = _nobody_listens

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many requests are on their way or wait for room."""
        on_their_way = self._queue_limit - self._room.value
        return on_their_way + self._room.statistics().tasks_waiting

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction with others and wait until it is durable.

        Returns:
            What the operation returned.

        Raises:
            StoreUnavailable: The disk refused; nothing of this operation was written.
            StoreClosed: The store was closed.

        Cancellation is noticed before the operation is handed over; afterwards the outcome is
        returned or raised first, and ``Cancelled`` comes at the caller's next checkpoint.
        """
        await self._take_room()
        return await self._hand_over(Request(operation, self._clock()))

    async def chore(self, function: Callable[[], T]) -> T:
        """Run a function that must not raise in the writer's thread, between two transactions."""
        await self._take_room()
        return await self._hand_over(_Chore(function))

    def listen(self, listener: MediaListener) -> None:
        """Tell this one what has become of files, batch by batch, before the callers go on."""
        self._listener = listener

    def refuse(self) -> None:
        """Take no more requests; those on their way are decided."""
        self._closing = True

    async def aclose(self) -> None:
        """Decide all that was handed over, then close the engine. Not to be cancelled.

        Raises:
            StorageIOError: The disk did not answer within `CLOSE_DEADLINE`; the thread is left
                behind.
        """
        self.refuse()
        if not self._told_to_stop:
            self._told_to_stop = True
            self._jobs.put(None)
        with trio.move_on_after(CLOSE_DEADLINE, shield=True):
            await trio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)
        if self._thread.is_alive():
            raise StorageIOError(
                f"The disk did not finish within {CLOSE_DEADLINE:.0f} seconds. What was accepted "
                "is in the write-ahead log; look at the disk before the next start."
            )

    async def _take_room(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            await self._room.acquire()
        if self._closing:
            self._room.release()
            raise StoreClosed("The store is closed.")

    async def _hand_over(self, work: Request[T] | _Chore[T]) -> T:
        self._jobs.put(_Job(work, trio.lowlevel.current_task()))
        await trio.lowlevel.wait_task_rescheduled(_decided_first)
        return work.outcome()

    def _work(self) -> None:
        """The thread: take what waits, commit it, wake its callers; until told to stop."""
        try:
            while self._decide(self._next_batch()):
                pass  # nothing here keeps a batch, with its rows and tasks, until the next one
        except trio.RunFinishedError:
            pass  # the callers are gone; what they asked for is decided
        finally:
            self._engine.close()

    def _decide(self, jobs: Sequence[_Job | None]) -> bool:
        """Run a batch and wake its callers; False when it says to stop."""
        work = [job for job in jobs if job is not None]
        if work:
            self._run_batch(work)
            self._token.run_sync_soon(self._wake, work, self._engine.take_media_changes())
        return None not in jobs

    def _next_batch(self) -> list[_Job | None]:
        jobs = [self._jobs.get()]
        try:
            while len(jobs) < self._batch_limit:
                jobs.append(self._jobs.get_nowait())
        except queue.Empty:
            pass
        return jobs

    def _run_batch(self, jobs: Sequence[_Job]) -> None:
        requests = [job.work for job in jobs if isinstance(job.work, Request)]
        if requests:
            self._engine.commit(requests)
        for job in jobs:
            if isinstance(job.work, _Chore):
                job.work.run()

    def _wake(self, jobs: Sequence[_Job], changes: Sequence[MediaChange]) -> None:
        if changes:
            self._listener(changes)
        for job in jobs:
            self._room.release()
            trio.lowlevel.reschedule(job.task)


class Inline:
    """Runs each operation at once in the calling task, for tests on a virtual clock.

    Every operation is a checkpoint; cancellation is noticed there, before anything is done.
    """

    queued = 0

    def __init__(self, engine: Engine, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._clock = clock
        self._closed = False
        self._listener: MediaListener = _nobody_listens

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction of its own."""
        await self._checkpoint()
        try:
            return decided(operation, self._clock(), self._engine)
        finally:
            if changes := self._engine.take_media_changes():
                self._listener(changes)

    def listen(self, listener: MediaListener) -> None:
        """Tell this one what has become of files."""
        self._listener = listener

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads."""
        await self._checkpoint()
        return self._engine.read(operation, self._clock())

    async def chore(self, function: Callable[[], T]) -> T:
        """Run a function outside of any transaction."""
        await self._checkpoint()
        return function()

    def refuse(self) -> None:
        """Take no more requests."""
        self._closed = True

    async def aclose(self) -> None:
        """Close the engine; again, nothing happens."""
        self.refuse()
        self._engine.close()

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StoreClosed("The store is closed.")


def _nobody_listens(_: Sequence[MediaChange]) -> None:
    """What became of files is in the rows."""


def _decided_first(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
