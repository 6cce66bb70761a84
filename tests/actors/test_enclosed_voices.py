"""Voice notes whose sound came with their message: their words are waited for in the queue, not by
whoever delivers (A1, H5).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from runtime.ports.channel import Attachment
from runtime.ports.transcriber import TranscriptionFailed
from runtime.sessions.content import AgentBlock, AudioBlock, TextBlock
from runtime.sessions.media import HERE, MediaItem, MediaKind
from runtime.settings import QueueSettings
from runtime.storage.sqlite import open_memory
from tests.actors.media_stage import encoded
from tests.actors.stage import clock
from tests.actors.test_voice_notes import (
    SOUND,
    WORDS,
    Ear,
    Here,
    links,
    on_disk,
    outcomes,
    place,
    voice,
)


def spoken(content: bytes = SOUND, kind: MediaKind = MediaKind.VOICE) -> Attachment:
    return Attachment(kind=kind, name="note.ogg", mime_type="audio/ogg", data=encoded(content))


async def items_of(here: Here) -> list[MediaItem]:
    (session,) = (await here.store.sessions()).sessions
    return [item for row in await here.store.pending_messages(session.id) for item in row.media]


# A1 H5 Q7
async def test_it_is_accepted_at_once_and_holds_its_place_until_it_is_text(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ear = Ear(delay=30)
    async with place(tmp_path / "media", ear=ear, hold=True) as here:
        began = trio.current_time()
        await here.network.say("", attachments=(spoken(),))
        assert trio.current_time() == began
        (item,) = await items_of(here)
        assert (item.reference, item.transcript) == (HERE, None)
        assert on_disk(tmp_path / "media") == [SOUND]
        await here.network.say("and more")
        call = await here.agent.called(1)
        assert trio.current_time() - began >= 30
        assert call.text.index(f"[voice: note.ogg, as text:]\n{WORDS}") < call.text.index("more")
        assert links(call) == []
        assert (ear.heard, here.network.fetched) == ([(SOUND, "audio/ogg")], [])
        assert on_disk(tmp_path / "media") == [SOUND]  # the turn may yet run again
        call.go.set()
        await here.network.sent(1)
        await trio.sleep(1)
        assert on_disk(tmp_path / "media") == []
        assert here.rt.front.media_usage().files == 0


# A1 H5 H6 Q7
@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_restart_in_mid_transcription_begins_anew(
    tmp_path: Path, autojump_clock: MockClock, abruptly: bool
) -> None:
    root, ear = tmp_path / "media", Ear(delay=1_000)
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with place(root, ear=ear, store=store, timeout=10_000) as here:
                await here.network.say("", attachments=(spoken(),))
                await trio.sleep(10)
                assert ear.now == 1
                if abruptly:
                    power.cancel()
                    await trio.sleep_forever()
        assert on_disk(root) == [SOUND]
        ear.delay = 0
        async with place(root, ear=ear, store=store, hold=True) as again:
            call = await again.agent.called(1)
            assert call.turn.content == (TextBlock(f"[voice: note.ogg, as text:]\n{WORDS}"),)
            assert len(ear.heard) == 2
            assert again.network.fetched == []
            call.go.set()
            await trio.sleep(60)
            assert on_disk(root) == []


# A1 H3 H5 Q5
@pytest.mark.parametrize("again", [True, False])
async def test_the_sound_goes_when_its_message_is_withdrawn_meanwhile(
    tmp_path: Path, autojump_clock: MockClock, again: bool
) -> None:
    ear = Ear(delay=30)
    async with place(tmp_path / "media", ear=ear) as here:
        await here.network.say("", attachments=(spoken(), spoken(b"another")))
        await trio.sleep(10)
        (session,) = (await here.store.sessions()).sessions
        assert await here.rt.front.clear_queue(session.id) == 1
        await trio.sleep(1)
        assert (ear.now, on_disk(tmp_path / "media")) == (0, [])
        if again:
            await here.network.redeliver()
        await trio.sleep(60)
        assert on_disk(tmp_path / "media") == []
        assert here.rt.front.media_usage().files == 0
        assert here.agent.calls == []
        assert [sound for sound, _ in ear.heard] == [SOUND]
        assert outcomes(here.rt) == {"done": 0, "failed": 0}


# A1 H5 Q4
async def test_the_sound_goes_for_the_cap(tmp_path: Path, autojump_clock: MockClock) -> None:
    root = tmp_path / "media"
    async with place(root, ear=Ear(delay=30), hold=True, queue=QueueSettings(cap=1)) as here:
        await here.network.say("runs")
        call = await here.agent.called(1)
        await here.network.say("", attachments=(spoken(),))
        await trio.sleep(10)
        await here.network.say("newer")
        await trio.sleep(60)
        assert on_disk(root) == []
        call.go.set()
        assert "newer" in (await here.agent.called(2)).text


# A1 H5: without the words it is a file like any other
@pytest.mark.parametrize("ear", [None, Ear(TranscriptionFailed("no model")), Ear(delay=10_000)])
async def test_without_words_the_sound_is_handed_over(
    tmp_path: Path, autojump_clock: MockClock, ear: Ear | None
) -> None:
    async with place(tmp_path / "media", ear=ear) as here:
        await here.network.say("", attachments=(spoken(),))
        call = await here.agent.called(1)
        assert [link.name for link in links(call)] == ["note.ogg"]
        await trio.sleep(60)
        assert on_disk(tmp_path / "media") == [SOUND]  # the session's own now
        usage = here.rt.front.media_usage()
        assert (usage.in_flight, usage.evictable) == (0, len(SOUND))


# A1 H5: one that nobody hears any more after the restart
async def test_it_is_a_file_when_there_is_no_transcriber_any_more(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with open_memory(clock) as store:
        async with place(root, ear=Ear(delay=1_000), store=store, timeout=10_000) as here:
            await here.network.say("", attachments=(spoken(),))
            await trio.sleep(10)
        async with place(root, store=store) as again:
            assert len(links(await again.agent.called(1))) == 1


# A1 H5 M8: somebody has removed it meanwhile
async def test_one_that_is_gone_after_a_restart_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    root = tmp_path / "media"
    async with open_memory(clock) as store:
        async with place(root, ear=Ear(delay=1_000), store=store, timeout=10_000) as here:
            await here.network.say("hear", attachments=(spoken(),))
            await trio.sleep(10)
        for path in [*root.rglob("*.ogg")]:
            path.unlink()
        async with place(root, ear=Ear(), store=store) as again:
            call = await again.agent.called(1)
            assert call.text == "hear\n[voice: note.ogg: not here: it is not there any more]"
            told = await again.network.sent(2)
            assert any("it is not there any more" in each.text for each in told)


# A1 H5 Q7: what comes by reference and what comes along, in one message
async def test_some_are_here_and_some_are_fetched(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ear = Ear(delay=1)
    async with place(tmp_path / "media", ear=ear, hold=True) as here:
        here.network.files["far"] = b"OggS, from afar"
        files = (voice("far"), spoken(), spoken(b"song", MediaKind.AUDIO), spoken())
        await here.network.say("hear", attachments=files)
        call = await here.agent.called(1)
        assert call.text.count(WORDS) == 3
        assert len(links(call)) == 1
        assert [content for content, _ in ear.heard] == [b"OggS, from afar", SOUND, SOUND]
        assert len(on_disk(tmp_path / "media")) == 3  # the same bytes once (M4)
        call.go.set()
        await trio.sleep(60)
        assert on_disk(tmp_path / "media") == [b"song"]


# -- of clients ------------------------------------------------------------------------------------


# H5 G3 Q7
async def test_a_client_says_that_a_sound_is_a_voice_note(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    ear = Ear(delay=30)
    async with place(tmp_path / "media", ear=ear, hold=True) as here:
        session = await here.rt.session("one")
        began = trio.current_time()
        song, note = (encoded(sound) for sound in (b"OggS, a song", SOUND))
        turn = await session.prompt(
            (AudioBlock(song, "audio/ogg"), AudioBlock.of_voice(note, "audio/ogg"))
        )
        assert trio.current_time() == began  # it is accepted before it was heard
        call = await here.agent.called(1)
        assert trio.current_time() - began >= 30
        assert call.turn.content[1:] == (TextBlock(f"[voice, as text:]\n{WORDS}"),)
        assert len(links(call)) == 1
        assert ear.heard == [(SOUND, "audio/ogg")]
        call.go.set()
        await turn.result()
        await trio.sleep(1)
        assert on_disk(tmp_path / "media") == [b"OggS, a song"]


# H5
async def test_without_a_transcriber_a_clients_voice_note_is_a_sound(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        session = await here.rt.session("one")
        turn = await session.prompt((AudioBlock.of_voice(encoded(SOUND), "audio/ogg"),))
        await turn.result()
        assert len(links(await here.agent.called(1))) == 1
        assert on_disk(tmp_path / "media") == [SOUND]


# G3 H5
@pytest.mark.parametrize(
    "meta, is_voice",
    [
        (b"", False),
        (b',"_meta":null', False),
        (b',"_meta":{"theirs":{"voice":true}}', False),
        (b',"_meta":{"runtime":{"voice":false}}', False),
        (b',"_meta":{"runtime":{"voice":true},"theirs":1}', True),
    ],
)
def test_a_sound_is_marked_in_its_own_place(meta: bytes, is_voice: bool) -> None:
    said = b'{"type":"audio","data":"aGk=","mimeType":"audio/ogg"%s}' % meta
    block = msgspec.json.decode(said, type=AgentBlock)
    assert isinstance(block, AudioBlock)
    assert block.is_voice == is_voice
