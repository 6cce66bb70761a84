"""The settings of an agent that speaks ACP."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from runtime.sessions.permissions import PermissionPolicy
from runtime.settings import PositiveSeconds, VariableNames
from runtime.settings.forms import OptionalPath, size_form

Files: TypeAlias = Literal["off", "read", "write"]

Text: TypeAlias = Annotated[str, Meta(min_length=1)]
Record: TypeAlias = Annotated[int, Meta(extra={"form": size_form(64 * 1024)})]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of an agent that speaks ACP.

    Args:
        command: the program and its arguments.
        env: variables that its process has beside the usual ones. Their values are never shown.
        pass_env: names of variables of the runtime that its process has as well.
        cwd: where it works; None for the workspace of the session, or the session's own folder.
        permissions: who answers when it asks: ``ask`` people, or ``allow`` or ``deny`` by itself.
        files: what it may do with files through the runtime, within the folder it works in.
        terminals: whether it may run commands through the runtime.
        idle_limit: seconds after which a process that nobody prompts is ended.
        max_record: bytes of the longest message that is read from it.
        mcp_servers: MCP servers for its sessions, as in the protocol. Never shown: they have keys.
    """

    command: Annotated[tuple[Text, ...], Meta(min_length=1)]
    env: Annotated[dict[str, str] | None, Meta(extra={"secret": True})] = None
    pass_env: VariableNames = ()
    cwd: OptionalPath = None
    permissions: PermissionPolicy = "ask"
    files: Files = "off"
    terminals: bool = False
    idle_limit: PositiveSeconds = 600.0
    max_record: Record = 32 * 1024 * 1024
    mcp_servers: Annotated[tuple[dict[str, Any], ...] | None, Meta(extra={"secret": True})] = None

    def __post_init__(self) -> None:
        for server in self.mcp_servers or ():
            if not server.get("name"):
                raise ValueError("a name for each of mcp_servers")
