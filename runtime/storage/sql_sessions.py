"""Sessions: resolve, read, patch (S6, S20–S22)."""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

import heapq
from itertools import islice

import msgspec

from runtime.sessions.rows import (
    ReplyAddress,
    SessionRow,
    SessionSpec,
    SessionStatus,
)
from runtime.storage.codec import SESSION_COLUMNS, session_row, to_json, to_json_or_null
from runtime.storage.engine import SqlRow, Transaction
from runtime.storage.errors import RowTooLarge, UnknownSession
from runtime.storage.requests import SessionPage, SessionPatch

_BY_ID = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE id = ?"
_BY_IDENTITY = (
    f"SELECT {SESSION_COLUMNS} FROM sessions"
    " WHERE agent_group_id = ? AND key = ? AND status = 'active'"
)
_PAGE = (
    f"SELECT {SESSION_COLUMNS}, coalesce(last_active_at, created_at) FROM sessions"
    " WHERE status = ?1 AND coalesce(last_active_at, created_at) <= ?2"
    " AND (coalesce(last_active_at, created_at) < ?2 OR id < ?3)"
    " ORDER BY coalesce(last_active_at, created_at) DESC, id DESC LIMIT ?4"
)
_TEXT_COLUMNS = (
    "id",
    "agent_group_id",
    "key",
    "agent_session_id",
    "messaging_group_id",
    "thread_id",
    "origin",
    "last_route",
    "chat_type",
    "label",
    "display_name",
    "subject",
    "room",
    "space",
    "spawned_by",
    "queue",
    "overrides",
)
_ROW_BYTES = "SELECT {} FROM sessions WHERE id = ?".format(
    ", ".join(f"coalesce(octet_length({column}), 0)" for column in _TEXT_COLUMNS)
)
_NEWEST = (1 << 62, "\uffff")


def find(transaction: Transaction, agent_id: str, key: str) -> SessionRow | None:
    """The active session of an identity."""
    row = transaction.row(_BY_IDENTITY, agent_id, key)
    return None if row is None else session_row(row)


def by_id(transaction: Transaction, session_id: str) -> SessionRow | None:
    """One session."""
    row = transaction.row(_BY_ID, session_id)
    return None if row is None else session_row(row)


def existing(transaction: Transaction, session_id: str) -> SessionRow:
    """One session, active or not. Raises `UnknownSession`."""
    session = by_id(transaction, session_id)
    if session is None:
        raise UnknownSession(f"There is no session {session_id}.")
    return session


def active(transaction: Transaction, session_id: str) -> SessionRow:
    """One active session. Raises `UnknownSession`."""
    session = existing(transaction, session_id)
    if session.status is not SessionStatus.ACTIVE:
        raise UnknownSession(f"The session {session_id} is {session.status}.")
    return session


def resolve(transaction: Transaction, spec: SessionSpec) -> tuple[SessionRow, bool]:
    """The active session of an identity, made when there is none (S6)."""
    found = find(transaction, spec.agent_id, spec.key)
    if found is not None:
        return found, False
    session_id = transaction.ids.new()
    transaction.run(
        "INSERT INTO sessions (id, agent_group_id, key, created_at, updated_at, chat_type,"
        " display_name, thread_id, messaging_group_id, origin)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        session_id,
        spec.agent_id,
        spec.key,
        transaction.now,
        transaction.now,
        spec.chat_type,
        spec.display_name,
        spec.thread_id,
        spec.messaging_group_id,
        to_json_or_null(spec.origin),
    )
    _check_budget(transaction, session_id)
    return existing(transaction, session_id), True


def page(
    transaction: Transaction,
    after: tuple[int, str] | None,
    limit: int,
    status: SessionStatus | None,
) -> SessionPage:
    """Sessions of one status, or of all, by last activity, newest first."""
    active_at, session_id = after if after is not None else _NEWEST
    found: list[list[SqlRow]] = [
        transaction.rows(_PAGE, each, active_at, session_id, limit + 1)
        for each in (SessionStatus if status is None else (status,))
    ]
    merged = heapq.merge(*found, key=lambda row: (row[-1], row[0]), reverse=True)
    rows = list(islice(merged, limit + 1))
    shown = rows[:limit]
    return SessionPage(
        sessions=tuple(session_row(row) for row in shown),
        next_cursor=f"{shown[-1][-1]}.{shown[-1][0]}" if len(rows) > limit else None,
    )


def parse_cursor(cursor: str) -> tuple[int, str]:
    """The place in the list that a cursor of `page` names. Raises ValueError."""
    active_at, dot, session_id = cursor.partition(".")
    if not dot or not session_id or not active_at.isascii() or not active_at.isdigit():
        raise ValueError(f"not a cursor of the list of sessions: {cursor!r}")
    return min(int(active_at), _NEWEST[0]), session_id


def patch(transaction: Transaction, session_id: str, changes: SessionPatch) -> SessionRow:
    """Set the fields that a patch names (S20)."""
    session = existing(transaction, session_id)
    columns: dict[str, str | None] = {}
    for name in ("label", "display_name", "agent_session_id"):
        value = getattr(changes, name)
        if value is not msgspec.UNSET:
            columns[name] = value
    if changes.last_route is not msgspec.UNSET:
        columns["last_route"] = to_json_or_null(_route(changes.last_route, session.last_route))
    if changes.queue is not msgspec.UNSET:
        columns["queue"] = to_json(changes.queue)
    if changes.overrides is not msgspec.UNSET:
        columns["overrides"] = to_json(changes.overrides)
    if not columns and changes.updated_at is msgspec.UNSET:
        return session
    asked = 0 if changes.updated_at is msgspec.UNSET else changes.updated_at
    settings = "".join(f", {name} = ?" for name in columns)
    transaction.run(
        f"UPDATE sessions SET updated_at = max(updated_at, ?, ?){settings} WHERE id = ?",
        asked,
        transaction.now,
        *columns.values(),
        session_id,
    )
    _check_budget(transaction, session_id)
    return existing(transaction, session_id)


def _route(route: ReplyAddress | None, old: ReplyAddress | None) -> ReplyAddress | None:
    """A last route, trimmed: no chat clears it, no account keeps the old one (S20)."""
    if route is None or not route.chat.strip():
        return None
    account = route.account.strip() or ("" if old is None else old.account)
    return ReplyAddress(
        channel=route.channel.strip(),
        account=account,
        chat=route.chat.strip(),
        thread=(route.thread or "").strip() or None,
        message_id=(route.message_id or "").strip() or None,
    )


def _check_budget(transaction: Transaction, session_id: str) -> None:
    row = transaction.row(_ROW_BYTES, session_id)
    sizes = dict(zip(_TEXT_COLUMNS, row or (), strict=True))
    total, budget = sum(sizes.values()), transaction.limits.session_bytes
    if total > budget:
        largest = max(sizes, key=lambda column: sizes[column])
        raise RowTooLarge(
            f"The session's `{largest}` has {sizes[largest]} bytes; the whole row would have "
            f"{total}, and {budget} are allowed. Give it a shorter value."
        )
