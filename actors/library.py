"""The files that come with messages: takes them in, knows whose they are, says where they are.

One object per runtime, outside of the actors, since files outlive the sleep and the restarts of
their sessions. What it knows is a projection of the store's rows (`runtime.sessions.ledger`), which
alone says what may go; the janitor is the only one that removes.

*Taking in* (M3): room is made and reserved first; then the bytes go to disk as they come, under a
name that no finished file has; then the same bytes of before are looked for (M4), and the file gets
its name. It is *staged* from then on, and has to be `unstage`d when its message was accepted, or
was not: by then the message refers to it, or nobody does.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from actors.disk import Disk
from actors.outboxes import Outboxes
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.ports.front import MediaUsage, SessionMedia
from runtime.sessions.filenames import name_for
from runtime.sessions.ids import IdSource
from runtime.sessions.ledger import Ledger
from runtime.sessions.media import (
    BlobRow,
    MediaChange,
    MediaItem,
    NewBlob,
    SessionEnded,
    is_outgoing,
)
from runtime.sessions.names import file_name
from runtime.settings import MediaSettings
from runtime.storage.errors import StoreError
from runtime.storage.media_errors import FileTooLarge, MediaError
from runtime.storage.media_partial import Partial
from runtime.storage.media_tree import MediaTree, Space
from runtime.storage.store import Store

MOST_ATTEMPTS = 5
"""How often room is made for one file, when others take it in between."""

LARGEST = 10
"""How many sessions a report of the usage names."""

USUAL_FLOOR = 1024**3
FLOOR_SHARE = 0.05  # M7

NO_ROOM = (
    "There is no room for this file: all files together may take {cap}, and those that wait for an"
    " agent are not removed. Send it again when there are answers."
)
NO_SPACE = "There is not enough free space on the disk for this file. Send it again later."

log = get_logger(__name__)


class MediaRefused(Exception):
    """A file is not taken.

    Args:
        message: why and what to do, for whoever sent it.
        for_now: whether it may be taken later.
    """

    def __init__(self, message: str, *, for_now: bool = False) -> None:
        super().__init__(message)
        self.for_now = for_now


class Staged(msgspec.Struct, frozen=True):
    """A file that is on disk and stays until it is unstaged.

    Args:
        token: names the lease on it.
        session_id: the session.
        item: the file as its message knows it.
        blob: the file as it wants its row.
    """

    token: str
    session_id: str
    item: MediaItem
    blob: NewBlob


class Cleaner:
    """What the library asks of whoever removes files. Without one nothing is removed."""

    async def make_room(self, size: int, lack: int) -> None:
        """Evict until so many bytes fit under the cap, and ``lack`` more bytes of the disk are
        free; or until nothing is left that may go.
        """

    def look(self) -> None:
        """Something may be nobody's, new in an outbox, or too much. Does not wait."""


class Library:
    """The files of all sessions.

    Args:
        store: has the rows.
        tree: the folders; None where no files are kept.
        disk: where work on them is done.
        settings: those that hold now.
        metrics: what is counted.
        ids: names files.
        now: the wall clock in ms since 1970.
        outboxes: where files are that agents send; without them none is known.
    """

    def __init__(
        self,
        store: Store,
        tree: MediaTree | None,
        disk: Disk,
        settings: Callable[[], MediaSettings],
        metrics: Metrics,
        ids: IdSource,
        now: Callable[[], int],
        outboxes: Outboxes | None = None,
    ) -> None:
        self._store = store
        self.tree = tree
        self.disk = disk
        self._settings = settings
        self._metrics = metrics
        self._ids = ids
        self.now = now
        self.outboxes = outboxes if outboxes is not None else Outboxes()
        self.ledger = Ledger()
        self.cleaner = Cleaner()
        self.untold: set[str] = set()
        """Sessions whose agent does not know yet what was evicted (M9)."""
        self.closed: set[str] = set()
        """Closed sessions whose folder may still be there (S43)."""

    @property
    def settings(self) -> MediaSettings:
        """What is allowed now."""
        return self._settings()

    # -- following the store ------------------------------------------------------------------

    def follow(self, changes: Sequence[MediaChange]) -> None:
        """Take in what the store has committed. Never raises: it is called by the writer."""
        ended = False
        for change in changes:
            try:
                self.ledger.apply((change,))
            except Exception:  # the next start makes the index anew; the others are still right
                log.exception("media_change_not_followed", change=type(change).__name__)
            if isinstance(change, SessionEnded):
                self.untold.discard(change.session_id)
                self.closed.add(change.session_id)
                self.outboxes.used(change.session_id)
                ended = True
        if ended or self.ledger.has_too_much(self.settings.max_media_bytes):
            self.cleaner.look()

    def outbox_used(self, agent_id: str, session_id: str) -> None:
        """An agent may have put something into its outbox. Does not wait."""
        if self.outboxes.used(session_id, agent_id):
            self.cleaner.look()

    # -- taking in ----------------------------------------------------------------------------

    async def receive(
        self,
        session_id: str,
        source: AsyncGenerator[bytes, None],
        item: MediaItem,
        *,
        limit: int = 0,
    ) -> Staged:
        """Take in one file of a message that is not accepted yet.

        Args:
            session_id: the session.
            source: its bytes; read until it ends or is over the limit, and closed.
            item: what is known of it; its size as it was announced, if it was.
            limit: the largest that is taken, in bytes; 0 for the settings' own limit.

        Raises:
            MediaRefused: it is too large, there is no room, or the disk refuses.

        What ``source`` raises leaves. Whenever it does not return, nothing is left of the file.
        """
        allowed = self.settings.max_file_bytes
        limit = min(limit, allowed) if limit else allowed
        try:
            async with aclosing(source):
                staged = await self._receive(self._tree(), session_id, source, item, limit)
        except FileTooLarge:
            self._metrics.media_received.labels(outcome="refused").inc()
            raise MediaRefused(_too_large(limit)) from None
        except MediaRefused:
            self._metrics.media_received.labels(outcome="refused").inc()
            raise
        except MediaError as error:
            log.error("media_not_written", reason=str(error))
            self._metrics.media_received.labels(outcome="failed").inc()
            raise MediaRefused(
                "The file could not be kept: the disk refuses. Send it again later.", for_now=True
            ) from error
        self._metrics.media_received.labels(outcome="kept").inc()
        return staged

    async def _receive(
        self,
        tree: MediaTree,
        session_id: str,
        source: AsyncGenerator[bytes, None],
        item: MediaItem,
        limit: int,
    ) -> Staged:
        if item.size is not None and item.size > limit:
            raise MediaRefused(_too_large(limit))
        reserved = min(limit, self.settings.max_media_bytes) if item.size is None else item.size
        await self._reserve(reserved)
        try:
            create = partial(tree.create, folder_name(session_id), limit=limit)
            partial_file = await self.disk(create)
            try:
                async for chunk in source:
                    if partial_file.size + len(chunk) > reserved:  # more than was announced
                        await self._reserve(limit - reserved)
                        reserved = limit
                    await self.disk(partial(partial_file.write, chunk))
                return await self._finish(session_id, partial_file, item)
            finally:
                await self.disk(partial_file.abort)
        finally:
            self.ledger.release(reserved)

    async def _finish(self, session_id: str, written: Partial, item: MediaItem) -> Staged:
        """Give the file its name, unless the session has these bytes already (M4)."""
        token, content_hash, size = self._ids.new(), written.hash, written.size
        file = self.ledger.reuse(token, session_id, content_hash)
        holds = partial(self._tree().holds, folder_name(session_id), content_hash=content_hash)
        if file is not None and not await self.disk(partial(holds, file)):
            self.ledger.changed(token, session_id, file)
            file = None
        if file is None:
            name = name_for(self._ids.new(), item.mime_type, item.kind)
            await self.disk(partial(written.finish, name))
            # Meanwhile the same bytes may have come by another way.
            file = self.ledger.reuse(token, session_id, content_hash)
            if file is None:
                file = name
                self.ledger.stage(token, session_id, file, content_hash, size, self.now())
            else:
                await self._remove_copy(session_id, name)
        self.show()
        kept = msgspec.structs.replace(item, file=file, size=size, reference=None)
        blob = NewBlob(file, content_hash, size, item.mime_type, item.name)
        return Staged(token, session_id, kept, blob)

    async def _remove_copy(self, session_id: str, name: str) -> None:
        """One that stays is nobody's, and is found when the disk is looked through (M6)."""
        try:
            await self.disk(partial(self._tree().remove, folder_name(session_id), name))
        except MediaError as error:
            self._metrics.media_problems.inc()
            log.warning("media_problem", session=session_id, reason=str(error))

    def unstage(self, staged: Staged) -> None:
        """The message of a file was accepted, or will not be."""
        self.ledger.unstage(staged.token, staged.session_id, staged.blob.file)
        if self.ledger.has_too_much(self.settings.max_media_bytes):
            self.cleaner.look()

    async def _reserve(self, size: int) -> None:
        """Count so many bytes as taken, once there is room for them (M3, M5, M7)."""
        cap = self.settings.max_media_bytes
        if size > cap:
            raise MediaRefused(
                f"The file is too large: all files together may take {in_words(cap)}."
            )
        lack = 0
        for attempt in range(MOST_ATTEMPTS + 1):
            lack = await self._lack(size)
            if not lack and self.ledger.total + size <= cap:
                self.ledger.reserve(size)
                return
            if attempt < MOST_ATTEMPTS:
                await self.cleaner.make_room(size, lack)
        raise MediaRefused(NO_SPACE if lack else NO_ROOM.format(cap=in_words(cap)), for_now=True)

    async def _lack(self, size: int) -> int:
        """Bytes of the disk that would be missing under the floor."""
        space = await self.space()
        if space is None:
            return 0
        return max(0, self.floor(space) + self.ledger.reserved + size - space.free)

    async def space(self) -> Space | None:
        """The room on the disk; None when no floor is to be kept, or where no files are kept."""
        if self.tree is None or self.settings.free_space_floor == 0:
            return None
        return await self.disk(self.tree.space)

    def floor(self, space: Space) -> int:
        """Bytes of the disk that are left free (M7)."""
        return free_space_floor(self.settings, space.total)

    # -- what there is ------------------------------------------------------------------------

    def has(self, session_id: str, file: str) -> bool:
        """Whether a file of a session is there."""
        return self.ledger.knows(session_id, file)

    def path(self, session_id: str, file: str) -> Path:
        """Where a file is, for its session's agent. Raises MediaRefused where none are kept."""
        return self._tree().path(folder_name(session_id), file)

    def folder(self, session_id: str) -> Path | None:
        """The folder of a session's files, which may not be there yet; None where none are kept."""
        return None if self.tree is None else self.tree.root / folder_name(session_id)

    async def read_base64(self, session_id: str, file: str) -> str | None:
        """A file as a prompt carries it; None when it cannot be read, which is logged (M6)."""
        limit = self.settings.max_file_bytes
        read = partial(_encoded, self._tree(), folder_name(session_id), file, limit)
        try:
            return await self.disk(read, abandon=True)
        except MediaError as error:
            self._metrics.media_problems.inc()
            log.warning("media_not_read", session=session_id, reason=str(error))
            return None

    async def untold_evictions(self, session_id: str) -> tuple[BlobRow, ...]:
        """What the session's agent does not know to be gone (M9)."""
        if session_id not in self.untold:
            return ()
        found: tuple[BlobRow, ...] | None = None
        self.untold.discard(session_id)  # what is evicted from here on puts it back
        try:
            found = await self._store.untold_evictions(session_id)
        except StoreError as error:  # the next prompt says it
            log.warning("evictions_not_read", session=session_id, reason=str(error))
        finally:
            if found != ():
                self.untold.add(session_id)
        return found or ()

    def words_of(self, evicted: BlobRow) -> str:
        """An evicted file, for the agent that knew it."""
        moment = datetime.fromtimestamp((evicted.evicted_at or 0) / 1000, UTC)
        named = evicted.name or ""
        if not is_outgoing(evicted.file):
            path = self.path(evicted.session_id, evicted.file).as_uri()
            named = f"{named} ({path})" if named else path
        return f"{named}, at {moment:%Y-%m-%d %H:%M} UTC"

    def count_removed(self, reason: str, files: int, size: int) -> None:
        """Files have gone from disk."""
        self._metrics.media_removed.labels(reason=reason).inc(files)
        self._metrics.media_removed_bytes.labels(reason=reason).inc(size)
        self.show()

    def show(self) -> None:
        """The figures as they are now."""
        usage = self.ledger.usage
        self._metrics.media_bytes.set(usage.size)
        self._metrics.media_files.set(usage.files)
        self._metrics.media_in_flight_bytes.set(usage.in_flight)

    def _tree(self) -> MediaTree:
        if self.tree is None:
            raise MediaRefused("This runtime keeps no files: it has no folder for them.")
        return self.tree


def free_space_floor(settings: MediaSettings, total: int) -> int:
    """Bytes of a disk of so many bytes that are left free (M7)."""
    floor = settings.free_space_floor
    return min(USUAL_FLOOR, int(total * FLOOR_SHARE)) if floor is None else floor


def usage_report(library: Library) -> MediaUsage:
    """What files take, for people."""
    usage, ledger = library.ledger.usage, library.ledger
    return MediaUsage(
        root=str(library.tree.root) if library.tree is not None else None,
        cap=library.settings.max_media_bytes,
        files=usage.files,
        size=usage.size,
        in_flight=usage.in_flight,
        evictable=usage.evictable,
        reserved=ledger.reserved,
        largest=tuple(SessionMedia(*each) for each in ledger.largest(LARGEST)),
    )


def folder_name(session_id: str) -> str:
    """The folder of a session's files (M1, S17)."""
    return file_name(session_id)


def _encoded(tree: MediaTree, session: str, file: str, limit: int) -> str:
    return base64.b64encode(tree.read(session, file, limit=limit)).decode()


def _too_large(limit: int) -> str:
    return f"The file is too large: one of up to {in_words(limit)} is taken. Send a smaller one."


def in_words(size: int) -> str:
    """Bytes, for people."""
    return f"{size / 1024**2:.4g} MiB" if size >= 1024**2 else f"{size / 1024:.4g} KiB"
