"""The channel port: what a chat network looks like to the runtime (N1–N5).

A channel object serves one account of one network. It is run by a supervised actor: `Channel.run`
receives, and is started again with backoff when it fails; `Channel.send` is called by the account's
delivery actor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from runtime.sessions.marks import SHORTEST_MESSAGES
from runtime.sessions.media import MediaKind
from runtime.sessions.rows import ReplyAddress, Sender
from runtime.sessions.split import Counting, split


class ChannelCapabilities(msgspec.Struct, frozen=True):
    """What a network can do (N1).

    Args:
        text_limit: the longest text of one message, as ``counting`` counts.
        counting: ``characters`` (code points), ``utf16`` (code units) or ``bytes`` (UTF-8).
        markdown: the dialect of formatted text; ``plain`` for none.
        edit: `Channel.edit` works: the final message takes the place of its draft.
        delete: `Channel.withdraw` works.
        drafts, draft_interval: `Channel.draft` works, not more often than once in so many seconds.
        typing, typing_interval: `Channel.typing` works, and is seen for so many seconds.
        idempotent_sends: `Channel.send` and `Channel.upload` with a key used before do not send
            twice.
        reconcile: `Channel.reconcile` can tell what became of a send.
        max_upload_bytes, max_download_bytes: the size of files out and in, also of those whose
            bytes come with their message; 0 for none.
        inline_images: `Channel.upload` can show an image in the chat.

    Raises:
        ValueError: ``text_limit`` is too small for answers to be split, or ``counting`` is unknown.
    """

    text_limit: int = 4_000
    counting: Counting = "characters"
    markdown: str = "plain"
    edit: bool = False
    delete: bool = False
    drafts: bool = False
    draft_interval: float = 1.0
    typing: bool = False
    typing_interval: float = 4.0
    threads: bool = False
    reactions: bool = False
    buttons: bool = False
    idempotent_sends: bool = False
    reconcile: bool = False
    polling: bool = False
    max_upload_bytes: int = 0
    max_download_bytes: int = 0
    inline_images: bool = False

    def __post_init__(self) -> None:
        split("", max(self.text_limit, SHORTEST_MESSAGES), self.counting)
        if self.text_limit < SHORTEST_MESSAGES:
            least = f"at least {SHORTEST_MESSAGES} is needed"
            raise ValueError(f"a text limit of {self.text_limit} is too small: {least}")


class Attachment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that came with a message: by reference, then it is fetched later (N3), or with its
    bytes, then it is kept before the message is durable (A1).

    Args:
        reference: by which `Channel.fetch` finds it, also after a restart; empty when there is
            ``data``.
        kind: what sort of file it is.
        name: what its sender called it.
        mime_type: as the network says.
        size: bytes, as the network says; its word is not relied on.
        data: its bytes in base64 (the standard alphabet, padded, without line breaks), when the
            network hands them over with the message. What is no base64 costs only the file: the
            sender is told, and the message goes on.

    Raises:
        ValueError: the kind is none of `MediaKind`: a message with it could not be read again. Or
            there is neither a reference nor data, or both.
    """

    reference: str = ""
    kind: MediaKind = MediaKind.FILE
    name: str | None = None
    mime_type: str | None = None
    size: int | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        if bool(self.reference) == (self.data is not None):
            raise ValueError("a file comes with a reference or with its data: with one of the two")
        kinds = [kind.value for kind in MediaKind]
        if self.kind not in kinds:
            raise ValueError(f"{self.kind!r} is no kind of file; there are {', '.join(kinds)}")


class Inbound(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as it arrived (N2). ``sent_at`` in milliseconds since 1970."""

    chat: str
    message_id: str
    sender: Sender
    text: str
    thread: str | None = None
    version: int = 0
    sent_at: int | None = None
    is_group: bool = False
    mention: bool = False
    reply_to: str | None = None
    chat_name: str | None = None
    attachments: tuple[Attachment, ...] = ()


class OutboundPart(msgspec.Struct, frozen=True):
    """A text to send. ``duplicate_risk``: an earlier attempt may have arrived; the text already
    says so.
    """

    reply_to: ReplyAddress
    text: str
    duplicate_risk: bool = False


UPLOAD_CHUNK = 64 * 1_024
"""Bytes of a file that are read at a time."""


@dataclass(frozen=True)
class OutboundFile:
    """A file to send (R7).

    Args:
        reply_to: where it goes.
        name: what it is called; of one part, without anything that is special in a path.
        mime_type: what its name speaks of.
        size: in bytes.
        inline: it is an image, and the network can show it.
        read: the bytes at an offset, at most so many; while it is being uploaded.
        caption: what is said with it; empty for nothing.
        duplicate_risk: an earlier attempt may have arrived; the caption says so.
    """

    reply_to: ReplyAddress
    name: str
    mime_type: str
    size: int
    inline: bool
    read: Callable[[int, int], Awaitable[bytes]]
    caption: str = ""
    duplicate_risk: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file from its beginning, a chunk at a time; may be asked for again.

        Raises:
            TransientFailure: it is shorter than it was, and not to be sent like that.
        """
        offset = 0
        while offset < self.size:
            chunk = await self.read(offset, min(UPLOAD_CHUNK, self.size - offset))
            if not chunk:
                raise TransientFailure(f"{self.name} was cut short while it was read")
            offset += len(chunk)
            yield chunk


class Receipt(msgspec.Struct, frozen=True):
    """The network took a message."""

    platform_message_id: str | None = None


class SendFailed(Exception):
    """Base of the three ways in which a send fails (N4)."""


class TransientFailure(SendFailed):
    """It was not sent, and may work later.

    Args:
        message: why.
        retry_after: seconds that the network asked to wait, None when it did not say.
        account: the whole account is to wait, and not this conversation only: until then nothing
            is sent for it, for an hour at most.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, *, account: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.account = account


class PermanentFailure(SendFailed):
    """It was not sent and never will be: the chat is gone, the text refused."""


class UnknownOutcome(SendFailed):
    """It may or may not have been sent: the connection broke in between."""


class Reconciled(msgspec.Struct, frozen=True):
    """What the network knows of an earlier send: ``sent`` with its receipt, ``not_sent``, or
    ``unresolved``.
    """

    outcome: Literal["sent", "not_sent", "unresolved"]
    receipt: Receipt | None = None


class Inlet(ABC):
    """Where a channel puts what arrives."""

    @abstractmethod
    async def deliver(self, messages: Sequence[Inbound], offset: str | None = None) -> None:
        """Admit messages and, in the same transaction, the offset that covers them (D5).

        When it returns, all is durable and the network may be told. When it raises, nothing is:
        deliver the same again. A message delivered again is stored once.

        Raises:
            runtime.storage.errors.StoreUnavailable: the disk refuses; try later.
        """

    @abstractmethod
    async def offset(self) -> str | None:
        """The offset stored last."""


class Channel(ABC):
    """One account of one chat network."""

    name: str
    account: str = "default"
    capabilities: ChannelCapabilities = ChannelCapabilities()

    @abstractmethod
    async def run(self, inlet: Inlet) -> None:
        """Receive until cancelled. To return or to raise is to have lost the connection: it is run
        again.
        """

    @abstractmethod
    async def send(self, part: OutboundPart, key: str) -> Receipt:
        """Send one text. ``key`` is the same for each attempt at the same part.

        Raises:
            TransientFailure, PermanentFailure, UnknownOutcome: any other exception counts as
                unknown.
        """

    async def upload(self, file: OutboundFile, key: str) -> Receipt:
        """Send one file, of ``capabilities.max_upload_bytes`` at most. ``key`` as of `send`.

        Raises:
            TransientFailure, PermanentFailure, UnknownOutcome: as of `send`.
        """
        raise PermanentFailure(f"{self.name} takes no files")

    def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """The bytes of a file that came with a message: an async generator, closed when enough was
        read. Where ``capabilities.max_download_bytes``.

        It goes only to where the network keeps its files: a reference may have been made by a
        stranger.

        Raises:
            TransientFailure: not now; it is tried again a few times.
            PermanentFailure: the file is not to be had. Any other exception counts like the first.
        """
        raise PermanentFailure(f"{self.name} hands over no files")

    async def edit(self, reply_to: ReplyAddress, platform_message_id: str, text: str) -> None:
        """Replace the text of a message sent before, where ``capabilities.edit``.

        To give it the text that it has already is no failure.

        Raises:
            PermanentFailure: it is not there, or cannot be edited any more: it is withdrawn then,
                and the text is sent as a message of its own.
            TransientFailure, UnknownOutcome: as of `send`; an edit may be repeated.
        """
        raise PermanentFailure(f"{self.name} cannot edit messages")

    async def draft(
        self, reply_to: ReplyAddress, text: str, platform_message_id: str | None
    ) -> str | None:
        """Show an answer in the making, where ``capabilities.drafts`` (R3).

        Args:
            reply_to: where the answer will go.
            text: what there is of it so far.
            platform_message_id: the message to replace; None makes one.

        Returns:
            The id of the message that shows it. None where a draft is no message, and goes by
            itself when the final one comes.

        Raises:
            TransientFailure, PermanentFailure, UnknownOutcome: as of `send`; nothing but the draft
                is lost. May be cancelled when the final message is not to wait any longer; where
                ``capabilities.delete``, a first one goes on, and is removed when it comes late.
        """
        raise PermanentFailure(f"{self.name} shows no drafts")

    async def withdraw(self, reply_to: ReplyAddress, platform_message_id: str) -> None:
        """Remove a draft that gets no final message in its place, where ``capabilities.delete``.

        That it is not there any more is no failure.

        Raises:
            PermanentFailure: it cannot be removed any more.
            TransientFailure, UnknownOutcome: as of `send`; a withdrawal may be repeated.
        """
        raise PermanentFailure(f"{self.name} cannot remove messages")

    async def typing(self, reply_to: ReplyAddress) -> None:  # noqa: B027 - cosmetic
        """Show that an answer is being written, where ``capabilities.typing``. Cosmetic (R4)."""

    async def reconcile(self, part: OutboundPart | OutboundFile, key: str) -> Reconciled:
        """Find out what became of an earlier send or upload, where ``capabilities.reconcile``."""
        return Reconciled("unresolved")
