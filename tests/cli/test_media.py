"""``media usage | sweep``: a running runtime answers as a stopped one does."""

import fcntl
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import janitor
from runtime.storage.media_errors import MediaFailed
from runtime.storage.media_tree import MediaTree
from runtime.storage.opening import DATABASE

from .conftest import CommandLine, Served, Start
from .talker import BUSY, chatting, say, wait_for_turn

QUIET = "[media]\nfree_space_floor = '0B'\n"
TIGHT = f"{QUIET}max_media_bytes = '3KiB'\n"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def send(cli: CommandLine, served: Served, key: str, *sizes: int) -> None:
    """Send files of these sizes, each with a message of its own."""
    folder = served.data_dir.parent
    for number, size in enumerate(sizes):
        (folder / f"{key}-{number}").write_bytes(os.urandom(size))
        typed = f"/attach {folder}/{key}-{number}\nread\n"
        assert cli("chat", "--session", key, "--data-dir", served.data_dir, typed=typed).code == 0


def usage(cli: CommandLine, data_dir: Path, *arguments: str | Path) -> dict[str, Any]:
    said = cli("media", "usage", "--json", "--data-dir", data_dir, *arguments)
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def files(data_dir: Path) -> list[Path]:
    return sorted(path for path in (data_dir / "media").rglob("*") if path.is_file())


# M5
@pytest.mark.parametrize("running", [True, False])
def test_usage(serve: Start, cli: CommandLine, tmp_path: Path, running: bool) -> None:
    served = serve(tmp_path / "data", toml=QUIET)
    send(cli, served, "small", 100)
    send(cli, served, "large", 1_000, 2_000)
    if not running:
        served.stop()
    found = usage(cli, served.data_dir)
    largest = found.pop("largest")
    assert found == {
        "root": str(served.data_dir / "media"),
        "cap": 200 * 2**20,
        "files": 3,
        "size": 3_100,
        "inFlight": 0,
        "stuck": 0,
        "evictable": 3_100,
        "reserved": 0,
    }
    assert [(each["files"], each["size"]) for each in largest] == [(2, 3_000), (1, 100)]
    shown = cli("media", "usage", "--data-dir", served.data_dir).out
    assert "files        3, 3.0 KiB of at most 200.0 MiB\n" in shown
    assert "evictable    3.0 KiB that go when room is needed\n" in shown
    head, *rows = shown.partition("\n\n")[2].splitlines()
    assert head.split() == ["session", "files", "size"]
    assert rows[0].split() == [largest[0]["sessionId"], "2", "2.9", "KiB"]


# M5, M9
@pytest.mark.parametrize("running", [True, False])
def test_a_sweep_enforces_the_cap(
    serve: Start, cli: CommandLine, tmp_path: Path, running: bool
) -> None:
    served = serve(tmp_path / "data", toml=QUIET)
    send(cli, served, "main", 2_000, 1_500, 1_000)
    first = min(files(served.data_dir), key=lambda path: path.stat().st_mtime_ns)
    served.stop()
    if running:
        served = serve(tmp_path / "data", toml=TIGHT)
        said = cli("media", "sweep", "--data-dir", served.data_dir)
        assert said.code == 0
    else:
        tight = tmp_path / "tight.toml"
        tight.write_text(TIGHT)
        where = ("--data-dir", served.data_dir, "--config", tight)
        assert cli("media", "sweep", *where).out == "1 file removed, 2.0 KiB.\n"
        assert cli("media", "sweep", *where).out == "Nothing is to be removed.\n"
        swept = json.loads(cli("media", "sweep", "--json", *where).out)
        assert swept == {"files": 0, "size": 0, "problems": 0}
    assert not first.exists(), "the one that was used longest ago"
    assert usage(cli, served.data_dir)["size"] == 2_500
    if not running:
        serve(tmp_path / "data", toml=QUIET)
    said = cli("chat", "--data-dir", served.data_dir, typed="and now?")
    assert "main-0" in said.out, "the agent is told"


# M6, M8
def test_a_sweep_without_a_runtime_removes_what_belongs_to_nothing(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    served = serve(tmp_path / "data", toml=QUIET)
    send(cli, served, "main", 100)
    served.stop()
    (known,) = files(served.data_dir)
    orphan = known.with_name(f"{known.name[:-1]}{'0' if known.name[-1] != '0' else '1'}")
    orphan.write_bytes(b"x" * 300)
    foreign = known.with_name("notes.txt")
    foreign.write_bytes(b"mine")
    before = usage(cli, served.data_dir)
    assert (before["files"], before["size"]) == (1, 100)
    assert orphan.exists(), "looking removes nothing"
    said = cli("media", "sweep", "--data-dir", served.data_dir)
    assert (said.code, said.out) == (0, "1 file removed, 300 B.\n")
    assert files(served.data_dir) == sorted([known, foreign])


# S43
def test_a_sweep_without_a_runtime_removes_what_nobody_uses(
    serve: Start, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "IDLE_STEP", 1)  # all of it, however many steps that takes
    served = serve(tmp_path / "data", toml=QUIET)
    send(cli, served, "main", 100, 200, 300)
    served.stop()
    idle = tmp_path / "idle.toml"
    idle.write_text(f"{QUIET}idle = '1ms'\n")
    said = cli("media", "sweep", "--data-dir", served.data_dir, "--config", idle)
    assert said.out == "3 files removed, 600 B.\n"
    assert files(served.data_dir) == []


# H6
def test_a_sweep_without_a_runtime_leaves_what_waits(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    served = serve(tmp_path / "data", toml=f"{QUIET}{BUSY}")
    (tmp_path / "waits").write_bytes(b"x" * 500)
    with chatting(served.data_dir) as chat:
        say(chat, f"/attach {tmp_path}/waits\nread\n")
        wait_for_turn(cli, served.data_dir)
        served.stop(signal.SIGKILL)
    tight = tmp_path / "tight.toml"
    tight.write_text(f"{QUIET}max_media_bytes = '1B'\nidle = '1ms'\n")
    where = ("--data-dir", served.data_dir, "--config", tight)
    assert usage(cli, *where[1:])["inFlight"] == 500
    assert cli("media", "sweep", *where).out == "Nothing is to be removed.\n"
    assert len(files(served.data_dir)) == 1


# M2, M6, M8
def test_what_keeps_it_from_working_is_told(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    said = cli("media", "usage", "--data-dir", tmp_path)
    assert said.err.startswith(f"error: no runtime has worked on {tmp_path} yet\nhint: start ")
    served = serve(tmp_path / "data", toml=QUIET)
    send(cli, served, "main", 100)
    served.stop()
    media, where = served.data_dir / "media", ("--data-dir", served.data_dir)
    descriptor = os.open(media, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert usage(cli, served.data_dir)["files"] == 1, "looking needs no lock"
    said = cli("media", "sweep", *where)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"error: Another runtime works on the media in {media}. ")
    os.close(descriptor)
    media.rename(served.data_dir / "aside")
    assert usage(cli, served.data_dir)["files"] == 0
    media.symlink_to(served.data_dir / "aside")
    for command in ("usage", "sweep"):
        said = cli("media", command, *where)
        assert said.code == 1
        assert said.err.startswith(f"error: {media} is a symbolic link. It was not touched: ")
        assert "Traceback" not in said.err
    (served.data_dir / DATABASE).write_bytes(b"no database at all" * 1_000)
    said = cli("media", "usage", *where)
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err


# M6
def test_a_file_that_cannot_be_removed_is_told(
    serve: Start, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(tmp_path / "data", toml=QUIET)
    send(cli, served, "main", 2_000, 1_500)
    served.stop()
    tight = tmp_path / "tight.toml"
    tight.write_text(TIGHT)

    def refuse(_tree: MediaTree, _session: str, file: str) -> bool:
        raise MediaFailed(f"The disk refused to work on {file}.")

    monkeypatch.setattr(MediaTree, "remove", refuse)
    where = ("--data-dir", served.data_dir, "--config", tight)
    said = cli("media", "sweep", *where)
    assert (said.code, said.out) == (1, "0 files removed, 0 B.\n")
    assert "The disk refused to work on " in said.err
    assert said.err.endswith("1 file could not be removed; the log says why.\n")
    assert json.loads(cli("media", "sweep", "--json", *where).out)["files"] == 0
    assert len(files(served.data_dir)) == 2
