"""The files that come with messages: knows whose they are, says where they are.

One object per runtime, outside of the actors, since files outlive the sleep and the restarts of
their sessions. What it knows is a projection of the store's rows (`runtime.sessions.ledger`), which
alone says what may go. `actors.receiving` takes them in; the janitor is the only one that removes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

from actors.disk import Disk
from actors.outboxes import Inboxes, Outboxes
from actors.paging import batched
from runtime.log import get_logger
from runtime.metrics import Metrics
from runtime.ports.front import MediaUsage, SessionMedia
from runtime.sessions.ids import IdSource
from runtime.sessions.ledger import Ledger
from runtime.sessions.media import (
    BlobRow,
    MediaChange,
    MediaItem,
    NewBlob,
    SessionEnded,
)
from runtime.sessions.names import file_name
from runtime.settings import MediaSettings
from runtime.storage.errors import StoreError
from runtime.storage.media_errors import MediaError
from runtime.storage.media_tree import MediaTree, Space
from runtime.storage.store import Store

LARGEST = 10
"""How many sessions a report of the usage names."""

USUAL_FLOOR = 1024**3
FLOOR_SHARE = 0.05  # M7

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

    def look(self, *, soon: bool = False) -> None:
        """Something may be nobody's, or too much; ``soon``: new in an outbox. Does not wait."""


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
        inboxes: where agents find files that see nothing else; without them they see none.
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
        inboxes: Inboxes | None = None,
    ) -> None:
        self._store = store
        self.tree = tree
        self.disk = disk
        self._settings = settings
        self.metrics = metrics
        self.ids = ids
        self.now = now
        self.outboxes = outboxes if outboxes is not None else Outboxes()
        self.inboxes = inboxes if inboxes is not None else Inboxes()
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
            self.cleaner.look(soon=True)

    # -- files on their way in ----------------------------------------------------------------

    def unstage(self, staged: Staged) -> None:
        """The message of a file was accepted, or will not be."""
        self.ledger.unstage(staged.token, staged.session_id, staged.blob.file)
        if self.ledger.has_too_much(self.settings.max_media_bytes):
            self.cleaner.look()

    async def space(self) -> Space | None:
        """The room on the disk; None when no floor is to be kept, or where no files are kept."""
        if self.tree is None or self.settings.free_space_floor == 0:
            return None
        return await self.disk(self.tree.space, abandon=True)

    def floor(self, space: Space) -> int:
        """Bytes of the disk that are left free (M7)."""
        return free_space_floor(self.settings, space.total)

    # -- what there is ------------------------------------------------------------------------

    def has(self, session_id: str, file: str) -> bool:
        """Whether a file of a session is there."""
        return self.ledger.knows(session_id, file)

    def path(self, session_id: str, file: str) -> Path:
        """Where a file is, for its session's agent. Raises MediaRefused where none are kept."""
        return self.folders.path(folder_name(session_id), file)

    def folder(self, session_id: str) -> Path | None:
        """The folder of a session's files, which may not be there yet; None where none are kept."""
        return None if self.tree is None else self.tree.root / folder_name(session_id)

    async def read_base64(self, session_id: str, file: str) -> str | None:
        """A file as a prompt carries it; None when it cannot be read, which is logged (M6)."""
        limit = self.settings.max_file_bytes
        read = partial(_encoded, self.folders, folder_name(session_id), file, limit)
        try:
            return await self.disk(read, abandon=True)
        except MediaError as error:
            self.metrics.media_problems.inc()
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

    def count_removed(self, reason: str, files: int, size: int) -> None:
        """Files have gone from disk."""
        self.metrics.media_removed.labels(reason=reason).inc(files)
        self.metrics.media_removed_bytes.labels(reason=reason).inc(size)
        self.show()

    def show(self) -> None:
        """The figures as they are now."""
        usage = self.ledger.usage
        self.metrics.media_bytes.set(usage.size)
        self.metrics.media_files.set(usage.files)
        self.metrics.media_in_flight_bytes.set(usage.in_flight)

    @property
    def folders(self) -> MediaTree:
        """Where the files are. Raises MediaRefused where none are kept."""
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
        reserved=ledger.incoming.reserved,
        stuck=library.disk.stuck,
    )


async def largest_media(library: Library) -> tuple[SessionMedia, ...]:
    """The sessions whose files take most, the largest first."""
    ledger = library.ledger
    largest: list[tuple[str, int, int]] = []
    for some in batched(ledger.sessions):
        largest = ledger.largest(LARGEST, (*(each[0] for each in largest), *some))
        await trio.lowlevel.checkpoint()
    return tuple(SessionMedia(*each) for each in largest)


def folder_name(session_id: str) -> str:
    """The folder of a session's files (M1, S17)."""
    return file_name(session_id)


def _encoded(tree: MediaTree, session: str, file: str, limit: int) -> str:
    return base64.b64encode(tree.read(session, file, limit=limit)).decode()
