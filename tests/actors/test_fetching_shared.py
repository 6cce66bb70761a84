"""Conversations of one chat network fetch their files side by side (Q7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from actors.channels.scripted import ScriptedChannel
from actors.fetching import AT_ONCE
from runtime.app import FETCHED_AT_ONCE
from runtime.ports.channel import Attachment, ChannelCapabilities
from tests.actors.test_fetching import content_of, image, links, place
from tests.actors.test_voice_notes import Ear, voice
from tests.actors.test_voice_notes import place as place_with_ear

ABLE = ChannelCapabilities(max_download_bytes=100_000)


class SlowNetwork(ScriptedChannel):
    """Files whose names begin with ``slow`` come when the test says so."""

    def __init__(self) -> None:
        super().__init__(capabilities=ABLE)
        self.go = trio.Event()
        self.now = self.most = 0
        self.asked: list[str] = []

    async def fetch(self, attachment: Attachment) -> AsyncIterator[bytes]:
        self.asked.append(attachment.reference)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if attachment.reference.startswith("slow"):
                await self.go.wait()
            async for chunk in super().fetch(attachment):
                yield chunk
        finally:
            self.now -= 1

    async def bring(self, name: str, chat: str) -> None:
        """A person of their own in each chat, and so a session of its own."""
        self.files[name] = name.encode()
        await self.say("", chat=chat, sender=chat, attachments=(image(name),))


# Q7
@pytest.mark.parametrize("chats", [1, FETCHED_AT_ONCE // AT_ONCE - 1])
async def test_many_slow_files_of_some_hold_up_no_other_conversation(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, chats: int
) -> None:
    network = SlowNetwork()
    async with place(tmp_path / "media", network=network) as here:
        for number in range(16):
            for chat in range(chats):
                await network.bring(f"slow-{chat}-{number}", f"c{chat}")
        await network.bring("quick", "other")
        call = await here.agent.called(1)
        assert [content_of(link) for link in links(call)] == [b"quick"]
        assert len(network.asked) == chats * AT_ONCE + 1
        network.go.set()
        await trio.sleep(60)
        assert len(network.asked) == chats * 16 + 1


# Q7
async def test_whoever_comes_to_a_busy_network_is_next_in_line(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    network = SlowNetwork()
    async with place(tmp_path / "media", network=network):
        for chat in range(10):
            for number in range(12):
                await network.bring(f"slow-{chat}-{number}", f"c{chat}")
        await trio.sleep(5)
        assert network.most == FETCHED_AT_ONCE
        network.go.set()
        await trio.sleep(60)
        assert network.most == FETCHED_AT_ONCE
        chats = [name.split("-")[1] for name in dict.fromkeys(network.asked)]
        assert len(chats) == 120
        # Everybody has a file before anybody has all.
        assert set(chats[:60]) == {str(chat) for chat in range(10)}


# Q7 H5
async def test_many_voice_notes_of_one_hold_up_no_other_conversation(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ear = Ear(delay=20)
    async with place_with_ear(tmp_path / "media", ear=ear) as here:
        for number in range(10):
            await here.speak(f"long-{number}", b"%d" % number)
        here.network.files["short"] = b"short"
        await here.network.say("", chat="other", sender="bob", attachments=(voice("short"),))
        await trio.sleep(10)
        assert [sound for sound, _ in ear.heard] == [b"0", b"short"]
