"""The SQLite store's operations about files of messages."""

# ruff: noqa: D102 - the operations are described where they are declared, in `MediaStore`

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from runtime.sessions.media import BlobRow, Leased, MediaChange, OutboxFile
from runtime.sessions.outgoing import Standing
from runtime.sessions.rows import InboundRow
from runtime.storage import sql_media, sql_outbox
from runtime.storage.media_requests import Attach, BlobPage, BlobRef, HandOver
from runtime.storage.media_store import MediaListener
from runtime.storage.sqlite_parts import Reads, Writes, bounded


class SqliteMedia:
    """Part of `runtime.storage.sqlite.SqliteStore`."""

    _writes: Writes
    _reads: Reads

    def listen(self, listener: MediaListener) -> None:
        self._writes.listen(listener)

    async def hand_over(self, request: HandOver) -> None:
        await self._writes.write(partial(sql_media.hand_over, request=request))

    async def attach(self, request: Attach) -> InboundRow | None:
        return await self._writes.write(partial(sql_media.attach, request=request))

    async def media_in_flight(self) -> tuple[Leased, ...]:
        return await self._reads.read(sql_media.in_flight)

    async def files_owed(self) -> tuple[MediaChange, ...]:
        return await self._reads.read(sql_outbox.files_owed)

    async def outbox_standings(
        self, files: Sequence[tuple[str, OutboxFile]]
    ) -> tuple[Standing, ...]:
        return await self._reads.read(partial(sql_outbox.standings_of_files, files=tuple(files)))

    async def blobs(self, *, after: int = 0, limit: int = 1_000) -> BlobPage:
        return await self._reads.read(partial(sql_media.page, after=after, limit=bounded(limit)))

    async def blobs_evicted(self, blobs: Sequence[BlobRef]) -> None:
        await self._writes.write(partial(sql_media.evicted, blobs=tuple(blobs)))

    async def blobs_forgotten(self, blobs: Sequence[BlobRef]) -> None:
        await self._writes.write(partial(sql_media.forget, blobs=tuple(blobs)))

    async def untold_evictions(self, session_id: str) -> tuple[BlobRow, ...]:
        return await self._reads.read(partial(sql_media.untold, session_id=session_id))

    async def sessions_with_untold_evictions(self) -> tuple[str, ...]:
        return await self._reads.read(sql_media.sessions_with_untold)

    async def idle_blobs(self, before: int, *, after: int = 0, limit: int = 1_000) -> BlobPage:
        return await self._reads.read(
            partial(sql_media.idle, before=before, after=after, limit=bounded(limit))
        )

    async def forget_old_evictions(
        self, before: int, *, after: int = 0, limit: int = 1_000
    ) -> int | None:
        forget = partial(
            sql_media.forget_old_evictions, before=before, after=after, limit=bounded(limit)
        )
        return await self._writes.write(forget)
