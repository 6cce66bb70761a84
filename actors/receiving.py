"""Taking in one file of a message that is not accepted yet (M3, M4).

Room for it grows with it, and is there before each byte; the bytes go to disk as they come, under a
name that no finished file has; then the same bytes of before are looked for, and the file gets its
name. It is *staged* from then on, and has to be unstaged when its message was accepted, or was not:
by then the message refers to it, or nobody does.

Until it is staged a file has one owner, an `_Arrival`. When the disk does not answer, that is the
thread which works on it: should it ever come back, it removes the file, whatever it is called by
then, and gives the room back. If it does not, the next start finds an orphan (M8).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial

import msgspec
import trio

from actors.library import Library, MediaRefused, Staged, folder_name
from actors.room import in_words, make_room
from runtime.log import get_logger
from runtime.sessions.filenames import name_for
from runtime.sessions.media import MediaItem, NewBlob
from runtime.sessions.reservation import Reservation
from runtime.storage.media_errors import FileTooLarge, MediaError, NoAnswer
from runtime.storage.media_partial import Partial
from runtime.storage.media_tree import MediaTree

REFUSED = "The file could not be kept: the disk refuses. Send it again later."
NO_ANSWER = "The file could not be kept: the disk does not answer. Send it again later."

log = get_logger(__name__)


async def receive(
    library: Library,
    session_id: str,
    source: AsyncGenerator[bytes, None],
    item: MediaItem,
    *,
    limit: int = 0,
) -> Staged:
    """Take in one file of a message that is not accepted yet.

    Args:
        library: keeps it.
        session_id: the session.
        source: its bytes; read until it ends or is over the limit, and closed.
        item: what is known of it; its size as it was announced, if it was.
        limit: the largest that is taken, in bytes; 0 for the settings' own limit.

    Raises:
        MediaRefused: it is too large, there is no room, or the disk refuses or does not answer.

    What ``source`` raises leaves. Whenever it does not return, nothing is left of the file, or will
    be when the disk answers. Cancelled, it waits `actors.disk.LIMIT` for that at most.
    """
    allowed = library.settings.max_file_bytes
    limit = min(limit, allowed) if limit else allowed
    outcomes = library.metrics.media_received
    try:
        async with aclosing(source):
            staged = await _receive(library, session_id, source, item, limit)
    except FileTooLarge:
        outcomes.labels(outcome="refused").inc()
        raise MediaRefused(_too_large(limit)) from None
    except MediaRefused:
        outcomes.labels(outcome="refused").inc()
        raise
    except MediaError as error:
        log.error("media_not_written", reason=str(error))
        outcomes.labels(outcome="failed").inc()
        words = NO_ANSWER if isinstance(error, NoAnswer) else REFUSED
        raise MediaRefused(words, for_now=True) from error
    outcomes.labels(outcome="kept").inc()
    return staged


async def _receive(
    library: Library,
    session_id: str,
    source: AsyncGenerator[bytes, None],
    item: MediaItem,
    limit: int,
) -> Staged:
    if item.size is not None and item.size > limit:
        raise MediaRefused(_too_large(limit))
    arrival = _Arrival(library, library.folders, session_id, limit)
    try:
        # Where nobody knows the size, one byte is too much already if there is no room for it.
        await arrival.make_room(1 if item.size is None else item.size, exactly=item.size)
        await arrival.begin()
        async for chunk in source:
            await arrival.write(chunk)
        return await _staged(library, session_id, arrival, item)
    finally:
        await arrival.end()


async def _staged(library: Library, session_id: str, arrival: _Arrival, item: MediaItem) -> Staged:
    """Give the file its name, unless the session has these bytes already (M4)."""
    token, content_hash, size = library.ids.new(), arrival.hash, arrival.size
    file = library.ledger.reuse(token, session_id, content_hash)
    if file is not None and not await _holds(library, session_id, file, content_hash):
        library.ledger.changed(token, session_id, file)
        file = None
    if file is None:
        name = name_for(library.ids.new(), item.mime_type, item.kind)
        await arrival.finish(name)
        # Meanwhile the same bytes may have come by another way.
        file = library.ledger.reuse(token, session_id, content_hash)
        if file is None:
            file = name
            arrival.counted()
            library.ledger.stage(token, session_id, file, content_hash, size, library.now())
        else:
            await _remove_copy(library, session_id, name)
    library.show()
    kept = msgspec.structs.replace(item, file=file, size=size, reference=None)
    return Staged(
        token, session_id, kept, NewBlob(file, content_hash, size, item.mime_type, item.name)
    )


async def _holds(library: Library, session_id: str, file: str, content_hash: str) -> bool:
    """Whether a file has these bytes still; not as long as the disk does not say so."""
    try:
        return await library.disk(
            partial(library.folders.holds, folder_name(session_id), file, content_hash)
        )
    except NoAnswer:
        return False


async def _remove_copy(library: Library, session_id: str, name: str) -> None:
    """One that stays is nobody's, and is found when the disk is looked through (M6)."""
    try:
        await library.disk(partial(library.folders.remove, folder_name(session_id), name))
    except MediaError as error:
        library.metrics.media_problems.inc()
        log.warning("media_problem", session=session_id, reason=str(error))


class _Arrival:
    """A file on its way to disk, and the room for it.

    Each piece of work on it is done in a thread, one at a time. The one of which nobody sees the
    end has the file for good: then nothing here touches it any more.
    """

    def __init__(self, library: Library, tree: MediaTree, session_id: str, limit: int) -> None:
        self._library = library
        self._tree = tree
        self._folder = folder_name(session_id)
        self._limit = limit
        self._room = Reservation(library.ledger, limit)
        self._token = trio.lowlevel.current_trio_token()
        self._file: Partial | None = None
        self._name: str | None = None
        self._is_threads = False

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._written.size

    @property
    def hash(self) -> str:
        """SHA-256 of them."""
        return self._written.hash

    async def begin(self) -> None:
        """Make the file."""
        await self._work(self._create)

    async def write(self, chunk: bytes) -> None:
        """Append to it; there is room for that first. One byte over the limit is refused."""
        lack = self._room.lack(len(chunk))
        if lack and self.size + len(chunk) <= self._limit:
            await self.make_room(lack)
        await self._work(partial(self._written.write, chunk))
        self._room.wrote(len(chunk))

    async def finish(self, name: str) -> None:
        """Make it durable under its name."""
        await self._work(partial(self._finish, name))

    def counted(self) -> None:
        """Its room is given back, in the same instant in which it is counted by itself."""
        self._room.end()

    async def end(self) -> None:
        """Nothing is left of a file that was not finished."""
        if self._file is not None and self._name is None and not self._is_threads:
            with suppress(NoAnswer):  # which is logged; the thread removes it
                await self._work(self._file.abort)
        if not self._is_threads:
            self._room.end()

    async def make_room(self, needed: int, *, exactly: int | None = None) -> None:
        """Count so many bytes more as taken; see `actors.room.make_room`."""
        await make_room(self._library, self._room, needed, exactly=exactly)

    @property
    def _written(self) -> Partial:
        if self._file is None:
            raise ValueError("the file was not begun")
        return self._file

    async def _work(self, work: Callable[[], object]) -> None:
        try:
            await self._library.disk(work, after=self._clean_up)
        except NoAnswer:
            self._is_threads = True
            raise

    # -- in a thread --------------------------------------------------------------------------

    def _create(self) -> None:
        self._file = self._tree.create(self._folder, limit=self._limit)

    def _finish(self, name: str) -> None:
        self._written.finish(name)
        self._name = name

    def _clean_up(self) -> None:
        """Nobody waits for the file any more: nothing stays of it, nor of its room."""
        try:
            if self._file is not None:
                self._file.abort()
            if self._name is not None:
                self._tree.remove(self._folder, self._name)
        finally:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._room.end)


def _too_large(limit: int) -> str:
    return f"The file is too large: one of up to {in_words(limit)} is taken. Send a smaller one."
