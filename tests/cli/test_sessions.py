"""``sessions list | show | tail``: a running runtime answers as a stopped one does."""

import json
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from runtime.cli.looking import print_table

from .conftest import PATIENCE, CommandLine, Served, Start, environment
from .talker import BUSY, chatting, say, wait_for_turn


def talk(cli: CommandLine, data_dir: Path, key: str, *lines: str) -> None:
    said = cli("chat", "--session", key, "--data-dir", data_dir, typed="\n".join(lines))
    assert said.code == 0, said.err


# G2, G4, D3
@pytest.mark.parametrize("running", [True, False])
def test_sessions_are_looked_at(
    serve: Start, cli: CommandLine, tmp_path: Path, running: bool
) -> None:
    served = serve(tmp_path / "data")
    talk(cli, served.data_dir, "first", "one")
    talk(cli, served.data_dir, "second", "two", "three")
    if not running:
        assert served.stop().code == 0
    where = ("--data-dir", served.data_dir)

    listed = json.loads(cli("sessions", "list", "--json", *where).out)
    assert [entry["key"] for entry in listed] == ["second", "first"]
    assert {entry["state"] for entry in listed} <= ({"idle", "stopped"} if running else {"stopped"})
    head, *rows = cli("sessions", "list", "-n", "1", *where).out.splitlines()
    assert head.split()[:4] == ["id", "key", "agent", "state"]
    assert [row.split()[:3] for row in rows] == [[listed[0]["id"], "second", "echo"]]

    for name in ("second", listed[0]["id"]):
        shown = json.loads(cli("sessions", "show", name, "--json", *where).out)
        assert shown["id"] == listed[0]["id"]
        assert shown["queue"] == {
            "mode": "collect",
            "running": None,
            "waiting": 0,
            "oldest": None,
            "blocked": None,
        }
        assert "key          second\n" in cli("sessions", "show", name, *where).out

    lines = cli("sessions", "tail", "second", "-n", "3", *where).out.splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["assistant", "two"],
        ["user", "three"],
        ["assistant", "three"],
    ]
    said = cli("sessions", "tail", "second", "-n", "1", "--json", *where).out
    assert json.loads(said)["content"] == "three"
    assert cli("sessions", "tail", "second", "-n", "0", *where).out == ""


def test_what_is_not_there_is_said(served: Served, cli: CommandLine, tmp_path: Path) -> None:
    where = ("--data-dir", served.data_dir)
    said = cli("sessions", "list", *where)
    assert (said.code, said.out, said.err) == (0, "", "No sessions yet.\n")
    said = cli("sessions", "show", "nobody", *where)
    assert said.code == 1
    assert said.err.startswith("error: there is no session with the id or the key 'nobody'\nhint: ")
    said = cli("sessions", "list", "--data-dir", tmp_path)
    assert said.code == 1
    assert said.err.startswith(f"error: no runtime has worked on {tmp_path} yet\nhint: start ")
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_a_key_of_two_agents_is_not_guessed(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    toml = "[agents.echo]\nkind = 'echo'\n[agents.other]\nkind = 'echo'"
    served = serve(tmp_path / "data", toml=toml)
    for agent in ("echo", "other"):
        cli("chat", "--agent", agent, "--data-dir", served.data_dir, typed="hello")
    said = cli("sessions", "show", "main", "--data-dir", served.data_dir)
    assert said.code == 1
    assert said.err.startswith("error: 2 sessions have the key 'main':\n")
    assert "agent other" in said.err


# G4, G12
def test_following_goes_on(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data")
    talk(cli, served.data_dir, "main", "before")
    command = [sys.executable, "-m", "runtime", "sessions", "tail", "main", "-f"]
    with subprocess.Popen(
        [*command, "--data-dir", str(served.data_dir)],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        shown = [tail.stdout.readline().split()[-2:] for _ in range(2)]
        assert shown == [["user", "before"], ["assistant", "before"]]
        talk(cli, served.data_dir, "main", "after")
        spoken = [tail.stdout.readline() for _ in range(3)]
        assert [line.split()[2:4] for line in spoken] == [
            ["user", "after"],
            ["-", "a"],
            ["assistant", "after"],
        ]
        for line in spoken:
            datetime.fromisoformat(line[:19])
        assert served.stop().code == 0
        assert tail.stderr is not None
        assert "trying again" in tail.stderr.readline()
        serve(served.data_dir)
        assert tail.stderr.readline() == "Connected again.\n"
        talk(cli, served.data_dir, "main", "again")
        assert tail.stdout.readline().split()[2:] == ["user", "again"]
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=PATIENCE)
    assert tail.returncode == 130


CONTROLS = "a\x1b]0;title\x07b\x1b[2Jc\x9bd\te"


# G2, G4
@pytest.mark.parametrize("running", [True, False])
def test_what_people_said_does_not_steer_the_terminal(
    serve: Start, cli: CommandLine, tmp_path: Path, running: bool
) -> None:
    served = serve(tmp_path / "data")
    talk(cli, served.data_dir, "main", CONTROLS)
    if not running:
        served.stop()
    where = ("--data-dir", served.data_dir)
    for line in cli("sessions", "tail", "main", *where).out.splitlines():
        assert line.endswith("a]0;titleb[2Jcd\te")
    raw = cli("sessions", "tail", "main", "--json", *where).out.splitlines()
    assert [json.loads(line)["content"] for line in raw] == [CONTROLS] * 2
    said = cli("sessions", "show", "x\x1b[2J", *where)
    assert "\x1b" not in said.out + said.err


def test_names_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("key",), [("a\x1b]0;title\x07\nb",)])
    assert capsys.readouterr().out == "key\na]0;title b\n"


# S42
def test_a_session_without_an_actor_is_asleep(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    served = serve(tmp_path / "data", toml="[sessions]\nhibernate_after = '0s'")
    talk(cli, served.data_dir, "main", "hello")
    where = ("--data-dir", served.data_dir)
    while json.loads(cli("sessions", "show", "main", "--json", *where).out)["state"] != "stopped":
        pass
    assert "state        asleep\n" in cli("sessions", "show", "main", *where).out
    assert cli("sessions", "list", *where).out.splitlines()[1].split()[3] == "asleep"
    served.stop()
    assert "state        stopped\n" in cli("sessions", "show", "main", *where).out


# D3, T5
def test_what_waits_for_the_next_start_is_shown(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    served = serve(tmp_path / "data", toml=f"[sessions]\nshutdown_grace = '0s'\n{BUSY}")
    with chatting(served.data_dir) as chat:
        say(chat, "hello\n")
        wait_for_turn(cli, served.data_dir)
        served.stop(signal.SIGKILL)
    where = ("--data-dir", served.data_dir)
    assert ", 1 message waiting since " in cli("sessions", "show", "main", *where).out
    shown = json.loads(cli("sessions", "show", "main", "--json", *where).out)
    assert (shown["queue"]["running"], shown["queue"]["waiting"]) == (None, 1)


# P3, G2
def test_why_a_session_is_blocked_is_shown(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", toml=BUSY)
    with chatting(served.data_dir) as chat:
        say(chat, "hello\n")
        wait_for_turn(cli, served.data_dir)
        served.stop(signal.SIGKILL)
    served = serve(tmp_path / "data", toml="[agents.other]\nkind = 'echo'")
    show = ("sessions", "show", "main", "--data-dir", served.data_dir)
    deadline = time.monotonic() + PATIENCE
    while "\nblocked      The agent could not be started: no agent 'echo'" not in cli(*show).out:
        assert time.monotonic() < deadline, cli(*show).out


def test_nothing_can_be_followed_when_nothing_runs(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    served = serve(tmp_path / "data")
    talk(cli, served.data_dir, "main", "hello")
    served.stop()
    said = cli("sessions", "tail", "main", "-f", "--data-dir", served.data_dir)
    assert said.code == 1
    assert said.err.startswith("error: no runtime works on ")
