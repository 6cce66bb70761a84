"""What waits in a session, and when it becomes a turn (Q1, Q2, Q3, Q7, Q8).

The rows in the store are the truth; `WaitingQueue` is a cache of them, with the time at which each
arrived.

**Order** is the order of admission, by ``seq`` (Q7). The *head* is the first row that waits, and
it decides:

- A row with ``not_before`` ahead that was never tried is a *scheduled* one: until its time it
  counts as not there, and holds nobody up. From then on it stands at its place by ``seq``.
- A row with ``not_before`` ahead that was tried before is *due again*: it keeps its place, and
  everything after it waits, because the conversation would otherwise go on without it.

**The batch** is the head and the rows directly after it that may share its turn: those with the
same conversation to reply to (Q2), and, for rows that were tried, of the same earlier turn. So a
retry is what it was the first time: a message that makes an agent fall over takes no newer ones
with it.

**Fetching**: a row whose files are still on their way holds its place (Q7), and its batch and
everything after that waits for them. What belongs to that batch is what waits when it would be
ready but for the files (M10): it is *closed* then, and what comes later makes the next one, so that
a batch waits for a bounded number of files.

**Ready** is a batch as its head says. A head that is not debounced (a client that submits whole
prompts) is ready at once, and takes its batch along. A debounced head waits until ``debounce`` has
passed without another debounced row for its batch, or ``debounce_max`` since the first of them
(Q1). A row that is not debounced and comes after it waits for no longer than that, since it does
not restart the window.

=================  ===========================  =========================================
mode               nothing runs                 a turn runs
=================  ===========================  =========================================
``collect``        the batch, when it is ready  the rows collect
``followup``       the head alone, at once      the rows queue up
``steer``          the batch, when it is ready  the turn takes the rows in, one by one
``steer-backlog``  the batch, when it is ready  the turn is told of the rows, one by one,
                                                and they collect all the same
``interrupt``      the batch, when it is ready  what came since the turn began interrupts
                                                it, when its batch is ready
=================  ===========================  =========================================

In ``interrupt`` a row that was left over when a turn began, such as one from another conversation,
has its turn after it: only what is newer interrupts.

**Steering** is for the rows of the turn's own conversation, and needs an agent that has begun and
can be steered; before that, and where it cannot, they collect. A row is handed over at once,
without a window, as soon as the one before it is decided. The order holds here too (Q7): one that
the agent did not take, or that was tried before, waits for the end of the turn, one whose files are
on their way waits for those, and so does all of its conversation after it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import takewhile
from typing import TypeAlias

import msgspec

from runtime.sessions.modes import QueueMode
from runtime.sessions.rows import InboundRow

CONTEXT_ROWS = 50
"""How many messages that woke nobody are kept for the next turn (S31)."""


class QueuePolicy(msgspec.Struct, frozen=True):
    """How a session's queue is worked off.

    Args:
        mode: see the table of this module.
        debounce: seconds without a further message that end a burst.
        debounce_max: seconds from the first message that end it in any case.
        prompts_wait: whether whole prompts of clients are debounced as well, which somebody asked
            for (Q1).
    """

    mode: QueueMode = QueueMode.COLLECT
    debounce: float = 1.0
    debounce_max: float = 10.0
    prompts_wait: bool = False


class Running(msgspec.Struct, frozen=True):
    """The turn that runs, as far as it matters to what waits.

    Args:
        conversation: where its answer goes; see `conversation_of`.
        steerable: the agent has begun, can be steered, and has decided about the row before.
        told: rows that it was told of, which wait all the same.
        refused: rows that it did not take.
    """

    conversation: str | None = None
    steerable: bool = False
    told: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


class Heard(StrEnum):
    """What became of a message that was handed to a running turn (Q3).

    ``TAKEN``: the agent confirmed it, and it is the turn's. ``TOLD``: the agent confirmed it, and
    it waits all the same. ``REFUSED``: it waits where it was. ``GONE``: it does not wait any more.
    """

    TAKEN = "taken"
    TOLD = "told"
    REFUSED = "refused"
    GONE = "gone"


class Run(msgspec.Struct, frozen=True):
    """Begin a turn with these rows, in this order.

    ``collected``: one of them came while an earlier turn ran (Q2); else they came in one go (Q1).
    """

    rows: tuple[InboundRow, ...]
    collected: bool = False


class Interrupt(msgspec.Struct, frozen=True):
    """Cancel the running turn; what waits is decided when it has ended."""


class Steer(msgspec.Struct, frozen=True):
    """Hand this row to the running turn."""

    row: InboundRow


class WaitUntil(msgspec.Struct, frozen=True):
    """Nothing to do before a time of the monotonic clock, unless something else happens."""

    at: float


class Idle(msgspec.Struct, frozen=True):
    """Nothing to do until something happens."""


Decision: TypeAlias = Run | Interrupt | Steer | WaitUntil | Idle


class _Entry(msgspec.Struct, frozen=True):
    row: InboundRow
    arrived: float
    debounced: bool
    behind: bool


class WaitingQueue:
    """The rows of one session that wait, in memory."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._context: list[InboundRow] = []
        self._ids: set[str] = set()
        self._closed: frozenset[str] = frozenset()
        self._last_passed_over = -1

    @property
    def waiting(self) -> tuple[InboundRow, ...]:
        """All rows that wait for a turn, in order, those whose time has not come included."""
        return tuple(entry.row for entry in self._entries)

    @property
    def context(self) -> tuple[InboundRow, ...]:
        """The newest rows with ``trigger`` false, in order: the next turn reads them (S31)."""
        return tuple(self._context)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._ids

    def add(
        self, row: InboundRow, now: float, *, debounced: bool, behind: bool = False
    ) -> InboundRow | None:
        """Let a row wait. One that is there already is ignored.

        Args:
            row: a pending row; to try one again, as it is after its last turn.
            now: the monotonic clock, in seconds.
            debounced: whether more may belong to it (Q1).
            behind: whether a turn ran when it came (Q2).

        Returns:
            The oldest context row, when this one pushed it out; nobody will read it any more.
        """
        if row.id in self._ids:
            return None
        self._ids.add(row.id)
        if row.trigger:
            entry = _Entry(row, now, debounced, behind)
            insort(self._entries, entry, key=lambda entry: entry.row.seq)
            return None
        insort(self._context, row, key=lambda other: other.seq)
        if len(self._context) <= CONTEXT_ROWS:
            return None
        oldest = self._context.pop(0)
        self._ids.discard(oldest.id)
        return oldest

    def replace(self, row: InboundRow) -> None:
        """A row that waits has changed; unknown ones are ignored."""
        if row.id not in self._ids:
            return
        self._entries = [
            msgspec.structs.replace(entry, row=row) if entry.row.id == row.id else entry
            for entry in self._entries
        ]
        self._context = [row if other.id == row.id else other for other in self._context]

    def remove(self, ids: Iterable[str]) -> None:
        """Forget rows, whether they wait or are context; unknown ids are ignored."""
        gone = self._ids.intersection(ids)
        if not gone:
            return
        self._ids -= gone
        self._closed -= gone
        self._entries = [entry for entry in self._entries if entry.row.id not in gone]
        self._context = [row for row in self._context if row.id not in gone]

    def clear(self) -> None:
        """Forget all rows, context included."""
        self._entries.clear()
        self._context.clear()
        self._ids.clear()
        self._closed = frozenset()

    def decide(
        self, now: float, now_ms: int, running: Running | None, policy: QueuePolicy
    ) -> Decision:
        """What to do now. The rows of a `Run` or `Steer` stay until they are removed.

        Args:
            now: the monotonic clock, in seconds.
            now_ms: the wall clock, in milliseconds, against which ``not_before`` is held.
            running: the turn that runs; None when nothing does.
            policy: the policy as it is now.
        """
        if running is not None and policy.mode.steers:
            return self._steer(now, now_ms, running)
        if running is not None and policy.mode is not QueueMode.INTERRUPT:
            return Idle()
        entries = self._entries
        if running is not None:
            entries = [entry for entry in entries if entry.row.seq > self._last_passed_over]
        standing = [entry for entry in entries if not _is_scheduled(entry.row, now_ms)]
        moments = [
            _moment(entry.row, now, now_ms) for entry in entries if _is_scheduled(entry.row, now_ms)
        ]
        if standing:
            batch = _batch(standing, policy.mode)
            closed = self._closed_part(batch)
            if closed:
                batch, ready_at = closed, _due(closed, now, now_ms)
            else:
                ready_at = _ready_at(batch, now, now_ms, policy)
            if ready_at > now:
                moments.append(ready_at)
            elif any(entry.row.fetching for entry in batch):
                self._closed = frozenset(entry.row.id for entry in batch)
            else:
                return self._run(batch) if running is None else Interrupt()
        return WaitUntil(min(moments)) if moments else Idle()

    def _steer(self, now: float, now_ms: int, running: Running) -> Decision:
        """The first row that the turn has not heard of, unless one before it holds it up."""
        if not running.steerable:
            return Idle()
        moments = []
        for row in (entry.row for entry in self._entries):
            if conversation_of(row) != running.conversation or row.id in running.told:
                continue
            if _is_scheduled(row, now_ms):
                moments.append(_moment(row, now, now_ms))
            elif row.id in running.refused or row.fetching or _was_tried(row):
                break
            else:
                return Steer(row)
        return WaitUntil(min(moments)) if moments else Idle()

    def _closed_part(self, batch: Sequence[_Entry]) -> Sequence[_Entry]:
        """The batch up to the last row that it had when it was closed; nothing if it is open."""
        count = len(batch)
        while count and batch[count - 1].row.id not in self._closed:
            count -= 1
        return batch[:count]

    def _run(self, batch: Sequence[_Entry]) -> Run:
        self._last_passed_over = max(entry.row.seq for entry in self._entries)
        return Run(
            tuple(entry.row for entry in batch), collected=any(entry.behind for entry in batch)
        )


def _is_ahead(row: InboundRow, now_ms: int) -> bool:
    return row.not_before is not None and row.not_before > now_ms


def _was_tried(row: InboundRow) -> bool:
    """Whether a turn began with it; after a failed start only ``reason`` and ``turn_id`` tell."""
    return row.tries > 0 or row.turn_id is not None or row.reason is not None


def _is_scheduled(row: InboundRow, now_ms: int) -> bool:
    return _is_ahead(row, now_ms) and not _was_tried(row)


def _moment(row: InboundRow, now: float, now_ms: int) -> float:
    """``not_before`` on the monotonic clock."""
    return now if row.not_before is None else now + (row.not_before - now_ms) / 1000


def conversation_of(row: InboundRow) -> str | None:
    """Where the answer to a row goes: one name for the place, None for a client's."""
    return None if row.reply_to is None else row.reply_to.conversation


def _group(row: InboundRow) -> tuple[str | None, str | None, int]:
    """Rows next to each other with the same group may share a turn."""
    return conversation_of(row), row.turn_id, row.tries


def _batch(standing: Sequence[_Entry], mode: QueueMode) -> Sequence[_Entry]:
    if mode is QueueMode.FOLLOWUP:
        return standing[:1]
    group = _group(standing[0].row)
    return list(takewhile(lambda entry: _group(entry.row) == group, standing))


def _due(batch: Sequence[_Entry], now: float, now_ms: int) -> float:
    """When the last of a batch is due, on the monotonic clock."""
    return max(_moment(entry.row, now, now_ms) for entry in batch)


def _ready_at(batch: Sequence[_Entry], now: float, now_ms: int, policy: QueuePolicy) -> float:
    """When a batch may run, on the monotonic clock: not after ``now`` when it may already."""
    due = _due(batch, now, now_ms)
    if not batch[0].debounced or policy.mode is QueueMode.FOLLOWUP:
        return due
    arrivals = [entry.arrived for entry in batch if entry.debounced]
    quiet = max(arrivals) + policy.debounce
    return max(due, min(quiet, min(arrivals) + policy.debounce_max))
