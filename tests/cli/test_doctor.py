"""``doctor``: what is in order, what is not, and what to do."""

import json
import os
import shutil
import signal
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import msgspec
import pytest

from runtime.endpoint import FILE_NAME, Endpoint
from runtime.storage.lock import LOCK, InstanceLock
from runtime.storage.migrations import bundled
from runtime.storage.opening import APPLICATION_ID, DATABASE

from .conftest import CommandLine, Start
from .talker import BUSY, chatting, say, wait_for_turn


def findings(cli: CommandLine, data_dir: Path, *arguments: str) -> dict[str, Any]:
    said = cli("doctor", "--json", "--data-dir", data_dir, *arguments)
    report = json.loads(said.out)
    found = report["findings"]
    assert said.code == any(finding["state"] == "problem" for finding in found)
    assert report["ok"] == (said.code == 0)
    for finding in found:
        assert finding["state"] == "ok" or finding["hint"], finding
    return {finding["name"]: finding for finding in found}


def test_a_new_place_is_in_order(cli: CommandLine, tmp_path: Path) -> None:
    port = tmp_path / "runtime.toml"
    port.write_text("[gateway]\nport = 0")
    found = findings(cli, tmp_path / "data")
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert found["SQLite"]["text"] == apsw.sqlite_lib_version()
    assert "will be made" in found["data directory"]["text"]
    assert not (tmp_path / "data").exists(), "looking makes nothing"
    said = cli("doctor", "--data-dir", "data")
    assert said.out.endswith("\nEverything is in order.\n")


# D3
def test_a_running_runtime_is_asked(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", variables={"RUNTIME_GATEWAY__TOKEN": "sesame"})
    found = findings(cli, served.data_dir)
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert f"process {served.process.pid} answers" in found["runtime"]["text"]
    assert found["readiness"]["text"] == "messages are accepted"
    assert f"schema {len(bundled())}," in found["database"]["text"]
    assert "0 interrupted turns" in found["last start"]["text"]
    assert "port" not in found


# D8
def test_what_the_last_start_recovered_is_said(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    first = serve(tmp_path / "data", toml=BUSY)
    with chatting(first.data_dir) as chat:
        say(chat, "hello\n")
        wait_for_turn(cli, first.data_dir)
        first.stop(signal.SIGKILL)
    found = findings(cli, first.data_dir)
    assert "was killed" in found["runtime"]["text"]
    assert found["waiting"]["text"] == "1 message will run after the next start"
    serve(tmp_path / "data").stop()
    found = findings(cli, first.data_dir)
    assert found["runtime"]["text"] == "none runs on this data directory"
    assert ": 1 interrupted turn (1 message run again, 0 failed), " in found["last start"]["text"]


def test_a_runtime_that_does_not_answer(cli: CommandLine, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    endpoint = Endpoint("ws://127.0.0.1:9/acp", None, os.getpid())
    (data_dir / FILE_NAME).write_bytes(msgspec.json.encode(endpoint))
    lock = InstanceLock.take(data_dir / LOCK)
    found = findings(cli, data_dir)
    lock.release()
    assert found["runtime"]["state"] == "problem"
    assert "does not answer" in found["runtime"]["text"]


# D3
def test_a_file_left_behind_whose_process_id_is_somebody_elses(
    cli: CommandLine, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    endpoint = Endpoint("ws://127.0.0.1:9/acp", None, os.getpid())
    (data_dir / FILE_NAME).write_bytes(msgspec.json.encode(endpoint))
    assert findings(cli, data_dir)["runtime"]["state"] == "ok"
    (data_dir / LOCK).touch()
    assert findings(cli, data_dir)["runtime"]["state"] == "ok"


def test_a_taken_port(cli: CommandLine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = tmp_path / "runtime.toml"
        settings.write_text(f"[gateway]\nport = {taken.getsockname()[1]}")
        found = findings(cli, tmp_path / "data")
    assert found["port"]["state"] == "problem"


def test_a_folder_that_others_can_read(cli: CommandLine, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o755)
    found = findings(cli, data_dir)
    assert found["data directory"]["state"] == "warning"
    assert found["data directory"]["hint"] == f"chmod 700 {data_dir}"


def test_a_file_in_the_place_of_the_folder(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "not a directory" in findings(cli, tmp_path / "data")["data directory"]["text"]
    below = findings(cli, tmp_path / "data" / "deeper")
    assert below["data directory"]["state"] == "problem"


@pytest.mark.parametrize(
    "free, state", [(10 * 1024**3, "ok"), (500 * 1024**2, "warning"), (1024**2, "problem")]
)
def test_little_space(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert findings(cli, tmp_path / "data")["free space"]["state"] == state


# D4
def test_a_database_of_the_future(cli: CommandLine, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    connection = apsw.Connection(str(data_dir / DATABASE))
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 999)
    connection.execute("CREATE TABLE later (x)")
    connection.close()
    before = (data_dir / DATABASE).read_bytes()
    found = findings(cli, data_dir)
    assert found["database"]["state"] == "problem"
    assert "schema 999" in found["database"]["text"]
    assert (data_dir / DATABASE).read_bytes() == before


def test_broken_settings_end_the_examination(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "runtime.toml").write_text("[queue]\ncap = 0\n[gateway]\nport = -1")
    said = cli("doctor")
    assert said.code == 1
    assert said.out.count("\nproblem  settings: ") == 2
    assert said.out.endswith("\n2 problems.\n")
