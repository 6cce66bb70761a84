"""``/attach`` in ``chat``: files beside what is said, from the disk to the agent."""

import base64
import os
from pathlib import Path

import pytest

from runtime.cli.attaching import ROOM_FOR_WORDS, completed_paths, read_attachment
from runtime.cli.errors import CommandError
from runtime.cli.saying import Message

from .conftest import CommandLine, Start
from .keyboard import Terminal

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
PLENTY = 2**20
ECHO = "[agents.echo]\nkind = 'echo'\nimages = true\naudio = true\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "my notes.txt").write_text("one\ntwo\n")
    (tmp_path / "hum.wav").write_bytes(b"RIFF")
    (tmp_path / "things").mkdir()
    return tmp_path


# G3 H1
def test_files_go_with_the_next_message(serve: Start, cli: CommandLine, folder: Path) -> None:
    served = serve(folder / "data", toml=ECHO)
    typed = "/attach cat.png\n/attach my notes.txt\n/attach ~/hum.wav\nlook at this\nand then\n"
    said = cli("chat", "--data-dir", served.data_dir, typed=typed)
    assert said.code == 0, said.err
    image, notes, sound = (f"[file: {name}, " for name in ("cat.png", "my notes.txt", "hum.wav"))
    lines = said.out.splitlines()
    assert lines[0] == "look at this"
    assert lines[1].startswith(f"{image}image/png, {len(PNG)} bytes, readable: file://")
    assert lines[2] == f"[image block: image/png, {len(PNG)} bytes]"
    assert lines[3].startswith(f"{notes}text/plain, 8 bytes, readable: file://")
    assert lines[4].startswith(f"{sound}audio/x-wav, 4 bytes, readable: file://")
    assert lines[5] == "[audio block: audio/x-wav, 4 bytes]"
    assert lines[6:] == ["and then"], "they go with no other message"
    assert said.err.splitlines()[-1] == (
        f"With your next message: cat.png (image/png, {len(PNG)} B),"
        " my notes.txt (text/plain, 8 B), hum.wav (audio/x-wav, 4 B)"
    )


# G3
def test_files_go_alone_with_an_empty_line(serve: Start, cli: CommandLine, folder: Path) -> None:
    served = serve(folder / "data", toml=ECHO)
    typed = "/attach cat.png\n\n/attach\n/attach cat.png\n/detach\n\nbare\n"
    said = cli("chat", "--data-dir", served.data_dir, typed=typed)
    with_file, block, bare = said.out.splitlines()
    assert "cat.png" in with_file
    assert block.startswith("[image block: ")
    assert bare == "bare"
    listed, nothing, hint, again, taken_back = said.err.splitlines()
    assert listed == again == f"With your next message: cat.png (image/png, {len(PNG)} B)"
    assert nothing == "error: nothing is attached"
    assert hint == "hint: /attach PATH attaches a file"
    assert taken_back == "1 file taken back"
    assert said.code == 1


def test_what_is_left_at_the_end_is_told(serve: Start, cli: CommandLine, folder: Path) -> None:
    served = serve(folder / "data")
    said = cli("chat", "--data-dir", served.data_dir, typed="hello\n/attach cat.png\n")
    assert (said.code, said.out) == (1, "hello\n")
    assert "error: not sent: cat.png\nhint: a message has to come after /attach" in said.err


# G7 M3
def test_what_is_too_large_is_told(serve: Start, cli: CommandLine, folder: Path) -> None:
    toml = "[gateway]\nmax_frame_bytes = '1MiB'\n[media]\nmax_file_bytes = '600KiB'\n"
    served = serve(folder / "data", toml=toml)
    (folder / "large.bin").write_bytes(bytes(2**20))
    (folder / "half.bin").write_bytes(bytes(2**19))
    (folder / "medium.bin").write_bytes(bytes(620 * 1024))
    typed = "/attach large.bin\n/attach half.bin\n/attach half.bin\n/detach\n"
    typed += "/attach medium.bin\nstill here\n"
    said = cli("chat", "--url", served.endpoint.url, typed=typed)
    assert said.code == 1
    assert "1 file taken back\n" in said.err
    assert said.out == "still here\n"
    errors = [line for line in said.err.splitlines() if line.startswith("error")]
    assert errors[0].startswith("error: large.bin is too large: it has 1.0 MiB, and a file of up")
    assert errors[1].startswith("error: half.bin is too large: it has 512.0 KiB, and one message")
    assert errors[2] == (
        "error: medium.bin is too large: it has 620.0 KiB, and a file of up to 600.0 KiB is taken"
    )
    assert len(errors) == 3


@pytest.mark.parametrize(
    "typed, message",
    [
        ("missing.png", "there is no file missing.png"),
        ("things", "things is a folder"),
        ("pipe", "pipe is no regular file"),
        ("empty", "empty is empty"),
        ("closed/x", "closed/x cannot be read: Not a directory"),
        ("cat.png", "cat.png is too large: it has 68 B, and one message has room for 63 B"),
        ("'odd", "there is no file 'odd"),
    ],
)
def test_a_file_that_cannot_go_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, typed: str, message: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").touch()
    (folder / "closed").touch()
    os.mkfifo(folder / "pipe")
    tight = ROOM_FOR_WORDS + len(PNG) // 3 * 4 - 4
    with pytest.raises(CommandError) as raised:
        read_attachment(typed, tight if typed == "cat.png" else PLENTY)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("typed", ["'{0}'", '"{0}"', "{0}", "{1}"])
def test_paths_as_a_terminal_drops_them(folder: Path, typed: str) -> None:
    path = str(folder / "my notes.txt")
    found = read_attachment(typed.format(path, path.replace(" ", "\\ ")), PLENTY)
    assert (found.name, found.mime_type, found.size) == ("my notes.txt", "text/plain", 8)


# G3
def test_a_file_is_an_image_or_a_resource_and_says_nothing_of_its_place(folder: Path) -> None:
    (folder / "odd ä.bin").write_bytes(b"x")
    image = read_attachment(str(folder / "cat.png"), PLENTY)
    sound = read_attachment(str(folder / "hum.wav"), PLENTY)
    other = read_attachment(str(folder / "odd ä.bin"), PLENTY)
    data = base64.b64encode(PNG).decode()
    uri = "attachment:cat.png"
    assert image.block == {"type": "image", "data": data, "mimeType": "image/png", "uri": uri}
    assert sound.block["resource"]["mimeType"] == "audio/x-wav"
    assert other.block["resource"] == {
        "uri": "attachment:odd%20%C3%A4.bin",
        "blob": "eA==",
        "mimeType": "application/octet-stream",
    }
    said = Message("", [image, other])
    assert said.shown == "[cat.png] [odd ä.bin]"
    assert [block["type"] for block in said.prompt("s")["prompt"]] == ["image", "resource"]
    assert image.weight >= len(data)


def test_paths_are_completed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder / "things")
    (folder / ".hidden").touch()
    (folder / "things" / "here").touch()
    assert completed_paths("") == ["here"]
    assert completed_paths("h") == ["here"]
    assert completed_paths("~/t") == ["~/things/"]
    assert completed_paths("~/M") == ["~/my notes.txt"]
    assert completed_paths("../.h") == ["../.hidden"]
    assert sorted(completed_paths(f"{folder}/")) == sorted(
        f"{folder}/{name}" for name in ("cat.png", "my notes.txt", "hum.wav", "things/")
    )
    assert completed_paths("nowhere/x") == []
    assert completed_paths("~nobody-of-that-name/x") == []


# G3 G5
def test_a_person_at_a_terminal_attaches_a_file(serve: Start, folder: Path) -> None:
    served = serve(folder / "data")
    with Terminal(served.data_dir) as asking, Terminal(served.data_dir) as watching:
        for terminal in (asking, watching):
            terminal.wait_for("Session main, agent echo")
        asking.press("/attach ~/my no\t")
        asking.wait_for("tes.txt")
        asking.press("\r")
        asking.wait_for("With your next message: my notes.txt (text/plain, 8 B)")
        asking.press("read it\r")
        asking.wait_for("[file: my notes.txt, text/plain, 8 bytes, readable")
        watching.wait_for("Somebody else: read it", "my notes.txt (attachment:")
        asking.press("/quit\r")
        assert asking.wait_for_end() == 0
        watching.press("\x04")
        assert watching.wait_for_end() == 0
