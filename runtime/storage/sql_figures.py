"""Figures for gauges, each at a bounded cost: no history is looked at, and of what waits the first
`COUNTED` rows.
"""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from runtime.storage.engine import Transaction
from runtime.storage.figures import Backlog

COUNTED = 10_000
"""Rows of each kind that are counted; where there are more, this is what is said."""

_WAITING = f"""
    SELECT count(*), min(CASE WHEN due <= ?1 THEN due END) FROM (
        SELECT coalesce(not_before, admitted_at) AS due FROM inbound
        WHERE state = 'pending' AND trigger = 1 LIMIT {COUNTED}
    )"""
_OUTBOX = """
    SELECT coalesce(sum(state = '{0}'), 0), coalesce(sum(state = '{1}'), 0) FROM (
        SELECT state FROM outbound WHERE state IN ('{0}', '{1}') LIMIT {2}
    )"""
_OPEN = _OUTBOX.format("pending", "attempting", COUNTED)
_GIVEN_UP = _OUTBOX.format("failed", "abandoned", COUNTED)


def backlog(transaction: Transaction) -> Backlog:
    """What waits for agents and for push channels."""
    ((waiting, oldest_due),) = transaction.rows(_WAITING, transaction.now)
    ((pending, attempting),) = transaction.rows(_OPEN)
    ((failed, abandoned),) = transaction.rows(_GIVEN_UP)
    return Backlog(waiting, oldest_due, pending, attempting, failed, abandoned)
