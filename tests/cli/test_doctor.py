"""``doctor``: what is in order, what is not, and what to do."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import msgspec
import pytest

from runtime.cli import media_findings
from runtime.endpoint import FILE_NAME, Endpoint
from runtime.settings import MediaSettings, Settings
from runtime.storage.integrity import Integrity, look_for_damage
from runtime.storage.lock import LOCK, InstanceLock
from runtime.storage.media_tree import MediaTree
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


def test_what_is_odd_is_not_in_order_and_no_problem(cli: CommandLine, tmp_path: Path) -> None:
    # Q3
    settings = tmp_path / "runtime.toml"
    settings.write_text("[gateway]\nport = 0\n[channels.tele]\ncap = 5\n[channels.fon]\ncap = 5\n")
    said = cli("doctor", "--data-dir", "data")
    assert said.code == 0
    assert said.out.endswith("\n2 warnings.\n")
    assert said.out.count("warning  channels: channels.") == 2
    assert said.out.count("under `serve`") == 1, "what to do about both is said once"
    settings.write_text("[queue]\ncap = 0\nmod = 'x'\n")
    said = cli("doctor", "--data-dir", "data")
    assert said.code == 1
    assert said.out.endswith("\n2 problems.\n")
    assert said.out.count("hint: docs/runtime.example.toml") == 1


# M6
async def test_a_folder_for_files_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(media_findings, "ANSWER_LIMIT", 0.1)
    monkeypatch.setattr(media_findings, "_folder_as_it_is", lambda *_, **__: answers.wait(60))
    settings = Settings(media=MediaSettings(root=tmp_path))
    found = await media_findings.media_folder(settings, running=True)
    answers.set()
    assert (found.state, found.text) == ("problem", f"{tmp_path}: the disk does not answer")


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


def settings_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "runtime.toml"
    path.write_text(text)
    return path


# D3
def test_a_lock_whose_holder_says_nothing(cli: CommandLine, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    lock = InstanceLock.take(data_dir / LOCK)
    found = findings(cli, data_dir)
    lock.release()
    assert found["runtime"]["state"] == "warning"
    assert "port" not in found


# S23
def test_a_damaged_database(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data")
    assert "no damage" in findings(cli, served.data_dir)["database"]["text"]
    served.stop()
    path = served.data_dir / DATABASE
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 6] = b"\xff" * 4096 * 4
    path.write_bytes(content)
    found = findings(cli, served.data_dir)["database"]
    assert found["state"] == "problem"
    assert "backup" in found["hint"]


def test_looking_for_damage_ends_in_time(tmp_path: Path) -> None:
    database = tmp_path / "big.db"
    connection = apsw.Connection(str(database))
    connection.execute(
        "CREATE TABLE t (x); WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c"
        " LIMIT 200000) INSERT INTO t SELECT randomblob(20) FROM c"
    )
    connection.close()
    assert look_for_damage(database, 60.0) == Integrity()
    assert look_for_damage(database, 0.0) == Integrity(whole=False)


# O6
def test_answers_that_were_given_up(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data")
    assert findings(cli, served.data_dir)["deliveries"]["state"] == "ok"
    cli("chat", "--data-dir", served.data_dir, typed="hello\n")
    served.stop()
    connection = apsw.Connection(str(served.data_dir / DATABASE))
    connection.execute(
        "INSERT INTO outbound (id, session_id, part, kind, channel, account, conversation,"
        " reply_to, text, state, created_at, finished_at)"
        " SELECT 'o1', id, 0, 'answer', 'c', 'a', 'x', '{}', 't', 'failed', 1, 1 FROM sessions"
    )
    connection.close()
    found = findings(cli, served.data_dir)["deliveries"]
    assert (found["state"], found["text"]) == ("warning", "1 answer could not be delivered")


# M2, M5, M7, M8
@pytest.mark.parametrize("running", [True, False])
def test_the_files_of_messages(
    serve: Start, cli: CommandLine, tmp_path: Path, running: bool
) -> None:
    served = serve(tmp_path / "data")
    (tmp_path / "notes.txt").write_bytes(b"x" * 2_048)
    cli("chat", "--data-dir", served.data_dir, typed="/attach notes.txt\nread\n")
    if not running:
        served.stop()
    found = findings(cli, served.data_dir)
    assert (found["media"]["state"], found["media folder"]["state"]) == ("ok", "ok")
    assert found["media"]["text"] == "1 file, 2.0 KiB of at most 200.0 MiB"
    assert found["media folder"]["text"].startswith(f"{served.data_dir / 'media'}; ")
    tight = settings_file(
        tmp_path,
        "[gateway]\nport = 0\n[media]\nmax_media_bytes = '1KiB'\nfree_space_floor = '99TiB'",
    )
    found = findings(cli, served.data_dir, "--config", str(tight))
    assert found["media"]["state"] == "warning"
    assert "media sweep" in found["media"]["hint"]
    assert found["media folder"]["state"] == "warning"
    assert "99.0 TiB are left free" in found["media folder"]["text"]


# M1, M2, M8
@pytest.mark.parametrize(
    "what, state, text",
    [
        ("missing", "ok", "will be made at the start"),
        ("link", "problem", "is a symbolic link"),
        ("file", "problem", "is not a folder"),
        ("open", "warning", "is open to other users (mode 755)"),
        ("foreign", "problem", "holds what is not of this runtime (cat.jpg)"),
        ("locked", "problem", "another runtime works on"),
    ],
)
def test_a_folder_for_files(
    cli: CommandLine, tmp_path: Path, what: str, state: str, text: str
) -> None:
    root = tmp_path / "files"
    match what:
        case "link":
            (tmp_path / "elsewhere").mkdir()
            root.symlink_to(tmp_path / "elsewhere")
        case "file":
            root.touch()
        case "open" | "foreign" | "locked":
            root.mkdir(mode=0o755)
    if what == "foreign":
        (root / "cat.jpg").touch()
    tree = MediaTree(root)
    if what == "locked":
        tree.prepare()
    toml = settings_file(tmp_path, f"[gateway]\nport = 0\n[media]\nroot = '{root}'")
    found = findings(cli, tmp_path / "data", "--config", str(toml))["media folder"]
    tree.release()
    assert (found["state"], text in found["text"]) == (state, True), found
    assert root.exists() == (what != "missing"), "looking makes nothing"
    if what in ("open", "foreign"):
        assert root.stat().st_mode & 0o777 == 0o755, "looking changes nothing"


# G8
@pytest.mark.parametrize(
    "toml, name, state",
    [
        ("[gateway]\ntoken = 'sesame'", "token", "warning"),
        ("[gateway]\ntoken = 'aaaaaaaaaaaaaaaaaaaaaaaaaa'", "token", "warning"),
        ("[gateway]\ntoken = 'k4Jr8_2mVtQz71xWb0Yp'", "token", "ok"),
        (
            "[gateway]\ntoken = 'k4Jr8_2mVtQz71xWb0Yp'\n[gateway.principals.ada]\ntoken = 'ada'",
            "token",
            "warning",
        ),
        ("[gateway]\nhost = '0.0.0.0'\ntoken = 'k4Jr8_2mVtQz71xWb0Yp'", "encryption", "warning"),
        ("[gateway]\nallowed_origins = ['http://example.com']", "origins", "warning"),
        ("[gateway]\nallowed_origins = ['http://[::1]:80', 'http://localhost']", "origins", "ok"),
        ("[gateway]\nallowed_origins = ['https://example.com']", "origins", "ok"),
        ("[gateway]\nworkspace_roots = ['missing']", "workspace", "warning"),
        ("[gateway]\nworkspace_roots = ['here']", "workspace", "ok"),
        ("[gateway]\nworkspace_roots = ['.']", "workspace", "warning"),
        ("[gateway]\nworkspace_roots = ['data/inside']", "workspace", "warning"),
        ("[agents.a]\nkind = 'acp'\ncommand = ['sh']", "agent a", "ok"),
        ("[agents.a]\nkind = 'acp'\ncommand = ['no-such-program']", "agent a", "problem"),
        ("[agents.a]\nkind = 'acp'\ncommand = ['./here']\ncwd = '.'", "agent a", "problem"),
        ("[agents.a]\nkind = 'acp'\ncommand = ['./agent']", "agent a", "warning"),
        ("[agents.a]\nkind = 'acp'\ncommand = ['sh']\ncwd = 'missing'", "agent a", "problem"),
    ],
)
def test_what_settings_lead_to(
    cli: CommandLine, tmp_path: Path, toml: str, name: str, state: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "data" / "inside").mkdir(parents=True)
    (tmp_path / "data").chmod(0o700)
    found = findings(cli, tmp_path / "data", "--config", str(settings_file(tmp_path, toml)))
    assert found[name]["state"] == state, found[name]


def certificate(folder: Path, days: int) -> str:
    """A certificate that runs out in so many days; the settings that name it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("making certificates needs openssl")
    folder.mkdir(exist_ok=True)
    key, request, made = (str(folder / name) for name in ("key.pem", "request.pem", "cert.pem"))
    curve = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    for command in (
        (
            "req",
            "-new",
            "-subj",
            "/CN=x",
            "-nodes",
            "-newkey",
            *curve,
            "-keyout",
            key,
            "-out",
            request,
        ),
        ("x509", "-req", "-days", str(days), "-in", request, "-signkey", key, "-out", made),
    ):
        subprocess.run([openssl, *command], check=True, capture_output=True)
    names = f"tls_certificate = '{folder / 'cert.pem'}'\ntls_key = '{folder / 'key.pem'}'"
    return f"[gateway]\n{names}\n"


# G8
@pytest.mark.parametrize("days, state", [(60, "ok"), (10, "warning"), (-1, "problem")])
def test_a_certificate_that_runs_out(
    cli: CommandLine, tmp_path: Path, days: int, state: str
) -> None:
    toml = certificate(tmp_path / "tls", days)
    found = findings(cli, tmp_path / "data", "--config", str(settings_file(tmp_path, toml)))
    assert found["certificate"]["state"] == state, found["certificate"]
    assert ("valid until" in found["certificate"]["text"]) == (days > 0)


# G8
def test_a_key_of_another_certificate(cli: CommandLine, tmp_path: Path) -> None:
    toml = certificate(tmp_path / "tls", 60)
    certificate(tmp_path / "other", 60)
    shutil.copy(tmp_path / "other" / "key.pem", tmp_path / "tls" / "key.pem")
    found = findings(cli, tmp_path / "data", "--config", str(settings_file(tmp_path, toml)))
    assert found["certificate"]["state"] == "problem"
