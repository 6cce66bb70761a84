"""A whole runtime that keeps files, on a virtual clock: all of it can be looked into."""

from __future__ import annotations

import base64
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import trio

from actors.disk import Disk, inline
from actors.front import ActorFront
from actors.library import Library
from actors.queue import Arrived
from actors.sessions import Obtain
from runtime.app import Runtime, open_runtime
from runtime.embedding import Session
from runtime.ports.agent import AgentCapabilities, AgentContext, AgentHandle
from runtime.ports.channel import Channel
from runtime.ports.front import MediaUsage
from runtime.sessions.content import (
    AgentBlock,
    AgentResource,
    AudioBlock,
    ImageBlock,
    ResourceContents,
    ResourceLink,
    TextBlock,
)
from runtime.sessions.ledger import Blob
from runtime.sessions.rows import InboundRow
from runtime.sessions.updates import AgentEvent
from runtime.settings import MediaSettings, QueueSettings, SessionSettings, Settings
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store
from tests.actors.stage import Call, HandAgent, clock


class SeeingAgent(HandAgent):
    """An agent that is played by the test and takes images and sounds, or does not."""

    def __init__(
        self,
        play: Callable[[Call], AsyncIterator[AgentEvent]] | None = None,
        *,
        hold: bool = True,
        images: bool = False,
        audio: bool = False,
    ) -> None:
        super().__init__(play, hold=hold)
        self.can = AgentCapabilities(images=images, audio=audio)

    @asynccontextmanager
    async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
        async with super().open(context) as handle:
            handle.capabilities = self.can
            yield handle


class House:
    """A runtime with one agent, its store and its folder for files."""

    def __init__(self, rt: Runtime, store: Store, agent: HandAgent, root: Path) -> None:
        self.rt = rt
        self.front = rt.front
        self.store = store
        self.agent = agent
        self.root = root

    @property
    def library(self) -> Library:
        return cast("ActorFront", self.front)._services.library

    @property
    def usage(self) -> MediaUsage:
        return self.front.media_usage()

    async def session(self, key: str = "one") -> Session:
        return await self.rt.session(key)

    async def kept(self, session: Session, *contents: bytes) -> None:
        """Files of a session that its agent was given, each with a message of its own, in order."""
        for content in contents:
            before = len(self.agent.calls)
            submitted = await session.send((image(content),))
            (await self.agent.called(before + 1)).go.set()
            await session.outcome(submitted.message_id)

    async def crash(self, session: Session) -> None:
        """A bug: the session's actor stumbles, and is made anew."""
        ref = await cast("ActorFront", self.front)._sessions.ask(Obtain(session.id), timeout=60)
        ref.tell(Arrived(rows=(cast("InboundRow", None),)))

    def blobs(self) -> dict[str, Blob]:
        """The files in the index, by their names."""
        return {blob.file: blob for blob in self.library.ledger}

    def on_disk(self) -> list[bytes]:
        """What is in all files, finished or not."""
        return sorted(path.read_bytes() for path in self.files())

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())

    def metric(self, line: str) -> float:
        """The value of one line of the metrics; 0 when it is not there."""
        for each in self.front.metrics().decode().splitlines():
            name, _, value = each.rpartition(" ")
            if name.endswith(line) and not name.startswith("#"):
                return float(value)
        return 0.0

    def check(self) -> None:
        """The index says what is on disk, and all of it is private."""
        found = {path.name: path.stat().st_size for path in self.files()}
        assert found == {blob.file: blob.size for blob in self.library.ledger}
        assert self.usage.size == sum(found.values())
        assert self.usage.reserved == 0
        for path in (self.root, *self.root.rglob("*")):
            expected = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == expected


@asynccontextmanager
async def house(
    root: Path,
    *,
    store: Store | None = None,
    agent: HandAgent | None = None,
    media: dict[str, Any] | None = None,
    queue: dict[str, Any] | None = None,
    sessions: dict[str, Any] | None = None,
    channels: tuple[Channel, ...] = (),
    disk: Disk = inline,
) -> AsyncIterator[House]:
    """A runtime whose store lives for as long as the block, or is the one given."""
    agent = agent if agent is not None else SeeingAgent()
    if store is None:
        async with (
            open_memory(clock) as own,
            house(
                root,
                store=own,
                agent=agent,
                media=media,
                queue=queue,
                sessions=sessions,
                channels=channels,
                disk=disk,
            ) as it,
        ):
            yield it
        return
    settings = Settings(
        media=MediaSettings(root=root, **{"free_space_floor": 0, **(media or {})}),
        queue=QueueSettings(**(queue or {})),
        sessions=SessionSettings(**(sessions or {})),
    )
    async with open_runtime(
        settings,
        agents={"agent": agent},
        channels=channels,
        store=store,
        clock=clock,
        disk=disk,
    ) as rt:
        yield House(rt, store, agent, root)


def image(content: bytes, name: str | None = None, mime_type: str = "image/png") -> ImageBlock:
    """An image as a client sends it; of what its bytes are nobody takes notice."""
    uri = None if name is None else f"file:///pictures/{name}"
    return ImageBlock(encoded(content), mime_type, uri)


def audio(content: bytes) -> AudioBlock:
    return AudioBlock(encoded(content), "audio/ogg")


def resource(content: bytes, uri: str, mime_type: str | None = None) -> AgentResource:
    return AgentResource(ResourceContents(uri, blob=encoded(content), mime_type=mime_type))


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def said(*blocks: AgentBlock, text: str = "look") -> tuple[AgentBlock, ...]:
    return (TextBlock(text), *blocks)


def links(call: Call) -> list[ResourceLink]:
    return [block for block in call.turn.content if isinstance(block, ResourceLink)]


def path_of(link: ResourceLink) -> Path:
    parts = urlsplit(link.uri)
    assert (parts.scheme, parts.netloc) == ("file", "")
    return Path(unquote(parts.path))


GONE = "[These files of this conversation were removed to make room"


async def a_while() -> None:
    """Time in which everything that is to happen now happens, and no sweep comes by itself."""
    await trio.sleep(1)


async def said_to(here: House, session: Session, text: str) -> Call:
    """The prompt in which a text reached the agent, which has answered it."""
    before = len(here.agent.calls)
    submitted = await session.send(text)
    call = await here.agent.called(before + 1)
    call.go.set()
    await session.outcome(submitted.message_id)
    return call


@asynccontextmanager
async def until_the_power_fails(root: Path, store: Store, **options: Any) -> AsyncIterator[House]:
    """A runtime that is cut off at the end of the block."""
    with trio.CancelScope() as power:
        async with house(root, store=store, **options) as here:
            yield here
            power.cancel()
            await trio.sleep_forever()


def lower_cap(here: House, cap: int) -> None:
    media = MediaSettings(root=here.root, max_media_bytes=cap, free_space_floor=0)
    here.rt.reconfigure(Settings(media=media))
