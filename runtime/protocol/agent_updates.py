"""What an agent says in `session/update`, as the runtime's own updates.

Nothing that can be made sense of is lost: a block of an unknown kind becomes words, an optional
member that cannot be read is left out.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from runtime.protocol.extensions import RuntimeMark
from runtime.protocol.lenient import Unusable, lenient
from runtime.sessions.content import TextBlock
from runtime.sessions.updates import (
    AgentMessageChunk,
    AgentThoughtChunk,
    AvailableCommands,
    ConfigOptions,
    ContextUsage,
    CurrentMode,
    Plan,
    SessionInfo,
    SessionUpdate,
    ToolCall,
    ToolCallUpdate,
    UserMessageChunk,
)

KINDS: dict[str, type[SessionUpdate]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        AgentMessageChunk,
        AgentThoughtChunk,
        UserMessageChunk,
        Plan,
        ToolCall,
        ToolCallUpdate,
        AvailableCommands,
        CurrentMode,
        ConfigOptions,
        SessionInfo,
        ContextUsage,
    )
}

LONGEST_SILENCE = 86_400_000
"""Milliseconds. No tool is waited for longer than a day."""


class _Kind(msgspec.Struct, frozen=True, rename="camel"):
    session_update: str


class _Chunk(msgspec.Struct, frozen=True):
    content: msgspec.Raw


class _Block(msgspec.Struct, frozen=True, rename="camel"):
    type: str = "content"
    mime_type: str | None = None
    name: str | None = None
    uri: str | None = None


class Timeout(msgspec.Struct, frozen=True, rename="camel"):
    """In ``_meta.runtime`` of a tool call: for how many milliseconds it may be silent (T4)."""

    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_SILENCE)] = 0


class ToolProgress(msgspec.Struct, frozen=True, rename="camel"):
    """What a tool call says of its time."""

    tool_call_id: str
    status: str | None = None
    meta: RuntimeMark[Timeout] | None = msgspec.field(name="_meta", default=None)


_update: msgspec.json.Decoder[Any] = msgspec.json.Decoder(SessionUpdate)
_progress = msgspec.json.Decoder(ToolProgress)


def read_update(raw: msgspec.Raw) -> SessionUpdate | None:
    """The update; None when it is of a kind that the runtime does not know.

    Raises:
        Unusable: it is of a known kind, but without what that kind needs.
    """
    try:
        update: SessionUpdate = _update.decode(raw)
    except msgspec.ValidationError:
        return _read_leniently(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Unusable(str(error)) from None
    return update


def declared_timeout(raw: msgspec.Raw) -> ToolProgress | None:
    """What a tool call or its update says of its time."""
    try:
        return _progress.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _read_leniently(raw: msgspec.Raw) -> SessionUpdate | None:
    kind = KINDS.get(lenient(raw, _Kind).session_update)
    if kind is None:
        return None
    if kind in (AgentMessageChunk, AgentThoughtChunk, UserMessageChunk):
        block = lenient(lenient(raw, _Chunk).content, _Block)
        described = block.mime_type or block.name or block.uri
        words = f"[{block.type}: {described}]" if described else f"[{block.type}]"
        return kind(content=TextBlock(words))
    return lenient(raw, kind)
