"""``/metrics`` of a real runtime: which families there are, that they move, that labels are few."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import Metrics
from runtime.sessions.rows import DropReason, TurnState

from .conftest import PATIENCE, ROOT, CommandLine, Served, Start
from .talker import BUSY, chatting, say, wait_for_turn

LABELS = {
    "greenroom_admissions": {"accepted", "duplicate", "refused_full"},
    "greenroom_turns": {state.value for state in TurnState},
    "greenroom_messages_dropped": {reason.value for reason in DropReason},
    "greenroom_outbox": {"pending", "attempting", "failed", "abandoned"},
    "greenroom_deliveries": {"delivered", "failed", "retried"},
    "greenroom_agent_starts": {"started", "failed"},
    "greenroom_handshakes_refused": {
        "the host name is not served here",
        "the origin is not allowed",
        "the token is missing",
        "the token is wrong",
        "too many connections",
        "too many handshakes",
    },
    "greenroom_clients_let_go": {"read too slowly", "no answer to a ping", "error"},
    "greenroom_media_received": {"kept", "refused", "failed"},
    "greenroom_media_removed": {"discarded", "evicted", "idle", "orphan"},
    "greenroom_media_removed_bytes": {"discarded", "evicted", "idle", "orphan"},
    "greenroom_transcriptions": {"done", "failed"},
    "greenroom_mailbox_messages": {
        *("monitor", "store", "janitor", "outbox", "sessions", "sessions/*", "router", "scheduler"),
        *("gateway", "channels", "channels/*"),
    },
}
LABELS["greenroom_mailbox_deepest"] = LABELS["greenroom_mailbox_messages"]
UNLABELLED = {
    *("messages_waiting", "oldest_due_message_age_seconds"),
    *("turns_retried", "late_events", "turns_recovered", "running_turns"),
    *("live_sessions", "sessions_given_up", "sessions_blocked"),
    *("agent_processes", "agent_processes_waiting", "agent_processes_reaped"),
    *("media_bytes", "media_files", "media_in_flight_bytes", "media_problems", "media_stuck"),
    *("connections", "watchers_lagged"),
    *("store_ready", "store_queued_requests"),
    *("store_database_bytes", "store_wal_bytes", "store_free_bytes"),
    "loop_lag_max_seconds",
}
HISTOGRAMS = {"store_commit_seconds", "store_commit_requests", "loop_lag_seconds"}


def scrape(served: Served) -> dict[str, Metric]:
    place = urlsplit(served.endpoint.url).netloc
    with urllib.request.urlopen(f"http://{place}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return {
        family.name: family
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")  # when counting began, which the library adds
    }


def samples(served: Served) -> dict[str, float]:
    """The values by name and label, as ``turns_total{done}``."""
    return {
        sample.name.removeprefix("greenroom_")
        + (f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""): sample.value
        for family in scrape(served).values()
        for sample in family.samples
    }


def until(served: Served, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Scrape until it holds: some gauges are refreshed every few seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = samples(served)
        if holds(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.fixture
def talking(serve: Start, cli: CommandLine, tmp_path: Path) -> Iterator[Served]:
    """A runtime in which a turn runs, and two messages wait in its session."""
    served = serve(tmp_path / "data", toml=BUSY)
    with ExitStack() as stack:
        for number in range(3):
            say(stack.enter_context(chatting(served.data_dir)), f"{number}\n")
            wait_for_turn(cli, served.data_dir)
        until(served, lambda found: found["admissions_total{accepted}"] == 3)
        yield served


def test_every_family_is_there_and_no_label_is_unbounded(talking: Served) -> None:
    # D1, D3, K4, O1, S32, P6, G8
    families = scrape(talking)
    prefixed = {f"greenroom_{name}" for name in UNLABELLED | HISTOGRAMS}
    assert set(families) == prefixed | set(LABELS)
    for name, family in families.items():
        labels = {
            value
            for sample in family.samples
            for label, value in sample.labels.items()
            if label != "le"
        }
        assert labels <= LABELS.get(name, set()), name
        assert family.documentation


def test_values_move_as_they_should(talking: Served) -> None:
    # D3, D5, K4, Q4, Q8
    found = until(talking, lambda now: now["messages_waiting"] == 2)
    assert found["admissions_total{accepted}"] == 3
    assert found["admissions_total{refused_full}"] == 0
    assert found["running_turns"] == found["live_sessions"] == 1
    assert found["connections"] == 3
    assert found["agent_starts_total{started}"] == 1
    assert found["store_ready"] == 1
    assert found["store_wal_bytes"] > 0
    assert found["store_database_bytes"] > 0
    assert found["outbox{pending}"] == found["outbox{failed}"] == 0
    assert found["loop_lag_seconds_count"] > 0
    assert found["loop_lag_seconds_bucket{+Inf}"] == found["loop_lag_seconds_count"]
    commits = found["store_commit_seconds_count"]
    assert found["store_commit_requests_count"] == commits > 3
    assert found["store_commit_requests_sum"] >= commits
    assert found["mailbox_messages{router}"] == found["mailbox_deepest{router}"] == 0
    older = until(talking, lambda now: now["oldest_due_message_age_seconds"] > 0)
    assert older["messages_waiting"] == 2


# G8
def test_clients_that_are_not_let_in_are_counted(serve: Start, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", variables={"RUNTIME_GATEWAY__TOKEN": "open-sesame"})
    place = urlsplit(served.endpoint.url).netloc
    assert samples(served)["handshakes_refused_total{the host name is not served here}"] == 0
    request = urllib.request.Request(f"http://{place}/readyz", headers={"Host": "example.com"})
    with pytest.raises(urllib.error.HTTPError, match="421"):
        urllib.request.urlopen(request, timeout=PATIENCE)
    assert samples(served)["handshakes_refused_total{the host name is not served here}"] == 1


# P6
def test_agents_are_counted(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    toml = "[agents.none]\nkind = 'acp'\ncommand = ['/nowhere/agent']\n"
    served = serve(tmp_path / "data", toml=toml)
    with chatting(served.data_dir) as chat:
        say(chat, "hello\n")
        found = until(served, lambda now: now["agent_starts_total{failed}"] > 0)
    assert found["agent_starts_total{started}"] == 0
    assert found["agent_processes"] == found["agent_processes_waiting"] == 0


def test_what_failed_is_counted(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    # T5
    served = serve(tmp_path / "data", toml="[agents.echo]\nkind = 'echo'\nfail = 'error'\n")
    cli("chat", "--data-dir", served.data_dir, typed="hello\n")
    found = samples(served)
    assert found["turns_total{failed}"] == 1
    assert found["turns_total{done}"] == 0


def test_the_guide_lists_every_metric() -> None:
    guide = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    table = guide.partition("### Metrics\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed == [
        family.name.removeprefix("greenroom_") + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
    ]
