"""Files that an agent puts into its outbox: to the chat after the text, and away (R7, A3, A4)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors import uploads
from actors.agents.echo import EchoAgent, Options
from actors.channels.scripted import Behaviour, ScriptedChannel
from runtime.app import Runtime, open_runtime
from runtime.ports.agent import Agent, AgentGone
from runtime.ports.channel import ChannelCapabilities
from runtime.sessions import outgoing
from runtime.sessions.updates import AgentEvent, Result
from runtime.settings import StorageSettings
from runtime.storage.attachments import Outbox
from runtime.storage.media_errors import MediaFailed
from runtime.storage.transcript import make_session_folder
from tests.actors.stage import Call, HandAgent, chunk, settings

ABLE = ChannelCapabilities(max_upload_bytes=1_000, inline_images=True)
PATIENCE = 60.0


def network(**fields: Any) -> ScriptedChannel:
    return ScriptedChannel(capabilities=msgspec.structs.replace(ABLE, **fields))


def agent(text: str = "done", **files: bytes) -> HandAgent:
    """Says a text, and puts files into its outbox, ``_`` in a name standing for a dot, when it is
    told ``go``.
    """

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        outbox = call.context.outbox
        assert outbox is not None
        make_session_folder(outbox.parent)
        if call.text == "go":
            (outbox / "sub").mkdir(exist_ok=True)
            for name, content in files.items():
                (outbox / name.replace("__", "/").replace("_", ".")).write_bytes(content)
        yield chunk(text)
        if call.text == "fail":
            raise AgentGone("as told")
        yield Result()

    return HandAgent(play, hold=False)


@asynccontextmanager
async def running(data_dir: Path, playing: Agent, *channels: Any) -> AsyncIterator[Runtime]:
    chosen = msgspec.structs.replace(
        settings(queue={"debounce": 0.0}), storage=StorageSettings(data_dir=data_dir)
    )
    async with open_runtime(chosen, agents={"agent": playing}, channels=channels) as runtime:
        yield runtime


def outbox_of(data_dir: Path) -> Path:
    (found,) = data_dir.glob("sessions/*/*/outbox")
    return found


def names(outbox: Path) -> list[str]:
    return sorted(str(path.relative_to(outbox)) for path in outbox.rglob("*") if path.is_file())


async def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does; it has no event."""
    with trio.fail_after(PATIENCE):
        while not true():  # noqa: ASYNC110 - there is nothing to wait on
            await trio.sleep(0.01)


async def seen(chat: ScriptedChannel, *texts: str) -> None:
    await until(lambda: chat.visible() == list(texts))


async def test_files_follow_the_text(tmp_path: Path) -> None:  # R7 D7
    chat = network()
    playing = agent("here", b_png=b"pixels", a_txt=b"words", sub__c_pdf=b"pages")
    async with running(tmp_path, playing, chat):
        await chat.say("go")
        await seen(chat, "here", "[a.txt]", "[b.png]", "[c.pdf]")
        assert [(file.name, file.content, file.inline) for file in chat.uploads] == [
            ("a.txt", b"words", False),
            ("b.png", b"pixels", True),
            ("c.pdf", b"pages", False),
        ]
        assert [file.mime_type for file in chat.uploads] == [
            "text/plain",
            "image/png",
            "application/pdf",
        ]
        await until(lambda: names(outbox_of(tmp_path)) == [])
        await chat.say("again")
        await seen(chat, "here", "[a.txt]", "[b.png]", "[c.pdf]", "here")


async def test_images_are_files_where_they_cannot_be_shown(tmp_path: Path) -> None:  # R7 N1
    chat = network(inline_images=False)
    async with running(tmp_path, agent(b_png=b"pixels"), chat):
        await chat.say("go")
        await seen(chat, "done", "[b.png]")
        assert [file.inline for file in chat.uploads] == [False]


async def test_files_go_although_there_is_nothing_to_say(tmp_path: Path) -> None:  # R6 R7
    chat = network()
    async with running(tmp_path, agent("NO_REPLY", a_txt=b"words"), chat):
        await chat.say("go")
        await seen(chat, "[a.txt]")


async def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:  # R7
    chat = network(max_upload_bytes=10_000_000)
    content = os.urandom(1_000_003)
    async with running(tmp_path, agent(a_bin=content), chat):
        await chat.say("go")
        await seen(chat, "done", "[a.bin]")
        assert chat.uploads[0].content == content


async def test_one_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:  # R7
    chat = network()
    chat.script(Behaviour(fail="for_good"), of="upload")
    async with running(tmp_path, agent(a_txt=b"1", b_txt=b"2"), chat):
        await chat.say("go")
        told = "The file a.txt could not be delivered; it is kept in the agent's outbox."
        await seen(chat, "done", "[b.txt]", told)
        await until(lambda: names(outbox_of(tmp_path)) == ["a.txt"])
        await chat.say("again")  # and it is not tried again by itself
        await seen(chat, "done", "[b.txt]", told, "done")
        (outbox_of(tmp_path) / "a.txt").write_bytes(b"anew")
        await chat.say("again")
        await seen(chat, "done", "[b.txt]", told, "done", "done", "[a.txt]")


async def test_a_chat_that_takes_no_files_says_so_once(tmp_path: Path) -> None:  # R7 N1
    chat = network(max_upload_bytes=0)
    async with running(tmp_path, agent(a_txt=b"1", b_txt=b"2"), chat):
        await chat.say("go")
        await until(lambda: len(chat.visible()) == 2)
        assert chat.visible()[1].startswith("2 files were not sent")
        await chat.say("again")
        await until(lambda: len(chat.visible()) == 3)
        assert names(outbox_of(tmp_path)) == ["a.txt", "b.txt"]
        assert chat.calls("upload") == []


async def test_what_is_too_large_is_said(tmp_path: Path) -> None:  # R7
    chat = network(max_upload_bytes=5)
    async with running(tmp_path, agent(a_txt=b"123456", b_txt=b"12345"), chat):
        await chat.say("go")
        await until(lambda: len(chat.visible()) == 3)
        assert chat.visible()[:2] == ["done", "[b.txt]"]
        assert "a.txt: it has 6 bytes, and this chat takes 5 bytes" in chat.visible()[2]
        await until(lambda: names(outbox_of(tmp_path)) == ["a.txt"])


async def test_what_was_refused_takes_no_place(  # R7
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "AT_ONCE", 2)
    chat = network(max_upload_bytes=5)
    async with running(tmp_path, agent(a_txt=b"123456", b_txt=b"123456"), chat):
        await chat.say("go")
        await until(lambda: len(chat.visible()) == 2)
        (outbox_of(tmp_path) / "c.txt").write_bytes(b"1")
        await chat.say("again")
        await until(lambda: chat.visible()[2:] == ["done", "[c.txt]"])


@pytest.mark.parametrize("page", [1, 2, 3, 500])
async def test_more_than_go_at_once_go_with_the_next_answer(  # R7
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(outgoing, "AT_ONCE", 2)
    monkeypatch.setattr(uploads, "PAGE", page)
    chat = network()
    playing = agent(a_txt=b"1", b_txt=b"2", c_txt=b"3", d_txt=b"4", e_txt=b"5")
    async with running(tmp_path, playing, chat):
        await chat.say("go")
        told = "3 more files wait in the agent's outbox for its next answer."
        first = ["done", "[a.txt]", "[b.txt]", told]
        await seen(chat, *first)
        await chat.say("again")
        told = "One more file waits in the agent's outbox for its next answer."
        second = ["done", "[c.txt]", "[d.txt]", told]
        await seen(chat, *first, *second)
        await chat.say("again")
        await seen(chat, *first, *second, "done", "[e.txt]")
        await until(lambda: names(outbox_of(tmp_path)) == [])


async def test_a_turn_that_fails_sends_none(tmp_path: Path) -> None:  # R7 T5
    chat = network()
    async with running(tmp_path, agent(a_txt=b"1"), chat):
        await chat.say("hello")
        await seen(chat, "done")
        (outbox_of(tmp_path) / "x.txt").write_bytes(b"x")
        await chat.say("fail")
        await until(lambda: len(chat.visible()) == 2)
        assert names(outbox_of(tmp_path)) == ["x.txt"]
        await chat.say("hello")
        await until(lambda: chat.visible()[2:] == ["done", "[x.txt]"])


async def test_a_pull_channel_leaves_them(tmp_path: Path) -> None:  # R7 R8
    async with running(tmp_path, agent(a_txt=b"1")) as runtime:
        session = await runtime.session("demo")
        await (await session.prompt("go")).result()
        assert names(outbox_of(tmp_path)) == ["a.txt"]


@pytest.mark.parametrize("change", ["gone", "written anew", "a link"])
async def test_what_was_taken_back_is_not_sent(tmp_path: Path, change: str) -> None:  # A3
    chat = network()
    chat.script(Behaviour(delay=1.0))  # the text; meanwhile the file is owed
    async with running(tmp_path, agent(a_txt=b"1", b_txt=b"2"), chat):
        await chat.say("go")
        await chat.attempted(1)
        place = outbox_of(tmp_path) / "a.txt"
        place.unlink()
        if change == "written anew":
            place.write_bytes(b"other")
        elif change == "a link":
            place.symlink_to("b.txt")
        await seen(chat, "done", "[b.txt]")
        await until(lambda: "b.txt" not in names(outbox_of(tmp_path)))


@pytest.mark.parametrize("fail", ["during", "after"])
async def test_in_doubt_it_says_so(tmp_path: Path, fail: Any) -> None:  # O2 R7
    chat = network()
    chat.script(Behaviour(fail=fail), of="upload")
    async with running(tmp_path, agent(a_txt=b"1"), chat):
        await chat.say("go")
        marked = "[a.txt] (This message may have reached you before.)"
        await seen(chat, "done", *(["[a.txt]"] if fail == "after" else []), marked)
        await until(lambda: names(outbox_of(tmp_path)) == [])


@pytest.mark.parametrize("able", [{"reconcile": True}, {"idempotent_sends": True}])
async def test_a_network_that_can_tell_gets_it_once(tmp_path: Path, able: Any) -> None:  # O2 N4
    chat = network(**able)
    chat.script(Behaviour(fail="after"), of="upload")
    async with running(tmp_path, agent(a_txt=b"1"), chat):
        await chat.say("go")
        await seen(chat, "done", "[a.txt]")
        await until(lambda: names(outbox_of(tmp_path)) == [])
        assert chat.visible() == ["done", "[a.txt]"]


async def test_that_it_cannot_be_removed_is_no_failed_delivery(  # A4
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chat = network()
    removing: list[str] = []

    def refuse(self: Outbox, file: Any) -> bool:
        removing.append(file.path)
        raise MediaFailed("as scripted")

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "remove", refuse)
        async with running(tmp_path, agent(a_txt=b"1"), chat) as rt:
            await chat.say("go")
            await until(lambda: removing == ["a.txt"])
            await chat.say("hello")
            await seen(chat, "done", "[a.txt]", "done")
            await rt.front.sweep_media()
            assert removing == ["a.txt"] * 2
            assert "crashed" not in caplog.text
    chat.lose_connection()
    async with running(tmp_path, agent(), chat):  # what was left is only removed
        await chat.say("hello")
        await until(lambda: names(outbox_of(tmp_path)) == [])
        await seen(chat, "done", "[a.txt]", "done", "done")


async def test_what_was_owed_at_a_crash_is_sent_after_it(tmp_path: Path) -> None:  # R7 D7 O2
    chat = network()
    chat.script(Behaviour(delay=1_000_000.0), of="upload")
    with trio.CancelScope() as power:
        async with running(tmp_path, agent(a_txt=b"1", b_txt=b"2"), chat):
            await chat.say("go")
            await chat.called("upload", timeout=PATIENCE)
            power.cancel()
            await trio.sleep_forever()
    chat.lose_connection()
    async with running(tmp_path, agent(), chat):
        marked = "[a.txt] (This message may have reached you before.)"
        await seen(chat, "done", marked, "[b.txt]")
        await until(lambda: names(outbox_of(tmp_path)) == [])


async def test_a_chat_may_take_less_after_a_restart(tmp_path: Path) -> None:  # R7 N1
    chat = network()
    chat.script(Behaviour(fail="before", retry_after=5.0))
    with trio.CancelScope() as power:
        async with running(tmp_path, agent(a_txt=b"123456"), chat):
            await chat.say("go")
            await chat.attempted(1, timeout=PATIENCE)
            power.cancel()
            await trio.sleep_forever()
    less = network(max_upload_bytes=5)
    async with running(tmp_path, agent(), less):
        told = "The file a.txt could not be delivered; it is kept in the agent's outbox."
        await until(lambda: less.visible()[-1:] == [told])
        assert less.calls("upload") == []


async def test_an_outbox_that_is_a_link_is_not_followed(tmp_path: Path) -> None:  # R7 A3
    chat = network()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.txt").write_bytes(b"secret")
    async with running(tmp_path / "data", agent(), chat):
        await chat.say("hello")
        await seen(chat, "done")
        outbox = outbox_of(tmp_path / "data")
        outbox.rmdir()
        outbox.symlink_to(elsewhere)
        await chat.say("hello")
        await seen(chat, "done", "done")
        assert chat.uploads == []
        assert names(elsewhere) == ["secret.txt"]


async def test_the_echo_shows_it(tmp_path: Path) -> None:  # R7
    chat = network()
    async with running(tmp_path, EchoAgent(Options(files=2)), chat):
        await chat.say("hello")
        await seen(chat, "hello", "[echo-1.txt]", "[echo-2.txt]")
        assert [file.content for file in chat.uploads] == [b"hello\n"] * 2


async def test_a_later_part_that_fails_is_told(tmp_path: Path) -> None:  # R5
    chat = network(text_limit=64)
    chat.script(Behaviour(), Behaviour(fail="for_good"))
    answer = "\n\n".join("abc"[n] * 50 for n in range(3))
    async with running(tmp_path, agent(answer), chat):
        await chat.say("hello")
        told = "Part 2 of this answer could not be delivered."
        await seen(chat, "a" * 50, "c" * 50, told)
