"""The store on SQLite, embedded: the default engine (D1).

`open_sqlite` works on a data directory with one writer thread and a few readers; `open_memory` runs
the very same statements inline on a database in memory, for tests on a virtual clock. The SQL is in
the ``sql_*`` modules, one function per operation; here each operation is handed to where it runs.
"""

# ruff: noqa: D102 - the operations are described where they are declared, in `Store`

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import apsw
import trio

from runtime.sessions.rows import (
    Draft,
    InboundRow,
    JournalEntry,
    MessageKey,
    SessionRow,
    SessionSpec,
    SessionStatus,
    TurnRow,
)
from runtime.sessions.withdrawing import DropNotice
from runtime.storage import (
    sql_admission,
    sql_epochs,
    sql_figures,
    sql_inbound,
    sql_joining,
    sql_journal,
    sql_sessions,
    sql_settle,
    sql_turns,
    sql_withdrawing,
)
from runtime.storage.anew import StartAnew, StartedAnew
from runtime.storage.engine import Engine, Limits, Observe, Transaction
from runtime.storage.errors import StoreUnavailable
from runtime.storage.figures import Backlog, Health, StoreInfo
from runtime.storage.joining import JoinTurn, KeepCopy, LeaveTurn
from runtime.storage.migrations import Migration, bundled
from runtime.storage.opening import open_directory, open_memory_database
from runtime.storage.reader import Readers
from runtime.storage.requests import (
    Admitted,
    Awake,
    BeginTurn,
    ChannelOffset,
    Drop,
    DropPending,
    EndedTurn,
    EndTurn,
    FinishedPending,
    FinishPending,
    InterruptedPolicy,
    JournalExtent,
    MessageStatus,
    NewInbound,
    Owner,
    Recovery,
    SaveDraft,
    SessionPage,
    SessionPatch,
    TurnProgress,
)
from runtime.storage.sizes import Sizes, measure
from runtime.storage.sqlite_delivery import SqliteDelivery
from runtime.storage.sqlite_media import SqliteMedia
from runtime.storage.sqlite_parts import Reads, Writes, bounded
from runtime.storage.store import Store
from runtime.storage.writer import BATCH_LIMIT, GroupCommit, Inline


class SqliteStore(SqliteMedia, SqliteDelivery, Store):
    """The operations of `Store` on one engine. Made by `open_sqlite` and `open_memory`."""

    def __init__(
        self,
        engine: Engine,
        writes: Writes,
        reads: Reads,
        info: StoreInfo,
        measure: Callable[[], Sizes],
        sizes: Sizes,
    ) -> None:
        self._engine = engine
        self._writes = writes
        self._reads = reads
        self._info = info
        self._measure = measure
        self._sizes = sizes

    @property
    def info(self) -> StoreInfo:
        return self._info

    def health(self) -> Health:
        problem = self._engine.problem
        return Health(
            ready=problem is None,
            problem=problem,
            queued_requests=self._writes.queued,
            batches=self._engine.batches,
            database_bytes=self._sizes.database,
            wal_bytes=self._sizes.log,
            free_bytes=self._sizes.free,
        )

    async def probe(self) -> Health:
        with contextlib.suppress(StoreUnavailable):
            await self._writes.write(_probe)
        return self.health()

    async def maintain(self) -> Health:
        self._sizes = await self._writes.chore(self._upkeep)
        return self.health()

    def _upkeep(self) -> Sizes:
        self._engine.checkpoint()
        return self._measure()

    async def backlog(self) -> Backlog:
        return await self._reads.read(sql_figures.backlog)

    async def recover(self, instance: str, policy: InterruptedPolicy) -> Recovery:
        return await self._writes.write(
            partial(sql_settle.recover, instance=instance, policy=policy)
        )

    async def last_recovery(self) -> Recovery | None:
        return await self._reads.read(sql_settle.last_recovery)

    # -- sessions -----------------------------------------------------------------------------

    async def resolve(self, spec: SessionSpec) -> tuple[SessionRow, bool]:
        return await self._writes.write(partial(sql_sessions.resolve, spec=spec))

    async def session(self, session_id: str) -> SessionRow | None:
        return await self._reads.read(partial(sql_sessions.by_id, session_id=session_id))

    async def find_session(self, agent_id: str, key: str) -> SessionRow | None:
        return await self._reads.read(partial(sql_sessions.find, agent_id=agent_id, key=key))

    async def sessions(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        status: SessionStatus | None = SessionStatus.ACTIVE,
    ) -> SessionPage:
        after = None if cursor is None else sql_sessions.parse_cursor(cursor)
        return await self._reads.read(
            partial(sql_sessions.page, after=after, limit=bounded(limit), status=status)
        )

    async def patch_session(self, session_id: str, patch: SessionPatch) -> SessionRow:
        return await self._writes.write(
            partial(sql_sessions.patch, session_id=session_id, changes=patch)
        )

    async def new_epoch(
        self, session_id: str, notice: DropNotice | None = None
    ) -> tuple[SessionRow, tuple[InboundRow, ...]]:
        return await self._writes.write(
            partial(sql_epochs.new_epoch, session_id=session_id, notice=notice)
        )

    async def start_anew(self, request: StartAnew) -> StartedAnew | None:
        return await self._writes.write(partial(sql_epochs.start_anew, request=request))

    async def close_session(
        self, session_id: str, notice: DropNotice | None = None
    ) -> tuple[SessionRow, tuple[InboundRow, ...]]:
        return await self._writes.write(
            partial(sql_epochs.close, session_id=session_id, notice=notice)
        )

    # -- messages -----------------------------------------------------------------------------

    async def admit(
        self, messages: Sequence[NewInbound], offset: ChannelOffset | None = None
    ) -> tuple[Admitted, ...]:
        return await self._writes.write(
            partial(sql_admission.admit, messages=tuple(messages), offset=offset)
        )

    async def known_messages(self, keys: Sequence[MessageKey]) -> frozenset[MessageKey]:
        return await self._reads.read(partial(sql_inbound.known, keys=tuple(keys)))

    async def channel_offset(self, channel: str, account: str) -> str | None:
        return await self._reads.read(
            partial(sql_admission.channel_offset, channel=channel, account=account)
        )

    async def record_drop(self, drop: Drop) -> None:
        await self._writes.write(partial(sql_inbound.record_drop, drop=drop))

    async def message_status(self, message_id: str) -> MessageStatus | None:
        return await self._reads.read(partial(sql_inbound.status, message_id=message_id))

    async def pending_messages(self, session_id: str) -> tuple[InboundRow, ...]:
        return await self._reads.read(partial(sql_inbound.pending, session_id=session_id))

    async def drop_pending(self, request: DropPending) -> tuple[InboundRow, ...]:
        return await self._writes.write(partial(sql_withdrawing.withdraw, request=request))

    async def finish_pending(self, request: FinishPending) -> FinishedPending:
        return await self._writes.write(partial(sql_settle.finish_pending, request=request))

    async def sessions_with_due_messages(
        self, limit: int, *, after: str | None = None
    ) -> tuple[str, ...]:
        return await self._reads.read(
            partial(sql_inbound.due_sessions, limit=bounded(limit), after=after)
        )

    # -- turns --------------------------------------------------------------------------------

    async def wake(self, session_id: str, owner: Owner, policy: InterruptedPolicy) -> Awake:
        return await self._writes.write(
            partial(sql_settle.wake, session_id=session_id, owner=owner, policy=policy)
        )

    async def begin_turn(self, request: BeginTurn) -> TurnRow:
        return await self._writes.write(partial(sql_turns.begin, request=request))

    async def join_turn(self, request: JoinTurn) -> TurnRow:
        return await self._writes.write(partial(sql_joining.join, request=request))

    async def leave_turn(self, request: LeaveTurn) -> InboundRow | None:
        return await self._writes.write(partial(sql_joining.leave, request=request))

    async def keep_copy(self, request: KeepCopy) -> InboundRow | None:
        return await self._writes.write(partial(sql_joining.keep_copy, request=request))

    async def save_progress(self, progress: TurnProgress) -> None:
        await self._writes.write(partial(sql_turns.save_progress, progress=progress))

    async def drafts_left_over(self, channel: str, account: str) -> tuple[tuple[str, Draft], ...]:
        left_over = partial(sql_turns.drafts_left_over, channel=channel, account=account)
        return await self._reads.read(left_over)

    async def draft_gone(self, turn_id: str) -> None:
        await self._writes.write(partial(sql_turns.draft_gone, turn_id=turn_id))

    async def save_draft(self, request: SaveDraft) -> None:
        await self._writes.write(partial(sql_turns.save_draft, request=request))

    async def end_turn(self, request: EndTurn) -> EndedTurn:
        return await self._writes.write(partial(sql_turns.end, request=request))

    # -- transcript ---------------------------------------------------------------------------

    async def journal(
        self, session_id: str, *, after: int = 0, limit: int = 500, epoch: int | None = None
    ) -> tuple[JournalEntry, ...]:
        return await self._reads.read(
            partial(
                sql_journal.read,
                session_id=session_id,
                after=after,
                limit=bounded(limit),
                epoch=epoch,
            )
        )

    async def journal_entry(self, session_id: str, entry_id: str) -> JournalEntry | None:
        return await self._reads.read(
            partial(sql_journal.entry, session_id=session_id, entry_id=entry_id)
        )

    async def journal_tail(
        self, session_id: str, *, limit: int, epoch: int | None = None
    ) -> tuple[JournalEntry, ...]:
        return await self._reads.read(
            partial(sql_journal.tail, session_id=session_id, limit=bounded(limit), epoch=epoch)
        )

    async def journal_extent(self, session_id: str, epoch: int) -> JournalExtent:
        return await self._reads.read(
            partial(sql_journal.extent, session_id=session_id, epoch=epoch)
        )

    # -- end ----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        self._writes.refuse()
        # The readers first: the last connection to close moves the log into the database.
        with trio.CancelScope(shield=True):
            await self._reads.aclose()
            await self._writes.aclose()


@contextlib.asynccontextmanager
async def open_sqlite(
    data_dir: Path,
    clock: Callable[[], int],
    *,
    limits: Limits | None = None,
    migrations: Sequence[Migration] | None = None,
    batch_limit: int = BATCH_LIMIT,
    observe: Observe | None = None,
) -> AsyncIterator[SqliteStore]:
    """Open the store of a data directory, made when it does not exist.

    Args:
        data_dir: Where the database, the lock and the transcripts are; made with mode 0700.
        clock: The wall clock in milliseconds since 1970; called on the Trio side only.
        limits: Byte budgets of rows.
        migrations: All migrations, in order; those that come with the runtime by default.
        batch_limit: How many requests share one commit at most.
        observe: Is told of each commit, in the writer's thread; must not raise or wait.

    Raises:
        StoreCannotOpen: The directory is refused; nothing in it was changed. The subclass says why.
        StoreUnavailable: The disk is full, or refuses.

    The block ends when all that was handed over is decided and the files are closed, also when
    cancelled.
    """
    known = bundled() if migrations is None else tuple(migrations)
    budgets = limits if limits is not None else Limits()
    opened = await trio.to_thread.run_sync(open_directory, data_dir, known)
    engine = Engine(opened.connection, budgets, observe)
    writer = GroupCommit(engine, clock, batch_limit=batch_limit)
    store = SqliteStore(
        engine,
        writer,
        Readers(opened.database, clock, budgets),
        _info(str(data_dir), len(known)),
        partial(measure, opened.database),
        opened.sizes,
    )
    writer.start()
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            try:
                await store.aclose()
            finally:
                await trio.to_thread.run_sync(opened.lock.release)


@contextlib.asynccontextmanager
async def open_memory(
    clock: Callable[[], int], *, limits: Limits | None = None
) -> AsyncIterator[SqliteStore]:
    """Open a store in memory that uses no thread and forgets everything at the end.

    Args:
        clock: The wall clock in milliseconds since 1970.
        limits: Byte budgets of rows.
    """
    known = bundled()
    engine = Engine(open_memory_database(known), limits if limits is not None else Limits())
    inline = Inline(engine, clock)
    store = SqliteStore(engine, inline, inline, _info(":memory:", len(known)), Sizes, Sizes())
    try:
        yield store
    finally:
        await store.aclose()


def _probe(transaction: Transaction) -> None:
    transaction.run(
        "INSERT INTO meta (key, value) VALUES ('probed_at', ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        str(transaction.now),
    )


def _info(location: str, schema_version: int) -> StoreInfo:
    return StoreInfo("sqlite", apsw.sqlite_lib_version(), schema_version, location)
