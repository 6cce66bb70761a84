"""Records to columns and back."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from runtime.sessions.content import StoredContent
from runtime.sessions.media import BlobRow, Media, OutboxFile
from runtime.sessions.rows import (
    Draft,
    InboundKind,
    InboundRow,
    InboundState,
    JournalEntry,
    OutboundRow,
    OutboundState,
    Overrides,
    QueueOverrides,
    ReplyAddress,
    Sender,
    SessionRow,
    SessionStatus,
    TurnError,
    TurnRow,
    TurnState,
    Usage,
)
from runtime.storage.engine import SqlRow

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_content = msgspec.json.Decoder(StoredContent)
_media = msgspec.json.Decoder(Media)
_sender = msgspec.json.Decoder(Sender)
_address = msgspec.json.Decoder(ReplyAddress)
_queue = msgspec.json.Decoder(QueueOverrides)
_overrides = msgspec.json.Decoder(Overrides)
_usage = msgspec.json.Decoder(Usage)
_error = msgspec.json.Decoder(TurnError)
_draft = msgspec.json.Decoder(Draft)
_file = msgspec.json.Decoder(OutboxFile)
_ids = msgspec.json.Decoder(tuple[str, ...])
_object = msgspec.json.Decoder(dict[str, Any])
_list = msgspec.json.Decoder(list[dict[str, Any]])

# A list of sessions decodes thousands of rows, most of which have none of these.
_NO_OVERRIDES = QueueOverrides()
_NOTHING_OVERRIDDEN = Overrides()
_NO_USAGE = Usage()
_STATUSES = {status.value: status for status in SessionStatus}

SESSION_COLUMNS = (
    "id, agent_group_id, key, status, epoch, created_at, updated_at, last_interaction_at,"
    " last_active_at, agent_session_id, chat_type, label, display_name, thread_id, origin,"
    " last_route, queue, overrides, input_tokens, output_tokens, total_tokens, context_tokens,"
    " generation, journal_seq, fence"
)

INBOUND_COLUMNS = (
    "inbound.id, inbound.session_id, inbound.epoch, inbound.seq, inbound.kind, inbound.state,"
    " inbound.content, inbound.admitted_at, inbound.sender, inbound.reply_to, inbound.trigger,"
    " inbound.not_before, inbound.tries, inbound.turn_id,"
    " turns.state IS 'interrupted' OR inbound.reason IN ('interrupted', 'shutdown'),"
    " inbound.reason, inbound.sent_at, inbound.finished_at, inbound.connection, inbound.media,"
    " inbound.said"
)

INBOUND_SOURCE = "inbound LEFT JOIN turns ON turns.id = inbound.turn_id"
"""What `INBOUND_COLUMNS` are taken from."""

BLOB_COLUMNS = (
    "session_id, file, hash, size, epoch, created_at, used_at, mime_type, name, handed_at,"
    " evicted_at"
)

TURN_COLUMNS = (
    "id, session_id, epoch, state, started_at, message_ids, tries, first_event_at, ended_at,"
    " stop_reason, error, usage, draft"
)

JOURNAL_COLUMNS = "seq, ts, id, role, content, epoch, turn_id, data"

OUTBOUND_COLUMNS = (
    "id, session_id, turn_id, part, kind, reply_to, text, state, attempts, created_at, not_before,"
    " ambiguous, platform_message_id, error, finished_at, edits, file, attempted_at"
)


def to_json(value: object) -> str:
    """A record as JSON text."""
    return _encode(value).decode()


def to_json_or_null(value: object | None) -> str | None:
    """A record as JSON text, None as NULL."""
    return None if value is None else _encode(value).decode()


def _maybe(decoder: msgspec.json.Decoder[T], text: str | None) -> T | None:
    return None if text is None else decoder.decode(text)


def session_row(row: SqlRow) -> SessionRow:
    """The session of `SESSION_COLUMNS`; columns after them are left alone."""
    return SessionRow(
        id=row[0],
        agent_id=row[1],
        key=row[2],
        status=_STATUSES[row[3]],
        epoch=row[4],
        created_at=row[5],
        updated_at=row[6],
        last_interaction_at=row[7],
        last_active_at=row[8],
        agent_session_id=row[9],
        chat_type=row[10],
        label=row[11],
        display_name=row[12],
        thread_id=row[13],
        origin=_maybe(_address, row[14]),
        last_route=_maybe(_address, row[15]),
        queue=_NO_OVERRIDES if row[16] == "{}" else _queue.decode(row[16]),
        overrides=_NOTHING_OVERRIDDEN if row[17] == "{}" else _overrides.decode(row[17]),
        usage=Usage(*row[18:22]) if any(row[18:22]) else _NO_USAGE,
        generation=row[22],
        journal_seq=row[23],
        fence=row[24],
    )


def inbound_row(row: SqlRow) -> InboundRow:
    """The message of `INBOUND_COLUMNS`."""
    return InboundRow(
        id=row[0],
        session_id=row[1],
        epoch=row[2],
        seq=row[3],
        kind=InboundKind(row[4]),
        state=InboundState(row[5]),
        content=_content.decode(row[6]),
        admitted_at=row[7],
        sender=_maybe(_sender, row[8]),
        reply_to=_maybe(_address, row[9]),
        trigger=bool(row[10]),
        not_before=row[11],
        tries=row[12],
        turn_id=row[13],
        interrupted=bool(row[14]),
        reason=row[15],
        sent_at=row[16],
        finished_at=row[17],
        connection=row[18],
        media=() if row[19] is None else _media.decode(row[19]),
        said=row[20],
    )


def media_items(text: str | None) -> Media:
    """The items of the column ``inbound.media``."""
    return () if text is None else _media.decode(text)


def blob_row(row: SqlRow) -> BlobRow:
    """The file of `BLOB_COLUMNS`."""
    return BlobRow(*row)


def turn_row(row: SqlRow) -> TurnRow:
    """The turn of `TURN_COLUMNS`."""
    return TurnRow(
        id=row[0],
        session_id=row[1],
        epoch=row[2],
        state=TurnState(row[3]),
        started_at=row[4],
        message_ids=_ids.decode(row[5]),
        tries=row[6],
        first_event_at=row[7],
        ended_at=row[8],
        stop_reason=row[9],
        error=_maybe(_error, row[10]),
        usage=_maybe(_usage, row[11]),
        draft=_maybe(_draft, row[12]),
    )


def journal_entry(row: SqlRow) -> JournalEntry:
    """The transcript line of `JOURNAL_COLUMNS`."""
    return JournalEntry(
        seq=row[0],
        ts=row[1],
        id=row[2],
        role=row[3],
        content=row[4],
        epoch=row[5],
        turn_id=row[6],
        data=_maybe(_object, row[7]),
    )


def outbound_row(row: SqlRow) -> OutboundRow:
    """The delivery of `OUTBOUND_COLUMNS`."""
    return OutboundRow(
        id=row[0],
        session_id=row[1],
        turn_id=row[2],
        part=row[3],
        kind=row[4],
        reply_to=_address.decode(row[5]),
        text=row[6],
        state=OutboundState(row[7]),
        attempts=row[8],
        created_at=row[9],
        not_before=row[10],
        ambiguous=bool(row[11]),
        platform_message_id=row[12],
        error=row[13],
        finished_at=row[14],
        edits=row[15],
        file=_maybe(_file, row[16]),
        attempted_at=row[17],
    )


def ids_of(text: str) -> tuple[str, ...]:
    """A list of names."""
    return _ids.decode(text)


def draft_of(text: str) -> Draft:
    """What a chat shows of a turn."""
    return _draft.decode(text)


def progress_data(text: str) -> list[dict[str, Any]]:
    """What a part of a turn's progress holds beside its text."""
    return _list.decode(text)
