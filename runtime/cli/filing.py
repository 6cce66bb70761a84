"""Files of messages, looked after by the running runtime, or here while none runs.

Here it is done with the same parts: the index is made from the rows and the disk as at a start, and
the janitor alone removes. A message that waits for the next start keeps its files.
"""

# ruff: noqa: D102 - what a keeper does is described where it is declared

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import trio

from actors.disk import Threads
from actors.janitor import Janitor
from actors.janitor_messages import Sweep
from actors.library import Library, largest_media, usage_report
from actors.library_opening import open_library, read_index
from actors.outboxes import Inboxes, Outboxes
from runtime import endpoint as endpoints
from runtime.cli.client import Client
from runtime.cli.connect import connect
from runtime.cli.errors import FAILURE, ungrouped
from runtime.cli.looking import print_table
from runtime.cli.media_findings import media_root
from runtime.cli.sources import nothing_yet
from runtime.cli.words import amount, print_json
from runtime.gateway.extra_methods import usage_result
from runtime.kernel import ChildSpec, open_system
from runtime.metrics import Metrics
from runtime.protocol.media import MediaSweepResult, MediaUsageResult
from runtime.sessions.ids import IdSource, wall_clock_ms
from runtime.sessions.numbers import number_of
from runtime.settings import Settings
from runtime.storage.media_tree import MediaTree
from runtime.storage.opening import DATABASE
from runtime.storage.sqlite import open_sqlite
from runtime.storage.store import Store

SWEEP_LIMIT = 3_600.0
"""Seconds for a sweep that is done here; Ctrl-C ends it at any moment."""


class Keeper(ABC):
    """Looks after the files."""

    @abstractmethod
    async def usage(self) -> MediaUsageResult:
        """What they take."""

    @abstractmethod
    async def sweep(self) -> MediaSweepResult:
        """Remove what is to be removed."""


class RunningKeeper(Keeper):
    """A runtime that runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def usage(self) -> MediaUsageResult:
        return await self._client.call("_runtime/media/usage", {}, MediaUsageResult)

    async def sweep(self) -> MediaSweepResult:
        return await self._client.call("_runtime/media/sweep", {}, MediaSweepResult)


@dataclass(frozen=True)
class _Tools:
    """What the janitor works with."""

    library: Library
    store: Store
    metrics: Metrics
    now = staticmethod(wall_clock_ms)


class StoredKeeper(Keeper):
    """The files of a runtime that does not run.

    Args:
        store: has their rows; locked for as long as it is open.
        settings: say where they are and what is allowed.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._tree = MediaTree(media_root(settings))
        metrics = Metrics()
        library = Library(
            store,
            self._tree,
            Threads(),
            lambda: settings.media,
            metrics,
            IdSource(wall_clock_ms),
            wall_clock_ms,
            Outboxes(settings.storage.data_dir),
            Inboxes(settings.storage.data_dir),
        )
        self._tools = _Tools(library, store, metrics)

    async def usage(self) -> MediaUsageResult:
        library = self._tools.library
        if await trio.Path(self._tree.root).exists():
            await read_index(library, self._tree, self._store)
        return usage_result(usage_report(library), await largest_media(library))

    async def sweep(self) -> MediaSweepResult:
        library = self._tools.library
        async with open_library(library, self._store) as opened, open_system("media") as system:
            (janitor,) = await system.spawn_all(
                [ChildSpec(factory=lambda: Janitor(self._tools), name="janitor")]
            )
            swept = await janitor.ask(Sweep(), timeout=SWEEP_LIMIT)
            left = library.ledger.usage
        return MediaSweepResult(
            opened.orphans + opened.files - left.files,
            opened.orphans_size + opened.size - left.size,
            swept.problems,
        )


@asynccontextmanager
async def open_keeper(settings: Settings) -> AsyncIterator[Keeper]:
    """The running runtime of the data directory; else its store, locked for as long as the block.

    Raises:
        CommandError: there is neither.
        StoreCannotOpen: the store cannot be opened.
    """
    data_dir = settings.storage.data_dir
    with ungrouped():
        endpoint = await trio.to_thread.run_sync(endpoints.find, settings)
        if endpoint is not None:
            async with connect(endpoint) as client:
                yield RunningKeeper(client)
        elif (data_dir / DATABASE).exists():
            async with open_sqlite(data_dir, wall_clock_ms) as store:
                yield StoredKeeper(store, settings)
        else:
            raise nothing_yet(data_dir)


async def print_usage(settings: Settings, as_json: bool) -> None:
    """Print what files take."""
    async with open_keeper(settings) as keeper:
        usage = await keeper.usage()
    if as_json:
        print_json(msgspec.to_builtins(usage))
        return
    facts = {
        "folder": usage.root or "none: no files are kept",
        "files": f"{usage.files}, {amount(usage.size)} of at most {amount(usage.cap)}",
        "in flight": f"{amount(usage.in_flight)} that no agent has been given yet",
        "evictable": f"{amount(usage.evictable)} that go when room is needed",
        "incoming": f"{amount(usage.reserved)} for files that are being received",
    }
    if usage.stuck:
        facts["disk"] = f"does not answer: {number_of(usage.stuck, 'thread')} wait for it in vain"
    for label, fact in facts.items():
        print(f"{label:<12} {fact}")
    if usage.largest:
        print()
        rows = [(each.session_id, each.files, amount(each.size)) for each in usage.largest]
        print_table(("session", "files", "size"), rows)


async def print_sweep(settings: Settings, as_json: bool) -> int:
    """Sweep, and print what was removed. Returns the exit code."""
    async with open_keeper(settings) as keeper:
        swept = await keeper.sweep()
    if as_json:
        print_json(msgspec.to_builtins(swept))
    elif swept.files or swept.problems:
        print(f"{number_of(swept.files, 'file')} removed, {amount(swept.size)}.")
    else:
        print("Nothing is to be removed.")
    if swept.problems:
        count = number_of(swept.problems, "file")
        print(f"{count} could not be removed; the log says why.", file=sys.stderr)
    return FAILURE if swept.problems else 0
