"""Watches the runtime itself: how late the event loop is, and how much waits in mailboxes (D2, K4).

Look    take the figures now
"""

from __future__ import annotations

import trio

from actors.services import Services
from runtime.kernel import Actor, Message
from runtime.log import get_logger

EVERY = 5.0
"""Seconds between two looks; the greatest lag is that since the last one."""

SAMPLE = 0.5
"""Seconds between two samples of the lag. They are taken at times that have nothing to do with what
the loop does, so their distribution is that of the lag which any other task meets.
"""

LATE = 1.0
"""Seconds of lag that are worth a line in the log: people notice them."""

log = get_logger(__name__)


class Look(Message, frozen=True):
    """Take the figures."""


class Monitor(Actor[Look]):
    """The place in the tree of what watches the rest."""

    def __init__(self, services: Services) -> None:
        self._metrics = metrics = services.metrics
        self._worst = 0.0
        metrics.agent_processes.set_function(lambda: services.processes.live)
        metrics.processes_reaped.set_function(lambda: services.processes.reaped)
        metrics.agent_processes_waiting.set_function(lambda: services.slots.waiting)
        metrics.media_stuck.set_function(lambda: services.stuck)
        metrics.sessions_blocked.set_function(lambda: services.watchers.blocked_sessions)

    async def on_start(self) -> None:
        self.start(self._measure_lag, name="loop lag")
        self.every(EVERY, Look())
        self._show()

    async def on_message(self, message: Look) -> object:
        if self._worst >= LATE:
            log.warning("event_loop_late", seconds=round(self._worst, 3))
        self._show()
        return None

    def _show(self) -> None:
        metrics = self._metrics
        metrics.loop_lag_max.set(self._worst)
        self._worst = 0.0
        metrics.show_mailboxes(
            {
                actors: (depths.deepest, depths.total)
                for actors, depths in self.system.mailbox_depths().items()
            }
        )

    async def _measure_lag(self) -> None:
        due = trio.current_time()
        while True:
            due += SAMPLE
            await trio.sleep_until(due)
            now = trio.current_time()
            lag = now - due
            self._metrics.loop_lag.observe(lag)
            self._worst = max(self._worst, lag)
            due = max(due, now)
