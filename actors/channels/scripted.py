"""A chat network that does as it is told: for tests of whatever stands on the channel port.

    network = ScriptedChannel("test")
    network.script(Behaviour(fail="during"))            # the next send breaks in the middle
    await network.say("hello", chat="c1", sender="ann")     # returns when it is durable
    part = await network.sent(1)                          # waits for the first text that arrived

What arrived at the "network" is in `ScriptedChannel.arrived`, duplicates included, as a person in
the chat would see it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Literal

import msgspec
import trio

from runtime.ports.channel import (
    Attachment,
    Channel,
    ChannelCapabilities,
    Inbound,
    Inlet,
    OutboundPart,
    PermanentFailure,
    Receipt,
    Reconciled,
    TransientFailure,
    UnknownOutcome,
)
from runtime.sessions.rows import Sender

CHUNK = 64 * 1024
"""Bytes of a file that arrive at once."""


class Behaviour(msgspec.Struct, frozen=True):
    """How one send goes.

    Args:
        fail: ``before`` (refused for now, nothing arrived), ``during`` (broke, nothing arrived,
            nobody knows), ``after`` (arrived, but the receipt was lost), ``for_good`` (refused for
            ever), ``bug`` (raises something the port does not know); None succeeds.
        delay: seconds before anything happens.
        retry_after: what a refusal for now asks to wait, as a rate limit does.
    """

    fail: Literal["before", "during", "after", "for_good", "bug"] | None = None
    delay: float = 0.0
    retry_after: float | None = None


class Arrival(msgspec.Struct, frozen=True):
    """A text that reached the chat."""

    chat: str
    thread: str | None
    text: str
    key: str
    reply_to: str | None


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
        self.connections = 0
        self._script: deque[Behaviour] = deque()
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

    def script(self, *behaviours: Behaviour) -> None:
        """The next sends go like this, one each; after them all succeed."""
        self._script.extend(behaviours)

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
        behaviour = self._script.popleft() if self._script else Behaviour()
        self.attempts.append(key)
        self._notify()
        await trio.sleep(behaviour.delay)
        match behaviour.fail:
            case "before":
                raise TransientFailure("not now, as scripted", behaviour.retry_after)
            case "for_good":
                raise PermanentFailure("the chat is gone, as scripted")
            case "during":
                raise UnknownOutcome("the connection broke, as scripted")
            case "bug":
                raise RuntimeError("a bug, as scripted")
        receipt = self._arrive(part, key)
        if behaviour.fail == "after":
            raise UnknownOutcome("the receipt was lost, as scripted")
        return receipt

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

    async def reconcile(self, part: OutboundPart, key: str) -> Reconciled:
        for number, arrival in enumerate(self.arrived):
            if arrival.key == key:
                return Reconciled("sent", Receipt(f"p{number + 1}"))
        return Reconciled("not_sent")

    def _arrive(self, part: OutboundPart, key: str) -> Receipt:
        if self.capabilities.idempotent_sends:
            for number, arrival in enumerate(self.arrived):
                if arrival.key == key:
                    return Receipt(f"p{number + 1}")
        address = part.reply_to
        self.arrived.append(
            Arrival(address.chat, address.thread, part.text, key, address.message_id)
        )
        self._notify()
        return Receipt(f"p{len(self.arrived)}")

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
