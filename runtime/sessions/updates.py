"""What an agent says while it works: the ``session/update`` vocabulary of ACP, and the end of a
turn.

Each struct encodes to the JSON of the protocol's update of that name.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from runtime.sessions import content
from runtime.sessions.content import AgentBlock, ContentBlock
from runtime.sessions.rows import TurnError, Usage


class Update(
    msgspec.Struct,
    frozen=True,
    tag_field="sessionUpdate",
    rename="camel",
    omit_defaults=True,
):
    """Base of all updates."""


class AgentMessageChunk(Update, frozen=True, tag="agent_message_chunk"):
    """A piece of the answer, to be appended to what came before."""

    content: AgentBlock


class AgentThoughtChunk(Update, frozen=True, tag="agent_thought_chunk"):
    """A piece of the agent's reasoning; never part of the answer."""

    content: AgentBlock


class UserMessageChunk(Update, frozen=True, tag="user_message_chunk"):
    """A piece of what a person said; used when history is replayed."""

    content: ContentBlock


class PlanEntry(msgspec.Struct, frozen=True):
    """One step of a plan."""

    content: str
    priority: str = "medium"
    status: str = "pending"


class Plan(Update, frozen=True, tag="plan"):
    """The agent's plan as a whole; replaces the one before."""

    entries: tuple[PlanEntry, ...]


class ToolCall(Update, frozen=True, tag="tool_call"):
    """A tool call begins. ``content``, ``locations``, ``raw_input`` and ``raw_output`` are the
    protocol's JSON.
    """

    tool_call_id: str
    title: str
    kind: str | None = None
    status: str | None = None
    content: list[Any] | None = None
    locations: list[Any] | None = None
    raw_input: Any = None
    raw_output: Any = None


class ToolCallUpdate(Update, frozen=True, tag="tool_call_update"):
    """A tool call goes on or ends; only what changed is set."""

    tool_call_id: str
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    content: list[Any] | None = None
    locations: list[Any] | None = None
    raw_input: Any = None
    raw_output: Any = None


class AvailableCommands(Update, frozen=True, tag="available_commands_update"):
    """An announcement, not of a turn (T6)."""

    available_commands: list[Any]


class CurrentMode(Update, frozen=True, tag="current_mode_update"):
    """An announcement, not of a turn (T6)."""

    current_mode_id: str


class ConfigOptions(Update, frozen=True, tag="config_option_update"):
    """An announcement, not of a turn (T6): what can be set in the session, with current values."""

    config_options: list[Any]


class SessionInfo(Update, frozen=True, tag="session_info_update"):
    """An announcement, not of a turn (T6)."""

    title: str | None = None
    updated_at: str | None = None


class ContextUsage(Update, frozen=True, tag="usage_update"):
    """An announcement, not of a turn (T6): how full the agent's context is, in tokens."""

    used: int
    size: int
    cost: Any = None


class PermissionOption(msgspec.Struct, frozen=True, rename="camel"):
    """One possible answer to a request for permission.

    Args:
        option_id: what the agent is told.
        name: what people read.
        kind: ``allow_once``, ``allow_always``, ``reject_once`` or ``reject_always``.
    """

    option_id: str
    name: str
    kind: str


class PermissionRequest(msgspec.Struct, frozen=True, rename="camel", tag="permission_request"):
    """The agent asks before it goes on. It waits until `AgentHandle.answer_permission`, or until it
    says by `PermissionSettled` that the question is void.
    """

    request_id: str
    tool_call: ToolCallUpdate
    options: tuple[PermissionOption, ...]


class PermissionSettled(msgspec.Struct, frozen=True, rename="camel", tag="permission_settled"):
    """A question is not open any more; ``option_id`` is None when nobody chose."""

    request_id: str
    option_id: str | None = None


class AgentNotice(msgspec.Struct, frozen=True, tag="agent_notice"):
    """Something about the agent that people in the chat are to know, in words (P4).

    Args:
        code: stable, for programs.
        text: for people.
    """

    code: str
    text: str


class MessageSnapshot(msgspec.Struct, frozen=True, tag="message_snapshot"):
    """The whole text of a message once more; agents that stream deltas send it too (R1)."""

    text: str


class Result(msgspec.Struct, frozen=True, tag="result"):
    """The agent's answer to the prompt: the last event of a turn.

    Args:
        stop_reason: ``end_turn``, ``max_tokens``, ``max_turn_requests``, ``refusal`` or
            ``cancelled``.
        text: the whole answer, for agents that send no deltas (R1).
        usage: tokens used by the turn.
        error: the agent answered with an error (T5 b).
        agent_session_id: the agent's own id of the conversation, for resuming.
    """

    stop_reason: str = "end_turn"
    text: str | None = None
    usage: Usage | None = None
    error: TurnError | None = None
    agent_session_id: str | None = None


SessionUpdate: TypeAlias = (
    AgentMessageChunk
    | AgentThoughtChunk
    | UserMessageChunk
    | Plan
    | ToolCall
    | ToolCallUpdate
    | AvailableCommands
    | CurrentMode
    | ConfigOptions
    | SessionInfo
    | ContextUsage
)
AgentEvent: TypeAlias = (
    SessionUpdate | MessageSnapshot | PermissionRequest | PermissionSettled | Result
)
Announcement: TypeAlias = (
    AvailableCommands | CurrentMode | ConfigOptions | SessionInfo | ContextUsage | AgentNotice
)
"""What an agent may say outside of a turn."""

ANNOUNCEMENTS = (AvailableCommands, CurrentMode, ConfigOptions, SessionInfo, ContextUsage)


def within_limit(update: SessionUpdate) -> SessionUpdate:
    """An update as it is kept: words in place of an image or the like that is too large."""
    if not isinstance(update, AgentMessageChunk | AgentThoughtChunk):
        return update
    block = content.within_limit(update.content)
    return update if block is update.content else type(update)(block)


def is_turn_event(event: AgentEvent) -> bool:
    """Whether an event is of the turn: such a one may be its first event (T6)."""
    return not isinstance(event, ANNOUNCEMENTS)
