"""Voice notes of chat networks: the agent is given their words, and the sound goes (H5)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from actors.channels.scripted import ScriptedChannel
from actors.disk import inline
from runtime.app import Runtime, open_runtime
from runtime.ports.agent import AgentGone
from runtime.ports.channel import Attachment, ChannelCapabilities
from runtime.ports.transcriber import Transcriber, TranscriptionFailed
from runtime.sessions.content import ResourceLink, TextBlock
from runtime.sessions.media import MediaKind
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import AgentEvent, Result
from runtime.settings import MediaSettings, QueueSettings, Settings, TranscriberSettings
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store
from tests.actors.stage import Call, HandAgent, chunk, clock

SOUND = b"OggS, what was said"
WORDS = "buy some milk"


class Ear(Transcriber):
    """Hears what the test says.

    Args:
        words: the text, or what is raised.
        delay: seconds that it takes.
    """

    def __init__(self, words: str | Exception = WORDS, *, delay: float = 0.0) -> None:
        self.words = words
        self.delay = delay
        self.heard: list[tuple[bytes, str | None]] = []
        self.now = self.most = 0

    async def transcribe(self, file: Path, mime_type: str | None) -> str:
        self.heard.append((file.read_bytes(), mime_type))  # noqa: ASYNC240 - a few bytes
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.delay)
        finally:
            self.now -= 1
        if isinstance(self.words, Exception):
            raise self.words
        return self.words


class Here:
    """A runtime with a network, a folder for files and an ear."""

    def __init__(self, rt: Runtime, network: ScriptedChannel, agent: HandAgent, store: Store):
        self.rt = rt
        self.network = network
        self.agent = agent
        self.store = store

    async def speak(
        self, name: str = "note", content: bytes = SOUND, *, chat: str = "chat"
    ) -> None:
        self.network.files[name] = content
        await self.network.say("", chat=chat, attachments=(voice(name),))

    async def state_of(self, message_id: str) -> InboundState:
        status = await self.store.message_status(message_id)
        assert status is not None
        return status.message.state


def voice(name: str = "note", kind: MediaKind = MediaKind.VOICE) -> Attachment:
    return Attachment(name, kind, f"{name}.ogg", "audio/ogg")


@asynccontextmanager
async def place(
    root: Path,
    *,
    ear: Transcriber | None = None,
    store: Store | None = None,
    agent: HandAgent | None = None,
    hold: bool = False,
    timeout: float = 60.0,
    queue: QueueSettings = QueueSettings(),  # noqa: B008 - it is frozen
) -> AsyncIterator[Here]:
    network = ScriptedChannel(capabilities=ChannelCapabilities(max_download_bytes=100_000))
    agent = agent if agent is not None else HandAgent(hold=hold)
    media = MediaSettings(root=root, transcriber=TranscriberSettings(timeout=timeout))
    settings = Settings(media=media, queue=queue)
    if store is None:
        async with (
            open_memory(clock) as own,
            place(
                root, ear=ear, store=own, agent=agent, hold=hold, timeout=timeout, queue=queue
            ) as here,
        ):
            yield here
        return
    async with open_runtime(
        settings,
        agents={"agent": agent},
        channels=[network],
        store=store,
        clock=clock,
        disk=inline,
        transcriber=ear,
    ) as rt:
        yield Here(rt, network, agent, store)


def on_disk(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in root.rglob("*") if path.is_file()]


def links(call: Call) -> list[ResourceLink]:
    return [block for block in call.turn.content if isinstance(block, ResourceLink)]


def outcomes(rt: Runtime) -> dict[str, float]:
    lines = rt.front.metrics().decode().splitlines()
    prefix = "greenroom_transcriptions_total{outcome="
    found = (line.removeprefix(prefix) for line in lines if line.startswith(prefix))
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


# H5
async def test_the_agent_is_given_the_words(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ear = Ear(f" {WORDS}\n")
    async with place(tmp_path / "media", ear=ear, hold=True) as here:
        await here.speak()
        call = await here.agent.called(1)
        assert call.turn.content == (TextBlock(f"[voice: note.ogg, as text:]\n{WORDS}"),)
        assert ear.heard == [(SOUND, "audio/ogg")]
        assert outcomes(here.rt) == {"done": 1, "failed": 0}
        # While its turn runs the file is there: the turn may yet run again.
        assert on_disk(tmp_path / "media") == [SOUND]
        call.go.set()
        await here.network.sent(1)
        await trio.sleep(1)
        assert on_disk(tmp_path / "media") == []
        assert here.rt.front.media_usage().files == 0
        (session,) = (await here.store.sessions()).sessions
        spoken, _ = await here.store.journal(session.id)
        assert spoken.content == WORDS  # the sound is gone, what was said is not (J1)


async def _fails_late(call: Call) -> AsyncIterator[AgentEvent]:
    yield chunk("well")
    raise AgentGone("it broke off")


async def _fails_early(call: Call) -> AsyncIterator[AgentEvent]:
    if call.text:
        raise AgentGone("it is not there")
    yield Result()


# H5 T5: whatever happens
@pytest.mark.parametrize("play", [_fails_late, _fails_early])
async def test_the_sound_goes_when_the_turn_has_failed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, play: object
) -> None:
    agent = HandAgent(play)  # type: ignore[arg-type]
    async with place(tmp_path / "media", ear=Ear(), agent=agent) as here:
        await here.speak()
        call = await agent.called(1)
        call.go.set()
        agent.hold = False
        await trio.sleep(3_600)  # all tries
        (message,) = call.turn.message_ids
        assert await here.state_of(message) is InboundState.FAILED
        assert {WORDS in each.text for each in agent.calls} == {True}
        assert on_disk(tmp_path / "media") == []


# H5 H3
@pytest.mark.parametrize("begun", [True, False])
async def test_the_sound_goes_when_the_turn_is_cancelled(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, begun: bool
) -> None:
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("well")
        await call.cancelled.wait()
        yield Result("cancelled")

    agent = HandAgent(play)
    async with place(tmp_path / "media", ear=Ear(), agent=agent) as here:
        await here.speak()
        call = await agent.called(1)
        if begun:
            call.go.set()
            await trio.sleep(1)
        assert on_disk(tmp_path / "media") == [SOUND]
        await here.rt.front.cancel(call.context.session_id)
        await trio.sleep(60)
        assert on_disk(tmp_path / "media") == []


# H5 Q5
async def test_the_sound_goes_when_the_queue_is_cleared(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media", ear=Ear(), hold=True) as here:
        await here.network.say("runs")
        call = await here.agent.called(1)
        await here.speak()
        await trio.sleep(30)
        assert on_disk(tmp_path / "media") == [SOUND]
        assert await here.rt.front.clear_queue(call.context.session_id) == 2  # none has begun
        await trio.sleep(1)
        assert on_disk(tmp_path / "media") == []


# H5 H3 Q5: nothing holds on to it in mid-transcription
async def test_the_sound_goes_when_its_message_is_withdrawn_meanwhile(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media", ear=Ear(delay=30)) as here:
        await here.speak()
        await trio.sleep(10)
        (session,) = (await here.store.sessions()).sessions
        assert on_disk(tmp_path / "media") == [SOUND]
        assert await here.rt.front.clear_queue(session.id) == 1
        await trio.sleep(1)  # nobody listens to it any more
        assert on_disk(tmp_path / "media") == []
        assert here.agent.calls == []


# H5 Q4
async def test_the_sound_goes_for_the_cap_and_its_line_says_the_words(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with place(tmp_path / "media", ear=Ear(), hold=True, queue=QueueSettings(cap=1)) as here:
        await here.network.say("runs")
        call = await here.agent.called(1)
        await here.speak()
        await trio.sleep(30)
        await here.network.say("newer")
        await trio.sleep(1)
        assert on_disk(tmp_path / "media") == []
        call.go.set()
        second = await here.agent.called(2)
        assert f": {WORDS}\n" in second.text


# H5 H6: its words are in its row, and are not asked for again
@pytest.mark.parametrize("abruptly", [True, False])
async def test_the_sound_outlives_a_restart_for_as_long_as_its_message(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, abruptly: bool
) -> None:
    root, ear = tmp_path / "media", Ear()
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with place(root, ear=ear, store=store, hold=True) as here:
                await here.speak()
                await here.agent.called(1)
                if abruptly:
                    power.cancel()
                    await trio.sleep_forever()
        assert on_disk(root) == [SOUND]
        async with place(root, ear=ear, store=store, hold=True) as again:
            call = await again.agent.called(1)
            assert WORDS in call.text
            assert links(call) == []
            assert on_disk(root) == [SOUND]
            call.go.set()
            await again.network.sent(1)
            await trio.sleep(1)
            assert on_disk(root) == []
    assert len(ear.heard) == 1


# H5 Q7
async def test_a_restart_in_mid_transcription_begins_anew(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    root, ear = tmp_path / "media", Ear(delay=1_000)
    async with open_memory(clock) as store:
        async with place(root, ear=ear, store=store, timeout=10_000) as here:
            await here.speak()
            await trio.sleep(10)
            assert ear.now == 1
        assert ear.now == 0
        ear.delay = 0
        async with place(root, ear=ear, store=store) as again:
            again.network.files["note"] = SOUND
            call = await again.agent.called(1)
            assert WORDS in call.text
            await trio.sleep(60)
            assert on_disk(root) == []


# H5: without the words, the sound is a file like any other
@pytest.mark.parametrize(
    "ear, reason",
    [
        (Ear(TranscriptionFailed("no model")), "no model"),
        (Ear(" \n"), "the text is empty"),
        (Ear("x" * 70_000), "more than 65536 characters"),
        (Ear(RuntimeError("a bug")), "a bug"),
        (Ear(delay=10_000), "no text after 60 s"),
        (None, None),
    ],
)
async def test_without_words_the_sound_is_handed_over(
    tmp_path: Path,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    ear: Ear | None,
    reason: str | None,
) -> None:
    async with place(tmp_path / "media", ear=ear) as here:
        await here.speak()
        call = await here.agent.called(1)
        assert [link.name for link in links(call)] == ["note.ogg"]
        await trio.sleep(60)
        assert on_disk(tmp_path / "media") == [SOUND]  # the session's own now
        assert outcomes(here.rt) == {"done": 0, "failed": 0 if ear is None else 1}
    found = [
        f"{getattr(record, 'reason', '')} {record.exc_text or record.exc_info}"
        for record in caplog.records
        if record.levelno >= logging.WARNING
    ]
    assert len(found) == (0 if reason is None else 1)
    assert reason is None or reason in found[0]


async def test_only_voice_notes_are_heard(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ear = Ear()
    async with place(tmp_path / "media", ear=ear) as here:
        here.network.files["song"] = SOUND
        await here.network.say("listen", attachments=(voice("song", MediaKind.AUDIO),))
        call = await here.agent.called(1)
        assert len(links(call)) == 1
        assert ear.heard == []


# Nothing grows without bound
async def test_two_become_text_at_a_time_and_hold_up_nobody_else(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ear = Ear(delay=20)
    async with place(tmp_path / "media", ear=ear) as here:
        for number in range(5):
            here.network.files[f"note-{number}"] = b"%d" % number
            note, sender = (voice(f"note-{number}"),), f"p{number}"
            await here.network.say("", chat=f"c{number}", sender=sender, attachments=note)
        await here.network.say("hello", chat="text", sender="bob")
        assert (await here.agent.called(1)).text == "hello"
        await here.agent.called(6)
        assert ear.most == 2
        assert outcomes(here.rt) == {"done": 5, "failed": 0}


# Which one it is follows the settings. Real time: a program is looked for, in a thread
async def test_the_transcriber_follows_the_settings(tmp_path: Path) -> None:
    root, queue = tmp_path / "media", QueueSettings(debounce=0.0)
    async with place(root, queue=queue) as here:
        await here.speak("one", b"1")
        assert len(links(await here.agent.called(1))) == 1
        assert outcomes(here.rt) == {"done": 0, "failed": 0}
        broken = TranscriberSettings(command=("no-such-whisper",))
        media = MediaSettings(root=root, transcriber=broken)
        here.rt.reconfigure(Settings(media=media, queue=queue))
        await here.speak("two", b"2")
        assert len(links(await here.agent.called(2))) == 1
        assert outcomes(here.rt) == {"done": 0, "failed": 1}
