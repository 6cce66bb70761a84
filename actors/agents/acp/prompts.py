"""A prompt's content as the agent can take it."""

from __future__ import annotations

from typing import Any

from runtime.protocol.acp_agent import PromptCapabilities
from runtime.sessions.content import Content, ResourceLink, TextBlock, plain_text


def prompt_blocks(content: Content, can: PromptCapabilities) -> tuple[Any, ...]:
    """The blocks of `session/prompt`. Text and links every agent takes; what this one does not take
    becomes text.
    """
    return tuple(
        block
        if isinstance(block, TextBlock | ResourceLink) or can.embedded_context
        else TextBlock(plain_text((block,)))
        for block in content
    )
