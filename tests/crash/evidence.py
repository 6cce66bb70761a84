"""What a data directory holds: read with SQL and by name, not with the code that wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import json, structs

BUSY_TIMEOUT_MS = 10_000


class Row(msgspec.Struct, frozen=True):
    """An inbound message."""

    id: str
    session_id: str
    seq: int
    state: str
    text: str
    turn_id: str | None
    tries: int
    reason: str | None
    files: tuple[str, ...] = ()


class TurnRecord(msgspec.Struct, frozen=True):
    """A turn. ``began``: its agent has said something."""

    id: str
    session_id: str
    state: str
    message_ids: tuple[str, ...]
    began: bool = False


class Blob(msgspec.Struct, frozen=True):
    """A file that came with messages, as its row has it."""

    session_id: str
    file: str
    size: int
    handed_over: bool
    evicted: bool


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transcript line, in the journal as in the file."""

    seq: int
    ts: int
    id: str
    role: str
    content: str
    epoch: int = 0
    turn_id: str | None = None
    data: dict[str, Any] | None = None

    @property
    def interrupted(self) -> bool:
        """Whether it is what a turn had said before it was cut off."""
        return bool(self.data and self.data.get("interrupted"))


class Evidence(msgspec.Struct, frozen=True):
    """Everything that counts.

    Args:
        sessions: the agent of each session.
        keys: the row of each message that has a name of its client's, by session and name.
        journal: the lines of each session.
        files: the transcript files as they are, by session and epoch.
        blobs: the rows of the files that came with messages.
        on_disk: those files as they are, with their size, by session and name.
        steered: how many messages were taken in by a turn that ran already.
        leftovers: rows that nobody should have left behind, in words.
        damage: what SQLite says of its file.
    """

    sessions: dict[str, str]
    rows: tuple[Row, ...]
    turns: tuple[TurnRecord, ...]
    keys: dict[tuple[str, str], str]
    journal: dict[str, tuple[Line, ...]]
    files: dict[tuple[str, int], bytes]
    blobs: tuple[Blob, ...] = ()
    on_disk: dict[tuple[str, str], int] = {}
    steered: int = 0
    leftovers: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()


def collect(data_dir: Path) -> Evidence:
    """Read a data directory, whether a runtime works on it or not."""
    with _reading(data_dir) as connection:
        return _collect(connection, data_dir)


def missing_in_flight(data_dir: Path) -> list[str]:
    """The files of messages that have not come to an end, as far as they are not on disk: read
    while no runtime works on the data directory.
    """
    on_disk = _on_disk(data_dir)
    with _reading(data_dir) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'blobs'").fetchall():
            return []
        return [
            f"message {message_id} is {state}, and its file {file} is not there"
            for message_id, session_id, state, media in connection.execute(
                "SELECT id, session_id, state, media FROM inbound"
                " WHERE media IS NOT NULL AND state IN ('held', 'pending', 'claimed')"
            )
            for file in _names(media)
            if (session_id, file) not in on_disk
        ]


@contextmanager
def _reading(data_dir: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(data_dir / "runtime.db"), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("query_only", True)
    try:
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def _collect(connection: apsw.Connection, data_dir: Path) -> Evidence:
    ask = connection.execute
    sessions = dict(ask("SELECT id, agent_group_id FROM sessions"))
    return Evidence(
        sessions=sessions,
        rows=tuple(
            Row(id_, session, seq, state, text, turn, tries, reason, _names(media))
            for id_, session, seq, state, text, turn, tries, reason, media in ask(
                "SELECT id, session_id, seq, state, content, turn_id, tries, reason, media"
                " FROM inbound"
            )
        ),
        turns=tuple(
            TurnRecord(id_, session, state, tuple(json.decode(message_ids)), began is not None)
            for id_, session, state, message_ids, began in ask(
                "SELECT id, session_id, state, message_ids, first_event_at FROM turns"
            )
        ),
        keys={
            (session, name): row
            for session, name, row in ask("SELECT chat, message_id, inbound_id FROM message_keys")
        },
        journal={session: tuple(_journal(connection, session)) for session in sessions},
        files=dict(_files(data_dir)),
        blobs=tuple(
            Blob(session, file, size, handed_at is not None, evicted_at is not None)
            for session, file, size, handed_at, evicted_at in ask(
                "SELECT session_id, file, size, handed_at, evicted_at FROM blobs"
            )
        ),
        on_disk=_on_disk(data_dir),
        steered=connection.execute(
            "SELECT count(*) FROM inbound JOIN turns ON turns.id = inbound.turn_id"
            " WHERE inbound.state IN ('done', 'failed') AND inbound.claimed_at > turns.started_at"
        ).get,
        leftovers=tuple(_leftovers(connection)),
        damage=tuple(_damage(connection)),
    )


def _journal(connection: apsw.Connection, session_id: str) -> Iterator[Line]:
    for row in connection.execute(
        "SELECT seq, ts, id, role, content, epoch, turn_id, data FROM journal"
        " WHERE session_id = ? ORDER BY n",
        (session_id,),
    ):
        line = Line(*row)
        yield line if line.data is None else structs.replace(line, data=json.decode(row[-1]))


def _files(data_dir: Path) -> Iterator[tuple[tuple[str, int], bytes]]:
    for path in data_dir.glob("sessions/*/*/transcript-*.jsonl"):
        yield (path.parent.name, int(path.stem.rpartition("-")[2])), path.read_bytes()


def _names(media: str | None) -> tuple[str, ...]:
    """The files of a message."""
    return () if media is None else tuple(each["file"] for each in json.decode(media))


def _on_disk(data_dir: Path) -> dict[tuple[str, str], int]:
    found = {}
    for path in data_dir.glob("media/*/*"):
        with suppress(FileNotFoundError):  # a runtime may work on them
            found[path.parent.name, path.name] = path.stat().st_size
    return found


def _leftovers(connection: apsw.Connection) -> Iterator[str]:
    for what, question in (
        ("deliveries in flight", "SELECT count(*) FROM outbound WHERE state = 'attempting'"),
        ("pieces of turns that have ended", "SELECT count(*) FROM turn_progress"),
        (
            "rows owed to a push channel, though no channel is configured",
            "SELECT count(*) FROM outbound",
        ),
    ):
        count = connection.execute(question).get
        if count:
            yield f"{count} {what}"


def _damage(connection: apsw.Connection) -> Iterator[str]:
    checked = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    if checked != ["ok"]:
        yield f"integrity_check: {checked}"
    dangling = connection.execute("PRAGMA foreign_key_check").fetchall()
    if dangling:
        yield f"foreign_key_check: {dangling}"
