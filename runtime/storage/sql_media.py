"""Files of messages: what is handed over, in flight, on disk, evicted (H1–H6, M4, M5, M9).

Nothing here decides that a file goes: the rows say what is, and what has changed goes to whoever
listens, in the order of the commits (`runtime.sessions.ledger`).
"""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from runtime.sessions.media import (
    BlobRow,
    Ended,
    HandedOver,
    Leased,
    Media,
    NewBlob,
    OutboxFile,
    files,
    kept_files,
    not_taken,
)
from runtime.sessions.rows import InboundRow, InboundState, OutboundRow, TurnState
from runtime.storage import sql_outbox, sql_sessions
from runtime.storage.codec import (
    BLOB_COLUMNS,
    INBOUND_COLUMNS,
    INBOUND_SOURCE,
    blob_row,
    inbound_row,
    media_items,
    to_json,
)
from runtime.storage.engine import Transaction
from runtime.storage.errors import StaleFence
from runtime.storage.media_requests import MOST_TOLD, Attach, BlobPage, BlobRef, HandOver
from runtime.storage.requests import NewOutbound

WAITING = (InboundState.HELD, InboundState.PENDING)
IN_FLIGHT = (*WAITING, InboundState.CLAIMED)

_BLOB = f"SELECT {BLOB_COLUMNS} FROM blobs WHERE session_id = ? AND file = ?"
_COLUMNS = ", ".join(f"blobs.{name.strip()}" for name in BLOB_COLUMNS.split(","))
_PAGE = (
    f"SELECT {_COLUMNS}, blobs.n, sessions.status = 'active' FROM blobs"
    " JOIN sessions ON sessions.id = blobs.session_id"
    " WHERE blobs.n > ? AND blobs.evicted_at IS NULL ORDER BY blobs.n LIMIT ?"
)
_IN_FLIGHT = (
    "SELECT id, session_id, media FROM inbound INDEXED BY inbound_media"
    " WHERE media IS NOT NULL AND state IN ('held', 'pending', 'claimed')"
)
_UNTOLD = (
    f"SELECT {BLOB_COLUMNS} FROM blobs"
    " WHERE session_id = ? AND evicted_at IS NOT NULL AND told_at IS NULL AND epoch = ?"
    " ORDER BY evicted_at, n LIMIT ?"
)
_MESSAGE = f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE} WHERE inbound.id = ?"


# -- messages --------------------------------------------------------------------------------------


def lease(transaction: Transaction, row: InboundRow, new: Iterable[NewBlob] = ()) -> None:
    """A message waits: its files are in flight, and those that are new have their rows."""
    if not row.media:
        return
    blobs = tuple(_insert(transaction, row, blob) for blob in new)
    changed = Leased(row.session_id, row.id, files(row.media), blobs)
    transaction.media_changes.append(changed)


def settle(
    transaction: Transaction,
    message: tuple[str, str, Media],
    epoch: int,
    first_event_at: int | None,
    *,
    waits: bool,
) -> None:
    """What the end of a turn means for the files of one of its messages (H1, H2, H4).

    Args:
        transaction: the end of the turn.
        message: its id, its session, what came with it.
        epoch: of the turn.
        first_event_at: when the agent had begun; None when it never did.
        waits: whether the message waits again.
    """
    message_id, session_id, media = message
    if not media:
        return
    if first_event_at is not None:
        _hand_over(transaction, session_id, message_id, media, epoch, first_event_at)
    changed = (
        Leased(session_id, message_id, files(media)) if waits else Ended(session_id, message_id)
    )
    transaction.media_changes.append(changed)


def hand_over(transaction: Transaction, request: HandOver) -> None:
    """The agent has begun to answer a turn: the files of its messages are the session's (H1).

    Of a turn that has ended nothing changes: its end has handed over what was to be.
    """
    session = sql_sessions.existing(transaction, request.session_id)
    if session.fence != request.fence:
        raise StaleFence(f"The session {session.id} has a newer owner.")
    turn = transaction.row(
        "UPDATE turns SET first_event_at = coalesce(first_event_at, ?)"
        " WHERE id = ? AND session_id = ? AND state = ? RETURNING epoch",
        request.at,
        request.turn_id,
        session.id,
        TurnState.RUNNING,
    )
    if turn is None:
        return
    for message_id in request.message_ids:
        row = transaction.row(
            "SELECT media FROM inbound WHERE id = ? AND turn_id = ? AND state = 'claimed'",
            message_id,
            request.turn_id,
        )
        media = media_items(None if row is None else row[0])
        _hand_over(transaction, session.id, message_id, media, turn[0], request.at)


def hand_over_of(transaction: Transaction, row: InboundRow, epoch: int, at: int) -> None:
    """The files of one message are the session's (H8)."""
    _hand_over(transaction, row.session_id, row.id, row.media, epoch, at)


def _hand_over(
    transaction: Transaction, session_id: str, message_id: str, media: Media, epoch: int, at: int
) -> None:
    kept = kept_files(media)
    if not kept:
        return
    transaction.run(
        "UPDATE blobs SET handed_at = coalesce(handed_at, ?1), used_at = max(used_at, ?1),"
        " epoch = ?2 WHERE session_id = ?3 AND file IN (SELECT value FROM json_each(?4))",
        at,
        epoch,
        session_id,
        to_json(kept),
    )
    transaction.media_changes.append(HandedOver(session_id, message_id, kept, at))


def attach(transaction: Transaction, request: Attach) -> InboundRow | None:
    """A file that was fetched, or the reason why it was not; None when the message does not wait
    for it any more.
    """
    found = transaction.row(_MESSAGE, request.message_id)
    row = None if found is None else inbound_row(found)
    if row is None or row.state not in WAITING or not row.media[request.index].fetching:
        return None
    media = list(row.media)
    media[request.index] = request.item
    row = msgspec.structs.replace(row, media=tuple(media))
    transaction.run("UPDATE inbound SET media = ? WHERE id = ?", to_json(row.media), row.id)
    lease(transaction, row, () if request.blob is None else (request.blob,))
    owe_not_taken(transaction, row)
    return row


def owe_not_taken(transaction: Transaction, row: InboundRow) -> tuple[OutboundRow, ...]:
    """Tell the sender which files of a message that waits were not taken, when that is known of all
    of them: in the same commit, and so exactly once (Q4).
    """
    text = not_taken(row.media)
    if text is None or row.reply_to is None:
        return ()
    notice = NewOutbound(f"{row.id}:files", row.reply_to, text, kind="notice")
    return (sql_outbox.insert(transaction, row.session_id, None, notice),)


# -- blobs -----------------------------------------------------------------------------------------


def page(transaction: Transaction, after: int, limit: int) -> BlobPage:
    """Files that are on disk, those of closed sessions too, and where the next page begins."""
    rows = transaction.rows(_PAGE, after, limit)
    return BlobPage(
        blobs=tuple(blob_row(row[:-2]) for row in rows),
        unwanted=tuple(BlobRef(row[0], row[1]) for row in rows if not row[-1]),
        next=rows[-1][-2] if len(rows) == limit else None,
    )


def in_flight(transaction: Transaction) -> tuple[Leased, ...]:
    """Which messages that are not at their end refer to files, and to which (H6)."""
    found = ((row[0], row[1], files(media_items(row[2]))) for row in transaction.rows(_IN_FLIGHT))
    return tuple(
        Leased(session_id, message_id, names) for message_id, session_id, names in found if names
    )


def kept(transaction: Transaction) -> tuple[int, int]:
    """How many files are on disk, and their bytes, as far as the rows know."""
    ((count, size),) = transaction.rows(
        "SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE evicted_at IS NULL"
    )
    return count, size


def evicted(transaction: Transaction, blobs: Iterable[BlobRef]) -> None:
    """These files go from disk, and the agent is to be told (M5, M9). One of an outbox had no row
    before: it has one from now on, for as long as somebody may ask for it.
    """
    for blob in blobs:
        if blob.outgoing is not None:
            _insert_evicted(transaction, blob.session_id, blob.outgoing)
            continue
        transaction.run(
            "UPDATE blobs SET evicted_at = ? WHERE session_id = ? AND file = ?"
            " AND evicted_at IS NULL",
            transaction.now,
            blob.session_id,
            blob.file,
        )


def forget(transaction: Transaction, blobs: Iterable[BlobRef]) -> None:
    """These files are gone, and nobody needs to know (H2, S43)."""
    for blob in blobs:
        transaction.run(
            "DELETE FROM blobs WHERE session_id = ? AND file = ?", blob.session_id, blob.file
        )


def untold(transaction: Transaction, session_id: str) -> tuple[BlobRow, ...]:
    """The evicted files of this epoch that the agent does not know of yet (M9)."""
    epoch = sql_sessions.existing(transaction, session_id).epoch
    rows = transaction.rows(_UNTOLD, session_id, epoch, MOST_TOLD)
    return tuple(map(blob_row, rows))


def sessions_with_untold(transaction: Transaction) -> tuple[str, ...]:
    """Sessions of which something was evicted without their agent knowing."""
    rows = transaction.rows(
        "SELECT DISTINCT session_id FROM blobs INDEXED BY blobs_untold"
        " WHERE evicted_at IS NOT NULL AND told_at IS NULL"
    )
    return tuple(row[0] for row in rows)


def tell(transaction: Transaction, session_id: str, names: Iterable[str]) -> None:
    """The agent knows of these."""
    for name in names:
        transaction.run(
            "UPDATE blobs SET told_at = ? WHERE session_id = ? AND file = ?",
            transaction.now,
            session_id,
            name,
        )


def idle(transaction: Transaction, before: int, after: int, limit: int) -> BlobPage:
    """Of a page of files, those of sessions in which no person has spoken since a time (S43)."""
    rows = transaction.rows(
        f"SELECT {_COLUMNS}, blobs.n, coalesce(sessions.last_interaction_at, sessions.created_at)"
        " FROM blobs JOIN sessions ON sessions.id = blobs.session_id"
        " WHERE blobs.n > ? ORDER BY blobs.n LIMIT ?",
        after,
        limit,
    )
    found = ((blob_row(row[:-2]), row[-1]) for row in rows)
    return BlobPage(
        blobs=tuple(
            blob
            for blob, spoken in found
            if blob.evicted_at is None and max(spoken, blob.used_at) < before
        ),
        next=rows[-1][-2] if len(rows) == limit else None,
    )


def forget_old_evictions(
    transaction: Transaction, before: int, after: int, limit: int
) -> int | None:
    """Of a page of files, those that were evicted before a time, in ms, and of which nobody has to
    be told any more; where the next page begins.
    """
    page = transaction.rows("SELECT n FROM blobs WHERE n > ? ORDER BY n LIMIT ?", after, limit)
    if not page:
        return None
    transaction.run(
        "DELETE FROM blobs WHERE n > ? AND n <= ? AND evicted_at < ? AND (told_at IS NOT NULL"
        " OR NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = blobs.session_id"
        " AND sessions.status = 'active' AND sessions.epoch = blobs.epoch))",
        after,
        page[-1][0],
        before,
    )
    return int(page[-1][0]) if len(page) == limit else None


def _insert_evicted(transaction: Transaction, session_id: str, file: OutboxFile) -> None:
    transaction.run(
        "INSERT INTO blobs (session_id, file, hash, size, name, epoch, created_at, used_at,"
        " handed_at, evicted_at) SELECT id, ?2, '', ?3, ?4, epoch, ?5, ?5, ?5, ?5"
        " FROM sessions WHERE id = ?1"
        " ON CONFLICT DO NOTHING",  # when it could not be removed the last time
        session_id,
        file.key,
        file.size,
        f"outbox/{file.path}",
        transaction.now,
    )


def _insert(transaction: Transaction, row: InboundRow, new: NewBlob) -> BlobRow:
    """The row of a file. It is there already when the same bytes were sent before (M4); if it says
    that the file goes, that did not happen.
    """
    transaction.run(
        "INSERT INTO blobs (session_id, file, hash, size, mime_type, name, epoch, created_at,"
        " used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)"
        " ON CONFLICT (session_id, file)"
        " DO UPDATE SET used_at = excluded.used_at, evicted_at = NULL, told_at = NULL",
        row.session_id,
        new.file,
        new.hash,
        new.size,
        new.mime_type,
        new.name,
        row.epoch,
        transaction.now,
    )
    found = transaction.row(_BLOB, row.session_id, new.file)
    if found is None:
        raise AssertionError("a row that was just inserted is there")
    return blob_row(found)
