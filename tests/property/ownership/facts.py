"""What is there at an instant: the rows, the index, and the disk."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from actors.library import Library
from runtime.sessions.handover import Owner
from runtime.storage.engine import SqlRow, Transaction
from runtime.storage.sqlite import SqliteStore
from tests.property.ownership.player import FileKey

_media = msgspec.json.Decoder(list[dict[str, Any]]).decode


class Message(msgspec.Struct, frozen=True):
    """A message with files: ``files`` by position, None for one that is not here; ``heard`` are
    those of which there is a text (H5).
    """

    key: str
    session_id: str
    state: str
    reason: str | None
    turn_id: str | None
    files: tuple[str | None, ...]
    fetching: int
    heard: frozenset[str]

    @property
    def waits(self) -> bool:
        return self.state in ("held", "pending")


class Blob(msgspec.Struct, frozen=True):
    """A row of a file."""

    size: int
    hash: str
    handed: bool
    evicted: bool


class Turn(msgspec.Struct, frozen=True):
    """A row of a turn."""

    state: str
    begun: bool
    epoch: int


class Session(msgspec.Struct, frozen=True):
    """A row of a session."""

    active: bool
    epoch: int


class Indexed(msgspec.Struct, frozen=True):
    """A file as the index has it."""

    size: int
    owner: Owner


class Facts(msgspec.Struct, frozen=True):
    """All of it. ``pending``: the messages that wait, with or without files, and the last turn of
    each.
    """

    pending: dict[str, str | None]
    messages: dict[str, Message]
    blobs: dict[FileKey, Blob]
    turns: dict[str, Turn]
    sessions: dict[str, Session]
    index: dict[FileKey, Indexed]
    disk: dict[FileKey, bytes]
    folders: set[str]
    unfinished: int
    on_disk: int
    reserved: int
    evictable: int


async def facts(store: SqliteStore, library: Library, root: Path) -> Facts:
    """Look at everything. Nothing may happen meanwhile."""
    messages, blobs, turns, sessions = await store._reads.read(_rows)
    pending = await store._reads.read(_pending)
    disk, folders, unfinished = _walk(root)
    ledger = library.ledger
    return Facts(
        pending=pending,
        messages=messages,
        blobs=blobs,
        turns=turns,
        sessions=sessions,
        index={(b.session_id, b.file): Indexed(b.size, b.owner) for b in ledger},
        disk=disk,
        folders=folders,
        unfinished=unfinished,
        on_disk=ledger.on_disk,
        reserved=ledger.incoming.reserved,
        evictable=ledger.evictable,
    )


def _rows(
    transaction: Transaction,
) -> tuple[dict[str, Message], dict[FileKey, Blob], dict[str, Turn], dict[str, Session]]:
    messages = {
        row[0]: _message(row)
        for row in transaction.rows(
            "SELECT inbound.id, message_keys.message_id, session_id, state, reason, turn_id, media"
            " FROM inbound JOIN message_keys ON message_keys.inbound_id = inbound.id"
            " WHERE media IS NOT NULL"
        )
    }
    blobs = {
        (row[0], row[1]): Blob(row[2], row[3], bool(row[4]), bool(row[5]))
        for row in transaction.rows(
            "SELECT session_id, file, size, hash, handed_at IS NOT NULL, evicted_at IS NOT NULL"
            " FROM blobs"
        )
    }
    turns = {
        row[0]: Turn(row[1], bool(row[2]), row[3])
        for row in transaction.rows(
            "SELECT id, state, first_event_at IS NOT NULL, epoch FROM turns"
        )
    }
    sessions = {
        row[0]: Session(bool(row[1]), row[2])
        for row in transaction.rows("SELECT id, status = 'active', epoch FROM sessions")
    }
    return messages, blobs, turns, sessions


def _pending(transaction: Transaction) -> dict[str, str | None]:
    rows = transaction.rows("SELECT id, turn_id FROM inbound WHERE state = 'pending'")
    return {row[0]: row[1] for row in rows}


def _message(row: SqlRow) -> Message:
    _, key, session_id, state, reason, turn_id, media = row
    items = _media(media)
    return Message(
        key=key,
        session_id=session_id,
        state=state,
        reason=reason,
        turn_id=turn_id,
        files=tuple(item.get("file") for item in items),
        fetching=sum("file" not in item and "problem" not in item for item in items),
        heard=frozenset(item["file"] for item in items if "transcript" in item),
    )


def _walk(root: Path) -> tuple[dict[FileKey, bytes], set[str], int]:
    """The files by session and name, the folders, how many are unfinished; all are private (M1)."""
    files: dict[FileKey, bytes] = {}
    folders: set[str] = set()
    unfinished = 0
    for place, inner, names in os.walk(root):
        assert stat.S_IMODE(Path(place).stat().st_mode) == 0o700, place
        folder = Path(place)
        if folder == root:
            assert not names, f"files outside of the folders of sessions: {names}"
            folders.update(inner)
            continue
        assert not inner, f"folders within the folder of a session: {inner}"
        for name in names:
            path = folder / name
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600, path
            if name.startswith(".unfinished-"):
                unfinished += 1
            else:
                files[folder.name, name] = path.read_bytes()
    return files, folders, unfinished


def digest(content: bytes) -> str:
    """As rows have it."""
    return hashlib.sha256(content).hexdigest()
