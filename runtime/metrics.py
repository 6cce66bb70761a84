"""Counters, gauges and histograms of one runtime, in a registry of its own: two runtimes in a
process do not mix.

No label ever holds what comes from outside or grows with use: no id, no name, no text, no address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from runtime.sessions.rows import DropReason, OutboundState, TurnState

LAG_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds. 20 ms is what the 99th percentile is meant to stay under (D2)."""

COMMIT_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds, from a fast solid-state disk to one that is in trouble."""

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

MEDIA_REASONS = ("discarded", "evicted", "idle", "orphan")
"""Why a file is removed: nobody was given it, room was needed, nobody speaks in its session any
more, or it is of no session.
"""

OPEN_DELIVERIES = tuple(state.value for state in OutboundState if state != OutboundState.DELIVERED)


class Metrics:
    """Everything that is counted. The names are what Prometheus sees, with the prefix
    ``greenroom_``.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"greenroom_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"greenroom_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"greenroom_{name}", text, buckets=buckets, registry=self.registry)

        # -- messages
        admissions = counter("admissions", "Messages that were offered", ("outcome",))
        self.accepted = admissions.labels(outcome="accepted")
        self.duplicates = admissions.labels(outcome="duplicate")
        self.refused_full = admissions.labels(outcome="refused_full")
        self.dropped = counter("messages_dropped", "Messages that never became a turn", ("reason",))
        self.waiting = gauge("messages_waiting", "Messages that wait to become a turn")
        self.oldest_due = gauge(
            "oldest_due_message_age_seconds",
            "For how long the oldest waiting message could have been a turn",
        )
        # -- turns and sessions
        self.turns = counter("turns", "Turns ended", ("state",))
        self.retries = counter("turns_retried", "Turns whose messages are tried again")
        self.late_events = counter("late_events", "Events of turns that were over, ignored")
        self.recovered = counter("turns_recovered", "Turns cut off by a runtime and settled later")
        self.running_turns = gauge("running_turns", "Turns running now")
        self.live_sessions = gauge("live_sessions", "Sessions with a live actor")
        self.given_up = counter("sessions_given_up", "Session actors that crashed too often")
        # -- agents
        self.agent_processes = gauge("agent_processes", "Agents that run as a process now")
        self.agent_processes_waiting = gauge(
            "agent_processes_waiting", "Sessions that wait until another agent's process has ended"
        )
        self.agent_starts = counter("agent_starts", "Agents opened for a session", ("outcome",))
        self.sessions_blocked = gauge(
            "sessions_blocked", "Sessions whose agent failed to start too often"
        )
        self.processes_reaped = gauge(
            "agent_processes_reaped", "Processes of earlier runs that this start found and ended"
        )
        # -- delivery
        self.deliveries = counter("deliveries", "Attempts at push channels", ("outcome",))
        self.outbox = gauge("outbox", "Deliveries that are not done, or were given up", ("state",))
        # -- files
        self.media_bytes = gauge("media_bytes", "Bytes of files of messages on disk")
        self.media_files = gauge("media_files", "Files of messages on disk")
        self.media_in_flight_bytes = gauge(
            "media_in_flight_bytes", "Bytes of files that no agent has been given yet"
        )
        self.media_removed = counter("media_removed", "Files removed", ("reason",))
        self.media_removed_bytes = counter("media_removed_bytes", "Bytes of them", ("reason",))
        self.media_received = counter("media_received", "Files that came", ("outcome",))
        self.media_problems = counter(
            "media_problems", "Files and folders that could not be read or removed"
        )
        self.media_stuck = gauge(
            "media_stuck", "Threads in which work on files does not end, and nobody waits for it"
        )
        self.transcriptions = counter(
            "transcriptions", "Voice notes that were to become text", ("outcome",)
        )
        # -- clients
        self.connections = gauge("connections", "Clients that are connected")
        self.handshakes_refused = counter(
            "handshakes_refused", "Clients that were not let in", ("reason",)
        )
        self.clients_let_go = counter(
            "clients_let_go", "Clients whose connection the gateway had to end", ("reason",)
        )
        self.lagged = counter("watchers_lagged", "Watchers that read too slowly and were let go")
        # -- store
        self.store_ready = gauge("store_ready", "1 while writes succeed")
        self.commit_seconds = histogram(
            "store_commit_seconds", "What a transaction took until it was durable", COMMIT_BUCKETS
        )
        self.commit_requests = histogram(
            "store_commit_requests", "Requests that shared a transaction", BATCH_BUCKETS
        )
        self.queued_requests = gauge("store_queued_requests", "Requests not committed yet")
        self.database_bytes = gauge("store_database_bytes", "Size of the database")
        self.wal_bytes = gauge("store_wal_bytes", "Size of the write-ahead log")
        self.free_bytes = gauge("store_free_bytes", "Free space where the data directory is")
        # -- the event loop and its actors
        self.loop_lag = histogram(
            "loop_lag_seconds", "How late a task that is due gets its turn", LAG_BUCKETS
        )
        self.loop_lag_max = gauge(
            "loop_lag_max_seconds", "The latest that it was in the last interval"
        )
        self.mailbox_messages = gauge(
            "mailbox_messages", "Messages that wait in mailboxes", ("actors",)
        )
        self.mailbox_deepest = gauge(
            "mailbox_deepest", "Messages that wait in the fullest of them", ("actors",)
        )
        self._begin_with_zero()

    def _begin_with_zero(self) -> None:
        """What has not happened yet is 0, and not missing."""
        for reason in DropReason:
            self.dropped.labels(reason=reason.value)
        for turn in TurnState:
            if turn is not TurnState.RUNNING:
                self.turns.labels(state=turn.value)
        for state in OPEN_DELIVERIES:
            self.outbox.labels(state=state)
        for outcome in ("delivered", "failed", "retried"):
            self.deliveries.labels(outcome=outcome)
        for why in MEDIA_REASONS:
            self.media_removed.labels(reason=why)
            self.media_removed_bytes.labels(reason=why)
        for outcome in ("kept", "refused", "failed"):
            self.media_received.labels(outcome=outcome)
        for outcome in ("done", "failed"):
            self.transcriptions.labels(outcome=outcome)
        for outcome in ("started", "failed"):
            self.agent_starts.labels(outcome=outcome)

    def committed(self, requests: int, seconds: float) -> None:
        """A transaction is durable. May be called in any thread."""
        self.commit_requests.observe(requests)
        self.commit_seconds.observe(seconds)

    def show_mailboxes(self, depths: Mapping[str, tuple[int, int]]) -> None:
        """How much waits, by actors: in the fullest mailbox, and in all of them together."""
        self.mailbox_deepest.clear()
        self.mailbox_messages.clear()
        for actors, (deepest, total) in depths.items():
            self.mailbox_deepest.labels(actors=actors).set(deepest)
            self.mailbox_messages.labels(actors=actors).set(total)

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
