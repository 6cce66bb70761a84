"""What a store says about itself: its state, what waits, what it is."""

from __future__ import annotations

import msgspec


class Health(msgspec.Struct, frozen=True):
    """Whether writes succeed now, and figures for gauges. Sizes in bytes."""

    ready: bool
    problem: str | None
    queued_requests: int
    batches: int
    database_bytes: int
    wal_bytes: int
    free_bytes: int


class Backlog(msgspec.Struct, frozen=True):
    """What waits, for gauges; of each kind at most `runtime.storage.sql_figures.COUNTED` count.

    Args:
        waiting: messages that wait to become a turn.
        oldest_due: since when the oldest of them could have, in ms since 1970; None when none can.
        pending: deliveries that are owed.
        attempting: deliveries under way.
        failed: deliveries that were given up because they failed.
        abandoned: deliveries that were given up by somebody.
    """

    waiting: int
    oldest_due: int | None
    pending: int
    attempting: int
    failed: int
    abandoned: int


class StoreInfo(msgspec.Struct, frozen=True):
    """What the store is: for ``doctor`` and ``version``."""

    engine: str
    engine_version: str
    schema_version: int
    location: str
