"""Where every message enters: which session, then the store, then the session is told (D5, S6).

    Submit    a client's message to a session          → Admitted
    Deliver   messages of a push channel, with offset  → when they are durable

Each is admitted in a task of its own, so that all share the next commit; the answer comes after it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import structs

from actors.drafting import withdraw_of
from actors.intake import MOST_FILES, Intake
from actors.library import Staged
from actors.outbox import Due
from actors.services import Services
from actors.sessions import Wake
from runtime.kernel import Actor, ActorRef, Reply, Request
from runtime.log import get_logger
from runtime.ports.channel import Attachment, Inbound
from runtime.sessions.commands import command_in
from runtime.sessions.content import (
    FileBlock,
    StoredContent,
    plain_text,
    shown,
    storable,
    text_content,
)
from runtime.sessions.events import MessageAccepted
from runtime.sessions.keys import Place, session_key
from runtime.sessions.media import Media, MediaItem
from runtime.sessions.rows import (
    CLIENTS,
    DropReason,
    InboundState,
    MessageKey,
    ReplyAddress,
    Sender,
    SessionSpec,
)
from runtime.storage.errors import QueueFull, RowTooLarge
from runtime.storage.requests import (
    Admitted,
    ChannelOffset,
    Drop,
    NewInbound,
    NewOutbound,
)

IN_FLIGHT = 10_000
"""How many admissions may be under way; more are refused, since the disk does not keep up."""

LONGEST_NAME = 200
TOO_LARGE_NOTICE = "That message is too long: it was not taken."
LARGEST_TEXT = 200_000
"""Characters of a message from a chat network."""

LARGEST_MESSAGE = 900_000
"""Bytes of one with all that belongs to it; below what a row may have."""

S = TypeVar("S", bound=msgspec.Struct)

log = get_logger(__name__)


class Overloaded(Exception):
    """Too many messages wait for the disk; nothing was accepted."""


class Submit(Request[Admitted], frozen=True):
    """A message of a client that waits for an answer.

    ``files``: those that it brings or leads to, if any; when it begins, the router takes over what
    is there of them, and lets go of it when the message is accepted, or is not.
    """

    session_id: str
    content: StoredContent
    message_id: str | None = None
    connection: str | None = None
    sender: Sender | None = None
    files: Intake | None = None


class Deliver(Request[None], frozen=True):
    """Messages of one account of a push channel, and the offset that covers them."""

    channel: str
    account: str
    messages: tuple[Inbound, ...]
    offset: str | None = None


class Router(Actor[Submit | Deliver]):
    """Admits messages."""

    def __init__(self, services: Services, sessions: ActorRef[Wake], outbox: ActorRef[Due]) -> None:
        self._services = services
        self._sessions = sessions
        self._outbox = outbox
        self._in_flight = 0

    async def on_message(self, message: Submit | Deliver) -> object:
        match message:
            case Submit():
                submitted = self.defer(message)
                if self._has_room(submitted):
                    self.start(self._submit, message, submitted, name="submit")
            case Deliver():
                delivered = self.defer(message)
                if self._has_room(delivered):
                    self.start(self._deliver, message, delivered, name="deliver")
        return None

    def _has_room(self, reply: Reply[Any]) -> bool:
        if self._in_flight >= IN_FLIGHT:
            reply.fail(Overloaded("too many messages wait for the disk: send it again later"))
            return False
        self._in_flight += 1
        return True

    async def _submit(self, message: Submit, reply: Reply[Admitted]) -> None:
        staged = message.files.taken_over() if message.files is not None else ()
        if staged is None:
            self._in_flight -= 1
            reply.fail(Overloaded("it took too long, and nobody waits for it any more"))
            return
        try:
            (admitted,) = await self._services.store.admit((self._submitted(message, staged),))
        except Exception as error:
            if isinstance(error, QueueFull):
                self._services.metrics.refused_full.inc()
            reply.fail(error)
            return
        finally:
            self._in_flight -= 1
            # By now the message refers to its files, or nobody does.
            for each in staged:
                self._services.library.unstage(each)
        self._tell(admitted)
        reply.set(admitted)

    def _submitted(self, message: Submit, staged: tuple[Staged, ...]) -> NewInbound:
        """A client's message as a row."""
        return NewInbound(
            id=self._services.ids.new(),
            session=message.session_id,
            content=message.content,
            key=None
            if message.message_id is None
            else MessageKey(CLIENTS, "", message.session_id, message.message_id),
            limit=self._services.queue_limit,
            refuse_when_full=True,
            command=self._is_command(message.content),
            connection=message.connection,
            sender=message.sender,
            media=message.files.media if message.files is not None else (),
            blobs=tuple(each.blob for each in staged),
        )

    async def _deliver(self, message: Deliver, reply: Reply[None]) -> None:
        """A message that can never be stored is recorded as dropped, or it would come for ever."""
        offset = None
        if message.offset is not None:
            offset = ChannelOffset(message.channel, message.account, message.offset)
        try:
            # What a channel gets wrong is its own affair (N5).
            rows = tuple(self._inbound(message, inbound) for inbound in message.messages)
            fitting = tuple(row for row in rows if _fits(row))
            for row in rows:
                if not _fits(row):
                    await self._refuse_too_large(row)
            all_admitted = await self._services.store.admit(fitting, offset)
        except Exception as error:
            reply.fail(error)
            return
        finally:
            self._in_flight -= 1
        for admitted in all_admitted:
            self._tell(admitted)
        reply.set(None)

    async def _refuse_too_large(self, row: NewInbound) -> None:
        address, session = row.reply_to, row.session
        if address is None or isinstance(session, str):
            raise RowTooLarge("a message is too large")
        store = self._services.store
        drop = Drop(
            reason=DropReason.TOO_LARGE,
            channel=address.channel,
            account=address.account,
            chat=address.chat,
            sender=row.sender.id if row.sender is not None else None,
            platform_message_id=address.message_id,
        )
        await store.record_drop(drop)
        self._services.metrics.dropped.labels(reason=drop.reason.value).inc()
        known, _ = await store.resolve(session)
        notice = NewOutbound(self._services.ids.new(), address, TOO_LARGE_NOTICE, kind="notice")
        await store.notify(known.id, notice)
        self._outbox.tell(Due(address.channel, address.account))

    def _is_command(self, content: StoredContent) -> bool:
        """Whether a message is a command: one can always be given, however many wait (S36)."""
        triggers = self._services.settings.sessions.reset_triggers
        return command_in(content, triggers=triggers) is not None

    def _inbound(self, message: Deliver, inbound: Inbound) -> NewInbound:
        """A platform's message as a row: the session's identity, the frozen reply address (S6,
        S34).
        """
        settings = self._services.settings
        inbound = _writable(inbound)
        agent_id = self._services.default_agent
        place = Place(
            channel=message.channel,
            account=message.account,
            chat=inbound.chat,
            kind="group" if inbound.is_group else "direct",
            thread=inbound.thread,
            sender=inbound.sender.id,
        )
        reply_to = ReplyAddress(
            message.channel, message.account, inbound.chat, inbound.thread, inbound.message_id
        )
        now = self._services.now()
        limit = self._services.download_limit(message.channel, message.account)
        media = tuple(
            announced(attachment, limit, number)
            for number, attachment in enumerate(inbound.attachments)
        )
        content = said_with(inbound.text, media)
        age = settings.sessions.max_message_age
        expired = (
            age is not None and inbound.sent_at is not None and now - inbound.sent_at > age * 1000
        )
        return NewInbound(
            id=self._services.ids.new(),
            session=SessionSpec(
                agent_id=agent_id,
                key=session_key(agent_id, place),
                chat_type="group" if inbound.is_group else "direct",
                display_name=_shortened(inbound.chat_name or inbound.sender.name),
                origin=reply_to,
                thread_id=inbound.thread,
            ),
            content=content,
            media=() if expired else media,
            sender=inbound.sender,
            reply_to=reply_to,
            key=MessageKey(
                message.channel, message.account, inbound.chat, inbound.message_id, inbound.version
            ),
            limit=self._services.queue_limit,
            command=self._is_command(content),
            sent_at=inbound.sent_at,
            state=InboundState.EXPIRED if expired else InboundState.PENDING,
            reason=DropReason.EXPIRED.value if expired else None,
        )

    def _tell(self, admitted: Admitted) -> None:
        """Count it, show it, wake its session."""
        services, message = self._services, admitted.message
        if admitted.duplicate:
            services.metrics.duplicates.inc()
            return
        services.metrics.accepted.inc()
        session_id = admitted.session.id
        services.watchers.dropped(session_id, admitted.dropped, DropReason.CAP)
        if any(row.turn_id is not None for row in admitted.dropped):
            self.start(withdraw_of, services, admitted.dropped, name="drafts")
        for notice in admitted.notices:
            self._outbox.tell(Due(notice.reply_to.channel, notice.reply_to.account))
        if message.state is InboundState.PENDING:
            services.watchers.publish(
                session_id,
                MessageAccepted(message.id, message.seq, shown(message.content, message.id)),
            )
            news = Wake(session_id, (message,), admitted.dropped, admitted.overflow)
            self._sessions.tell(news)
        else:
            reason = DropReason(message.reason or DropReason.EXPIRED)
            services.watchers.dropped(session_id, (message,), reason)


def announced(attachment: Attachment, limit: int, number: int) -> MediaItem:
    """A file as it is known before it is fetched (Q7).

    Args:
        attachment: what the network says of it.
        limit: the largest that is taken, in bytes.
        number: how many files of the message come before it.
    """
    item = MediaItem(
        kind=attachment.kind,
        name=_shortened(attachment.name),
        mime_type=attachment.mime_type,
        size=attachment.size,
        reference=attachment.reference,
    )
    problem = None
    if number >= MOST_FILES:
        problem = f"a message brings at most {MOST_FILES} files"
    elif limit <= 0:
        problem = "files of this chat are not taken"
    elif attachment.size is not None and attachment.size > limit:
        problem = f"it is larger than {limit / 1024**2:.4g} MiB"
    return item if problem is None else structs.replace(item, problem=problem, reference=None)


def said_with(text: str, media: Media) -> StoredContent:
    """A text, and a place for each file after it."""
    places = (
        FileBlock(index, item.kind, item.name, item.mime_type) for index, item in enumerate(media)
    )
    return (*(text_content(text) if text or not media else ()), *places)


def _fits(row: NewInbound) -> bool:
    if len(plain_text(row.content)) > LARGEST_TEXT:
        return False
    parts = (row.content, row.media, row.sender, row.reply_to)
    return len(msgspec.json.encode(parts)) <= LARGEST_MESSAGE


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
        if isinstance(value, str)
    }
    return structs.replace(said, **texts)


def _shortened(name: str | None) -> str | None:
    return None if name is None else name[:LONGEST_NAME]
