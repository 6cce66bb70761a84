"""What files come from, and what makes text of voices, played by the test."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import trio

from actors.channels.scripted import ScriptedChannel
from runtime.ports.channel import Attachment, ChannelCapabilities, Inbound
from runtime.ports.transcriber import Transcriber, TranscriptionFailed
from runtime.sessions.media import MediaKind

LARGEST_FILE = 1_000
LONGEST_VOICE = 200
FIRST_CAP = 2_000

Way = Literal["announced", "of unknown size", "enclosed", "damaged"]
"""How a file comes: to be fetched, or with its message, in base64 or what is none."""


class Network(ScriptedChannel):
    """A chat network that knows which of its files are being fetched."""

    def __init__(self) -> None:
        super().__init__(capabilities=ChannelCapabilities(max_download_bytes=LARGEST_FILE))
        self.under_way: list[range] = []

    @property
    def last(self) -> tuple[Inbound, ...]:
        """What was delivered last."""
        return self._last

    def attached(self, name: str, content: bytes, kind: MediaKind, way: Way) -> Attachment:
        """A file of a message."""
        data = base64.b64encode(content).decode()
        match way:
            case "enclosed":
                return Attachment(kind=kind, data=data)
            case "damaged":
                return Attachment(kind=kind, data=data[1:])
        self.files[name] = content
        return Attachment(name, kind, size=len(content) if way == "announced" else None)

    async def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        known = attachment.size
        # How many bytes may be counted for it: of unknown size, those that have come at least.
        size = range(1, LARGEST_FILE + 1) if known is None else range(known, known + 1)
        self.under_way.append(size)
        try:
            async with aclosing(super().fetch(attachment)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk
        finally:
            self.under_way.remove(size)


class Listener(Transcriber):
    """Makes text of short voice notes."""

    async def transcribe(self, file: Path, mime_type: str | None) -> str:
        size = len(file.read_bytes())  # noqa: ASYNC240 - a thread would outrun the clock
        await trio.lowlevel.checkpoint()
        if size > LONGEST_VOICE:
            raise TranscriptionFailed("it is too long")
        return f"a voice of {size} bytes"
