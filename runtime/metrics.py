"""Counters and gauges of one runtime, in a registry of its own: two runtimes in a process do not
mix.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


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

        self.accepted = counter("messages_accepted", "Messages committed and answered accepted")
        self.duplicates = counter("messages_duplicate", "Messages that had been accepted before")
        self.dropped = counter("messages_dropped", "Messages that never became a turn", ("reason",))
        self.turns = counter("turns", "Turns ended", ("state",))
        self.retries = counter("turns_retried", "Turns whose messages are tried again")
        self.late_events = counter("late_events", "Events of turns that were over, ignored")
        self.recovered = counter("turns_recovered", "Turns cut off by a runtime and settled later")
        self.deliveries = counter("deliveries", "Attempts at push channels", ("outcome",))
        self.lagged = counter("watchers_lagged", "Watchers that read too slowly and were let go")
        self.given_up = counter("sessions_given_up", "Session actors that crashed too often")
        self.live_sessions = gauge("live_sessions", "Sessions with a live actor")
        self.running_turns = gauge("running_turns", "Turns running now")
        self.store_ready = gauge("store_ready", "1 while writes succeed")
        self.wal_bytes = gauge("store_wal_bytes", "Size of the write-ahead log")
        self.free_bytes = gauge("store_free_bytes", "Free space where the data directory is")

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
