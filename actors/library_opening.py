"""Opening the library: the index is made from the rows, and held against the disk (M7, M8, H6);
of outboxes it is the other way round (`actors.outbox_looks`).

Who refers to what is known before anybody may remove anything. Then what is on disk without a row
is an orphan of a crashed run, and goes: the folders are locked, so that it is no other runtime's,
its name is one that only we give, so that it is no person's, and its session is one that the store
knows, so that it is of no other data directory. A row without its file says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import trio

from actors.inboxes import load_inboxes, remove_strays
from actors.library import Library, folder_name
from actors.outbox_looks import SCAN_LIMIT, load_outboxes
from actors.paging import PAGE, batched
from actors.removing import remove_empty
from runtime.log import get_logger
from runtime.sessions.handover import Owner
from runtime.sessions.ids import is_id
from runtime.sessions.ledger import Blob
from runtime.sessions.media import BlobRow, SessionEnded
from runtime.storage.errors import StoreError
from runtime.storage.inbox import InboxScan, file_id
from runtime.storage.media_errors import MediaError, NoAnswer
from runtime.storage.media_requests import BlobRef
from runtime.storage.media_scan import Found
from runtime.storage.media_tree import MediaTree
from runtime.storage.store import Store

LEFT_BEHIND = (
    "The disk with {root} does not answer: work on files was left unfinished. Nothing that was"
    " accepted is lost, and what is half written is removed at the next start; look at the disk"
    " before that."
)

log = get_logger(__name__)


class Opened(msgspec.Struct, frozen=True):
    """What opening found: files, their bytes, orphans that went and theirs, rows without a file."""

    files: int = 0
    size: int = 0
    orphans: int = 0
    orphans_size: int = 0
    missing: int = 0


class Differences(msgspec.Struct, frozen=True):
    """Where the rows and the disk do not say the same: rows without their file, and files without a
    row. And the folders in which there is nothing, and what is in inboxes.
    """

    missing: list[BlobRow]
    unknown: list[Found]
    empty: list[str]
    inboxes: InboxScan


@asynccontextmanager
async def open_library(library: Library, store: Store) -> AsyncIterator[Opened]:
    """Take the folders for this run and make the index; for as long as the block.

    Args:
        library: made with the tree to open.
        store: has the rows; nobody writes to it before the block begins.

    Raises:
        MediaError: the folders must not be used, or another runtime uses them; or, at the end of
            the block, `NoAnswer`: the disk does not answer, and a thread is left behind. What was
            written down is safe, and what is half written an orphan of the next start.
        StoreError: the rows cannot be read.

    The end of the block takes `actors.disk.CLOSE_LIMIT` twice at most, also when cancelled.
    """
    tree = library.tree
    if tree is None:
        yield Opened()
        return
    await library.disk(tree.prepare, after=tree.release)
    try:
        opened = await _make_index(library, tree, store)
        store.listen(library.follow)
        yield opened
    finally:
        store.listen(_nobody)
        await _close(library, tree)


async def _close(library: Library, tree: MediaTree) -> None:
    """Give the folders back, when nobody works in them any more."""
    with trio.CancelScope(shield=True):
        stuck = await library.disk.aclose(tree.release)
    if not stuck:
        return
    log.error("media_disk_left_behind", stuck=stuck, reserved=library.ledger.incoming.reserved)
    raise NoAnswer(LEFT_BEHIND.format(root=tree.root))


async def _make_index(library: Library, tree: MediaTree, store: Store) -> Opened:
    differences = await read_index(library, tree, store)
    library.untold.update(await store.sessions_with_untold_evictions())
    await _write_down_missing(library, store, differences.missing)
    unknown = await _ours(store, differences.unknown)
    orphans, orphans_size = await _remove_orphans(library, tree, unknown)
    await remove_strays(library, differences.inboxes)
    empty = {*filter(is_id, differences.empty), *(found.session for found in unknown)}
    await library.disk(partial(remove_empty, tree, empty))
    usage = library.ledger.usage
    missing = len(differences.missing)
    return Opened(usage.files, usage.size, orphans, orphans_size, missing)


async def read_index(library: Library, tree: MediaTree, store: Store) -> Differences:
    """Make the index from the rows and from what is on disk, neither of which is changed.

    Args:
        library: its index is empty.
        tree: the folders.
        store: has the rows; nobody writes to it meanwhile.

    Raises:
        MediaError: the folders must not be used.
        StoreError: the rows cannot be read.
    """
    scan = await library.disk(tree.scan, abandon=True, limit=SCAN_LIMIT)
    for problem in scan.problems:
        log.warning("media_problem", reason=problem)
    inboxes = await load_inboxes(library, SCAN_LIMIT)
    unknown = {(found.session, found.file): found for found in scan.files}
    missing: list[BlobRow] = []
    closed: set[str] = set()
    after: int | None = 0
    while after is not None:
        page = await store.blobs(after=after, limit=PAGE)
        library.ledger.load(_on_disk(page.blobs, unknown, missing, inboxes))
        closed.update(ref.session_id for ref in page.unwanted)
        after = page.next
        await trio.lowlevel.checkpoint()
    library.ledger.apply(await store.media_in_flight())
    await load_outboxes(library, store)
    library.ledger.settle()
    library.ledger.apply(map(SessionEnded, closed))
    library.closed.update(closed)
    return Differences(missing, list(unknown.values()), scan.empty, inboxes)


def _on_disk(
    rows: Iterable[BlobRow],
    unknown: dict[tuple[str, str], Found],
    missing: list[BlobRow],
    inboxes: InboxScan,
) -> Iterable[BlobRow]:
    """Rows whose file is there, with what it takes, copies and all; it is not unknown any more."""
    for row in rows:
        found = unknown.pop((folder_name(row.session_id), row.file), None)
        if found is None:
            missing.append(row)
        elif (size := _taken(found, inboxes)) != row.size:
            yield msgspec.structs.replace(row, size=size)
        else:
            yield row


def _taken(found: Found, inboxes: InboxScan) -> int:
    return found.size + inboxes.copies.get((found.session, file_id(found.file)), 0)


async def _write_down_missing(library: Library, store: Store, missing: Sequence[BlobRow]) -> None:
    """A file that an agent was given is told as gone; of another, and of a session that is closed,
    nothing is known any more.
    """
    given: list[BlobRow] = []
    forgotten: list[BlobRow] = []
    for row in missing:
        log.warning("media_missing", session=row.session_id, file=row.file)
        told = row.handed_at is not None and row.session_id not in library.closed
        (given if told else forgotten).append(row)
    for rows in batched(given):
        await store.blobs_evicted([BlobRef(row.session_id, row.file) for row in rows])
        library.untold.update(row.session_id for row in rows)
    for rows in batched(forgotten):
        await store.blobs_forgotten([BlobRef(row.session_id, row.file) for row in rows])


async def _ours(store: Store, found: Iterable[Found]) -> list[Found]:
    """Those whose name is of the kind that only we give, in folders of sessions of ours. A file is
    only ever received for a session that the store has already.
    """
    mine, strange = [], 0
    known: dict[str, bool] = {}
    for each in found:
        session, stem = each.session, each.file.partition(".")[0]
        if session not in known:
            known[session] = is_id(session) and await store.session(session) is not None
        if known[session] and (each.partial or is_id(stem)):
            mine.append(each)
        else:
            strange += 1
    if strange:
        log.warning("media_not_ours", files=strange)
    return mine


async def _remove_orphans(
    library: Library, tree: MediaTree, orphans: Sequence[Found]
) -> tuple[int, int]:
    """Remove files without a row; how many went, and their bytes."""
    removed = size = 0
    for some in batched(orphans):
        gone = await library.disk(partial(_remove, tree, some))
        removed += len(gone)
        size += sum(gone)
    if removed:
        log.warning("media_orphans_removed", files=removed)
        library.count_removed("orphan", removed, size)
    return removed, size


def _remove(tree: MediaTree, orphans: Sequence[Found]) -> list[int]:
    """Remove files without a row, in a thread; the sizes of those that went (M6)."""
    gone = []
    for found in orphans:
        try:
            if tree.remove(found.session, found.file):
                gone.append(found.size)
        except MediaError as error:
            log.warning("media_problem", reason=str(error))
    return gone


async def reconcile(library: Library, tree: MediaTree, store: Store, older_than: int) -> int:
    """Hold the index against the disk while the runtime works; how many differences were mended.

    Args:
        library: the library.
        tree: its folders.
        store: has the rows.
        older_than: what was written after this, in ms since 1970, may still be on its way.

    Raises:
        MediaError: the folders must not be used.
        StoreError: the rows cannot be read, or the disk refuses.
    """
    scan = await library.disk(tree.scan, abandon=True, limit=SCAN_LIMIT)
    inboxes = await load_inboxes(library, SCAN_LIMIT)
    seen: set[tuple[str, str]] = set()
    orphans: list[Found] = []
    written = 0
    sessions: dict[str, str] = {}
    for names in batched(library.ledger.sessions):
        sessions.update((folder_name(session_id), session_id) for session_id in names)
        await trio.lowlevel.checkpoint()
    for number, found in enumerate(scan.files):
        session_id = sessions.get(found.session)
        if session_id is not None and library.ledger.knows(session_id, found.file):
            seen.add((session_id, found.file))
            if found.mtime < older_than:
                written += library.ledger.measured(session_id, found.file, _taken(found, inboxes))
        elif found.mtime < older_than:
            orphans.append(found)
        if number % PAGE == PAGE - 1:
            await trio.lowlevel.checkpoint()
    gone: list[Blob] = []
    for blobs in library.ledger.pages(PAGE):
        gone += [blob for blob in blobs if _is_gone(blob, seen, older_than)]
        await trio.lowlevel.checkpoint()
    for blob in gone:
        present = await library.disk(partial(tree.exists, folder_name(blob.session_id), blob.file))
        if not present:
            await _note_gone(library, store, blob)
    removed, _ = await _remove_orphans(library, tree, await _ours(store, orphans))
    await remove_strays(library, inboxes)
    return len(gone) + removed + written


def _is_gone(blob: Blob, seen: set[tuple[str, str]], older_than: int) -> bool:
    if blob.outgoing is not None or (blob.session_id, blob.file) in seen:
        return False
    return blob.owner is Owner.SESSION and blob.used_at < older_than


async def _note_gone(library: Library, store: Store, blob: Blob) -> None:
    if library.ledger.take(blob.session_id, blob.file) is None:
        return
    log.warning("media_missing", session=blob.session_id, file=blob.file)
    try:
        await store.blobs_evicted([BlobRef(blob.session_id, blob.file)])
    except StoreError:
        library.ledger.stay(blob)  # it is found again
        raise
    library.untold.add(blob.session_id)
    library.ledger.gone(blob)


def _nobody(_: object) -> None:
    """The library is closed."""
