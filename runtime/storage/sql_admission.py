"""Admission: what the runtime answers ``accepted`` for is a committed row (D5, Q4, Q7)."""

# ruff: noqa: S608 - what is put into the SQL are constants of this package

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from runtime.sessions.capping import Overflow
from runtime.sessions.numbers import number_of
from runtime.sessions.rows import (
    DropReason,
    InboundKind,
    InboundRow,
    InboundState,
    OutboundRow,
    ReplyAddress,
    SessionRow,
)
from runtime.storage import sql_inbound, sql_media, sql_outbox, sql_sessions
from runtime.storage.codec import (
    INBOUND_COLUMNS,
    INBOUND_SOURCE,
    ids_of,
    inbound_row,
    to_json,
    to_json_or_null,
)
from runtime.storage.engine import Transaction
from runtime.storage.errors import QueueFull, RowTooLarge
from runtime.storage.requests import (
    Admitted,
    ChannelOffset,
    NewInbound,
    NewOutbound,
)

CONTEXT_ROWS = 50
"""How many messages that wake nobody a session keeps for its next turn (S31)."""

CONVERSATIONS_TOLD = 100
"""Of so many conversations of a session it is known what they were told of a burst."""

MOST_COMMANDS = 100
"""How many commands may wait in a session. They are done at once, so that more of them mean that
something is wrong.
"""

_COUNTED = (
    "session_id = ? AND state = 'pending' AND trigger = 1 AND kind IN ('chat', 'webhook')"
    " AND command = ?"
)
_VICTIMS = (
    f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE}"
    " WHERE inbound.session_id = ? AND inbound.state = 'pending' AND inbound.trigger = 1"
    " AND inbound.kind IN ('chat', 'webhook') AND inbound.command = 0"
    " AND inbound.reply_to IS NOT NULL"
    " ORDER BY inbound.seq LIMIT ?"
)
_OLD_CONTEXT = (
    f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE}"
    " WHERE inbound.session_id = ? AND inbound.state = 'pending' AND inbound.trigger = 0"
    " ORDER BY inbound.seq DESC LIMIT -1 OFFSET ?"
)
_BY_KEY_OR_ID = (
    f"SELECT {INBOUND_COLUMNS} FROM {INBOUND_SOURCE} WHERE inbound.id = coalesce("
    "(SELECT inbound_id FROM message_keys WHERE channel = ?2 AND account = ?3 AND chat = ?4"
    " AND message_id = ?5 AND version = ?6), ?1)"
)
_ADMISSIBLE = (
    InboundState.PENDING,
    InboundState.HELD,
    InboundState.EXPIRED,
    InboundState.DROPPED,
)
_COUNTED_KINDS = (InboundKind.CHAT, InboundKind.WEBHOOK)


def admit(
    transaction: Transaction, messages: Sequence[NewInbound], offset: ChannelOffset | None
) -> tuple[Admitted, ...]:
    """Admit messages and store the offset that covers them, as a whole."""
    admitted = tuple(_admit_one(transaction, message) for message in messages)
    if offset is not None:
        transaction.run(
            "INSERT INTO channel_offsets (channel, account, value, updated_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (channel, account)"
            " DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
            offset.channel,
            offset.account,
            offset.value,
            transaction.now,
        )
    return admitted


def channel_offset(transaction: Transaction, channel: str, account: str) -> str | None:
    """The offset stored last."""
    row = transaction.row(
        "SELECT value FROM channel_offsets WHERE channel = ? AND account = ?", channel, account
    )
    return None if row is None else row[0]


def _admit_one(transaction: Transaction, new: NewInbound) -> Admitted:
    if new.state not in _ADMISSIBLE:
        raise ValueError(f"a message cannot be admitted as {new.state}")
    first = _first_time(transaction, new)
    if first is not None:
        session = sql_sessions.existing(transaction, first.session_id)
        return Admitted(session, first, duplicate=True)
    if isinstance(new.session, str):
        session, created = sql_sessions.active(transaction, new.session), False
    else:
        session, created = sql_sessions.resolve(transaction, new.session)
    room = _make_room(transaction, session, new)
    session, seq = _touch(transaction, session, new)
    message = _insert(transaction, session, new, seq, room.refused)
    notices = (
        _notify(transaction, session, room)
        if new.state is not InboundState.DROPPED
        else _refuse(transaction, session, new)
    )
    if message.state in sql_media.WAITING:
        notices += sql_media.owe_not_taken(transaction, message)
    return Admitted(
        session,
        message,
        created_session=created,
        dropped=room.dropped + _trim_context(transaction, new, session.id),
        overflow=room.overflow,
        notices=notices,
    )


def _first_time(transaction: Transaction, new: NewInbound) -> InboundRow | None:
    """The row of the same message when it came before (D5), or of the same request repeated."""
    key = new.key
    if key is None:
        return sql_inbound.by_id(transaction, new.id)
    row = transaction.row(
        _BY_KEY_OR_ID, new.id, key.channel, key.account, key.chat, key.message_id, key.version
    )
    return None if row is None else inbound_row(row)


# -- the cap ---------------------------------------------------------------------------------------


class _Room:
    """What the cap did: which rows went, which of them leave a line, who is told.

    ``refused``: the newcomer itself goes. ``which``: what is told.
    """

    __slots__ = ("dropped", "overflow", "refused", "told", "which")

    def __init__(
        self,
        dropped: tuple[InboundRow, ...] = (),
        refused: bool = False,
        told: tuple[ReplyAddress | None, ...] = (),
        which: Overflow = Overflow.NEW,
        overflow: tuple[InboundRow, ...] = (),
    ) -> None:
        self.dropped = dropped
        self.overflow = overflow
        self.refused = refused
        self.told = told
        self.which = which


def _make_room(transaction: Transaction, session: SessionRow, new: NewInbound) -> _Room:
    """Apply the cap (Q4).

    Only messages that wake the agent and come from outside count: scheduled tasks and answers to
    the agent's questions neither fill the queue nor fall out of it. A row without a reply address
    belongs to a caller who waits, and is never dropped; where such rows alone fill the queue, the
    newcomer goes. A command is not counted among them and never dropped (S36). The session's own
    settings come before those of its channel, and these before the general ones (Q3).
    """
    limit = new.limit
    if limit is not None:
        cap, drop = limit.channels.get(session.channel, (limit.cap, limit.drop))
        limit = structs.replace(
            limit, cap=session.queue.cap or cap, drop=session.queue.drop or drop
        )
    counted = new.trigger and new.kind in _COUNTED_KINDS and new.state is InboundState.PENDING
    if limit is None or not counted:
        return _Room()
    row = transaction.row(
        f"SELECT count(*) FROM inbound WHERE {_COUNTED}", session.id, int(new.command)
    )
    waiting = 0 if row is None else int(row[0])
    most = MOST_COMMANDS if new.command else limit.cap
    excess = waiting + 1 - most
    if excess <= 0:
        return _Room()
    if new.refuse_when_full:
        raise QueueFull(
            f"The queue of this session is full, with {number_of(waiting, 'message')} of at most"
            f" {most}. Nothing was accepted; send it again when an answer has come."
        )
    victims: list[InboundRow] = []
    if limit.drop != "new" and not new.command:
        found = transaction.rows(_VICTIMS, session.id, excess)
        victims = [inbound_row(each) for each in found]
    if new.reply_to is not None and len(victims) < excess:
        which = Overflow.COMMANDS if new.command else Overflow.NEW
        return _Room(refused=True, told=(new.reply_to,), which=which)
    dropped = tuple(sql_inbound.drop_row(transaction, victim, DropReason.CAP) for victim in victims)
    overflow = dropped if limit.drop == "summarize" else ()
    _owe_lines(transaction, session.id, overflow, limit.cap)
    told = tuple(victim.reply_to for victim in dropped)
    return _Room(dropped=dropped, told=told, which=Overflow(limit.drop), overflow=overflow)


def _owe_lines(
    transaction: Transaction, session_id: str, dropped: Sequence[InboundRow], cap: int
) -> None:
    """Remember that dropped messages leave a line before the next prompt, at most ``cap`` lines."""
    if not dropped:
        return
    for row in dropped:
        transaction.run("UPDATE inbound SET line_owed = 1 WHERE id = ?", row.id)
    transaction.run(
        "UPDATE inbound SET line_owed = 0 WHERE session_id = ?1 AND line_owed = 1 AND seq <= ("
        " SELECT seq FROM inbound WHERE session_id = ?1 AND line_owed = 1"
        " ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        session_id,
        max(cap, 0),
    )


def _notify(transaction: Transaction, session: SessionRow, room: _Room) -> tuple[OutboundRow, ...]:
    """Tell the senders of what went, unless their conversations were told the same since the last
    turn began.
    """
    addresses = {
        f"{room.which}\x1f{each.conversation}": each
        for each in reversed(room.told)
        if each is not None
    }
    if not addresses:
        return ()
    row = transaction.row("SELECT cap_noticed FROM sessions WHERE id = ?", session.id)
    known = ids_of(row[0]) if row is not None else ()
    news = {name: address for name, address in addresses.items() if name not in known}
    if not news:
        return ()
    told = (*known, *news)[-CONVERSATIONS_TOLD:]
    transaction.run("UPDATE sessions SET cap_noticed = ? WHERE id = ?", to_json(told), session.id)
    notices = (
        NewOutbound(transaction.ids.new(), address, room.which.notice, kind="notice")
        for address in news.values()
    )
    return tuple(sql_outbox.insert(transaction, session.id, None, each) for each in notices)


def _refuse(
    transaction: Transaction, session: SessionRow, new: NewInbound
) -> tuple[OutboundRow, ...]:
    """Tell the sender of a message why it is not taken."""
    if new.notice is None or new.reply_to is None:
        return ()
    notice = NewOutbound(transaction.ids.new(), new.reply_to, new.notice, kind="notice")
    return (sql_outbox.insert(transaction, session.id, None, notice),)


def _trim_context(
    transaction: Transaction, new: NewInbound, session_id: str
) -> tuple[InboundRow, ...]:
    """Let the oldest context rows go when there are more than the agent will read (S31)."""
    if new.trigger:
        return ()
    rows = transaction.rows(_OLD_CONTEXT, session_id, CONTEXT_ROWS)
    return tuple(
        sql_inbound.drop_row(transaction, inbound_row(row), DropReason.CAP) for row in rows
    )


# -- the row ---------------------------------------------------------------------------------------


def _insert(
    transaction: Transaction, session: SessionRow, new: NewInbound, seq: int, refused: bool
) -> InboundRow:
    state = InboundState.DROPPED if refused else new.state
    waits = state in (InboundState.PENDING, InboundState.HELD)
    row = InboundRow(
        id=new.id,
        session_id=session.id,
        epoch=session.epoch,
        seq=seq,
        kind=new.kind,
        state=state,
        content=new.content,
        admitted_at=transaction.now,
        sender=new.sender,
        reply_to=new.reply_to,
        trigger=new.trigger,
        not_before=new.not_before,
        reason=DropReason.CAP.value if refused else new.reason,
        sent_at=new.sent_at,
        finished_at=None if waits else transaction.now,
        connection=new.connection,
        media=new.media,
    )
    content, sender, address = (
        to_json(row.content),
        *map(to_json_or_null, (row.sender, row.reply_to)),
    )
    media = to_json(row.media) if row.media else None
    _check_budget(
        transaction, {"content": content, "sender": sender, "reply_to": address, "media": media}
    )
    transaction.run(
        "INSERT INTO inbound (id, session_id, epoch, seq, kind, state, content, sender, reply_to,"
        " trigger, not_before, reason, sent_at, admitted_at, finished_at, connection, media,"
        " command) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.id,
        row.session_id,
        row.epoch,
        row.seq,
        row.kind,
        row.state,
        content,
        sender,
        address,
        int(row.trigger),
        row.not_before,
        row.reason,
        row.sent_at,
        row.admitted_at,
        row.finished_at,
        row.connection,
        media,
        int(new.command),
    )
    if waits:
        sql_media.lease(transaction, row, new.blobs)
    if new.key is not None:
        key = new.key
        transaction.run(
            "INSERT INTO message_keys (channel, account, chat, message_id, version, inbound_id,"
            " created_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET inbound_id = excluded.inbound_id, created_at = excluded.created_at",
            key.channel,
            key.account,
            key.chat,
            key.message_id,
            key.version,
            row.id,
            transaction.now,
        )
    return row


def _check_budget(transaction: Transaction, fields: dict[str, str | None]) -> None:
    sizes = {name: len(text.encode()) for name, text in fields.items() if text is not None}
    total, budget = sum(sizes.values()), transaction.limits.message_bytes
    if total > budget:
        largest = max(sizes, key=lambda name: sizes[name])
        raise RowTooLarge(
            f"The message's `{largest}` has {sizes[largest]} bytes; the whole message has {total}, "
            f"and {budget} are allowed. Send less, or send it as a file."
        )


def _touch(
    transaction: Transaction, session: SessionRow, new: NewInbound
) -> tuple[SessionRow, int]:
    """Bring the session's times up to date and take the next number of its queue (Q7)."""
    now = transaction.now
    interaction = session.last_interaction_at
    if new.from_person:
        interaction = max(interaction or 0, now)
    touched = structs.replace(
        session,
        updated_at=max(session.updated_at, now),
        last_active_at=max(session.last_active_at or 0, now),
        last_interaction_at=interaction,
    )
    row = transaction.row(
        "UPDATE sessions SET inbound_seq = inbound_seq + 1, updated_at = ?, last_active_at = ?,"
        " last_interaction_at = ? WHERE id = ? RETURNING inbound_seq",
        touched.updated_at,
        touched.last_active_at,
        touched.last_interaction_at,
        session.id,
    )
    return touched, 0 if row is None else int(row[0])
