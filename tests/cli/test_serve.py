"""``serve``: a greeting, an endpoint file, a graceful end, a clear message when it cannot start."""

import json
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec
import pytest

from runtime.endpoint import FILE_NAME, Endpoint, find
from runtime.settings import Settings, StorageSettings
from runtime.storage.opening import APPLICATION_ID, DATABASE

from .conftest import CommandLine, Start
from .talker import BUSY, chatting, say, wait_for_turn

NOTHING_RUNS = 2**22 - 1
"""A process id that no process has: the largest one of a system with the usual limits is lower."""


def test_it_says_where_it_is_and_what_to_type(serve: Start, tmp_path: Path) -> None:
    served = serve(tmp_path / "data")
    assert served.endpoint.url in served.greeting
    assert str(served.data_dir) in served.greeting
    assert "echo (default)" in served.greeting
    assert served.greeting.endswith("-m runtime chat --data-dir data\n")


# D3, S45, G9
def test_it_stops_gracefully(serve: Start, tmp_path: Path) -> None:
    served = serve(tmp_path / "data")
    path = served.data_dir / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert served.endpoint.pid == served.process.pid
    said = served.stop(signal.SIGTERM)
    assert said.code == 0
    assert "Stopping" in said.out
    log = [json.loads(line) for line in said.err.splitlines()]
    assert [(line["level"], line["message"]) for line in log] == [
        ("info", "started"),
        ("info", "stopping"),
        ("info", "stopped"),
    ]
    assert log[0]["url"] in said.out
    assert log[0]["data_dir"] == str(served.data_dir)
    assert (log[0]["agents"], log[0]["pid"]) == (["echo"], served.process.pid)
    assert log[1]["signal"] == "SIGTERM"
    assert not path.exists()


# S45, T5
def test_a_second_signal_stops_at_once(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", toml=f"[sessions]\nshutdown_grace = '1h'\n{BUSY}")
    with chatting(served.data_dir) as chat:
        say(chat, "hello\n")
        wait_for_turn(cli, served.data_dir)
        served.process.send_signal(signal.SIGINT)
        assert served.process.stdout is not None
        while "Stopping" not in served.process.stdout.readline():
            assert served.process.poll() is None
        said = served.stop(signal.SIGINT)
    assert said.code == 130
    assert "Traceback" not in said.err


# D3
def test_the_endpoint_file_of_a_dead_process_is_replaced(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    settings = Settings(storage=StorageSettings(data_dir=data_dir))
    serve(data_dir).stop(signal.SIGKILL)
    assert (data_dir / FILE_NAME).exists()
    assert find(settings) is None
    assert cli("sessions", "list", "--data-dir", data_dir).code == 0
    served = serve(data_dir)
    assert find(settings) == served.endpoint


# D8
def test_what_was_recovered_is_logged(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", toml=BUSY)
    with chatting(served.data_dir) as chat:
        say(chat, "hello\n")
        wait_for_turn(cli, served.data_dir)
        served.stop(signal.SIGKILL)
    log = map(json.loads, serve(served.data_dir).stop().err.splitlines())
    (recovered,) = [line for line in log if line["message"] == "recovered"]
    assert (recovered["turns"], recovered["requeued"], recovered["waiting"]) == (1, 1, 1)


# S23
def test_a_damaged_database_is_looked_into_where_it_is(cli: CommandLine, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    foreign_database(data_dir)
    said = cli("serve", "--port", "0", "--data-dir", data_dir)
    assert f"-m runtime doctor --data-dir {data_dir}`" in said.err
    assert "doctor" not in cli("doctor", "--data-dir", data_dir).out


# D3
def test_a_second_runtime_is_refused(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data")
    said = cli("serve", "--port", "0", "--data-dir", served.data_dir)
    assert said.code == 1
    assert said.err.startswith(f"error: Another runtime (process {served.process.pid}) works on ")
    assert find(Settings(storage=StorageSettings(data_dir=served.data_dir))) == served.endpoint


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_taken_port_changes_nothing(cli: CommandLine, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = cli("serve", "--port", port, "--data-dir", "data")
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert f"port {port} is taken" in said.err
    assert contents(tmp_path) == {}


def newer_database(data_dir: Path) -> str:
    data_dir.mkdir()
    connection = apsw.Connection(str(data_dir / DATABASE))
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 999)
    connection.execute("CREATE TABLE later (x)")
    connection.close()
    return "has schema 999"


def foreign_database(data_dir: Path) -> str:
    data_dir.mkdir()
    (data_dir / DATABASE).write_text("dear diary")
    return "it is not an SQLite database"


def file_in_the_way(data_dir: Path) -> str:
    data_dir.write_text("")
    return f"{data_dir} is not a directory"


def folder_of_no_folder(data_dir: Path) -> str:
    data_dir.parent.joinpath("runtime.toml").write_text("[storage]\ndata_dir = 'runtime.toml/x'")
    return "runtime.toml/x cannot be used"


def broken_settings(data_dir: Path) -> str:
    data_dir.parent.joinpath("runtime.toml").write_text("[gateway\n")
    return "runtime.toml: expected TOML"


# D4, S23
@pytest.mark.parametrize(
    "prepare",
    [newer_database, foreign_database, file_in_the_way, folder_of_no_folder, broken_settings],
)
def test_what_keeps_it_from_starting_is_said_once(
    cli: CommandLine, tmp_path: Path, prepare: Callable[[Path], str]
) -> None:
    data_dir = tmp_path / "data"
    message = prepare(data_dir)
    before = contents(tmp_path)
    named = [] if prepare is folder_of_no_folder else ["--data-dir", str(data_dir)]
    said = cli("serve", "--port", "0", *named)
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert contents(tmp_path) == before


def test_an_endpoint_is_no_secret_keeper_by_accident(tmp_path: Path) -> None:
    endpoint = Endpoint("ws://127.0.0.1:1/acp", "sesame", NOTHING_RUNS)
    assert "sesame" not in repr(endpoint)
    assert not endpoint.alive
    (tmp_path / FILE_NAME).write_bytes(msgspec.json.encode(endpoint))
    assert find(Settings(storage=StorageSettings(data_dir=tmp_path))) is None
    (tmp_path / FILE_NAME).write_text("{")
    assert find(Settings(storage=StorageSettings(data_dir=tmp_path))) is None
