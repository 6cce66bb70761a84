"""``chat`` against a real runtime: answers, commands, and restarts in the middle."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.cli import talking

from .conftest import PATIENCE, CommandLine, Served, Start, environment
from .keyboard import Terminal
from .talker import BUSY, chatting, say, wait_for_turn

TOKEN = "a-long-random-text"


# G3
def test_a_line_is_a_message(served: Served, cli: CommandLine) -> None:
    said = cli("chat", "--data-dir", served.data_dir, typed="hello\n\n  two words \n//slash\nlast")
    assert said.code == 0
    assert said.out == "hello\ntwo words\n/slash\nlast\n"
    assert said.err == ""


# G2, S6
def test_a_session_goes_on_under_its_key(served: Served, cli: CommandLine) -> None:
    for word in ("one", "two"):
        cli("chat", "--session", "mine", "--data-dir", served.data_dir, typed=word)
    said = cli("sessions", "tail", "mine", "--data-dir", served.data_dir)
    assert [line.split()[-1] for line in said.out.splitlines()] == ["one", "one", "two", "two"]


# S18, G4
def test_commands(served: Served, cli: CommandLine) -> None:
    def chat(typed: str) -> tuple[int, str, str]:
        return cli("chat", "--session", "commands", "--data-dir", served.data_dir, typed=typed)

    assert chat("/new")[2] == "A new conversation begins.\n"
    assert chat("/queue FOLLOW-UP")[2].startswith("The queue of this session: followup.")
    assert chat("/queue queued")[2].startswith("The queue of this session: steer.")
    assert chat("/queue fifo")[2].startswith("error: 'fifo' is no queue mode; choose collect")
    assert chat("/clear")[2] == "0 messages withdrawn\n"
    assert chat("/stop")[2] == chat("/cancel")[2] == "Nothing is running.\n"
    assert "/cancel" in chat("/help")[2]
    assert chat("/zork")[2].startswith("error: there is no command /zork\n")
    assert chat("/quit\nnever said") == (0, "", "")


def test_an_agent_that_is_not_there(served: Served, cli: CommandLine) -> None:
    said = cli("chat", "--agent", "nobody", "--data-dir", served.data_dir, typed="hello")
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert "nobody" in said.err
    assert "$." not in said.err


def test_a_failed_turn_is_an_error(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", toml="[agents.echo]\nkind = 'echo'\nfail = 'error'")
    said = cli("chat", "--data-dir", served.data_dir, typed="hello")
    assert said.code == 1
    assert said.out == ""
    assert said.err.startswith("error: ")


# G8
def test_the_token_is_found_or_given(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", variables={"RUNTIME_GATEWAY__TOKEN": TOKEN})
    url = served.endpoint.url
    assert cli("chat", "--data-dir", served.data_dir, typed="hello").out == "hello\n"
    assert cli("chat", "--url", url, "--token", TOKEN, typed="hello").out == "hello\n"
    said = cli("chat", "--url", url, typed="hello")
    assert said.code == 1
    assert "refuses the connection (401)" in said.err
    assert "hint: pass its token with --token" in said.err


def test_nothing_is_there(cli: CommandLine, tmp_path: Path) -> None:
    said = cli("chat", "--url", "ws://127.0.0.1:9/acp", typed="hello")
    assert said.code == 1
    assert said.err.startswith("error: nothing listens at ws://127.0.0.1:9/acp\nhint: start it")
    said = cli("chat", "--data-dir", tmp_path, typed="hello")
    assert said.err.startswith(f"error: no runtime works on {tmp_path}\nhint: start it with `")
    said = cli("chat", "--url", "nonsense", typed="hello")
    assert "hint: the address looks like ws://" in said.err


# G4, G5, T5, D8
def test_a_runtime_that_is_killed_answers_after_its_restart(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    first = serve(tmp_path / "data", toml=BUSY)
    with chatting(first.data_dir) as chat:
        say(chat, "hello\n")
        wait_for_turn(cli, first.data_dir)
        first.stop(signal.SIGKILL)
        serve(tmp_path / "data")
        out, err = chat.communicate("after\n", timeout=PATIENCE)
    assert chat.returncode == 0
    lines = out.splitlines()
    assert lines[-2:] == ["hello", "after"]
    assert err.splitlines() == ["The connection is lost; trying again ...", "Connected again."]
    transcript = cli("sessions", "tail", "main", "--data-dir", first.data_dir).out
    assert sum("user       hello" in line for line in transcript.splitlines()) == 1


# G9, S45
def test_a_runtime_that_is_stopped_answers_after_its_restart(
    serve: Start, cli: CommandLine, tmp_path: Path
) -> None:
    first = serve(tmp_path / "data", toml=f"[sessions]\nshutdown_grace = '0s'\n{BUSY}")
    with chatting(first.data_dir) as chat:
        say(chat, "hello\n")
        wait_for_turn(cli, first.data_dir)
        assert first.stop(signal.SIGTERM).code == 0
        serve(tmp_path / "data")
        out, err = chat.communicate(timeout=PATIENCE)
    assert chat.returncode == 0
    assert out.endswith("hello\n")
    assert err.splitlines() == ["The connection is lost; trying again ...", "Connected again."]


# G11, T6
def test_interrupting_cancels_the_turn(serve: Start, cli: CommandLine, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", toml=BUSY)
    with chatting(served.data_dir) as chat:
        say(chat, "hello\nnever said\n")
        wait_for_turn(cli, served.data_dir)
        chat.send_signal(signal.SIGINT)
        out, err = chat.communicate(timeout=PATIENCE)
    assert chat.returncode == 130
    assert out == ""
    assert err == "Cancelling; Ctrl-C again leaves.\nCancelled.\n"


# G4
def test_a_script_does_not_wait_for_ever(
    serve: Start, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(tmp_path / "data", toml=BUSY)
    monkeypatch.setattr(talking, "PATIENCE", 0.0)

    def kill_in_mid_turn() -> None:
        shown = ""
        while ", turn " not in shown:
            command = [sys.executable, "-m", "runtime", "sessions", "show", "main"]
            shown = subprocess.run(
                [*command, "--data-dir", str(served.data_dir)],
                env=environment(tmp_path),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            ).stdout
        served.process.kill()

    killer = threading.Thread(target=kill_in_mid_turn)
    killer.start()
    said = cli("chat", "--data-dir", served.data_dir, typed="hello")
    killer.join(PATIENCE)
    assert said.code == 1
    assert "; 1 message without an answer\nhint: what the runtime accepted is kept" in said.err


# G3, G11
def test_a_person_at_a_terminal(serve: Start, tmp_path: Path) -> None:
    toml = "[agents.echo]\nkind = 'echo'\npace = '100ms'"
    data_dir = serve(tmp_path / "data", toml=toml).data_dir
    with Terminal(data_dir) as terminal:
        terminal.wait_for("Session main, agent echo")
        terminal.say("good morning")
        terminal.wait_for("good morning\r\n")
        terminal.say("one " * 200)
        terminal.wait_for("one")
        terminal.say("meanwhile")
        terminal.wait_for("a turn runs, 1 message waiting")
        terminal.press("\x03")
        terminal.wait_for(
            "Cancelling; Ctrl-C again leaves.",
            "Withdrawn, the agent never got it: meanwhile",
            "Cancelled.",
        )
        terminal.press("half a thought\x03\x04")
        assert terminal.wait_for_end() == 0


# G5, G12, T5
def test_a_restart_in_mid_answer_at_a_terminal(serve: Start, tmp_path: Path) -> None:
    toml = "[agents.echo]\nkind = 'echo'\npace = '100ms'"
    first = serve(tmp_path / "data", toml=toml)
    with Terminal(first.data_dir) as asking, Terminal(first.data_dir) as watching:
        for terminal in (asking, watching):
            terminal.wait_for("Session main, agent echo")
        long = " ".join(f"a{number}" for number in range(1, 21))
        asking.say(long)
        asking.wait_for("a1")
        watching.wait_for(f"Somebody else: {long}")
        asking.say("b1 b2 b3")
        asking.wait_for("1 message waiting")
        first.stop(signal.SIGKILL)
        for terminal in (asking, watching):
            terminal.wait_for("The connection is lost")
        serve(tmp_path / "data", toml=toml)
        watching.wait_for("Connected again.")
        asking.wait_for("Connected again.")
        asking.wait_for(f"{long}\r\n")
        asking.wait_for("b1 b2 b3\r\n")
        watching.wait_for(f"{long}\r\n")
        watching.wait_for("Somebody else: b1 b2 b3")
        watching.wait_for("b1 b2 b3\r\n")
        for terminal in (asking, watching):
            terminal.press("\x04")
            assert terminal.wait_for_end() == 0
