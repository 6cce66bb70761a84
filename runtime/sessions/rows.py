"""The records of a conversation as the store keeps them, free of any SQL.

Times are milliseconds since 1970, UTC. Ids are made by `runtime.sessions.ids`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec

from runtime.sessions.content import StoredContent
from runtime.sessions.media import Media, OutboxFile

DropName: TypeAlias = Literal["summarize", "old", "new"]
"""Which message goes when too many wait (Q4)."""

CLIENTS = "client"
"""The channel of whoever talks through the gateway, the command line or the embedding API."""


class SessionStatus(StrEnum):
    """Whether a session is in use."""

    ACTIVE = "active"
    CLOSED = "closed"
    ARCHIVED = "archived"


class InboundKind(StrEnum):
    """What sort of message it is (D6)."""

    CHAT = "chat"
    TASK = "task"
    WEBHOOK = "webhook"
    SYSTEM = "system"


class InboundState(StrEnum):
    """The states of D6. ``pending → claimed → done | failed | dropped | expired``; ``held`` waits
    for approval.
    """

    HELD = "held"
    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"
    EXPIRED = "expired"


class TurnState(StrEnum):
    """How far a turn got.

    ``interrupted``: the runtime died or was stopped past its grace (T5 d). ``vanished``: the agent
    went away before its first event, the messages wait for another try (T5 a).
    """

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    VANISHED = "vanished"


class OutboundState(StrEnum):
    """The states of O1."""

    PENDING = "pending"
    ATTEMPTING = "attempting"
    DELIVERED = "delivered"
    FAILED = "failed"
    ABANDONED = "abandoned"


class DropReason(StrEnum):
    """Why a message never became a turn (S32)."""

    CAP = "cap"
    CLEARED = "cleared"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    RESET = "reset"
    CLOSED = "closed"
    NO_AGENT_WIRED = "no_agent_wired"
    NO_AGENT_ENGAGED = "no_agent_engaged"
    UNKNOWN_SENDER = "unknown_sender"
    TOO_LARGE = "too_large"


class Sender(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who wrote a message: the platform's raw id and a name to show."""

    id: str
    name: str | None = None


class ReplyAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an answer goes on a push channel, frozen when the message is admitted (S34).

    A message of a pull channel has none: its answer is the session's journal (R8).
    """

    channel: str
    account: str
    chat: str
    thread: str | None = None
    message_id: str | None = None

    @property
    def conversation(self) -> str:
        """One name for the place, without the message replied to: the unit of delivery order
        (O3).
        """
        return "\x1f".join((self.channel, self.account, self.chat, self.thread or ""))


class Draft(msgspec.Struct, frozen=True):
    """The message of a chat that shows an answer in the making; the final one takes its place (R8).

    Args:
        reply_to: where it stands.
        platform_message_id: the network's id of it.
        left_over: its turn ended, and nothing takes its place: it is to be withdrawn (R6).
    """

    reply_to: ReplyAddress
    platform_message_id: str
    left_over: bool = False


class MessageKey(msgspec.Struct, frozen=True):
    """What makes a message the same message when it comes again (D5)."""

    channel: str
    account: str
    chat: str
    message_id: str
    version: int = 0


class SessionSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What identifies a session (S6), and what is written when it does not exist yet."""

    agent_id: str
    key: str
    chat_type: str | None = None
    display_name: str | None = None
    origin: ReplyAddress | None = None
    thread_id: str | None = None
    messaging_group_id: str | None = None


class QueueOverrides(msgspec.Struct, frozen=True, omit_defaults=True):
    """Queue settings of one session that win over the configured ones (Q3). Durations in
    seconds.
    """

    mode: str | None = None
    debounce: float | None = None
    cap: int | None = None
    drop: str | None = None
    debounce_max: float | None = None


class Workplace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a session's agent works, as a client asked for it (G10).

    Args:
        folder: instead of the session's own folder; None for that one.
        mcp_servers: servers for the agent to connect to, as the protocol's JSON.
    """

    folder: str | None = None
    mcp_servers: tuple[dict[str, Any], ...] = ()


class Overrides(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for one session only, beside its queue.

    Args:
        choices: values of the agent's own settings, by id.
        workplace: where the agent works.
    """

    choices: dict[str, str | bool] = {}
    workplace: Workplace = Workplace()


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens that a turn used, or a session has used."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    context_tokens: int = 0


class SessionRow(msgspec.Struct, frozen=True):
    """One conversation. Whether it runs is not here: that is a live task (T1)."""

    id: str
    agent_id: str
    key: str
    status: SessionStatus
    epoch: int
    created_at: int
    updated_at: int
    last_interaction_at: int | None = None
    last_active_at: int | None = None
    agent_session_id: str | None = None
    chat_type: str | None = None
    label: str | None = None
    display_name: str | None = None
    thread_id: str | None = None
    origin: ReplyAddress | None = None
    last_route: ReplyAddress | None = None
    queue: QueueOverrides = QueueOverrides()
    overrides: Overrides = Overrides()
    usage: Usage = Usage()
    generation: int = 0
    journal_seq: int = 0
    fence: int = 0

    @property
    def channel(self) -> str:
        """The channel that it belongs to (Q3)."""
        return CLIENTS if self.origin is None else self.origin.channel


class InboundRow(msgspec.Struct, frozen=True):
    """One admitted message (D6). ``interrupted``: a turn of it was cut off by the runtime (T5
    d). ``said``: what the runtime answered, to a command.
    """

    id: str
    session_id: str
    epoch: int
    seq: int
    kind: InboundKind
    state: InboundState
    content: StoredContent
    admitted_at: int
    sender: Sender | None = None
    reply_to: ReplyAddress | None = None
    trigger: bool = True
    not_before: int | None = None
    tries: int = 0
    turn_id: str | None = None
    interrupted: bool = False
    reason: str | None = None
    sent_at: int | None = None
    finished_at: int | None = None
    connection: str | None = None
    media: Media = ()
    said: str | None = None

    @property
    def fetching(self) -> bool:
        """Whether a file of it is still on its way (Q7)."""
        return any(item.fetching for item in self.media)


class TurnError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a turn failed, in words for a person, and a stable code for programs."""

    code: str
    message: str

    def followed_by(self, sentence: str) -> str:
        """Its message and another sentence; on a line of its own after what a program printed."""
        text = self.message.rstrip()
        if "\n" in text:
            return f"{text}\n{sentence}"
        end = "" if text.endswith((".", "!", "?", "…")) else "."
        return f"{text}{end} {sentence}"


class TurnRow(msgspec.Struct, frozen=True):
    """One run of the agent (T3). ``draft``: what the chat shows of it, also from an earlier try of
    its messages.
    """

    id: str
    session_id: str
    epoch: int
    state: TurnState
    started_at: int
    message_ids: tuple[str, ...] = ()
    tries: int = 0
    first_event_at: int | None = None
    ended_at: int | None = None
    stop_reason: str | None = None
    error: TurnError | None = None
    usage: Usage | None = None
    draft: Draft | None = None


class JournalEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the transcript (J1): ``role`` and ``content`` for everyone, the rest ours.

    ``role`` is ``user``, ``assistant`` or ``system`` (a notice or an error of the runtime). ``id``
    is
    unique in the session: a message's line has the id of the message, so it is written once however
    often the message is tried. ``data`` holds tool calls, stop reason and the like.
    """

    seq: int
    ts: int
    id: str
    role: str
    content: str
    epoch: int = 0
    turn_id: str | None = None
    data: dict[str, Any] | None = None


class OutboundRow(msgspec.Struct, frozen=True):
    """One part of an answer, or a notice, owed to a push channel (O1).

    ``attempts``: those that count; ``attempted_at``: when the first of all was made (O4).
    ``ambiguous``: an earlier attempt may have reached the platform (O2). ``edits``: the platform's
    id of the message that it takes the place of (R8). ``file``: instead of a text, of which it has
    the name then (R7).
    """

    id: str
    session_id: str
    turn_id: str | None
    part: int
    kind: str
    reply_to: ReplyAddress
    text: str
    state: OutboundState
    attempts: int
    created_at: int
    not_before: int | None = None
    ambiguous: bool = False
    platform_message_id: str | None = None
    error: str | None = None
    finished_at: int | None = None
    edits: str | None = None
    file: OutboxFile | None = None
    attempted_at: int | None = None
