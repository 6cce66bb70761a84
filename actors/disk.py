"""Where work on the disk is done: in a few threads of their own, or inline for tests that jump in
time, during which no thread may work.

A disk may not answer: a call of the system then never returns, and nothing can end it. So nobody
waits for longer than a limit. Work that is still going on then is *left* to its thread, which is
its only owner from that moment: when the disk answers after all, the thread does what is to be done
`after` it, so that nothing stays of what nobody waits for. Who owns it is decided once, under a
lock, by whoever comes first: the thread with an outcome, or the waiter with its limit.

The threads are few and a thread that is stuck is not replaced, so what hangs does not add up. When
all are stuck, new work is refused within `REFUSED_AFTER`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar, cast

import trio

from runtime.log import get_logger
from runtime.storage.media_errors import NoAnswer

T = TypeVar("T")

THREADS = 4
"""How many files are worked on at once."""

LIMIT = 20.0
"""Seconds for one piece of work, and for the wait until its turn comes; the disk may be slow. Less
than what sessions get to end when the runtime stops, beside the grace of their turns.
"""

REFUSED_AFTER = 1.0
"""Seconds for the same while every thread is stuck."""

CLOSE_LIMIT = 5.0
"""Seconds for which closing waits for threads that are stuck."""

log = get_logger(__name__)


def _nothing() -> None:
    """There is nothing to do afterwards."""


class Disk(ABC):
    """Runs what blocks, to its end or its limit: cancellation is noticed afterwards."""

    @abstractmethod
    async def __call__(
        self,
        work: Callable[[], T],
        /,
        *,
        abandon: bool = False,
        limit: float | None = None,
        after: Callable[[], object] = _nothing,
    ) -> T:
        """What ``work`` returns; what it raises leaves.

        Args:
            work: runs in a thread, once at most.
            abandon: whoever is cancelled does not wait for it: for what only reads.
            limit: seconds until nobody waits any more; the disk's own without.
            after: what is done in a thread instead, if nobody waits for ``work`` any more: when it
                has ended, or never begins. May itself not be waited for.

        Raises:
            NoAnswer: the limit is over; from now on ``work`` and ``after`` are the thread's.
        """

    @property
    def stuck(self) -> int:
        """How many threads are at work that nobody waits for any more."""
        return 0

    @abstractmethod
    async def aclose(self, last: Callable[[], object] = _nothing) -> int:
        """Wait a little for what is stuck; how many threads still are. Not to be cancelled.

        Args:
            last: is done when nothing is written any more: by then, or by the last thread that
                comes back. What it raises leaves, in the first case.
        """


class Threads(Disk):
    """Work in threads; what waits for one costs nothing else. Those that read are others than those
    that write.

    Args:
        kind: what they are for, as the log calls it.
        threads: how many, of each.
        limit: seconds for one piece of work, and for the wait until its turn comes; `LIMIT`
            without.
    """

    def __init__(
        self, kind: str = "media", threads: int = THREADS, limit: float | None = None
    ) -> None:
        self._writers = _Pool(kind, threads)
        self._readers = _Pool(kind, threads)
        self._limit = LIMIT if limit is None else limit

    async def __call__(
        self,
        work: Callable[[], T],
        /,
        *,
        abandon: bool = False,
        limit: float | None = None,
        after: Callable[[], object] = _nothing,
    ) -> T:
        """Do it in a thread, as declared."""
        pool = self._readers if abandon else self._writers
        seconds = self._limit if limit is None else limit
        return await pool.run(_Job(pool, work, after), seconds, abandon=abandon)

    @property
    def stuck(self) -> int:
        """How many threads are at work that nobody waits for any more."""
        return self._writers.stuck + self._readers.stuck

    async def aclose(self, last: Callable[[], object] = _nothing) -> int:
        """Wait up to `CLOSE_LIMIT` for what is stuck, and do what is still owed."""
        with trio.move_on_after(CLOSE_LIMIT, shield=True):
            await self._readers.idle()
            await self._writers.idle()
        if not self._writers.leave_last(last):
            await self(last, limit=CLOSE_LIMIT)
        return self.stuck


class _Pool:
    """A few threads."""

    def __init__(self, kind: str, threads: int) -> None:
        self.kind = kind
        self.lock = threading.Lock()
        self.stuck = 0
        self.owed: deque[Callable[[], object]] = deque()
        """What is done by the next thread that is free: what came too late for one."""
        self._last: Callable[[], object] = _nothing
        self._limiter = trio.CapacityLimiter(threads)
        self._threads = threads

    async def run(self, job: _Job[T], limit: float, *, abandon: bool) -> T:
        if self.stuck >= self._threads:
            limit = min(limit, REFUSED_AFTER)
        deadline = trio.current_time() + limit
        # Shielded: what was begun has an outcome that somebody must see, an open file for one.
        with trio.CancelScope(shield=not abandon, deadline=deadline) as scope:
            try:
                await trio.to_thread.run_sync(
                    job.run, limiter=self._limiter, abandon_on_cancel=True
                )
            finally:
                job.leave()
        if scope.cancelled_caught and not job.ended:
            log.error("disk_does_not_answer", kind=self.kind, seconds=limit, stuck=self.stuck)
            raise NoAnswer("The disk does not answer. Look at it and at the system's log.")
        return job.result()

    async def idle(self) -> None:
        """Return when no thread works, and nothing is owed."""
        places = [object() for _ in range(self._threads)]
        taken: list[object] = []
        try:
            for place in places:
                await self._limiter.acquire_on_behalf_of(place)
                taken.append(place)
        finally:
            for place in taken:
                self._limiter.release_on_behalf_of(place)
        if self.owed:
            with suppress(NoAnswer):
                await self.run(_Job(self, _nothing, _nothing), CLOSE_LIMIT, abandon=True)

    def leave_last(self, work: Callable[[], object]) -> bool:
        """Have it done by the last thread that comes back; False when none is stuck."""
        with self.lock:
            if self.stuck:
                self._last = work
            return self.stuck > 0

    def come_back(self, count: int) -> int:
        """So many threads are not stuck any more; how many are. In the thread itself."""
        with self.lock:
            self.stuck -= count
            stuck, last = self.stuck, self._last
            if not stuck:
                self._last = _nothing
        if not stuck:
            _safely(last)
        return stuck

    def settle(self) -> None:
        """Do what is owed; in a thread."""
        with suppress(IndexError):
            while True:
                _safely(self.owed.popleft())


class _Job(Generic[T]):
    """A piece of work. Either its waiter sees its outcome, or its thread does what is after it."""

    def __init__(self, pool: _Pool, work: Callable[[], T], after: Callable[[], object]) -> None:
        self._pool = pool
        self._work = work
        self._after = after
        self._running = self._left = self.ended = False
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """The thread's part."""
        if not self._begun():
            return
        try:
            self._value = self._work()
        except BaseException as error:  # it is the waiter's, whatever it is
            self._error = error
        late = not self._has_ended()
        if late:
            if self._error is not None:
                log.warning("late_work_failed", kind=self._pool.kind, reason=str(self._error))
            _safely(self._after)
        self._pool.settle()
        stuck = self._pool.come_back(self._over())
        if late:
            log.info("late_work_ended", kind=self._pool.kind, stuck=stuck)

    def _begun(self) -> bool:
        with self._pool.lock:
            self._running = not self._left
            return self._running

    def _has_ended(self) -> bool:
        with self._pool.lock:
            self.ended = not self._left
            return self.ended

    def _over(self) -> bool:
        with self._pool.lock:
            self._running = False
            return self._left

    def leave(self) -> None:
        """The waiter's part: it waits no more, because it has ended or not."""
        with self._pool.lock:
            self._left = self._running or not self.ended
            self._pool.stuck += self._running
            never = self._left and not self._running
        if never and self._after is not _nothing:
            self._pool.owed.append(self._after)

    def result(self) -> T:
        """What came of work that has ended."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


def _safely(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        log.exception("late_work_raised")


class Inline(Disk):
    """Work in the calling task."""

    async def __call__(
        self,
        work: Callable[[], T],
        /,
        *,
        abandon: bool = False,
        limit: float | None = None,
        after: Callable[[], object] = _nothing,
    ) -> T:
        """Do it at once."""
        if abandon:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return work()

    async def aclose(self, last: Callable[[], object] = _nothing) -> int:
        """Nothing is ever stuck."""
        await self(last)
        return 0


inline = Inline()
