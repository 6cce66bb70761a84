"""A prompt's content as the agent can take it."""

from __future__ import annotations

from typing import Any

from runtime.protocol.acp_agent import PromptCapabilities
from runtime.sessions.content import (
    AudioBlock,
    EmbeddedResource,
    ImageBlock,
    PromptContent,
    TextBlock,
    plain_text,
)


def prompt_blocks(content: PromptContent, can: PromptCapabilities) -> tuple[Any, ...]:
    """The blocks of `session/prompt`. Text and links every agent takes; an embedded text that this
    one does not take becomes text, and an image or a sound is left out: there is a link to it.
    """
    blocks: list[Any] = []
    for block in content:
        match block:
            case EmbeddedResource() if not can.embedded_context:
                blocks.append(TextBlock(plain_text((block,))))
            case ImageBlock() if not can.image:
                pass
            case AudioBlock() if not can.audio:
                pass
            case _:
                blocks.append(block)
    return tuple(blocks)
