"""What the watchers of a session see, live. The transcript is the truth; these are its first
light.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from runtime.sessions.content import Content
from runtime.sessions.rows import DropReason, InboundState, TurnError, TurnState
from runtime.sessions.updates import PermissionRequest, SessionUpdate


class MessageAccepted(msgspec.Struct, frozen=True, tag="message_accepted"):
    """A message is durable and waits."""

    message_id: str
    sequence: int
    content: Content


class MessageDropped(msgspec.Struct, frozen=True, tag="message_dropped"):
    """A message will never become a turn."""

    message_id: str
    reason: DropReason


class TurnStarted(msgspec.Struct, frozen=True, tag="turn_started"):
    """A turn begins with these messages; ``prompt`` is what people said, merged."""

    turn_id: str
    epoch: int
    message_ids: tuple[str, ...]
    prompt: Content


class MessageSteered(msgspec.Struct, frozen=True, tag="message_steered"):
    """The agent has taken in a message while its turn runs: it is one of the turn's from now on."""

    turn_id: str
    message_id: str
    content: Content


class TurnUpdate(msgspec.Struct, frozen=True, tag="turn_update"):
    """The agent says something. Deltas are in the protocol's own shape."""

    turn_id: str
    update: SessionUpdate


class TurnEnded(msgspec.Struct, frozen=True, tag="turn_ended"):
    """The end of a turn is committed.

    ``message_state`` is what became of its messages: done, failed, dropped, or pending when they
    are tried again, at ``retry_at`` (ms) at the earliest, or run together with something newer, for
    which the turn was cancelled. ``text`` is the final answer, None when
    there is none. ``journal_seq`` is the last transcript line of the turn.
    """

    turn_id: str
    epoch: int
    message_ids: tuple[str, ...]
    state: TurnState
    message_state: InboundState
    stop_reason: str | None
    text: str | None = None
    error: TurnError | None = None
    retry_at: int | None = None
    journal_seq: int = 0


def retry_notice(error: TurnError | None, retry_at: int | None) -> str:
    """What people are told when a turn came to nothing and will be tried again (T5 a).

    Args:
        error: why, when that is known.
        retry_at: when at the earliest, in ms since 1970; None for at once.
    """
    why = error if error is not None else TurnError("cut_off", "The turn was cut off.")
    if retry_at is None:
        return why.followed_by("It is tried again now.")
    moment = datetime.fromtimestamp(retry_at / 1000, UTC)
    return why.followed_by(f"It is tried again at {moment:%H:%M:%S} UTC.")


class EpochStarted(msgspec.Struct, frozen=True, tag="epoch_started"):
    """The conversation was begun anew (S18)."""

    epoch: int


class SessionClosed(msgspec.Struct, frozen=True, tag="session_closed"):
    """The session was closed."""


class PermissionAsked(msgspec.Struct, frozen=True, tag="permission_asked"):
    """The agent asks for permission and waits; whoever watches may answer, the first one counts."""

    turn_id: str
    request: PermissionRequest


class PermissionAnswered(msgspec.Struct, frozen=True, tag="permission_answered"):
    """A question is closed: answered, withdrawn by the agent, or out of time (``option_id``
    None).
    """

    turn_id: str
    request_id: str
    option_id: str | None = None


class AgentAnnounced(msgspec.Struct, frozen=True, tag="agent_announced"):
    """The agent says something that is not of a turn: its commands, modes and settings."""

    update: SessionUpdate


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """The runtime says something to everyone in the session; it is no part of an answer.

    Args:
        code: stable, for programs: ``agent_blocked``, ``agent_start_failed``, ``agent_forgot``,
            ``command``, ``answer``, ``not_taken``.
        text: for people; empty when there is nothing to say but that the message is done.
        message_id: the message that it answers and ends, when it answers one.
    """

    code: str
    text: str
    message_id: str | None = None


SessionEvent: TypeAlias = (
    MessageAccepted
    | MessageDropped
    | TurnStarted
    | MessageSteered
    | TurnUpdate
    | TurnEnded
    | PermissionAsked
    | PermissionAnswered
    | AgentAnnounced
    | Notice
    | EpochStarted
    | SessionClosed
)


class LiveEvent(msgspec.Struct, frozen=True):
    """An event with its number, which rises (with gaps) since the runtime started (G12)."""

    number: int
    event: SessionEvent


class RunningTurn(msgspec.Struct, frozen=True):
    """A turn in mid-flight, for somebody who comes late. ``questions`` are those still open."""

    started: TurnStarted
    updates: tuple[SessionUpdate, ...]
    questions: tuple[PermissionRequest, ...] = ()


class Snapshot(msgspec.Struct, frozen=True):
    """A session at one instant: all events numbered up to ``number`` are contained, none later."""

    number: int
    journal_seq: int
    running: RunningTurn | None = None


class QueueStatus(msgspec.Struct, frozen=True):
    """What waits in a session.

    Args:
        mode: the queue mode that holds.
        running: the id of the turn that runs; None also while the agent is still being started.
        waiting: how many messages wait.
        oldest: since when the oldest waits, in ms since 1970.
        blocked: why the session's agent is not started any more, in words (P3); None when it is
            not blocked.
    """

    mode: str
    running: str | None
    waiting: int
    oldest: int | None = None
    blocked: str | None = None
