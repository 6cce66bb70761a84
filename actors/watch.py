"""Who looks on: live events of sessions to watchers, and the end of a message to whoever waits for
it.

One object per runtime, outside of the actors, since a watcher outlives the sleep and the restarts
of the session it watches. Nothing here is a truth: a watcher that was lagging reads the journal, a
waiter reads the row.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
import trio

from runtime.metrics import Metrics
from runtime.ports.front import Outcome, Watch, WatcherLagged
from runtime.sessions.events import LiveEvent, MessageDropped, SessionEvent, TurnEnded
from runtime.sessions.rows import DropReason, InboundRow, InboundState, SessionRow, TurnState
from runtime.storage.requests import SettledTurn

SWEEP_FROM = 1_000
"""From how many watched sessions on those without watchers are looked for."""


class SessionWatch(Watch):
    """A bounded buffer of one session's events. Made by `Watchers.watch`."""

    def __init__(self, buffer: int) -> None:
        self._send, self._receive = trio.open_memory_channel[LiveEvent](buffer)
        self._lagged = False
        self._closed = False

    def __aiter__(self) -> SessionWatch:
        return self

    async def __anext__(self) -> LiveEvent:
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            if self._lagged:
                raise WatcherLagged(
                    "this watcher read too slowly and lost events: read the journal and watch again"
                ) from None
            raise StopAsyncIteration from None

    def close(self) -> None:
        self._closed = True
        self._send.close()

    def put(self, event: LiveEvent) -> bool:
        """Add an event; False when the watch is over: closed, or full, which ends it."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            self._lagged = True
            self.close()
            return False
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return False
        return True

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._closed

    @property
    def lagged(self) -> bool:
        """Whether events were lost."""
        return self._lagged


class Waiter:
    """Somebody who waits for the end of a message.

    ``outcome`` is there when it was told; ``blocked`` says why nothing runs the message (P3).
    """

    def __init__(self) -> None:
        self.woken = trio.Event()
        self.outcome: Outcome | None = None
        self.blocked: str | None = None


class Watchers:
    """The live events of all sessions. Everything is synchronous, in the runtime's own Trio
    thread.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._watches: dict[str, weakref.WeakSet[SessionWatch]] = {}
        self._waiters: defaultdict[str, list[Waiter]] = defaultdict(list)
        self._blocked: dict[str, str] = {}
        self._number = 0
        self._closed = False
        self._sweep_at = SWEEP_FROM

    @property
    def number(self) -> int:
        """The number of the newest event."""
        return self._number

    def watch(self, session_id: str, buffer: int) -> SessionWatch:
        """A new watch; it ends by itself when nobody refers to it any more."""
        watch = SessionWatch(buffer)
        if self._closed:
            watch.close()
        else:
            self._watches.setdefault(session_id, weakref.WeakSet()).add(watch)
            if len(self._watches) >= self._sweep_at:
                self._sweep()
        return watch

    def _sweep(self) -> None:
        """Forget sessions whose watchers have all gone; what it costs is shared by as many
        watches.
        """
        for session_id, watches in list(self._watches.items()):
            for watch in list(watches):
                if watch.closed:
                    watches.discard(watch)
            if not watches:
                del self._watches[session_id]
        self._sweep_at = max(SWEEP_FROM, 2 * len(self._watches))

    def publish(self, session_id: str, event: SessionEvent) -> None:
        """Show an event to the watchers of its session."""
        self._number += 1
        watches = self._watches.get(session_id)
        if watches is None:
            return
        live = LiveEvent(self._number, event)
        for watch in list(watches):
            if not watch.put(live):
                watches.discard(watch)
                if watch.lagged:
                    self._metrics.lagged.inc()
        if not watches:
            del self._watches[session_id]

    @contextmanager
    def waiting_for(self, message_id: str) -> Iterator[Waiter]:
        """Wait for the end of a message; look at its row after you entered, it may have ended."""
        waiter = Waiter()
        self._waiters[message_id].append(waiter)
        if self._closed:
            waiter.woken.set()
        try:
            yield waiter
        finally:
            waiters = self._waiters[message_id]
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[message_id]

    def ended(self, message_ids: Iterable[str]) -> None:
        """These messages have ended: whoever waits for them looks at their rows."""
        for message_id in message_ids:
            for waiter in self._waiters.get(message_id, ()):
                waiter.woken.set()

    def ended_so(self, outcome: Outcome) -> None:
        """A message has ended: whoever waits for it is told how."""
        for waiter in self._waiters.get(outcome.message_id, ()):
            waiter.outcome = outcome
            waiter.woken.set()

    def dropped(self, session_id: str, rows: Iterable[InboundRow], reason: DropReason) -> None:
        """These messages will never become a turn: counted, shown, and told to whoever waits."""
        for row in rows:
            self._metrics.dropped.labels(reason=reason.value).inc()
            self.publish(session_id, MessageDropped(row.id, reason))
            self.ended((row.id,))

    def interrupted(self, session: SessionRow, settled: SettledTurn) -> None:
        """A turn that an earlier actor of the session left was settled (D8)."""
        for ids, state in (
            (settled.requeued, InboundState.PENDING),
            (settled.failed, InboundState.FAILED),
        ):
            if not ids:
                continue
            cut_off = TurnState.INTERRUPTED
            event = TurnEnded(settled.turn_id, session.epoch, ids, cut_off, state, None)
            event = msgspec.structs.replace(event, journal_seq=session.journal_seq)
            self.publish(session.id, event)
            if state is not InboundState.PENDING:
                self.ended(ids)
        self.ended(settled.dropped)

    def block(self, session_id: str, why: str) -> None:
        """The session's agent is not started any more: said by its actor, until `unblock` (P3)."""
        self._blocked[session_id] = why

    def unblock(self, session_id: str) -> None:
        """The session's agent is started again, or the session sleeps."""
        self._blocked.pop(session_id, None)

    def blocked(self, session_id: str) -> str | None:
        """Why the agent of a session is not started any more; None when it is not blocked."""
        return self._blocked.get(session_id)

    @property
    def blocked_sessions(self) -> int:
        """How many sessions are blocked."""
        return len(self._blocked)

    def held_up(self, message_ids: Iterable[str], why: str) -> None:
        """These messages wait in a blocked session: whoever waits for them is told."""
        for message_id in message_ids:
            for waiter in self._waiters.get(message_id, ()):
                waiter.blocked = why
                waiter.woken.set()

    @property
    def closed(self) -> bool:
        """Whether the runtime has stopped."""
        return self._closed

    def close(self) -> None:
        """End all watches and wake all waiters: the runtime stops."""
        self._closed = True
        for watches in self._watches.values():
            for watch in list(watches):
                watch.close()
        self._watches.clear()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()
