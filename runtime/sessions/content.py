"""What a message is made of: content blocks in the shape of the Agent Client Protocol.

===============  ===============================================================================
`Content`        what people see of a message: text, links, embedded text
`StoredContent`  what a row has: the same, with a `FileBlock` in the place of each file
`PromptContent`  what an agent is given: the same, with the files as links, images and sounds
`SaidContent`    what a client sends: all that the protocol has
===============  ===============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
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


class TextResource(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The text of a resource, sent along with the message that speaks of it."""

    uri: str
    text: str
    mime_type: str | None = None


class EmbeddedResource(msgspec.Struct, frozen=True, tag_field="type", tag="resource"):
    """A resource that a person sends along, so that the agent need not fetch it."""

    resource: TextResource


class FileBlock(msgspec.Struct, frozen=True, tag_field="type", tag="file", omit_defaults=True):
    """The place of a file in a message: the item of that index in the message's media.

    Never from outside: what comes with a message is put into the media store first.
    """

    index: int
    kind: str = "file"
    name: str | None = None
    mime_type: str | None = None


ContentBlock: TypeAlias = TextBlock | ResourceLink | EmbeddedResource

Content: TypeAlias = tuple[ContentBlock, ...]

StoredBlock: TypeAlias = ContentBlock | FileBlock

StoredContent: TypeAlias = tuple[StoredBlock, ...]


class ImageBlock(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="image",
    rename="camel",
    omit_defaults=True,
):
    """An image, in base64."""

    data: str
    mime_type: str
    uri: str | None = None


class SoundMark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What its sender says of a sound. ``voice``: it is what somebody says (H5)."""

    voice: bool = False


class SoundMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """A ``_meta`` member with our part of it."""

    runtime: SoundMark | None = None


class AudioBlock(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="audio",
    rename="camel",
    omit_defaults=True,
):
    """A sound, in base64."""

    data: str
    mime_type: str
    meta: SoundMeta | None = msgspec.field(name="_meta", default=None)

    @classmethod
    def of_voice(cls, data: str, mime_type: str) -> AudioBlock:
        """A voice note: where there is a transcriber, the agent is given its words."""
        return cls(data, mime_type, SoundMeta(SoundMark(voice=True)))

    @property
    def is_voice(self) -> bool:
        """Whether its sender calls it a voice note."""
        return self.meta is not None and self.meta.runtime == SoundMark(voice=True)


class ResourceContents(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A resource as an agent sends it: ``text``, or ``blob`` in base64."""

    uri: str
    text: str | None = None
    blob: str | None = None
    mime_type: str | None = None


class AgentResource(msgspec.Struct, frozen=True, tag_field="type", tag="resource"):
    """A resource that an agent sends along, of text or of bytes."""

    resource: ResourceContents


AgentBlock: TypeAlias = TextBlock | ResourceLink | AgentResource | ImageBlock | AudioBlock
"""What an agent may say, and a client: all that the protocol has."""

SaidContent: TypeAlias = tuple[AgentBlock, ...]


class LocalFile(msgspec.Struct, frozen=True):
    """A link to a file of this machine that its sender may have read: it is kept with the message.

    Never from outside as it is: whoever makes one has seen to that.

    Args:
        link: as it was said; it stays when there is no file that can be kept.
        path: absolute, with no symbolic link in it.
    """

    link: ResourceLink
    path: Path


SaidBlock: TypeAlias = AgentBlock | EmbeddedResource | LocalFile
"""What is said to a session, with what the runtime has found out about it."""

PromptBlock: TypeAlias = ContentBlock | ImageBlock | AudioBlock

PromptContent: TypeAlias = tuple[PromptBlock, ...]

AnyBlock: TypeAlias = StoredBlock | SaidBlock

ATTACHMENT = "attachment:"
"""How the address of a file begins that is shown, and leads nowhere."""

MEDIA_LIMIT = 65_536
"""Characters of base64 that are kept of one image, sound or binary resource of an agent."""

_SURROGATES = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """Text without halves of surrogate pairs, which are no characters and cannot be written."""
    if text.isascii():  # known without a look at it, and files in base64 are long
        return text
    return _SURROGATES.sub("\ufffd", text)


def text_content(text: str) -> tuple[TextBlock, ...]:
    """Content of one text block."""
    return (TextBlock(text),)


def within_limit(block: AgentBlock) -> AgentBlock:
    """A block as it is kept: words in place of more than `MEDIA_LIMIT` characters of base64."""
    match block:
        case ImageBlock(data=data) | AudioBlock(data=data):
            size = len(data)
        case AgentResource(resource=resource):
            size = len(resource.blob or "")
        case _:
            return block
    if size <= MEDIA_LIMIT:
        return block
    return TextBlock(f"{_words(block)} (too large to be kept)")


def plain_text(blocks: Iterable[AnyBlock]) -> str:
    """The readable text of some content, a block after the other.

    Text is as it is, a link is ``name (uri)``, an embedded text follows a line with its address,
    and of what is no text the kind is named, as in ``[image: image/png]``, with the name that it
    came with, as in ``[image: cat.png]``.
    """
    return "\n".join(map(_words, blocks))


def is_attachment(block: AnyBlock) -> bool:
    """Whether it stands for a file that came with a message, for people to see (`shown`)."""
    return isinstance(block, ResourceLink) and block.uri.startswith(ATTACHMENT)


def shown(content: StoredContent, message_id: str) -> Content:
    """A message's content as people see it: a file is a link that names it and leads nowhere."""
    return tuple(
        ResourceLink(
            name=block.name or block.kind,
            uri=f"{ATTACHMENT}{message_id}/{block.index}",
            mime_type=block.mime_type,
        )
        if isinstance(block, FileBlock)
        else block
        for block in content
    )


def _words(block: AnyBlock) -> str:
    match block:
        case FileBlock(kind=kind, name=name, mime_type=mime_type):
            return f"[{kind}: {name or mime_type or 'no name'}]"
        case TextBlock(text=text):
            return text
        case ResourceLink(name=name, uri=uri) | LocalFile(link=ResourceLink(name=name, uri=uri)):
            return f"{name} ({uri})"
        case ImageBlock(mime_type=mime_type):
            return f"[image: {mime_type}]"
        case AudioBlock(mime_type=mime_type):
            return f"[audio: {mime_type}]"
        case EmbeddedResource(resource=resource) | AgentResource(resource=resource):
            named = f"[resource: {resource.uri}]"
            return named if resource.text is None else f"{named}\n{resource.text}"
