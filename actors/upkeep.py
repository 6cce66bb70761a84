"""Looks after the store: checkpoints, figures, and whether a disk that refused takes writes again
(D3).

Maintain    do a step now
"""

from __future__ import annotations

from actors.services import Services
from runtime.kernel import Actor, Message
from runtime.log import get_logger
from runtime.metrics import OPEN_DELIVERIES
from runtime.storage.errors import StoreError
from runtime.storage.figures import Backlog, Health

EVERY = 5.0
"""Seconds between two steps; also how long a disk that works again stays unnoticed at most."""

log = get_logger(__name__)


class Maintain(Message, frozen=True):
    """Do a step of upkeep."""


class Upkeep(Actor[Maintain]):
    """The store's place in the tree."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def on_start(self) -> None:
        self._show(self._services.store.health())
        self.every(EVERY, Maintain())

    async def on_message(self, message: Maintain) -> object:
        store = self._services.store
        if not store.health().ready:
            health = await store.probe()
            if health.ready:
                log.info("store_writes_again")
            else:
                log.error("store_refuses_writes", problem=health.problem)
        else:
            health = await store.maintain()
        self._show(health)
        try:
            self._show_backlog(await store.backlog())
        except StoreError as error:
            log.warning("store_refuses_reads", problem=str(error))
        return None

    def _show(self, health: Health) -> None:
        metrics = self._services.metrics
        metrics.store_ready.set(1 if health.ready else 0)
        metrics.queued_requests.set(health.queued_requests)
        metrics.database_bytes.set(health.database_bytes)
        metrics.wal_bytes.set(health.wal_bytes)
        metrics.free_bytes.set(health.free_bytes)

    def _show_backlog(self, backlog: Backlog) -> None:
        metrics, since = self._services.metrics, backlog.oldest_due
        age = 0.0 if since is None else max(0.0, (self._services.now() - since) / 1_000)
        metrics.waiting.set(backlog.waiting)
        metrics.oldest_due.set(age)
        for state in OPEN_DELIVERIES:
            metrics.outbox.labels(state=state).set(getattr(backlog, state))
