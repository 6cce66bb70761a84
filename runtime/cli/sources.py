"""Where sessions are looked at: the running runtime, or the store when none runs.

Both answer the same questions with the same records, so the commands do not care which it is.
"""

# ruff: noqa: D102 - what a source answers is described where it is declared

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from runtime.cli import endpoint as endpoints
from runtime.cli.client import Client, ConnectionLost
from runtime.cli.connect import connect
from runtime.cli.errors import CommandError, ungrouped
from runtime.cli.words import command_line
from runtime.protocol.acp import AttachResult, ListedSession, ListSessionsResult
from runtime.protocol.extensions import (
    EventParams,
    EventsResult,
    JournalEvent,
    ListedMark,
    QueueStatusResult,
    WireEvent,
)
from runtime.sessions.ids import wall_clock_ms
from runtime.sessions.rows import SessionRow
from runtime.settings import Settings
from runtime.storage.opening import DATABASE
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
    async def queue(self, entry: Entry) -> QueueStatusResult | None:
        """What waits in a session; None when nothing runs that could say."""

    @abstractmethod
    def events(self, entry: Entry, lines: int, *, follow: bool) -> AsyncIterator[WireEvent]:
        """The newest lines of a transcript; with ``follow`` then everything that happens.

        Raises:
            CommandError: there is nothing to follow.
        """

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

    async def queue(self, entry: Entry) -> QueueStatusResult | None:
        return await self._client.call(
            "_runtime/queue/status", {"sessionId": entry.id}, QueueStatusResult
        )

    async def events(self, entry: Entry, lines: int, *, follow: bool) -> AsyncIterator[WireEvent]:
        params = {"sessionId": entry.id, "cwd": "/"}
        attached = await self._client.call("session/resume", params, AttachResult)
        newest = attached.meta.runtime.journal_seq if attached.meta.runtime is not None else 0
        answer = await self._client.call(
            "_runtime/session/events",
            {"sessionId": entry.id, "after": max(0, newest - lines)},
            EventsResult,
        )
        seen = max(0, newest - lines)
        while follow or seen < answer.journal_seq:
            event = await self._next_event()
            if isinstance(event, JournalEvent):
                seen = event.seq
            yield event

    async def _next_event(self) -> WireEvent:
        async for notification in self._client.notifications:
            if notification.method == "_runtime/session/event":
                return msgspec.json.decode(notification.params, type=EventParams).event
        raise ConnectionLost("the runtime is gone", "it may have been stopped; try again")


class StoredSource(Source):
    """The store of a runtime that does not run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, cursor: str | None) -> tuple[list[Entry], str | None]:
        page = await self._store.sessions(cursor=cursor, limit=_PAGE)
        return [_stored(row) for row in page.sessions], page.next_cursor

    async def queue(self, entry: Entry) -> QueueStatusResult | None:
        return None

    async def events(self, entry: Entry, lines: int, *, follow: bool) -> AsyncIterator[WireEvent]:
        if follow:
            hint = f"start the runtime with `{command_line('serve')}`"
            raise CommandError("there is nothing to follow: no runtime works here", hint)
        if lines == 0:
            return
        for line in await self._store.journal_tail(entry.id, limit=lines):
            yield msgspec.convert(msgspec.structs.asdict(line), JournalEvent)


@asynccontextmanager
async def open_source(settings: Settings) -> AsyncIterator[Source]:
    """The running runtime of the data directory; else its store, locked for as long as the block.

    Raises:
        CommandError: there is neither.
        StoreCannotOpen: the store cannot be opened.
    """
    endpoint = endpoints.find(settings)
    data_dir = settings.storage.data_dir
    with ungrouped():
        if endpoint is not None:
            async with connect(endpoint) as client:
                yield RunningSource(client)
        elif (data_dir / DATABASE).exists():
            async with open_sqlite(data_dir, wall_clock_ms) as store:
                yield StoredSource(store)
        else:
            hint = f"start a runtime with `{command_line('serve')}`, or name another --data-dir"
            raise CommandError(f"no runtime has worked on {data_dir} yet", hint)


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
