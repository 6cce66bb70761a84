"""What an agent is given of the files of a prompt (H1, M9, N1).

Each file is a link to where the agent finds it on disk, and once more an image or a sound when the
agent takes such. A file that is not there has words in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import trio

from actors.inboxes import evicted_from, put_into_inbox
from actors.library import Library, MediaRefused
from actors.queue import Batch
from runtime.log import get_logger
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
from runtime.sessions.media import BlobRow, Media, MediaItem, MediaKind, is_outgoing
from runtime.sessions.prompting import build_prompt, prompt_media
from runtime.sessions.rows import SessionRow
from runtime.storage.inbox import Inbox
from runtime.storage.media_requests import MOST_TOLD

LARGEST_INLINE = 10 * 1024 * 1024
"""Bytes of a file that is put into the prompt itself; of a larger one the agent gets the link."""

INLINE_TOGETHER = 20 * 1024 * 1024
"""Bytes of all files that are put into one prompt; of those after them the agent gets the links."""

READ_LIMIT = 10.0
"""Seconds in which files are read for one prompt; of the others the agent gets the links."""

AND_OTHERS = "maybe others, which your next prompts name: see whether a file is there"

NOT_MADE = (
    "The runtime could not make a prompt of this message. Send it again; its log says what failed."
)

USUAL_TYPES = {
    MediaKind.IMAGE: "image/jpeg",
    MediaKind.AUDIO: "audio/mpeg",
    MediaKind.VOICE: "audio/ogg",
}


log = get_logger(__name__)


class NotMade(Exception):
    """There is no prompt, which is not the agent's fault; the text is for people."""


async def prompt_of(
    batch: Batch,
    library: Library,
    session: SessionRow,
    evicted: Sequence[BlobRow],
    can: AgentCapabilities,
) -> PromptContent:
    """The prompt of a batch, as an agent can take it.

    Args:
        batch: the messages.
        library: has the files.
        session: the session.
        evicted: files that were removed and that the agent is to be told of (M9).
        can: what the agent takes.

    Raises:
        NotMade: something failed, which is logged.
    """
    try:
        return await _prompt_of(batch, library, session, evicted, can)
    except Exception as error:
        log.exception("prompt_not_made", turn=batch.turn_id)
        raise NotMade(NOT_MADE) from error


async def _prompt_of(
    batch: Batch,
    library: Library,
    session: SessionRow,
    evicted: Sequence[BlobRow],
    can: AgentCapabilities,
) -> PromptContent:
    content = build_prompt(
        batch.rows,
        overflow=batch.overflow,
        more=batch.more,
        context=batch.context,
        collected=batch.collected,
        interrupted=any(row.interrupted for row in batch.rows),
        cap=max(1, len(batch.overflow)),
        evicted=_words_of(evicted, library, _inbox_of(session, library, can)),
    )
    media = prompt_media(batch.rows, batch.context)
    return await given_to_agent(library, session, content, media, can)


def _inbox_of(session: SessionRow, library: Library, can: AgentCapabilities) -> Inbox | None:
    return library.inboxes.of(session.agent_id, session.id) if can.inbox else None


def _words_of(evicted: Sequence[BlobRow], library: Library, inbox: Inbox | None) -> tuple[str, ...]:
    """What is gone. What is not named yet is said to be gone all the same."""
    words = tuple(_gone(row, library, inbox) for row in evicted)
    return words if len(words) < MOST_TOLD else (*words, AND_OTHERS)


def _gone(row: BlobRow, library: Library, inbox: Inbox | None) -> str:
    """An evicted file, for the agent that knew it: by where it was, or by its name only when it is
    one that the agent had made.
    """
    moment = datetime.fromtimestamp((row.evicted_at or 0) / 1000, UTC)
    named = " ".join((row.name or "").split())  # a name is no line of ours
    if not is_outgoing(row.file):
        path = library.path(row.session_id, row.file)
        uri = (path if inbox is None else evicted_from(inbox, row)).as_uri()
        named = f"{named} ({uri})" if named else uri
    return f"{named}, at {moment:%Y-%m-%d %H:%M} UTC"


async def given_to_agent(
    library: Library,
    session: SessionRow,
    content: StoredContent,
    media: Media,
    can: AgentCapabilities,
) -> PromptContent:
    """A prompt's content as an agent can take it.

    Args:
        library: has the files.
        session: the session.
        content: the prompt, with places for files.
        media: the files that the places count through.
        can: what the agent takes.
    """
    blocks: list[PromptBlock] = []
    inbox = _inbox_of(session, library, can)
    room, deadline = INLINE_TOGETHER, trio.current_time() + READ_LIMIT
    for block in content:
        if not isinstance(block, FileBlock):
            blocks.append(block)
            continue
        item = media[block.index]
        words_or_link = await _link(library, session.id, inbox, item)
        blocks.append(words_or_link)
        if isinstance(words_or_link, ResourceLink) and _fits(item, can, room):
            shown = None
            with trio.move_on_at(deadline) as limit:
                shown = await _itself(library, session.id, item, words_or_link.uri)
            if limit.cancelled_caught:
                log.warning("media_not_read", session=session.id, reason="the disk is too slow")
            if shown is not None:
                blocks.append(shown)
                room -= item.size or 0
    return tuple(blocks)


async def _link(
    library: Library, session_id: str, inbox: Inbox | None, item: MediaItem
) -> TextBlock | ResourceLink:
    """Where an agent finds a file, or the words that take its place."""
    called = " ".join((item.name or "").split())  # a name is no line of ours
    named = f"{item.kind}: {called}" if called else str(item.kind)
    if item.transcript is not None:
        return TextBlock(f"[{named}, as text:]\n{item.transcript}")
    if item.file is None or not library.has(session_id, item.file):
        why = item.problem or "it was removed to make room"
        return _absent(named, why, item)
    path = library.path(session_id, item.file)
    if inbox is not None:
        try:
            path = await put_into_inbox(library, inbox, session_id, item)
        except MediaRefused as error:
            return _absent(named, str(error), item)
    return ResourceLink(
        name=item.name or item.file,
        uri=path.as_uri(),
        description=None if item.source is None else f"a copy of {item.source}",
        mime_type=item.mime_type,
        size=item.size,
    )


def _absent(named: str, why: str, item: MediaItem) -> TextBlock:
    """The words that take the place of a file; where there is another one of it, they say that."""
    where = "" if item.source is None else " " + "".join(item.source.split())
    return TextBlock(f"[{named}: not here: {why}]{where}")


def _fits(item: MediaItem, can: AgentCapabilities, room: int) -> bool:
    """Whether an agent takes a file itself, and it is small enough for that."""
    takes = can.images if item.kind is MediaKind.IMAGE else can.audio
    return takes and item.kind in USUAL_TYPES and (item.size or 0) <= min(LARGEST_INLINE, room)


async def _itself(
    library: Library, session_id: str, item: MediaItem, uri: str
) -> ImageBlock | AudioBlock | None:
    """An image or a sound; None when it cannot be read."""
    data = await library.read_base64(session_id, item.file or "")
    if data is None:
        return None
    mime_type = item.mime_type or USUAL_TYPES[item.kind]
    if item.kind is MediaKind.IMAGE:
        return ImageBlock(data, mime_type, uri)
    return AudioBlock(data, mime_type)
