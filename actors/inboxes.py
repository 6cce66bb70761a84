"""Files for agents that see nothing but the folder of their session: a container's (M5).

What such an agent is given is put into the inbox of its session before its prompt, and goes with
the file that it stands for. The bytes of a hard link are counted with that file; where only a copy
can be made there is room for it first, and it counts as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import trio

from actors.library import Library, MediaRefused, folder_name
from actors.paging import batched
from actors.room import make_room
from runtime.log import get_logger
from runtime.sessions.media import BlobRow, MediaItem
from runtime.sessions.reservation import Reservation
from runtime.storage.inbox import Inbox, InboxScan, inbox_name
from runtime.storage.media_errors import MediaError, MediaUnsafe
from runtime.storage.media_tree import MediaTree

IN_THE_WAY = (
    "it could not be put into the inbox: something in there stands in its place, which was left"
    " alone"
)
NOT_PUT = "it could not be put into the inbox: the disk refuses"

log = get_logger(__name__)


async def put_into_inbox(library: Library, inbox: Inbox, session_id: str, item: MediaItem) -> Path:
    """Put a file where an agent sees it; where it is there.

    Args:
        library: has it.
        inbox: of the session.
        session_id: the session.
        item: the file; it is on disk and in flight.

    Raises:
        MediaRefused: it cannot be put there; the text says why.

    Cancelled, it ends what it has begun first, which `actors.disk.LIMIT` bounds.
    """
    file = item.file or ""
    name = inbox_name(item.name, file)
    link = partial(inbox.link, library.folders, folder_name(session_id), file, name)
    library.inboxes.used(session_id, inbox)
    try:
        if not await library.disk(link):  # one that comes too late costs nothing, and goes with it
            await _copy(library, inbox, session_id, file, name)
    except MediaError as error:
        library.metrics.media_problems.inc()
        log.warning("not_put_into_inbox", session=session_id, reason=str(error))
        why = IN_THE_WAY if isinstance(error, MediaUnsafe) else NOT_PUT
        raise MediaRefused(why) from error
    return inbox.path(file, name)


async def _copy(library: Library, inbox: Inbox, session_id: str, file: str, name: str) -> None:
    tree, place = library.folders, folder_name(session_id)
    taken = partial(_taken, tree, inbox, place, file)
    original = await library.disk(partial(tree.stat, place, file), abandon=True)
    size = 0 if original is None else original.size
    room = Reservation(library.ledger, size)
    try:
        await make_room(library, room, size, exactly=size)
        copy = partial(inbox.copy, tree, place, file, name)
        await library.disk(copy, after=partial(inbox.drop, file, name))
        library.ledger.measured(session_id, file, await library.disk(taken))
    finally:
        room.end()
        library.show()


def evicted_from(inbox: Inbox, row: BlobRow) -> Path:
    """Where an agent found a file that is gone."""
    return inbox.path(row.file, inbox_name(row.name, row.file))


async def load_inboxes(library: Library, limit: float) -> InboxScan:
    """Learn what is in all inboxes. What cannot be read is logged, and as good as empty (M6).

    Args:
        library: knows where they are.
        limit: seconds until nobody waits for the disk any more.
    """
    scan = InboxScan({}, {}, [])
    try:
        scan = await library.disk(library.inboxes.scan, abandon=True, limit=limit)
    except MediaError as error:
        log.warning("inboxes_not_read", reason=str(error))
    for problem in scan.problems:
        log.warning("inbox_not_read", reason=problem)
    for session_id, inbox in scan.inboxes.items():
        library.inboxes.used(session_id, inbox)
    return scan


async def remove_strays(library: Library, scan: InboxScan) -> None:
    """Remove what stands for files that are gone: left by a crash, or by a disk that refused."""
    found: dict[str, list[str]] = {}
    for copies in batched([*scan.copies]):
        await trio.lowlevel.checkpoint()
        for session_id, file in copies:
            found.setdefault(session_id, []).append(file)
    for session_id, files in found.items():
        await trio.lowlevel.checkpoint()
        known = library.ledger.ids(session_id)
        strays = [file for file in files if file not in known]
        try:
            if strays:
                await library.disk(partial(_remove, scan.inboxes[session_id], strays))
        except MediaError as error:  # the next look finds them
            log.warning("media_problem", session=session_id, reason=str(error))
        if not library.ledger.has_session(session_id):
            library.inboxes.forget(session_id)


# -- in a thread ----------------------------------------------------------------------------------


def remove_from(inboxes: Mapping[str, Inbox], session_id: str, file: str) -> None:
    """Remove a file from the inbox in which it is, if it is in any, before it is removed itself.

    What an agent has put in its place stays, and does not keep the file.

    Raises:
        MediaError: the disk refuses.
    """
    inbox = inboxes.get(session_id)
    if inbox is None:
        return
    try:
        inbox.remove(file)
    except MediaUnsafe as error:
        log.warning("media_problem", session=session_id, reason=str(error))


def _remove(inbox: Inbox, files: Iterable[str]) -> None:
    for file in files:
        inbox.remove(file)


def _taken(tree: MediaTree, inbox: Inbox, place: str, file: str) -> int:
    """Bytes that a file takes on disk, with those of its copies."""
    original = tree.stat(place, file)
    return (0 if original is None else original.size) + inbox.copies(file)
