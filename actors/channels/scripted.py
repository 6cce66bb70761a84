"""A chat network that does as it is told: for tests of whatever stands on the channel port.

    network = ScriptedChannel("test")
    network.script(Behaviour(fail="during"))            # the next send breaks in the middle
    await network.say("hello", chat="c1", sender="ann")     # returns when it is durable
    part = await network.sent(1)                          # waits for the first text that arrived

    await network.say("look", attachments=(Attachment("photo-1"),))     # fetched from `files`
    await network.say("look", attachments=(Attachment(data="aGVsbG8="),))   # comes along

What was sent and arrived at the "network" is in `ScriptedChannel.arrived`, duplicates included.
`ScriptedChannel.visible` is what a person sees in a chat now: drafts too, edits applied, withdrawn
messages gone. Drafts, edits, typing and withdrawals have scripts of their own:

    network.script(Behaviour(fail="before", retry_after=9), of="draft")
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import Literal, TypeAlias

import msgspec
import trio

from runtime.ports.channel import (
    Attachment,
    Channel,
    ChannelCapabilities,
    Inbound,
    Inlet,
    OutboundFile,
    OutboundPart,
    PermanentFailure,
    Receipt,
    Reconciled,
    TransientFailure,
    UnknownOutcome,
)
from runtime.sessions.rows import ReplyAddress, Sender

Call: TypeAlias = Literal["send", "upload", "edit", "draft", "typing", "withdraw"]

CHUNK = 64 * 1024
"""Bytes of a file that arrive at once."""


class Behaviour(msgspec.Struct, frozen=True):
    """How one call goes.

    Args:
        fail: ``before`` (refused for now, nothing arrived), ``during`` (broke, nothing arrived,
            nobody knows), ``after`` (arrived, but the receipt was lost), ``for_good`` (refused for
            ever), ``bug`` (raises something the port does not know); None succeeds.
        delay: seconds before anything happens.
        retry_after: what a refusal for now asks to wait, as a rate limit does.
        account: that limit is one of the whole account.
    """

    fail: Literal["before", "during", "after", "for_good", "bug"] | None = None
    delay: float = 0.0
    retry_after: float | None = None
    account: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """A text that reached the chat."""

    chat: str
    thread: str | None
    text: str
    key: str
    reply_to: str | None


class Shown(msgspec.Struct):
    """A message as a person sees it."""

    chat: str
    text: str


class Uploaded(msgspec.Struct, frozen=True):
    """A file that reached the chat."""

    name: str
    content: bytes
    mime_type: str
    inline: bool


class Done(msgspec.Struct, frozen=True):
    """A call other than a send that was begun.

    Args:
        call: which.
        at: when, in seconds of Trio's clock.
        chat: where.
        text: what a draft or an edit said.
        message: the id of the message that it was about.
    """

    call: Call
    at: float
    chat: str
    text: str = ""
    message: str | None = None


class ScriptedChannel(Channel):
    """One account of a network made for tests."""

    def __init__(
        self,
        name: str = "scripted",
        account: str = "default",
        capabilities: ChannelCapabilities | None = None,
    ) -> None:
        self.name = name
        self.account = account
        self.capabilities = capabilities if capabilities is not None else ChannelCapabilities()
        self.arrived: list[Arrival] = []
        self.attempts: list[str] = []
        self.done: list[Done] = []
        self.uploads: list[Uploaded] = []
        self.messages: dict[str, Shown] = {}
        self.connections = 0
        self._scripts: defaultdict[Call, deque[Behaviour]] = defaultdict(deque)
        self._ids: dict[str, str] = {}
        self._given = 0
        self._inlet: Inlet | None = None
        self._connected = trio.Event()
        self._lost = trio.Event()
        self._changed = trio.Event()
        self._serial = 0
        self._last: tuple[Inbound, ...] = ()
        self.files: dict[str, bytes | Behaviour] = {}
        self.fetched: list[str] = []
        self.let_files_go = trio.Event()
        self.let_files_go.set()

    # -- what a test does ---------------------------------------------------------------------

    def script(self, *behaviours: Behaviour, of: Call = "send") -> None:
        """The next sends, or calls of another kind, go like this, one each; after them all
        succeed.
        """
        self._scripts[of].extend(behaviours)

    def visible(self, chat: str = "chat") -> list[str]:
        """What a person sees in a chat now, from top to bottom."""
        return [shown.text for shown in self.messages.values() if shown.chat == chat]

    def calls(self, call: Call) -> list[Done]:
        """What was begun of one kind, in order."""
        return [done for done in self.done if done.call == call]

    def remove(self, message: str) -> None:
        """Somebody deletes a message in the chat."""
        del self.messages[message]

    async def say(
        self,
        text: str,
        *,
        chat: str = "chat",
        sender: str = "ann",
        thread: str | None = None,
        is_group: bool = False,
        message_id: str | None = None,
        sent_at: int | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> str:
        """Somebody writes; returns the message's id when the runtime has made it durable."""
        self._serial += 1
        inbound = Inbound(
            chat=chat,
            message_id=message_id if message_id is not None else f"m{self._serial}",
            sender=Sender(sender, sender.title()),
            text=text,
            thread=thread,
            is_group=is_group,
            sent_at=sent_at,
            attachments=attachments,
        )
        await self.put(inbound)
        return inbound.message_id

    async def put(self, *messages: Inbound, offset: str | None = None) -> None:
        """Messages arrive together, under one polling offset."""
        while self._inlet is None:
            await self._connected.wait()
        self._last = messages
        await self._inlet.deliver(messages, offset)

    async def redeliver(self) -> None:
        """The network sends what it sent last once more."""
        await self.put(*self._last)

    def lose_connection(self) -> None:
        """The connection breaks; `run` raises and has to be run again."""
        self._lost.set()
        self._connected = trio.Event()
        self._inlet = None

    async def sent(self, count: int, *, timeout: float = 30.0) -> list[Arrival]:
        """Wait until so many texts have arrived. Raises trio.TooSlowError."""
        with trio.fail_after(timeout):
            while len(self.arrived) < count:
                await self._changed.wait()
        return list(self.arrived)

    async def called(self, call: Call, count: int = 1, *, timeout: float = 30.0) -> list[Done]:
        """Wait until so many calls of one kind were begun. Raises trio.TooSlowError."""
        with trio.fail_after(timeout):
            while len(self.calls(call)) < count:
                await self._changed.wait()
        return self.calls(call)

    async def attempted(self, count: int, *, timeout: float = 30.0) -> list[str]:
        """Wait until so many sends were tried; their keys. Raises trio.TooSlowError."""
        with trio.fail_after(timeout):
            while len(self.attempts) < count:
                await self._changed.wait()
        return list(self.attempts)

    # -- what the runtime does ----------------------------------------------------------------

    async def run(self, inlet: Inlet) -> None:
        self.connections += 1
        self._inlet = inlet
        self._lost = trio.Event()
        self._connected.set()
        await self._lost.wait()
        raise ConnectionError("the connection was lost, as scripted")

    async def send(self, part: OutboundPart, key: str) -> Receipt:
        self.attempts.append(key)
        self._notify()
        receipt_lost = await self._behave("send")
        receipt = self._arrive(part, key)
        if receipt_lost:
            raise UnknownOutcome("the receipt was lost, as scripted")
        return receipt

    async def upload(self, file: OutboundFile, key: str) -> Receipt:
        self._note("upload", file.reply_to.chat, file.caption, file.name)
        receipt_lost = await self._behave("upload")
        content = b"".join([chunk async for chunk in file.chunks()])
        if not (self.capabilities.idempotent_sends and key in self._ids):
            self.uploads.append(Uploaded(file.name, content, file.mime_type, file.inline))
            shown = f"[{file.name}] {file.caption}".rstrip()
            self._ids[key] = self._show(file.reply_to.chat, shown)
        self._notify()
        if receipt_lost:
            raise UnknownOutcome("the receipt was lost, as scripted")
        return Receipt(self._ids[key])

    async def edit(self, reply_to: ReplyAddress, platform_message_id: str, text: str) -> None:
        await self._change("edit", reply_to, platform_message_id, text)

    async def draft(
        self, reply_to: ReplyAddress, text: str, platform_message_id: str | None
    ) -> str | None:
        return await self._change("draft", reply_to, platform_message_id, text)

    async def withdraw(self, reply_to: ReplyAddress, platform_message_id: str) -> None:
        await self._change("withdraw", reply_to, platform_message_id, None)

    async def typing(self, reply_to: ReplyAddress) -> None:
        self._note("typing", reply_to.chat, "", None)
        if await self._behave("typing"):
            raise UnknownOutcome("the receipt was lost, as scripted")

    async def reconcile(self, part: OutboundPart | OutboundFile, key: str) -> Reconciled:
        if key in self._ids:
            return Reconciled("sent", Receipt(self._ids[key]))
        return Reconciled("not_sent")

    async def _change(
        self, call: Call, address: ReplyAddress, message: str | None, text: str | None
    ) -> str:
        """Make, replace or remove (None) a message."""
        self._note(call, address.chat, text or "", message)
        receipt_lost = await self._behave(call)
        if text is None:
            message = str(message)
            self.messages.pop(message, None)
        elif message is not None and message not in self.messages:
            raise PermanentFailure("there is no such message")
        elif message is None:
            message = self._show(address.chat, text)
        else:
            self.messages[message].text = text
        self._notify()
        if receipt_lost:
            raise UnknownOutcome("the receipt was lost, as scripted")
        return message

    async def _behave(self, call: Call) -> bool:
        """Go as scripted; whether the receipt is lost after it was done."""
        script = self._scripts[call]
        behaviour = script.popleft() if script else Behaviour()
        await trio.sleep(behaviour.delay)
        match behaviour.fail:
            case "before":
                raise TransientFailure(
                    "not now, as scripted", behaviour.retry_after, account=behaviour.account
                )
            case "for_good":
                raise PermanentFailure("the chat is gone, as scripted")
            case "during":
                raise UnknownOutcome("the connection broke, as scripted")
            case "bug":
                raise RuntimeError("a bug, as scripted")
        return behaviour.fail == "after"

    async def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """The bytes under a reference in `files`; what is scripted there fails like a send."""
        self.fetched.append(attachment.reference)
        self._notify()
        await self.let_files_go.wait()
        content = self.files.get(attachment.reference)
        if isinstance(content, Behaviour):
            await trio.sleep(content.delay)
            match content.fail:
                case "for_good":
                    raise PermanentFailure("the file is gone, as scripted")
                case "bug":
                    raise RuntimeError("a bug, as scripted")
                case "during":
                    yield b"the beginning of it"
            raise TransientFailure("not now, as scripted", content.retry_after)
        if content is None:
            raise PermanentFailure("there is no such file")
        for start in range(0, len(content), CHUNK):
            await trio.lowlevel.checkpoint()
            yield content[start : start + CHUNK]

    def _arrive(self, part: OutboundPart, key: str) -> Receipt:
        if self.capabilities.idempotent_sends and key in self._ids:
            return Receipt(self._ids[key])
        address = part.reply_to
        self.arrived.append(
            Arrival(address.chat, address.thread, part.text, key, address.message_id)
        )
        self._ids[key] = self._show(address.chat, part.text)
        self._notify()
        return Receipt(self._ids[key])

    def _show(self, chat: str, text: str) -> str:
        self._given += 1
        message = f"p{self._given}"
        self.messages[message] = Shown(chat, text)
        return message

    def _note(self, call: Call, chat: str, text: str, message: str | None) -> None:
        self.done.append(Done(call, trio.current_time(), chat, text, message))
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
