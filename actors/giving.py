"""What an agent is given of the files of a prompt (H1, M9, N1).

Each file is a link to where it is on disk, and once more an image or a sound when the agent takes
such. A file that is not there has words in its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from actors.library import Library
from runtime.ports.agent import AgentCapabilities
from runtime.sessions.content import (
    AudioBlock,
    FileBlock,
    ImageBlock,
    PromptBlock,
    PromptContent,
    ResourceLink,
    StoredContent,
    TextBlock,
)
from runtime.sessions.media import Media, MediaItem, MediaKind

LARGEST_INLINE = 10 * 1024 * 1024
"""Bytes of a file that is put into the prompt itself; of a larger one the agent gets the link."""

USUAL_TYPES = {
    MediaKind.IMAGE: "image/jpeg",
    MediaKind.AUDIO: "audio/mpeg",
    MediaKind.VOICE: "audio/ogg",
}


async def given_to_agent(
    library: Library,
    session_id: str,
    content: StoredContent,
    media: Media,
    can: AgentCapabilities,
) -> PromptContent:
    """A prompt's content as an agent can take it.

    Args:
        library: has the files.
        session_id: the session.
        content: the prompt, with places for files.
        media: the files that the places count through.
        can: what the agent takes.
    """
    blocks: list[PromptBlock] = []
    for block in content:
        if isinstance(block, FileBlock):
            async for given in _file(library, session_id, media[block.index], can):
                blocks.append(given)
        else:
            blocks.append(block)
    return tuple(blocks)


async def _file(
    library: Library, session_id: str, item: MediaItem, can: AgentCapabilities
) -> AsyncIterator[PromptBlock]:
    named = f"{item.kind}: {item.name}" if item.name else str(item.kind)
    if item.transcript is not None:
        yield TextBlock(f"[{named}, as text:]\n{item.transcript}")
        return
    if item.file is None or not library.has(session_id, item.file):
        why = item.problem or "it was removed to make room"
        yield TextBlock(f"[{named}: not here: {why}]")
        return
    uri = library.path(session_id, item.file).as_uri()
    yield ResourceLink(
        name=item.name or item.file, uri=uri, mime_type=item.mime_type, size=item.size
    )
    image = item.kind is MediaKind.IMAGE and can.images
    sound = item.kind in (MediaKind.AUDIO, MediaKind.VOICE) and can.audio
    if not (image or sound) or (item.size or 0) > LARGEST_INLINE:
        return
    data = await library.read_base64(session_id, item.file)
    if data is None:
        return
    mime_type = item.mime_type or USUAL_TYPES[item.kind]
    yield ImageBlock(data, mime_type, uri) if image else AudioBlock(data, mime_type)
