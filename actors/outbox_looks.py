"""The outboxes of agents, as the index of files knows what is in them (M5–M8, R7).

Agents write there whenever they like, so that the index can only follow: it is told what is owed by
the store, and what else there is by a look, when a turn has ended, when a session was closed, at
the start and rarely in between. A look decides nothing: a file that nobody is known to have
delivered is the session's own.

Only the janitor looks once the runtime works, and it is the only one that removes, so that nothing
is removed between a look and what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec
import trio

from actors.library import Library
from actors.paging import PAGE, batched
from runtime.log import get_logger
from runtime.sessions.handover import Owner
from runtime.sessions.ledger import Blob
from runtime.sessions.media import OutboxFile, Owed
from runtime.sessions.outgoing import Standing
from runtime.storage.attachments import MAX_ENTRIES, Outbox
from runtime.storage.media_errors import MediaError, NoAnswer
from runtime.storage.store import Store

LOOK_LIMIT = 30.0
"""Seconds for one look, however many outboxes it is into."""

SCAN_LIMIT = 600.0
"""Seconds for one look at a whole disk."""

log = get_logger(__name__)


class _Seen(msgspec.Struct, frozen=True):
    """What a look into one outbox has shown."""

    files: list[OutboxFile] = []
    gone: list[OutboxFile] = []
    problem: str | None = None


async def outboxes_of(
    library: Library, store: Store, sessions: Mapping[str, str | None]
) -> dict[str, Outbox]:
    """The outboxes of sessions, as far as they are known.

    Args:
        library: knows where they are.
        store: knows whose they are.
        sessions: by their ids, with the ids of their agents as far as these are known.

    Raises:
        StoreError: the rows cannot be read.
    """
    found: dict[str, Outbox] = {}
    for session_id, agent_id in sessions.items():
        if agent_id is None:
            session = await store.session(session_id)
            agent_id = None if session is None else session.agent_id
        outbox = None if agent_id is None else library.outboxes.of(agent_id, session_id)
        if outbox is not None:
            found[session_id] = outbox
    return found


async def load_outboxes(library: Library, store: Store) -> None:
    """Take in what is in all outboxes, before anybody may remove anything (M8, H6).

    Raises:
        StoreError: the rows cannot be read.
    """
    found = await _found_anywhere(library)
    there = {(session_id, file.key) for session_id, file in found}
    library.ledger.apply(
        change
        for change in await store.files_owed()
        if not isinstance(change, Owed) or (change.session_id, change.file.key) in there
    )
    await _learn(library, store, found)


async def look_into(library: Library, store: Store, outboxes: Mapping[str, Outbox]) -> int:
    """Take in what is in some outboxes now; how many could not be read, which is logged (M6).

    Raises:
        StoreError: the rows cannot be read.
    """
    known = {session_id: _own(library, session_id) for session_id in outboxes}
    places = [
        (outbox, [blob.outgoing for blob in known[each]]) for each, outbox in outboxes.items()
    ]
    looks: list[_Seen] = []
    with trio.move_on_after(LOOK_LIMIT), suppress(NoAnswer):
        # Agents in containers may have anything there, also what does not answer any more.
        looks = await library.disk(partial(_look, places), abandon=True)
    if not looks and places:
        log.warning("outboxes_not_read", sessions=len(places), reason="the disk is too slow")
        return len(places)
    found: list[tuple[str, OutboxFile]] = []
    problems = 0
    for session_id, seen in zip(outboxes, looks, strict=True):
        found += [(session_id, file) for file in seen.files]
        for file in seen.gone:  # the agent took it back, or wrote it anew
            blob = library.ledger.take(session_id, file.key)
            if blob is not None:
                library.ledger.gone(blob)
        if seen.problem is not None:
            problems += 1
            log.warning("outbox_not_read", session=session_id, reason=seen.problem)
    await _learn(library, store, found)
    return problems


async def reconcile_outboxes(library: Library, store: Store) -> None:
    """Hold the index against all outboxes while the runtime works (M7).

    Raises:
        StoreError: the rows cannot be read.
    """
    known: list[tuple[str, str]] = []
    for blobs in library.ledger.pages(PAGE):
        known += [(blob.session_id, blob.file) for blob in blobs if _is_own(blob)]
        await trio.lowlevel.checkpoint()
    found = await _found_anywhere(library)
    await _learn(library, store, found)
    there: set[tuple[str, str]] = set()
    for files in batched(found):
        there.update((session_id, file.key) for session_id, file in files)
        await trio.lowlevel.checkpoint()
    doubtful: set[str] = set()
    for places in batched(known):
        doubtful.update(place[0] for place in places if place not in there)
        await trio.lowlevel.checkpoint()
    for each in doubtful:
        await look_into(library, store, await outboxes_of(library, store, {each: None}))


async def _found_anywhere(library: Library) -> Sequence[tuple[str, OutboxFile]]:
    try:
        scan = await library.disk(library.outboxes.scan, abandon=True, limit=SCAN_LIMIT)
    except MediaError as error:
        log.warning("outboxes_not_read", reason=str(error))
        return []
    for problem in scan.problems:
        log.warning("outbox_not_read", reason=problem)
    if scan.skipped > len(scan.problems):
        log.warning("outboxes_not_read", others=scan.skipped - len(scan.problems))
    return scan.files


async def _learn(library: Library, store: Store, found: Sequence[tuple[str, OutboxFile]]) -> None:
    """Take in files that the index does not know yet. What is owed is told by the store."""
    ledger = library.ledger
    strange = 0
    for some in batched(found):
        await trio.lowlevel.checkpoint()
        new = [(each, file) for each, file in some if not ledger.knows(each, file.key)]
        standings = await store.outbox_standings(new) if new else ()
        for (session_id, file), standing in zip(new, standings, strict=True):
            if standing is Standing.STRANGE:
                strange += 1
            elif standing is not Standing.OWED and not ledger.knows(session_id, file.key):
                ledger.found(session_id, file, library.now())
                if standing is Standing.UNWANTED:
                    ledger.disown(session_id, file)
    if strange:
        log.warning("outboxes_not_ours", files=strange)


def _own(library: Library, session_id: str) -> list[Blob]:
    return [blob for blob in library.ledger.outgoing(session_id) if _is_own(blob)]


def _is_own(blob: Blob) -> bool:
    """Whether it is an agent's file of which nothing else is known than that it is there."""
    return blob.outgoing is not None and blob.owner is Owner.SESSION


def _look(places: Sequence[tuple[Outbox, Sequence[OutboxFile | None]]]) -> list[_Seen]:
    """Look into outboxes, in a thread: what is there, and which of the known files are not."""
    looks: list[_Seen] = []
    for outbox, known in places:
        try:
            files = outbox.files(MAX_ENTRIES)
            there = set(files)
            missing = [file for file in known if file is not None and file not in there]
            looks.append(_Seen(files, [file for file in missing if not outbox.has(file)]))
        except MediaError as error:
            looks.append(_Seen(problem=str(error)))
    return looks
