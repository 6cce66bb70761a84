"""Transcript files are complete when nobody will look at them again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

import runtime
from runtime.app import Runtime
from runtime.embedding import Session
from runtime.settings import Settings, StorageSettings
from runtime.storage import transcript
from runtime.storage.transcript import session_folder


async def say(session: Session, text: str) -> None:
    assert (await (await session.prompt(text)).result()).text == text


def lines(folder: Path, epoch: int) -> list[str]:
    path = folder / f"transcript-{epoch}.jsonl"
    return [msgspec.json.decode(line)["content"] for line in path.read_bytes().splitlines()]


@pytest.fixture
async def rt(tmp_path: Path) -> AsyncIterator[Runtime]:
    settings = Settings(storage=StorageSettings(data_dir=tmp_path))
    async with runtime.open_runtime(settings) as running:
        yield running


@pytest.fixture
def refuse_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The next time that a line is to be appended, the disk refuses."""
    append = transcript.append

    def refuse(*arguments: object) -> None:
        monkeypatch.setattr(transcript, "append", append)
        raise OSError("refused, as scripted")

    def arm() -> None:
        monkeypatch.setattr(transcript, "append", refuse)

    return arm


async def test_an_epoch_is_left_with_its_file_complete(
    rt: Runtime, tmp_path: Path, refuse_once: Callable[[], None]
) -> None:
    # J2 S18
    session = await rt.session("demo")
    await say(session, "one")
    refuse_once()
    await say(session, "two")
    for _ in range(3):
        await session.reset()
    folder = session_folder(tmp_path, "echo", session.id)
    assert lines(folder, 1) == ["one", "one", "two", "two"]


async def test_a_session_is_closed_with_its_file_complete(
    rt: Runtime, tmp_path: Path, refuse_once: Callable[[], None]
) -> None:
    # J2
    session = await rt.session("demo")
    await say(session, "one")
    refuse_once()
    await say(session, "two")
    await session.close()
    assert lines(session_folder(tmp_path, "echo", session.id), 1) == ["one", "one", "two", "two"]
