"""The parts of the Agent Client Protocol, version 1, that the runtime serves as an agent.

The shapes follow the published schema (https://agentclientprotocol.com/protocol/schema). Members
that are not named here are accepted and ignored, as the protocol asks; of ``_meta``, our own part
is read (`runtime.protocol.extensions`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from runtime.protocol.extensions import (
    ClientMark,
    ListedMark,
    NewMeta,
    PromptMark,
    PromptMeta,
    QuestionMark,
    RuntimeMark,
    ServerMark,
    SessionMark,
    UpdateMark,
)
from runtime.protocol.fields import Said, SessionId
from runtime.sessions.updates import PermissionOption

PROTOCOL_VERSION = 1
RESOURCE_NOT_FOUND = -32002

StopReason = Literal["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"]
STOP_REASONS: tuple[StopReason, ...] = (
    "end_turn",
    "max_tokens",
    "max_turn_requests",
    "refusal",
    "cancelled",
)

WorkingDirectory = Annotated[
    str,
    msgspec.Meta(
        description="Where the agent is to work: used inside `gateway.workspace_roots`, and for a "
        "client on this machine. Else the agent works in its own folder, and the answer says so."
    ),
]
McpServers = Annotated[
    list[dict[str, Any]],
    msgspec.Meta(
        max_length=64,
        description="Passed on to the agent when `gateway.client_mcp_servers` is set, and for a "
        "client on this machine; else the answer says that they are not.",
    ),
]


class Empty(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """No members."""


class Implementation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Who is at an end of the connection."""

    name: str
    version: str
    title: str | None = None


# -- initialize -------------------------------------------------------------------------------


class InitializeParams(msgspec.Struct, frozen=True, rename="camel"):
    """The first request on a connection."""

    protocol_version: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    client_capabilities: dict[str, Any] | None = None
    client_info: Implementation | None = None
    meta: RuntimeMark[ClientMark] | None = msgspec.field(name="_meta", default=None)


class PromptCapabilities(msgspec.Struct, frozen=True, rename="camel"):
    """Which content blocks a prompt may have besides text and resource links."""

    image: bool = True
    audio: bool = True
    embedded_context: bool = True


class McpCapabilities(msgspec.Struct, frozen=True, rename="camel"):
    """Which transports of MCP servers are passed on to agents."""

    http: bool = False
    sse: bool = False


class SessionCapabilities(msgspec.Struct, frozen=True, rename="camel"):
    """Which of the optional session methods there are: an empty object means yes."""

    list: Empty = Empty()
    resume: Empty = Empty()
    close: Empty = Empty()


class AgentCapabilities(msgspec.Struct, frozen=True, rename="camel"):
    """What the runtime can do."""

    load_session: bool = True
    prompt_capabilities: PromptCapabilities = PromptCapabilities()
    mcp_capabilities: McpCapabilities = McpCapabilities()
    session_capabilities: SessionCapabilities = SessionCapabilities()


class InitializeResult(msgspec.Struct, frozen=True, rename="camel"):
    """The version spoken from now on, and what the runtime can do."""

    protocol_version: int
    agent_capabilities: AgentCapabilities
    agent_info: Implementation
    meta: RuntimeMark[ServerMark] = msgspec.field(name="_meta")
    auth_methods: tuple[dict[str, Any], ...] = ()


# -- configuration ----------------------------------------------------------------------------


class SelectOption(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One value of a setting."""

    value: str
    name: str
    description: str | None = None


class ConfigOption(
    msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag_field="type", tag="select"
):
    """A setting of a session with its current value."""

    id: str
    name: str
    current_value: str
    options: tuple[SelectOption, ...]
    description: str | None = None


ConfigOptions = Annotated[
    tuple[dict[str, Any], ...],
    msgspec.Meta(
        description="`queue_mode`, then the settings of the agent; those of type `boolean` only "
        "for clients that announce `session.configOptions.boolean`."
    ),
]


class SessionMode(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A mode of the agent."""

    id: str
    name: str
    description: str | None = None


class ModeState(msgspec.Struct, frozen=True, rename="camel"):
    """The modes of the agent: the setting of category `mode` once more, for older clients."""

    current_mode_id: str
    available_modes: tuple[SessionMode, ...]


class SetModeParams(msgspec.Struct, frozen=True, rename="camel"):
    """Set the mode of the agent."""

    session_id: SessionId
    mode_id: str


class SetConfigOptionParams(msgspec.Struct, frozen=True, rename="camel"):
    """Set one setting of a session. ``type`` is `boolean` when the value is one."""

    session_id: SessionId
    config_id: str
    value: str | bool
    type: str | None = None


class SetConfigOptionResult(msgspec.Struct, frozen=True, rename="camel"):
    """All settings of the session as they are now."""

    config_options: ConfigOptions


# -- sessions ---------------------------------------------------------------------------------


class NewSessionParams(msgspec.Struct, frozen=True, rename="camel"):
    """Make a session; with a key, the session of that key."""

    cwd: WorkingDirectory
    mcp_servers: McpServers
    meta: RuntimeMark[NewMeta] | None = msgspec.field(name="_meta", default=None)


class NewSessionResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The session. From now on this connection receives its updates."""

    session_id: str
    config_options: ConfigOptions
    meta: RuntimeMark[SessionMark] = msgspec.field(name="_meta")
    modes: ModeState | None = None


class AttachParams(msgspec.Struct, frozen=True, rename="camel"):
    """Follow a session that exists."""

    session_id: SessionId
    cwd: WorkingDirectory
    mcp_servers: McpServers | None = None


class AttachResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The session's settings. From now on this connection receives its updates."""

    config_options: ConfigOptions
    meta: RuntimeMark[SessionMark] = msgspec.field(name="_meta")
    modes: ModeState | None = None


class ListSessionsParams(msgspec.Struct, frozen=True, rename="camel"):
    """A page of sessions, most recently active first."""

    cursor: str | None = None
    cwd: Annotated[
        str | None, msgspec.Meta(description="Accepted, not used: all sessions are listed.")
    ] = None


class ListedSession(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A session. ``cwd`` is where its agent works, ``/`` for a folder of the session's own."""

    session_id: str
    cwd: str
    meta: RuntimeMark[ListedMark] = msgspec.field(name="_meta")
    title: str | None = None
    updated_at: str | None = None


class ListSessionsResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A page of sessions, and where the next one begins."""

    sessions: tuple[ListedSession, ...]
    next_cursor: str | None = None


class SessionParams(msgspec.Struct, frozen=True, rename="camel"):
    """A session."""

    session_id: SessionId


# -- prompts ----------------------------------------------------------------------------------


class PromptParams(msgspec.Struct, frozen=True, rename="camel"):
    """Say something and wait for the end of the turn that answers it."""

    session_id: SessionId
    prompt: Said
    meta: RuntimeMark[PromptMeta] | None = msgspec.field(name="_meta", default=None)


class PromptResult(msgspec.Struct, frozen=True, rename="camel"):
    """The turn has ended, and all of its updates were sent before this."""

    stop_reason: StopReason
    meta: RuntimeMark[PromptMark] = msgspec.field(name="_meta")


class UpdateParams(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Something happened in a session. ``update`` is one of the protocol's session updates."""

    session_id: str
    update: Any
    meta: RuntimeMark[UpdateMark] | None = msgspec.field(name="_meta", default=None)


class CancelRequestParams(msgspec.Struct, frozen=True, rename="camel"):
    """Do not wait any more for the answer to a request, named by its id."""

    request_id: int | str | None


# -- permissions ------------------------------------------------------------------------------


class AskedToolCall(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the agent wants to do. All but the id is optional, and the protocol's own JSON."""

    tool_call_id: str
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    content: list[Any] | None = None
    locations: list[Any] | None = None
    raw_input: Any = None
    raw_output: Any = None


class PermissionParams(msgspec.Struct, frozen=True, rename="camel"):
    """The agent asks for permission, and waits."""

    session_id: str
    tool_call: AskedToolCall
    options: tuple[PermissionOption, ...]
    meta: RuntimeMark[QuestionMark] = msgspec.field(name="_meta")


class PermissionOutcome(msgspec.Struct, frozen=True, rename="camel"):
    """What a person decided. ``option_id`` is there when one was `selected`."""

    outcome: Literal["selected", "cancelled"]
    option_id: str | None = None


class PermissionResult(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of a client. Of several, the first one counts."""

    outcome: PermissionOutcome
