"""What the runtime adds to the Agent Client Protocol.

Methods of ours begin with ``_runtime/``; data of ours is in ``_meta.runtime`` of the protocol's own
messages, as the protocol provides for. A client that knows none of it loses nothing of the
protocol.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec

from runtime.protocol.fields import (
    JournalNumber,
    LiveNumber,
    MessageId,
    Milliseconds,
    Run,
    Said,
    SessionId,
)
from runtime.sessions.content import Content
from runtime.sessions.principals import Role
from runtime.sessions.rows import TurnError
from runtime.sessions.updates import PermissionRequest, SessionUpdate

QUEUE_FULL = -32010
UNAVAILABLE = -32011
TOO_MANY_REQUESTS = -32012
FORBIDDEN = -32013
SESSION_BLOCKED = -32014
REFUSED = -32015

MarkT = TypeVar("MarkT")


class RuntimeMark(msgspec.Struct, Generic[MarkT], frozen=True, omit_defaults=True):
    """A ``_meta`` member with our part of it."""

    runtime: MarkT | None = None


# -- what the protocol's own messages carry ---------------------------------------------------


class ClientMark(msgspec.Struct, frozen=True, rename="camel"):
    """In `initialize`."""

    local_key: Annotated[
        str | None,
        msgspec.Meta(
            description="Shows that the client is on this machine, of the same person: the key is "
            "in a file that only they can read.",
        ),
    ] = None


class NewMeta(msgspec.Struct, frozen=True):
    """In `session/new`: which session, and whose."""

    key: Annotated[
        str | None, msgspec.Meta(description="Names the session: the same key, the same session.")
    ] = None
    agent: Annotated[
        str | None, msgspec.Meta(description="A configured agent; the default one when absent.")
    ] = None


class PromptMeta(msgspec.Struct, frozen=True, rename="camel"):
    """In `session/prompt` and `_runtime/session/send`."""

    message_id: MessageId | None = None


class ServerMark(msgspec.Struct, frozen=True, rename="camel"):
    """In the answer to `initialize`.

    ``principal`` is who the client is taken for, by what it presented. ``local``: it has shown that
    it is on this machine. ``max_frame_bytes`` is the largest message that is read from it,
    ``max_file_bytes`` the largest file that a message may bring, as the settings are just now.
    """

    run: Run
    connection_id: str
    principal: str
    role: Role
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    local: bool = False
    max_frame_bytes: int | None = None
    max_file_bytes: int | None = None


class SessionMark(msgspec.Struct, frozen=True, rename="camel"):
    """In the answers to `session/new`, `session/load` and `session/resume`.

    ``journal_seq`` and ``live`` are the cursor for `_runtime/session/events`. ``workspace`` is the
    folder that the session's agent works in from its next start on, null for the session's own.
    ``cwd_ignored`` and ``mcp_servers_ignored`` say that the client asked for something that it may
    not have.
    """

    key: str
    agent: str
    epoch: int
    run: Run
    journal_seq: JournalNumber
    live: LiveNumber
    workspace: str | None = None
    cwd_ignored: bool = False
    mcp_servers_ignored: bool = False


class ListedMark(msgspec.Struct, frozen=True, rename="camel"):
    """In each session of `session/list`.

    ``state`` is ``running`` (a turn runs), ``idle`` (in memory, none runs) or ``stopped`` (asleep
    on disk: whatever is said next wakes it). It is of the moment of the answer, and kept nowhere.
    """

    key: str
    agent: str
    epoch: int
    state: str


class PromptMark(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """In the answer to `session/prompt`. ``text``: the whole reply, for a duplicate message."""

    message_id: str
    sequence: int
    duplicate: bool = False
    turn_id: str | None = None
    text: str | None = None


class UpdateMark(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """In `session/update`.

    A live update has ``number``; one that is replayed has ``seq`` and ``at`` (ms since 1970) of its
    transcript line, or neither when it is of the running turn. ``notice`` marks words of the
    runtime, not the agent: they are no part of any answer, and it says of what kind they are.
    """

    turn_id: str | None = None
    message_id: str | None = None
    number: LiveNumber | None = None
    seq: JournalNumber | None = None
    at: int | None = None
    notice: str | None = None


class QuestionMark(msgspec.Struct, frozen=True, rename="camel"):
    """In `session/request_permission`. ``request_id`` is what events call the question."""

    turn_id: str
    request_id: str


# -- methods ----------------------------------------------------------------------------------


class SendParams(msgspec.Struct, frozen=True, rename="camel"):
    """Say something and wait only until it is kept."""

    session_id: SessionId
    prompt: Said
    meta: RuntimeMark[PromptMeta] | None = msgspec.field(name="_meta", default=None)


class SendResult(msgspec.Struct, frozen=True, rename="camel"):
    """The message is durable. ``sequence``: its place in the session."""

    message_id: str
    sequence: int
    duplicate: bool


class QueueStatusResult(msgspec.Struct, frozen=True, rename="camel"):
    """What waits in a session, since when (ms since 1970), and the turn that runs.

    ``blocked`` says why the session's agent is not started any more; null when it is not blocked.
    """

    mode: str
    running: str | None
    waiting: int
    oldest: int | None
    blocked: str | None = None


class QueueClearResult(msgspec.Struct, frozen=True, rename="camel"):
    """How many messages were withdrawn."""

    cleared: int


class TreeResult(msgspec.Struct, frozen=True, rename="camel"):
    """The tree of actors."""

    tree: dict[str, Any]


class ResetResult(msgspec.Struct, frozen=True, rename="camel"):
    """The conversation begins anew, in this epoch."""

    session_id: str
    epoch: int


class EventsParams(msgspec.Struct, frozen=True, rename="camel"):
    """Follow everything that happens in a session, from a cursor on.

    Without a cursor the whole transcript comes first.
    """

    session_id: SessionId
    after: JournalNumber = 0
    live: LiveNumber | None = None
    run: Run | None = None


class EventsResult(msgspec.Struct, frozen=True, rename="camel"):
    """What had happened before has been sent; what happens from now on follows."""

    run: Run
    journal_seq: JournalNumber
    live: LiveNumber


# -- events -----------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag_field="type"):
    """Base of what `_runtime/session/event` carries."""


class JournalEvent(Event, frozen=True, tag="journal"):
    """A line of the transcript: ``role`` is user, assistant or system."""

    seq: JournalNumber
    ts: Milliseconds
    id: str
    role: str
    content: str
    epoch: int = 0
    turn_id: str | None = None
    data: dict[str, Any] | None = None


class SnapshotEvent(Event, frozen=True, tag="snapshot"):
    """All that the events up to ``number`` have made of the running turn; None when none runs."""

    number: LiveNumber
    journal_seq: JournalNumber
    running: TurnSnapshot | None = None


class TurnSnapshot(msgspec.Struct, frozen=True, rename="camel"):
    """A turn in mid-flight. ``questions`` of its agent are still open."""

    turn_id: str
    epoch: int
    message_ids: tuple[str, ...]
    prompt: Content
    updates: tuple[SessionUpdate, ...]
    questions: tuple[PermissionRequest, ...] = ()


class ResetEvent(Event, frozen=True, tag="reset"):
    """The live number of the cursor is of another run of the runtime: go by the transcript."""


class MessageAcceptedEvent(Event, frozen=True, tag="message_accepted"):
    """A message is durable and waits."""

    message_id: str
    sequence: int
    content: Content


class MessageDroppedEvent(Event, frozen=True, tag="message_dropped"):
    """A message will never become a turn."""

    message_id: str
    reason: str


class TurnStartedEvent(Event, frozen=True, tag="turn_started"):
    """A turn begins with these messages; ``prompt`` is what people said, merged."""

    turn_id: str
    epoch: int
    message_ids: tuple[str, ...]
    prompt: Content


class MessageSteeredEvent(Event, frozen=True, tag="message_steered"):
    """The agent has taken in a message while its turn runs: it is one of the turn's from now on."""

    turn_id: str
    message_id: str
    content: Content


class TurnUpdateEvent(Event, frozen=True, tag="turn_update"):
    """The agent says something."""

    turn_id: str
    update: SessionUpdate


class TurnEndedEvent(Event, frozen=True, tag="turn_ended"):
    """The end of a turn is kept.

    ``state`` is what became of the turn: done, failed, cancelled, interrupted (the runtime died or
    stopped) or vanished (the agent went away before it said anything).
    ``message_state`` is what became of its messages: done, failed, dropped, or pending when they
    are tried again, at ``retry_at`` (ms since 1970) at the earliest, or run together with something
    newer, for which the turn was cancelled.
    """

    turn_id: str
    epoch: int
    message_ids: tuple[str, ...]
    state: str
    message_state: str
    stop_reason: str | None
    text: str | None = None
    error: TurnError | None = None
    retry_at: Milliseconds | None = None
    journal_seq: JournalNumber = 0


class PermissionAskedEvent(Event, frozen=True, tag="permission_asked"):
    """The agent asks for permission and waits."""

    turn_id: str
    request: PermissionRequest


class PermissionAnsweredEvent(Event, frozen=True, tag="permission_answered"):
    """A question is closed. Without ``option_id`` nobody chose: withdrawn, or out of time."""

    turn_id: str
    request_id: str
    option_id: str | None = None


class AgentAnnouncedEvent(Event, frozen=True, tag="agent_announced"):
    """The agent says something that is not of a turn: its commands, modes and settings."""

    update: SessionUpdate


class NoticeEvent(Event, frozen=True, tag="notice"):
    """The runtime says something to everyone in the session; it is no part of an answer.

    ``message_id`` is the message that it answers, when it answers one.
    """

    code: str
    text: str
    message_id: str | None = None


class EpochStartedEvent(Event, frozen=True, tag="epoch_started"):
    """The conversation was begun anew."""

    epoch: int


class SessionClosedEvent(Event, frozen=True, tag="session_closed"):
    """The session was closed."""


WireEvent: TypeAlias = (
    JournalEvent
    | SnapshotEvent
    | ResetEvent
    | MessageAcceptedEvent
    | MessageDroppedEvent
    | TurnStartedEvent
    | MessageSteeredEvent
    | TurnUpdateEvent
    | TurnEndedEvent
    | PermissionAskedEvent
    | PermissionAnsweredEvent
    | AgentAnnouncedEvent
    | NoticeEvent
    | EpochStartedEvent
    | SessionClosedEvent
)


class EventParams(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One event of a session. ``number`` is set for live events."""

    session_id: str
    event: WireEvent
    number: LiveNumber | None = None
