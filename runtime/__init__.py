"""Greenroom: the session runtime for chat-driven AI agents.

    import runtime

    async with runtime.open_runtime(settings, agents={"mine": MyAgent()}) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        async for update in turn:
            ...

The names below are loaded when they are first used, so that a command that needs none of them does
not pay for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from runtime.app import Runtime, open_runtime
    from runtime.embedding import Session, Turn, TurnFailed
    from runtime.ports.agent import (
        Agent,
        AgentCapabilities,
        AgentContext,
        AgentGone,
        AgentHandle,
        AgentRefused,
        AgentUnusable,
        Offers,
        PromptTurn,
    )
    from runtime.ports.channel import Channel, ChannelCapabilities
    from runtime.ports.front import (
        BadRequest,
        FrontError,
        NoSuchAgent,
        NoSuchSession,
        Outcome,
        QueueIsFull,
        Refused,
        SessionBlocked,
        Submitted,
        Unavailable,
    )
    from runtime.sessions.content import (
        AudioBlock,
        EmbeddedResource,
        ImageBlock,
        LocalFile,
        ResourceLink,
        TextBlock,
        plain_text,
    )
    from runtime.sessions.events import Notice, PermissionAsked
    from runtime.sessions.updates import (
        AgentMessageChunk,
        AgentNotice,
        AgentThoughtChunk,
        AvailableCommands,
        ConfigOptions,
        PermissionOption,
        PermissionRequest,
        PermissionSettled,
        Plan,
        Result,
        ToolCall,
        ToolCallUpdate,
    )
    from runtime.settings import Settings, SettingsError

_WHERE = {
    "runtime.app": ("Runtime", "open_runtime"),
    "runtime.embedding": ("Session", "Turn", "TurnFailed"),
    "runtime.ports.agent": (
        "Agent",
        "AgentCapabilities",
        "AgentContext",
        "AgentGone",
        "AgentHandle",
        "AgentRefused",
        "AgentUnusable",
        "Offers",
        "PromptTurn",
    ),
    "runtime.ports.channel": ("Channel", "ChannelCapabilities"),
    "runtime.ports.front": (
        "BadRequest",
        "FrontError",
        "NoSuchAgent",
        "NoSuchSession",
        "Outcome",
        "QueueIsFull",
        "Refused",
        "SessionBlocked",
        "Submitted",
        "Unavailable",
    ),
    "runtime.sessions.content": (
        "AudioBlock",
        "EmbeddedResource",
        "ImageBlock",
        "LocalFile",
        "ResourceLink",
        "TextBlock",
        "plain_text",
    ),
    "runtime.sessions.events": ("Notice", "PermissionAsked"),
    "runtime.sessions.updates": (
        "AgentMessageChunk",
        "AgentNotice",
        "AgentThoughtChunk",
        "AvailableCommands",
        "ConfigOptions",
        "PermissionOption",
        "PermissionRequest",
        "PermissionSettled",
        "Plan",
        "Result",
        "ToolCall",
        "ToolCallUpdate",
    ),
    "runtime.settings": ("Settings", "SettingsError"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "Agent",
    "AgentCapabilities",
    "AgentContext",
    "AgentGone",
    "AgentHandle",
    "AgentMessageChunk",
    "AgentNotice",
    "AgentRefused",
    "AgentThoughtChunk",
    "AgentUnusable",
    "AudioBlock",
    "AvailableCommands",
    "BadRequest",
    "Channel",
    "ChannelCapabilities",
    "ConfigOptions",
    "EmbeddedResource",
    "FrontError",
    "ImageBlock",
    "LocalFile",
    "NoSuchAgent",
    "NoSuchSession",
    "Notice",
    "Offers",
    "Outcome",
    "PermissionAsked",
    "PermissionOption",
    "PermissionRequest",
    "PermissionSettled",
    "Plan",
    "PromptTurn",
    "QueueIsFull",
    "Refused",
    "ResourceLink",
    "Result",
    "Runtime",
    "Session",
    "SessionBlocked",
    "Settings",
    "SettingsError",
    "Submitted",
    "TextBlock",
    "ToolCall",
    "ToolCallUpdate",
    "Turn",
    "TurnFailed",
    "Unavailable",
    "__version__",
    "open_runtime",
    "plain_text",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
