"""The parts of the Agent Client Protocol, version 1, that the runtime serves as an agent.

The shapes follow the published schema (https://agentclientprotocol.com/protocol/schema). Members
that are not named here are accepted and ignored, as the protocol asks; of ``_meta``, our own part
is read (`runtime.protocol.extensions`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from runtime.protocol.extensions import (
    ListedMark,
    NewMeta,
    PromptMark,
    PromptMeta,
    RuntimeMark,
    ServerMark,
    SessionMark,
    UpdateMark,
)
from runtime.sessions.content import Content

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

SessionId = Annotated[str, msgspec.Meta(description="The session, as `session/new` named it.")]
WorkingDirectory = Annotated[
    str,
    msgspec.Meta(description="Accepted, not used: the agent works in its own folder."),
]
McpServers = Annotated[
    list[dict[str, Any]],
    msgspec.Meta(description="Accepted, not passed on to the agent."),
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


class PromptCapabilities(msgspec.Struct, frozen=True, rename="camel"):
    """Which content blocks a prompt may have besides text and resource links."""

    image: bool = False
    audio: bool = False
    embedded_context: bool = False


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


class SetConfigOptionParams(msgspec.Struct, frozen=True, rename="camel"):
    """Set one setting of a session."""

    session_id: SessionId
    config_id: str
    value: str


class SetConfigOptionResult(msgspec.Struct, frozen=True, rename="camel"):
    """All settings of the session as they are now."""

    config_options: tuple[ConfigOption, ...]


# -- sessions ---------------------------------------------------------------------------------


class NewSessionParams(msgspec.Struct, frozen=True, rename="camel"):
    """Make a session; with a key, the session of that key."""

    cwd: WorkingDirectory
    mcp_servers: McpServers
    meta: RuntimeMark[NewMeta] | None = msgspec.field(name="_meta", default=None)


class NewSessionResult(msgspec.Struct, frozen=True, rename="camel"):
    """The session. From now on this connection receives its updates."""

    session_id: str
    config_options: tuple[ConfigOption, ...]
    meta: RuntimeMark[SessionMark] = msgspec.field(name="_meta")


class AttachParams(msgspec.Struct, frozen=True, rename="camel"):
    """Follow a session that exists."""

    session_id: SessionId
    cwd: WorkingDirectory
    mcp_servers: McpServers | None = None


class AttachResult(msgspec.Struct, frozen=True, rename="camel"):
    """The session's settings. From now on this connection receives its updates."""

    config_options: tuple[ConfigOption, ...]
    meta: RuntimeMark[SessionMark] = msgspec.field(name="_meta")


class ListSessionsParams(msgspec.Struct, frozen=True, rename="camel"):
    """A page of sessions, most recently active first."""

    cursor: str | None = None
    cwd: Annotated[
        str | None, msgspec.Meta(description="Accepted, not used: sessions have no folder.")
    ] = None


class ListedSession(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A session. ``cwd`` is always ``/``: the member is required, and sessions have no folder."""

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
    prompt: Annotated[
        Content,
        msgspec.Meta(
            min_length=1, description="Text and resource links; at least one that is not blank."
        ),
    ]
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
