"""What a chat network delivers, made into rows: the session's identity, the frozen reply address,
a place for each file (S6, S34, Q7).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import structs

from actors.intake import MOST_FILES
from actors.oversized import LONGEST_NAME, admissible
from actors.services import Services
from runtime.ports.channel import Attachment, Inbound
from runtime.sessions.commands import command_in
from runtime.sessions.content import (
    FileBlock,
    StoredContent,
    storable,
    text_content,
)
from runtime.sessions.encoded import size_of
from runtime.sessions.keys import Place, session_key
from runtime.sessions.media import Media, MediaItem
from runtime.sessions.rows import (
    DropReason,
    InboundState,
    MessageKey,
    ReplyAddress,
    SessionSpec,
)
from runtime.storage.requests import NewInbound

S = TypeVar("S", bound=msgspec.Struct)


class Arrival(msgspec.Struct, frozen=True):
    """A message of a chat network.

    Args:
        row: what is admitted of it.
        session: whose it is.
        data: the bytes of its files, in base64, by their place; of those that are to be kept. None
            for others.
    """

    row: NewInbound
    session: SessionSpec
    data: tuple[str | None, ...] = ()

    @property
    def brings_bytes(self) -> bool:
        """Whether there is a file to be kept before it is admitted."""
        return any(each is not None for each in self.data)


def arrival(services: Services, channel: str, account: str, inbound: Inbound) -> Arrival:
    """A platform's message as it is admitted, also when it is too large. What the channel got wrong
    leaves as it is.
    """
    inbound = _writable(inbound)
    agent_id = services.default_agent
    place = Place(
        channel=channel,
        account=account,
        chat=inbound.chat,
        kind="group" if inbound.is_group else "direct",
        thread=inbound.thread,
        sender=inbound.sender.id,
    )
    reply_to = ReplyAddress(channel, account, inbound.chat, inbound.thread, inbound.message_id)
    session = SessionSpec(
        agent_id=agent_id,
        key=session_key(agent_id, place),
        chat_type="group" if inbound.is_group else "direct",
        display_name=_shortened(inbound.chat_name or inbound.sender.name),
        origin=reply_to,
        thread_id=inbound.thread,
    )
    limit = services.download_limit(channel, account)
    media = tuple(
        announced(attachment, limit, number)
        for number, attachment in enumerate(inbound.attachments)
    )
    content = said_with(inbound.text, media)
    expired = _is_expired(services, inbound)
    row = NewInbound(
        id=services.ids.new(),
        session=session,
        content=content,
        media=() if expired else media,
        sender=inbound.sender,
        reply_to=reply_to,
        key=MessageKey(channel, account, inbound.chat, inbound.message_id, inbound.version),
        limit=services.queue_limit,
        command=is_command(services, content),
        sent_at=inbound.sent_at,
        state=InboundState.EXPIRED if expired else InboundState.PENDING,
        reason=DropReason.EXPIRED.value if expired else None,
    )
    row = admissible(row, takes_files=limit > 0)
    data = (
        None if item.problem is not None else attachment.data
        for item, attachment in zip(row.media, inbound.attachments, strict=False)
    )
    return Arrival(row, session, tuple(data))


def is_command(services: Services, content: StoredContent) -> bool:
    """Whether a message is a command: one can always be given, however many wait (S36)."""
    triggers = services.settings.sessions.reset_triggers
    return command_in(content, triggers=triggers) is not None


def announced(attachment: Attachment, limit: int, number: int) -> MediaItem:
    """A file as it is known before it is fetched, or its bytes are looked at (Q7, A1).

    Args:
        attachment: what the network says of it.
        limit: the largest that is taken, in bytes.
        number: how many files of the message come before it.
    """
    data = attachment.data
    item = MediaItem(
        kind=attachment.kind,
        name=_shortened(attachment.name),
        mime_type=attachment.mime_type,
        size=attachment.size if data is None else size_of(data),
        reference=attachment.reference if data is None else None,
    )
    problem = None
    if number >= MOST_FILES:
        problem = f"a message brings at most {MOST_FILES} files"
    elif limit <= 0:
        problem = "files of this chat are not taken"
    elif item.size is not None and item.size > limit:
        problem = f"it is larger than {limit / 1024**2:.4g} MiB"
    elif data == "":
        problem = "there are no bytes in it"
    return item if problem is None else structs.replace(item, problem=problem, reference=None)


def said_with(text: str, media: Media) -> StoredContent:
    """A text, and a place for each file after it."""
    places = (
        FileBlock(index, item.kind, item.name, item.mime_type) for index, item in enumerate(media)
    )
    return (*(text_content(text) if text or not media else ()), *places)


def _is_expired(services: Services, inbound: Inbound) -> bool:
    age = services.settings.sessions.max_message_age
    if age is None or inbound.sent_at is None:
        return False
    return services.now() - inbound.sent_at > age * 1000


def _writable(inbound: Inbound) -> Inbound:
    """A message whose texts and ids are all made of characters."""
    return structs.replace(
        _of_characters(inbound),
        sender=_of_characters(inbound.sender),
        attachments=tuple(map(_of_characters, inbound.attachments)),
    )


def _of_characters(said: S) -> S:
    texts = {
        name: storable(value)
        for name, value in structs.asdict(said).items()
        if isinstance(value, str) and name != "data"  # which is long, and never stored as text
    }
    return structs.replace(said, **texts)


def _shortened(name: str | None) -> str | None:
    return None if name is None else name[:LONGEST_NAME]
