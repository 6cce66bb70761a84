"""What a message is made of: content blocks in the shape of the Agent Client Protocol."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

import msgspec


class TextBlock(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Plain text or Markdown."""

    text: str


class ResourceLink(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="resource_link",
    rename="camel",
    omit_defaults=True,
):
    """A reference to something the agent may be able to read by itself."""

    name: str
    uri: str
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    title: str | None = None


ContentBlock: TypeAlias = TextBlock | ResourceLink
Content: TypeAlias = tuple[ContentBlock, ...]


_SURROGATES = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """Text without halves of surrogate pairs, which are no characters and cannot be written."""
    return _SURROGATES.sub("\ufffd", text)


def text_content(text: str) -> Content:
    """Content of one text block."""
    return (TextBlock(text),)


def plain_text(blocks: Iterable[ContentBlock]) -> str:
    """The readable text of some content: text as it is, a link as ``name (uri)``, one per line."""
    return "\n".join(
        block.text if isinstance(block, TextBlock) else f"{block.name} ({block.uri})"
        for block in blocks
    )
