"""Files that people sent, in the hands of agents that are real processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.agents.acp.files import FileRefused, Folder, MediaFolder
from runtime.ports.agent import PromptTurn
from runtime.sessions.content import AudioBlock, ImageBlock, PromptContent, ResourceLink, TextBlock
from tests.agents.conftest import HOSTILE, PATIENCE, SDK_AGENT, Stage, run_turn, said
from tests.agents.test_requests import answers, read, write


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """The folder of a session's files, beside that of another session."""
    for session in ("mine", "other"):
        folder = tmp_path / "data" / "media" / session
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text(f"{session}: one\ntwo\n", encoding="utf-8")
    return tmp_path / "data" / "media" / "mine"


def given(folder: Path) -> PromptContent:
    """What the runtime gives of an image and a sound; who takes neither is given the links."""
    (folder / "cat 1.png").write_bytes(b"\x89cat")
    (folder / "hum.wav").write_bytes(b"RIFFhum")
    image, sound = (folder / "cat 1.png").as_uri(), (folder / "hum.wav").as_uri()
    return (
        TextBlock("look"),
        ResourceLink("cat.png", image, mime_type="image/png", size=4),
        ImageBlock("iWNhdA==", "image/png", image),
        ResourceLink("hum.wav", sound, mime_type="audio/wav", size=7),
        AudioBlock("UklGRmh1bQ==", "audio/wav"),
    )


@pytest.mark.parametrize("takes", ["", "image", "audio", "image audio"])
async def test_an_agent_on_the_published_package_is_given_files(
    stage: Stage, media: Path, takes: str
) -> None:
    # H1 N1
    content = given(media)
    async with stage.open(SDK_AGENT, env={"TAKES": takes}, context={"media": media}) as handle:
        assert handle.capabilities.images == ("image" in takes)
        assert handle.capabilities.audio == ("audio" in takes)
        with trio.fail_after(PATIENCE):
            turn = PromptTurn("turn-1", content, ("m",))
            found = json.loads(said([event async for event in handle.prompt(turn)]))
    image, sound = "\x89cat", "RIFFhum"
    at = {"image": str(media / "cat 1.png"), "audio": str(media / "hum.wav")}
    links = [
        {"link": image, "at": at["image"], "name": "cat.png", "mime": "image/png", "size": 4},
        {"link": sound, "at": at["audio"], "name": "hum.wav", "mime": "audio/wav", "size": 7},
    ]
    blocks = [{"image": image, "mime": "image/png"}, {"audio": sound, "mime": "audio/wav"}]
    assert [each for each in found if "link" in each] == links
    assert [each for each in found if "image" in each] == blocks[:1] * ("image" in takes)
    assert [each for each in found if "audio" in each] == blocks[1:] * ("audio" in takes)


async def test_the_process_is_told_where_the_files_are(stage: Stage, media: Path) -> None:
    # P1
    for env, told in (({}, str(media)), ({"GREENROOM_MEDIA": "/in"}, "/in")):
        async with stage.open(HOSTILE, "environment", context={"media": media}, env=env) as handle:
            found = json.loads(said(await run_turn(handle)))
        assert found["env"]["GREENROOM_MEDIA"] == told
    async with stage.open(HOSTILE, "environment") as handle:
        assert "GREENROOM_MEDIA" not in json.loads(said(await run_turn(handle)))["env"]


async def test_files_of_people_are_read_through_the_runtime_and_never_written(
    stage: Stage, media: Path
) -> None:
    # G10 M4
    context: dict[str, Any] = {"media": media}
    other = media.parent / "other" / "notes.txt"
    (media / "link").symlink_to(other)
    async with stage.open(HOSTILE, "calls", files="write", context=context) as handle:
        whole, line, written, made, others, around, linked, missing = await answers(
            handle,
            read(media / "notes.txt"),
            read(media / "notes.txt", line=2, limit=1),
            write(media / "notes.txt", "changed"),
            write(media / "new", "made"),
            read(other),
            read(media / ".." / "other" / "notes.txt"),
            read(media / "link"),
            read(media / "gone"),
        )
    assert (whole, line) == ({"content": "mine: one\ntwo\n"}, {"content": "two\n"})
    refused = (written, made, others, around, linked)
    assert {each["code"] for each in refused} == {-32602}
    assert missing["code"] == -32002
    assert not await trio.Path(media / "new").exists()
    assert (media / "notes.txt").read_text(encoding="utf-8") == "mine: one\ntwo\n"
    async with stage.open(HOSTILE, "calls", context=context) as handle:  # files are off
        (refused_off,) = await answers(handle, read(media / "notes.txt"))
    assert refused_off["code"] == -32601


async def test_an_agent_that_works_above_the_files_reads_its_own_only(
    stage: Stage, media: Path
) -> None:
    # G10 M4
    above = media.parent.parent
    (above / "alias").symlink_to(media.parent)
    (above / "plain.txt").write_text("plain", encoding="utf-8")
    context: dict[str, Any] = {"media": media, "workspace": above}
    async with stage.open(HOSTILE, "calls", files="write", context=context) as handle:
        plain, mine, others, relative, alias, written = await answers(
            handle,
            read(above / "plain.txt"),
            read(media / "notes.txt"),
            read(media.parent / "other" / "notes.txt"),
            read("media/other/notes.txt"),
            read("alias/other/notes.txt"),
            write(media / "notes.txt", "changed"),
        )
    assert plain == {"content": "plain"}
    assert mine == {"content": "mine: one\ntwo\n"}
    for refused in (others, relative, written):
        assert "files of other sessions" in refused["message"]
    assert "symbolic link" in alias["message"]
    assert (media / "notes.txt").read_text(encoding="utf-8") == "mine: one\ntwo\n"


def test_a_folder_of_files_that_became_a_link_is_not_followed(media: Path) -> None:
    # M2 M4
    media.rename(media.parent / "aside")
    media.symlink_to(media.parent / "other")
    with pytest.raises(FileRefused, match="symbolic link"):
        MediaFolder(media).read(str(media / "notes.txt"))
    root = media.parent
    root.rename(root.parent / "aside")
    (root.parent / "elsewhere" / "mine").mkdir(parents=True)
    (root.parent / "elsewhere" / "mine" / "notes.txt").write_text("outside", encoding="utf-8")
    root.symlink_to(root.parent / "elsewhere")
    with pytest.raises(FileRefused, match="symbolic link"):
        MediaFolder(media).read(str(media / "notes.txt"))


def test_the_closed_folder_is_known_by_what_it_is_not_by_its_name(media: Path) -> None:
    # M4
    above = media.parent.parent
    folder = Folder(above, closed=media.parent)
    media.parent.rename(above / "renamed")
    media.parent.symlink_to(above / "renamed")
    with pytest.raises(FileRefused, match="files of other sessions"):
        folder.read("renamed/other/notes.txt")
