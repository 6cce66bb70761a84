"""Where sessions are looked at: the running runtime, or the store when none runs.

Both answer the same questions with the same records, so the commands do not care which it is.
"""

# ruff: noqa: D102 - what a source answers is described where it is declared

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import trio

from runtime import endpoint as endpoints
from runtime.cli.client import Client, ConnectionLost, NotReachable
from runtime.cli.connect import connect
from runtime.cli.errors import CommandError, ungrouped
from runtime.cli.waiting import open_readers, will_wait
from runtime.cli.words import command_line
from runtime.protocol.acp import AttachResult, ListedSession, ListSessionsResult
from runtime.protocol.extensions import (
    EventParams,
    EventsResult,
    JournalEvent,
    ListedMark,
    QueueClearResult,
    QueueStatusResult,
    SnapshotEvent,
    TurnEndedEvent,
    WireEvent,
)
from runtime.sessions.ids import IdSource, wall_clock_ms
from runtime.sessions.rows import CLIENTS, DropReason, SessionRow
from runtime.sessions.withdrawing import WITHDRAWN, DropNotice
from runtime.settings import Settings
from runtime.storage.opening import DATABASE
from runtime.storage.reader import Readers
from runtime.storage.requests import DropPending, InterruptedPolicy, Owner
from runtime.storage.sqlite import open_sqlite
from runtime.storage.store import Store

_PAGE = 100


class Entry(msgspec.Struct, frozen=True):
    """A session as listed. ``updated_at`` in ISO 8601; ``state``: stopped, idle or running."""

    id: str
    key: str
    agent: str
    epoch: int
    state: str
    updated_at: str | None = None
    title: str | None = None


class Source(ABC):
    """What can be asked about sessions."""

    @abstractmethod
    async def page(self, cursor: str | None) -> tuple[list[Entry], str | None]:
        """Active sessions, most recently active first, and where the next page begins."""

    async def entries(self, limit: int | None = None) -> list[Entry]:
        """The active sessions that were active last, all of them without a limit."""
        entries: list[Entry] = []
        cursor: str | None = None
        while limit is None or len(entries) < limit:
            found, cursor = await self.page(cursor)
            entries += found
            if cursor is None:
                break
        return entries[:limit]

    @abstractmethod
    async def queue(self, entry: Entry) -> QueueStatusResult:
        """What waits in a session; without a runtime, what will run after its next start."""

    @abstractmethod
    async def clear(self, entry: Entry) -> int:
        """Withdraw what waits in a session; how many messages went."""

    @abstractmethod
    def events(self, entry: Entry, lines: int) -> AsyncIterator[WireEvent]:
        """The newest lines of a transcript."""

    async def find(self, name: str) -> Entry:
        """The session of an id or a key.

        Raises:
            CommandError: there is none, or several agents have one of that key.
        """
        found = [entry for entry in await self.entries() if name in (entry.id, entry.key)]
        if not found:
            hint = f"`{command_line('sessions', 'list')}` lists them"
            raise CommandError(f"there is no session with the id or the key {name!r}", hint)
        if len(found) > 1:
            ids = "".join(f"\n  {entry.id}  agent {entry.agent}" for entry in found)
            raise CommandError(f"{len(found)} sessions have the key {name!r}:{ids}", "name the id")
        return found[0]


class RunningSource(Source):
    """A runtime that runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def page(self, cursor: str | None) -> tuple[list[Entry], str | None]:
        params = {} if cursor is None else {"cursor": cursor}
        page = await self._client.call("session/list", params, ListSessionsResult)
        return [_listed(session) for session in page.sessions], page.next_cursor

    async def queue(self, entry: Entry) -> QueueStatusResult:
        return await self._client.call(
            "_runtime/queue/status", {"sessionId": entry.id}, QueueStatusResult
        )

    async def clear(self, entry: Entry) -> int:
        params = {"sessionId": entry.id}
        return (await self._client.call("_runtime/queue/clear", params, QueueClearResult)).cleared

    async def events(self, entry: Entry, lines: int) -> AsyncIterator[WireEvent]:
        after = max(0, await self.attach(entry) - lines)
        newest = await self._ask_for_events(entry, after)
        while after < newest:
            event = await self._next_event()
            after = max(after, place(event))
            yield event

    async def attach(self, entry: Entry) -> int:
        """Take part in a session, as `follow` needs it. Returns the newest line's number."""
        params = {"sessionId": entry.id, "cwd": "/"}
        attached = await self._client.call("session/resume", params, AttachResult)
        return attached.meta.runtime.journal_seq if attached.meta.runtime is not None else 0

    async def follow(self, entry: Entry, after: int) -> AsyncIterator[WireEvent]:
        """The lines after a line of the transcript, and everything that happens from then on.

        Raises:
            ConnectionLost: the runtime has gone.
        """
        await self._ask_for_events(entry, after)
        while True:
            yield await self._next_event()

    async def _ask_for_events(self, entry: Entry, after: int) -> int:
        params = {"sessionId": entry.id, "after": after}
        answer = await self._client.call("_runtime/session/events", params, EventsResult)
        return answer.journal_seq

    async def _next_event(self) -> WireEvent:
        async for notification in self._client.notifications:
            if notification.method == "_runtime/session/event":
                return msgspec.json.decode(notification.params, type=EventParams).event
        raise ConnectionLost("the runtime is gone", "it may have been stopped; try again")


class StoredSource(Source):
    """The store of a runtime that does not run."""

    def __init__(self, store: Store, readers: Readers, settings: Settings) -> None:
        self._store = store
        self._readers = readers
        self._settings = settings

    async def page(self, cursor: str | None) -> tuple[list[Entry], str | None]:
        page = await self._store.sessions(cursor=cursor, limit=_PAGE)
        return [_stored(row) for row in page.sessions], page.next_cursor

    async def queue(self, entry: Entry) -> QueueStatusResult:
        row = await self._store.session(entry.id)
        mode = None if row is None else row.queue.mode
        waiting = await self._readers.read(
            partial(will_wait, sessions=self._settings.sessions, session_id=entry.id)
        )
        channel = CLIENTS if row is None else row.channel
        mode = mode or self._settings.queue_of(channel).mode
        return QueueStatusResult(mode, None, waiting.count, waiting.oldest)

    async def clear(self, entry: Entry) -> int:
        sessions = self._settings.sessions
        retry = sessions.on_interrupted == "retry"
        policy = InterruptedPolicy(retry=retry, max_tries=sessions.max_tries)
        owner = Owner("command line", "queue clear")
        # As at the next start: the messages of a turn that was cut off wait again.
        await self._store.wake(entry.id, owner, policy)
        notice = DropNotice(IdSource(wall_clock_ms).new(), WITHDRAWN)
        request = DropPending(entry.id, DropReason.CLEARED, notice=notice)
        return len(await self._store.drop_pending(request))

    async def events(self, entry: Entry, lines: int) -> AsyncIterator[WireEvent]:
        if lines == 0:
            return
        for line in await self._store.journal_tail(entry.id, limit=lines):
            yield msgspec.convert(msgspec.structs.asdict(line), JournalEvent)


def place(event: WireEvent) -> int:
    """Up to which line of the transcript an event leads; 0 when it says nothing about that."""
    match event:
        case JournalEvent():
            return event.seq
        case SnapshotEvent() | TurnEndedEvent():
            return event.journal_seq
    return 0


@asynccontextmanager
async def open_source(settings: Settings) -> AsyncIterator[Source]:
    """The running runtime of the data directory; else its store, locked for as long as the block.

    Raises:
        CommandError: there is neither.
        StoreCannotOpen: the store cannot be opened.
    """
    data_dir = settings.storage.data_dir
    with ungrouped():
        if await trio.to_thread.run_sync(endpoints.find, settings) is not None:
            async with running_source(settings) as source:
                yield source
        elif (data_dir / DATABASE).exists():
            async with (
                open_sqlite(data_dir, wall_clock_ms) as store,
                open_readers(data_dir) as readers,
            ):
                yield StoredSource(store, readers, settings)
        else:
            raise nothing_yet(data_dir)


def nothing_yet(data_dir: Path) -> CommandError:
    """There is nothing to look at."""
    start = command_line("serve", "--data-dir", str(data_dir))
    hint = f"start a runtime with `{start}`, or name another --data-dir"
    return CommandError(f"no runtime has worked on {data_dir} yet", hint)


@asynccontextmanager
async def running_source(settings: Settings) -> AsyncIterator[RunningSource]:
    """The running runtime of the data directory.

    Raises:
        NotReachable: none runs.
    """
    endpoint = await trio.to_thread.run_sync(endpoints.find, settings)
    if endpoint is None:
        data_dir = settings.storage.data_dir
        start = command_line("serve", "--data-dir", str(data_dir))
        raise NotReachable(f"no runtime works on {data_dir}", f"start it with `{start}`")
    with ungrouped():
        async with connect(endpoint) as client:
            yield RunningSource(client)


def _listed(listed: ListedSession) -> Entry:
    mark = listed.meta.runtime or ListedMark(key="", agent="", epoch=0, state="unknown")
    return Entry(
        id=listed.session_id,
        key=mark.key,
        agent=mark.agent,
        epoch=mark.epoch,
        state=mark.state,
        updated_at=listed.updated_at,
        title=listed.title,
    )


def _stored(row: SessionRow) -> Entry:
    updated = datetime.fromtimestamp(row.updated_at / 1_000, tz=UTC)
    return Entry(
        id=row.id,
        key=row.key,
        agent=row.agent_id,
        epoch=row.epoch,
        state="stopped",
        updated_at=updated.isoformat(timespec="milliseconds"),
        title=row.label or row.display_name,
    )
