"""The Agent Client Protocol, version 1, between the runtime as a client and an agent.

The shapes follow the published schema (https://agentclientprotocol.com/protocol/schema); of what an
agent says, they have what the runtime uses. `runtime.protocol.lenient` reads them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from runtime.protocol.acp import PROTOCOL_VERSION, Empty, Implementation
from runtime.sessions.updates import PermissionOption, ToolCallUpdate

AUTH_REQUIRED = -32000
"""https://agentclientprotocol.com/protocol/v1/schema#errorcode"""


class _Sent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the runtime says."""


class _Heard(msgspec.Struct, frozen=True, rename="camel"):
    """What an agent says."""


# -- initialize -----------------------------------------------------------------------------------


class FileSystemCapabilities(_Sent, frozen=True, omit_defaults=False):
    """Which of the methods ``fs/*`` are served."""

    read_text_file: bool
    write_text_file: bool


class AuthCapabilities(_Sent, frozen=True, omit_defaults=False):
    """``terminal``: methods of that kind are listed; people are told the command."""

    terminal: bool = True


class ConfigOptionCapabilities(_Sent, frozen=True, omit_defaults=False):
    """Settings that are true or false are known."""

    boolean: Empty = Empty()


class ClientSessionCapabilities(_Sent, frozen=True, omit_defaults=False):
    """What is known of sessions."""

    config_options: ConfigOptionCapabilities = ConfigOptionCapabilities()


class ClientCapabilities(_Sent, frozen=True, omit_defaults=False):
    """What an agent may ask for."""

    fs: FileSystemCapabilities
    terminal: bool
    auth: AuthCapabilities = AuthCapabilities()
    session: ClientSessionCapabilities = ClientSessionCapabilities()


class InitializeParams(_Sent, frozen=True, omit_defaults=False):
    """The first request."""

    client_capabilities: ClientCapabilities
    client_info: Implementation
    protocol_version: int = PROTOCOL_VERSION


class PromptCapabilities(_Heard, frozen=True):
    """What a prompt may have besides text and links."""

    image: bool = False
    audio: bool = False
    embedded_context: bool = False


class McpCapabilities(_Heard, frozen=True):
    """How the agent reaches MCP servers besides starting them as processes."""

    http: bool = False
    sse: bool = False


class SessionCapabilities(_Heard, frozen=True):
    """Which of the optional methods there are: an object means yes."""

    resume: dict[str, Any] | None = None


class AgentCapabilities(_Heard, frozen=True):
    """What the agent can do."""

    load_session: bool = False
    prompt_capabilities: PromptCapabilities = PromptCapabilities()
    mcp_capabilities: McpCapabilities = McpCapabilities()
    session_capabilities: SessionCapabilities = SessionCapabilities()


class AuthVariable(_Heard, frozen=True):
    """A variable that the agent's process needs."""

    name: str
    optional: bool = False


class AuthMethod(_Heard, frozen=True):
    """A way to log in: ``agent`` by the agent itself, ``env_var`` by variables of its process,
    ``terminal`` by running it with these arguments.
    """

    name: str
    type: str = "agent"
    description: str | None = None
    vars: tuple[AuthVariable, ...] = ()
    link: str | None = None
    args: tuple[str, ...] = ()


class InitializeResult(_Heard, frozen=True):
    """The version that the agent speaks, and what it can do."""

    protocol_version: int
    agent_capabilities: AgentCapabilities = AgentCapabilities()
    auth_methods: tuple[AuthMethod, ...] = ()
    agent_info: Implementation | None = None


# -- sessions -------------------------------------------------------------------------------------


class OpenParams(_Sent, frozen=True, omit_defaults=False):
    """Of `session/new`."""

    cwd: str
    mcp_servers: tuple[dict[str, Any], ...]


class ReopenParams(_Sent, frozen=True, omit_defaults=False):
    """Of `session/load` and `session/resume`."""

    session_id: str
    cwd: str
    mcp_servers: tuple[dict[str, Any], ...]


class Mode(_Heard, frozen=True):
    """One of the modes of the older form."""

    id: str
    name: str
    description: str | None = None


class Modes(_Heard, frozen=True):
    """The modes of the older form."""

    current_mode_id: str
    available_modes: tuple[Mode, ...]


class Opened(_Heard, frozen=True):
    """What a session lets be chosen; after `session/new` its id as well."""

    session_id: str | None = None
    modes: Modes | None = None
    config_options: tuple[dict[str, Any], ...] | None = None


class SetModeParams(_Sent, frozen=True):
    """Of `session/set_mode`."""

    session_id: str
    mode_id: str


class SetOptionParams(_Sent, frozen=True):
    """Of `session/set_config_option`; ``type`` is ``boolean`` with such a value."""

    session_id: str
    config_id: str
    value: str | bool
    type: Literal["boolean"] | None = None


class OptionsSet(_Heard, frozen=True):
    """All settings as they are now."""

    config_options: tuple[dict[str, Any], ...]


# -- prompts --------------------------------------------------------------------------------------


class PromptParams(_Sent, frozen=True):
    """Of `session/prompt`."""

    session_id: str
    prompt: tuple[Any, ...]


class CancelParams(_Sent, frozen=True):
    """Of `session/cancel`."""

    session_id: str


Tokens: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class TokenUsage(_Heard, frozen=True):
    """The tokens of a turn."""

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    total_tokens: Tokens = 0


class PromptResult(_Heard, frozen=True):
    """The end of a turn."""

    stop_reason: str = "end_turn"
    usage: TokenUsage | None = None


class UpdateParams(_Heard, frozen=True):
    """Of `session/update`; `runtime.protocol.agent_updates` reads the update."""

    session_id: str
    update: msgspec.Raw


# -- what agents ask for --------------------------------------------------------------------------


class SessionParams(_Heard, frozen=True):
    """What all of them say: which session they are about."""

    session_id: str


class PermissionParams(_Heard, frozen=True):
    """Of `session/request_permission`."""

    session_id: str
    tool_call: ToolCallUpdate
    options: tuple[PermissionOption, ...]


class SelectedOutcome(_Sent, frozen=True, tag_field="outcome", tag="selected"):
    """Somebody chose."""

    option_id: str


class CancelledOutcome(_Sent, frozen=True, tag_field="outcome", tag="cancelled"):
    """Nobody chose."""


PermissionOutcome: TypeAlias = SelectedOutcome | CancelledOutcome


class PermissionAnswer(_Sent, frozen=True):
    """The answer to `session/request_permission`."""

    outcome: PermissionOutcome


class ReadFileParams(_Heard, frozen=True):
    """Of `fs/read_text_file`: from ``line`` on, counted from 1, at most ``limit`` lines."""

    session_id: str
    path: str
    line: int | None = None
    limit: int | None = None


class FileContent(_Sent, frozen=True):
    """The answer to `fs/read_text_file`."""

    content: str


class WriteFileParams(_Heard, frozen=True):
    """Of `fs/write_text_file`."""

    session_id: str
    path: str
    content: str


class Variable(_Heard, frozen=True):
    """A variable of a process."""

    name: str
    value: str


class CreateTerminalParams(_Heard, frozen=True):
    """Of `terminal/create`."""

    session_id: str
    command: str
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    cwd: str | None = None
    output_byte_limit: int | None = None


class TerminalParams(_Heard, frozen=True):
    """Of the other methods ``terminal/*``."""

    session_id: str
    terminal_id: str


class TerminalCreated(_Sent, frozen=True):
    """The answer to `terminal/create`."""

    terminal_id: str


class TerminalExit(_Sent, frozen=True, omit_defaults=False):
    """How a command ended: by its exit code, or by a signal."""

    exit_code: int | None
    signal: str | None


class TerminalOutput(_Sent, frozen=True):
    """What a command has written so far."""

    output: str
    truncated: bool
    exit_status: TerminalExit | None = None
