"""Files of messages that a running turn is told of: whose they are from then on (Q3, H8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from actors.disk import inline
from runtime.app import open_runtime
from runtime.ports.channel import ChannelCapabilities
from runtime.sessions.content import PromptContent, ResourceLink
from runtime.sessions.media import BlobRow
from runtime.sessions.modes import ModeName
from runtime.sessions.rows import InboundRow
from runtime.settings import MediaSettings, QueueSettings, Settings
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store
from tests.actors.listener import Listener
from tests.actors.stage import clock
from tests.actors.test_fetching import content_of, image


class Looker(Listener):
    """Keeps the links that it is given in the middle of a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[ResourceLink] = []

    async def steer(self, content: PromptContent) -> bool:
        self.links += [block for block in content if isinstance(block, ResourceLink)]
        return await super().steer(content)


@asynccontextmanager
async def place(
    root: Path, mode: ModeName, agent: Listener
) -> AsyncIterator[tuple[ScriptedChannel, Store]]:
    """A network, and a runtime whose agent works on "one" when an image comes as well."""
    network = ScriptedChannel(capabilities=ChannelCapabilities(max_download_bytes=1_000))
    chosen = Settings(media=MediaSettings(root=root), queue=QueueSettings(mode=mode, debounce=0.0))
    async with (
        open_memory(clock) as store,
        open_runtime(
            chosen,
            agents={"agent": agent},
            channels=[network],
            store=store,
            clock=clock,
            disk=inline,
        ),
    ):
        await network.say("one")
        await agent.prompted(1)
        network.files["a"] = b"bytes"
        await network.say("look", attachments=(image("a"),))
        await agent.was_asked(1)
        await trio.sleep(10)
        yield network, store


async def blob(store: Store) -> BlobRow:
    (found,) = (await store.blobs()).blobs
    return found


async def waiting(store: Store) -> tuple[InboundRow, ...]:
    (session,) = (await store.sessions()).sessions
    return await store.pending_messages(session.id)


async def test_a_file_is_the_sessions_when_the_agent_has_taken_its_message(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    # Q3 H8
    agent = Looker()
    async with place(tmp_path / "media", "steer", agent) as (network, store):
        assert [content_of(link) for link in agent.links] == [b"bytes"]
        assert (await blob(store)).handed_at is not None
        assert await waiting(store) == ()
        agent.go.set()
        (answer,) = await network.sent(1)
        assert answer.text.startswith("well: one, look")
        await trio.sleep(100)
        assert agent.prompts == ["one"]
        assert content_of(agent.links[0]) == b"bytes"


async def test_a_copy_that_waits_has_no_files(tmp_path: Path, autojump_clock: MockClock) -> None:
    # Q3 H8
    agent = Looker()
    async with place(tmp_path / "media", "steer-backlog", agent) as (_, store):
        assert [content_of(link) for link in agent.links] == [b"bytes"]
        assert (await blob(store)).handed_at is not None
        (kept,) = await waiting(store)
        assert kept.media == ()
        agent.go.set()
        assert await agent.prompted(2) == "look\n[image: a.png]"
        await trio.sleep(100)
        assert content_of(agent.links[0]) == b"bytes"


async def test_a_file_whose_message_was_not_taken_waits_with_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    # Q3 H8
    agent = Looker()
    agent.answer = agent.refuse
    async with place(tmp_path / "media", "steer", agent) as (_, store):
        assert (await blob(store)).handed_at is None
        (kept,) = await waiting(store)
        assert len(kept.media) == 1
        agent.go.set()
        assert "look" in await agent.prompted(2)
        await trio.sleep(1)
        assert (await blob(store)).handed_at is not None
        assert content_of(agent.links[0]) == b"bytes"
