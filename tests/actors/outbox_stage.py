"""A runtime on disk whose agent fills its outbox, and whose cap a test can change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

import runtime as greenroom
from actors.channels.scripted import ScriptedChannel
from actors.disk import Disk
from runtime.app import Runtime, open_runtime
from runtime.ports.agent import AgentGone
from runtime.ports.channel import Channel, ChannelCapabilities
from runtime.ports.front import MediaSwept
from runtime.sessions.updates import AgentEvent, Result
from runtime.settings import MediaSettings, Settings, StorageSettings
from runtime.storage.transcript import make_session_folder
from tests.actors.stage import Call, HandAgent, chunk, settings

PATIENCE = 60.0
MUCH = 200 * 1024**2
SIZE = 1_000


class Writer(HandAgent):
    """Writes the files that a prompt names into its outbox, each of `SIZE` bytes; takes away those
    that it names with a minus.
    """

    def __init__(self) -> None:
        super().__init__(self._write, hold=False)

    async def _write(self, call: Call) -> AsyncIterator[AgentEvent]:
        outbox = call.context.outbox
        assert outbox is not None
        make_session_folder(outbox.parent)
        for name in call.text.splitlines()[-1].split():
            if name.startswith("-"):
                (outbox / name[1:]).unlink()
            elif name.endswith(".txt"):
                (outbox / name).write_bytes(b"x" * SIZE)
        yield chunk("done")
        if call.text == "fail":
            raise AgentGone("as told")
        yield Result()


class Place:
    """A runtime whose cap a test can change."""

    def __init__(self, rt: Runtime, chosen: Settings, agent: Writer, data_dir: Path) -> None:
        self.rt = rt
        self.agent = agent
        self.data_dir = data_dir
        self._settings = chosen

    async def lower_cap(self, size: int) -> MediaSwept:
        """Set the cap, and sweep once."""
        media = msgspec.structs.replace(self._settings.media, max_media_bytes=size)
        self.rt.reconfigure(msgspec.structs.replace(self._settings, media=media))
        return await self.rt.front.sweep_media()

    async def cap(self, size: int) -> None:
        """Set the cap, which holds then."""
        await self.lower_cap(size)
        assert self.size <= size

    async def say(self, key: str, text: str) -> greenroom.Session:
        session = await self.rt.session(key)
        await (await session.prompt(text)).result()
        return session

    async def write(self, key: str, *names: str) -> greenroom.Session:
        """Have a session's agent write files, and the index know of them."""
        before = self.files
        session = await self.say(key, " ".join(names))
        await until(lambda: self.files == before + len(names))
        return session

    @property
    def size(self) -> int:
        """Bytes in the index."""
        return self.rt.front.media_usage().size

    @property
    def files(self) -> int:
        """Files in the index."""
        return self.rt.front.media_usage().files

    @property
    def names(self) -> list[str]:
        """All files in outboxes."""
        return names(self.data_dir)


@asynccontextmanager
async def place(
    data_dir: Path,
    *channels: Channel,
    cap: int = MUCH,
    agent: Writer | None = None,
    root: Path | None = None,
    disk: Disk | None = None,
) -> AsyncIterator[Place]:
    agent = agent if agent is not None else Writer()
    chosen = msgspec.structs.replace(
        settings(queue={"debounce": 0.0}),
        storage=StorageSettings(data_dir=data_dir),
        media=MediaSettings(root=root, max_media_bytes=cap, free_space_floor=0),
    )
    async with open_runtime(chosen, agents={"agent": agent}, channels=channels, disk=disk) as rt:
        yield Place(rt, chosen, agent, data_dir)


def network() -> ScriptedChannel:
    return ScriptedChannel(capabilities=ChannelCapabilities(max_upload_bytes=MUCH))


def outboxes(data_dir: Path, session_id: str = "*") -> list[Path]:
    return sorted(data_dir.glob(f"sessions/*/{session_id}/outbox"))


def names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in data_dir.glob("sessions/*/*/outbox/**/*.txt"))


def media(data_dir: Path) -> list[Path]:
    return sorted(path for path in (data_dir / "media").rglob("*") if path.is_file())


async def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does; it has no event."""
    with trio.fail_after(PATIENCE):
        while not true():  # noqa: ASYNC110 - there is nothing to wait on
            await trio.sleep(0.01)


@asynccontextmanager
async def cut_off_at_the_end(data_dir: Path, *channels: ScriptedChannel) -> AsyncIterator[Place]:
    """A runtime whose power goes at the end of the block."""
    with trio.CancelScope() as power:
        async with place(data_dir, *channels) as here:
            yield here
            power.cancel()
            await trio.sleep_forever()
    for channel in channels:
        channel.lose_connection()
