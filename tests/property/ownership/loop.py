"""Trio in a thread, on a clock that moves only when told: for rules that call in from outside."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio
import trio.testing

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SHORTEST_JUMP = 0.001
"""Seconds; more than what floating point may lack of a deadline."""


class Loop:
    """A Trio loop. Whoever calls in waits for the answer, so one thing happens at a time."""

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock(rate=0)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self._started.wait()

    def _work(self) -> None:
        trio.run(self._main, clock=self.clock)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self.nursery:
            self._started.set()
            await trio.sleep_forever()

    def call(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """What an async function answers; what it raises leaves."""
        return trio.from_thread.run(work, *args, trio_token=self._token)

    async def advance(self, seconds: float) -> None:
        """Let time pass, each deadline at its moment, until everything waits."""
        await quiet()
        end = trio.current_time() + seconds
        while (left := end - trio.current_time()) > 0:
            due = trio.lowlevel.current_statistics().seconds_to_next_deadline
            self.clock.jump(min(left, max(due, SHORTEST_JUMP)))
            await quiet()

    def close(self) -> None:
        """End the loop, with whatever still runs in it."""
        self.call(self._cancel)
        self._thread.join()

    async def _cancel(self) -> None:
        self.nursery.cancel_scope.cancel()


async def quiet() -> None:
    """Return when every task waits for something that only time or a rule can bring."""
    await trio.testing.wait_all_tasks_blocked()
