"""What is asked of a `Store`, and what it answers: frozen, complete, safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from runtime.sessions.content import StoredContent
from runtime.sessions.media import Media, NewBlob, OutboxFile
from runtime.sessions.rows import (
    Draft,
    DropReason,
    InboundKind,
    InboundRow,
    InboundState,
    JournalEntry,
    MessageKey,
    OutboundRow,
    Overrides,
    QueueOverrides,
    ReplyAddress,
    Sender,
    SessionRow,
    SessionSpec,
    TurnError,
    TurnRow,
    TurnState,
    Usage,
)
from runtime.sessions.withdrawing import DropNotice


class Owner(msgspec.Struct, frozen=True):
    """Who works on a session: the instance (a process' run) and the actor's incarnation (D8)."""

    instance: str
    incarnation: str


# -- admission -------------------------------------------------------------------------------------


class QueueLimit(msgspec.Struct, frozen=True):
    """The cap of a session's queue at admission (Q4).

    Args:
        cap: how many pending messages there may be after this one.
        drop: ``old``, ``new`` or ``summarize``: which message goes when there are more.
        channels: both, for the sessions of channels for which something else holds. It is the
            session's channel that counts, whoever speaks in it (Q3).
    """

    cap: int
    drop: str
    channels: Mapping[str, tuple[int, str]] = {}


class NewInbound(msgspec.Struct, frozen=True):
    """A message to admit.

    Args:
        id: the id of the row to be.
        session: the session by id, or what identifies it; then it is made when it does not exist
            (S6).
        limit: the queue's cap; None for no cap.
        refuse_when_full: the caller waits for an answer: raise `QueueFull` and admit nothing, and
            never drop this message for the cap later (Q4). Such a message has no ``reply_to``.
        key: what makes it the same message when it comes again; None admits unconditionally.
        state: ``PENDING``, or ``HELD`` (approval), ``EXPIRED`` (Q6) or ``DROPPED`` with a reason.
        notice: what its chat is told of that, when it is dropped.
        from_person: a person spoke: moves ``last_interaction_at`` (S41).
        connection: which client connection waits for the answer, for G11.
        command: it is for the runtime: it does not fill the queue, and is not dropped (Q4, S36).
        media: what came with it.
        blobs: the files of it that are on disk; they get their rows in the same transaction.
    """

    id: str
    session: str | SessionSpec
    content: StoredContent
    kind: InboundKind = InboundKind.CHAT
    sender: Sender | None = None
    reply_to: ReplyAddress | None = None
    key: MessageKey | None = None
    limit: QueueLimit | None = None
    refuse_when_full: bool = False
    trigger: bool = True
    not_before: int | None = None
    sent_at: int | None = None
    state: InboundState = InboundState.PENDING
    reason: str | None = None
    notice: str | None = None
    from_person: bool = True
    connection: str | None = None
    command: bool = False
    media: Media = ()
    blobs: tuple[NewBlob, ...] = ()


class ChannelOffset(msgspec.Struct, frozen=True):
    """A channel's polling offset, stored with the messages that it covers (D5)."""

    channel: str
    account: str
    value: str


class Admitted(msgspec.Struct, frozen=True):
    """What became of one message.

    ``message.state`` tells: pending; or dropped, with drop policy ``new``. With ``duplicate`` the
    row is the one of the first time. ``dropped`` are the rows that went to make room, ``overflow``
    those of them whose line is owed to the agent, ``notices`` the outbound rows that tell their
    senders, and the message's own which of its files are not taken.
    """

    session: SessionRow
    message: InboundRow
    duplicate: bool = False
    created_session: bool = False
    dropped: tuple[InboundRow, ...] = ()
    overflow: tuple[InboundRow, ...] = ()
    notices: tuple[OutboundRow, ...] = ()


class Drop(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that was refused before it became a row of a session (S32)."""

    reason: DropReason
    channel: str
    account: str
    chat: str
    sender: str | None = None
    platform_message_id: str | None = None
    detail: str | None = None


# -- turns -----------------------------------------------------------------------------------------


class InterruptedPolicy(msgspec.Struct, frozen=True):
    """What becomes of messages whose turn the runtime cut off (T5 d).

    Args:
        retry: run them again; False marks them failed and tells the sender (``on_interrupted =
            "notify"``).
        max_tries: how often they are run again at most.
    """

    retry: bool = True
    max_tries: int = 5


class SettledTurn(msgspec.Struct, frozen=True):
    """A turn that was found running without anybody to run it, and what was done (D8).

    ``dropped`` are messages whose session was closed, or got a new epoch, while the turn ran.
    """

    turn_id: str
    session_id: str
    requeued: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class Awake(msgspec.Struct, frozen=True):
    """A session taken by a new incarnation of its actor.

    ``session.fence`` is the new fence: writes of an older one are refused. ``pending`` are all rows
    that wait, in order, those with ``not_before`` and context rows (``trigger=0``) included.
    ``behind`` are the ids of those that came while a turn ran (Q2). ``overflow`` are rows dropped
    for the cap under ``summarize`` whose line is still owed to the agent.
    """

    session: SessionRow
    pending: tuple[InboundRow, ...]
    behind: tuple[str, ...] = ()
    overflow: tuple[InboundRow, ...] = ()
    settled: tuple[SettledTurn, ...] = ()


class BeginTurn(msgspec.Struct, frozen=True):
    """Claim messages for a turn: the rows are claimed and the turn's row is there, or nothing is.

    ``overflow``: ids of dropped rows whose lines go into this prompt; they are not owed again.
    """

    turn_id: str
    session_id: str
    epoch: int
    fence: int
    owner: Owner
    message_ids: tuple[str, ...]
    overflow: tuple[str, ...] = ()


class TurnProgress(msgspec.Struct, frozen=True):
    """What a running turn has produced since the last time (T3): appended, never rewritten.

    ``n`` counts from 0 within the turn; the same n again is ignored. ``first_event_at`` is stored
    when given.
    """

    turn_id: str
    session_id: str
    fence: int
    n: int
    text: str = ""
    data: list[dict[str, Any]] | None = None
    first_event_at: int | None = None


class SaveDraft(msgspec.Struct, frozen=True):
    """What the chat shows of a running turn (R8)."""

    turn_id: str
    session_id: str
    fence: int
    draft: Draft


class Settlement(msgspec.Struct, frozen=True):
    """What becomes of one claimed message when its turn ends.

    To ``PENDING``: it is tried again, not before ``not_before``; ``count_try`` adds one to its
    tries.
    """

    message_id: str
    state: InboundState
    reason: str | None = None
    not_before: int | None = None
    count_try: bool = False


class NewEntry(msgspec.Struct, frozen=True):
    """A transcript line to append; ignored when the session has one of that id already."""

    id: str
    role: str
    content: str
    ts: int | None = None
    data: dict[str, Any] | None = None


class NewOutbound(msgspec.Struct, frozen=True):
    """A part of an answer, a notice, or a file, for a push channel.

    Args:
        edits: the platform's id of the message that it takes the place of (R8).
        file: what is sent instead of a text (R7).
        refused: why it is not even tried: the row is there, and has failed.
    """

    id: str
    reply_to: ReplyAddress
    text: str
    part: int = 0
    kind: str = "answer"
    edits: str | None = None
    file: OutboxFile | None = None
    refused: str | None = None


class EndTurn(msgspec.Struct, frozen=True):
    """The turn commit (D7): everything that the end of a turn changes, in one transaction.

    ``messages`` settles exactly the messages that the turn claimed. One that is to be tried again,
    but whose session was closed or got a new epoch meanwhile, is dropped instead. ``epoch`` is the
    turn's own: the end of a turn is committed there also after the session went on to the next. The
    parts of progress stored for the turn are removed: what is worth keeping is in ``journal``.
    With ``first_event_at`` the files of its messages are handed over, if they are not yet (H1).
    ``told``: evicted files that the agent knows of now (M9). A ``draft`` is stored when given: a
    later try of the messages goes on with it (R8).
    """

    turn_id: str
    session_id: str
    epoch: int
    fence: int
    state: TurnState
    stop_reason: str | None = None
    error: TurnError | None = None
    usage: Usage | None = None
    first_event_at: int | None = None
    messages: tuple[Settlement, ...] = ()
    journal: tuple[NewEntry, ...] = ()
    outbound: tuple[NewOutbound, ...] = ()
    agent_session_id: str | None = None
    told: tuple[str, ...] = ()
    draft: Draft | None = None


class EndedTurn(msgspec.Struct, frozen=True):
    """The committed end of a turn: the lines with their numbers, the rows that are now owed."""

    session: SessionRow
    journal: tuple[JournalEntry, ...]
    outbound: tuple[OutboundRow, ...]


class DropPending(msgspec.Struct, frozen=True):
    """Withdraw waiting messages: those named, or all that wait; claimed ones are not touched.

    ``before``: of all, only those with a lower ``seq``. ``notice``: what chats are told of it.
    """

    session_id: str
    reason: DropReason
    message_ids: tuple[str, ...] | None = None
    before: int | None = None
    notice: DropNotice | None = None


class FinishPending(msgspec.Struct, frozen=True):
    """Messages that were answered without a turn: a command, the answer to a question (S36, D10).

    Args:
        session_id: the session.
        message_ids: those that wait become done; others are not touched.
        reason: why there was no turn.
        outbound: what is owed to a push channel for it.
        said: what is said to it, kept for whoever asks.
    """

    session_id: str
    message_ids: tuple[str, ...]
    reason: str
    outbound: tuple[NewOutbound, ...] = ()
    said: str | None = None


class FinishedPending(msgspec.Struct, frozen=True):
    """The messages that were finished just now, and what is owed."""

    messages: tuple[InboundRow, ...]
    outbound: tuple[OutboundRow, ...] = ()


class SessionPatch(msgspec.Struct, frozen=True):
    """Fields of a session to set; `msgspec.UNSET` leaves one as it is (S20).

    Args:
        last_route: values are trimmed; an empty ``chat`` clears the route, an empty ``account``
            keeps the old one.
        updated_at: the row gets the greatest of its old time, this and now.
    """

    label: str | msgspec.UnsetType | None = msgspec.UNSET
    display_name: str | msgspec.UnsetType | None = msgspec.UNSET
    agent_session_id: str | msgspec.UnsetType | None = msgspec.UNSET
    last_route: ReplyAddress | msgspec.UnsetType | None = msgspec.UNSET
    queue: QueueOverrides | msgspec.UnsetType = msgspec.UNSET
    overrides: Overrides | msgspec.UnsetType = msgspec.UNSET
    updated_at: int | msgspec.UnsetType = msgspec.UNSET


# -- reading ---------------------------------------------------------------------------------------


class SessionPage(msgspec.Struct, frozen=True):
    """Sessions, most recently active first; ``next_cursor`` continues, None at the end."""

    sessions: tuple[SessionRow, ...]
    next_cursor: str | None = None


class JournalExtent(msgspec.Struct, frozen=True):
    """How many transcript lines an epoch has, and the ``seq`` of the last; 0 for none."""

    count: int
    last_seq: int


class MessageStatus(msgspec.Struct, frozen=True):
    """Where a message stands, and the turn that carried it last."""

    message: InboundRow
    turn: TurnRow | None = None


class Recovery(msgspec.Struct, frozen=True):
    """What was found and done when the store was opened (D8)."""

    at: int
    instance: str
    settled: tuple[SettledTurn, ...] = ()
    ambiguous_deliveries: int = 0
    pending_messages: int = 0
