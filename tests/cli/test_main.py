"""The root of the command line: what it imports, and how commands end."""

import errno
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import __version__
from runtime.cli.client import ConnectionLost
from runtime.cli.errors import CommandError, explain, ungrouped
from runtime.gateway.config import GatewayError
from runtime.settings import Problem, SettingsError
from runtime.storage.errors import NewerDatabase

from .conftest import PATIENCE, CommandLine, environment

HEAVY = (
    *("trio", "msgspec", "rich", "prompt_toolkit", "apsw", "structlog", "trio_websocket"),
    *("httpx2", "anyio"),
)


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["sessions", "--help"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from runtime.cli.main import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path),
        check=True,
        timeout=PATIENCE,
        stdout=subprocess.DEVNULL,
    )


def test_the_module_is_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runtime", "version"],
        env=environment(tmp_path),
        check=True,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(f"greenroom {__version__} ")


def test_every_option_and_every_command_says_what_it_is(cli: CommandLine) -> None:
    for group in ([], ["config"], ["media"], ["queue"], ["sessions"]):
        said = cli(*group, "--help")
        commands = said.out.partition("\nCommands:\n")[2].partition("\n\n")[0].splitlines()
        assert commands
        for line in commands:
            name, what = line.split(maxsplit=1)
            assert not what.endswith("..."), f"{name} is cut"
            for option in cli(*group, name, "--help").out.partition("\nOptions:\n")[2].splitlines():
                if option.startswith("  -"):
                    words = re.split(r" {2,}", option.strip(), maxsplit=1)
                    assert not words[-1].startswith("["), option


def test_without_a_command_it_serves(cli: CommandLine) -> None:
    for arguments in (["--port", "http"], ["--debug", "--port", "http"]):
        said = cli(*arguments)
        assert said.code == 2
        assert "Invalid value for '--port'" in said.err


@pytest.mark.parametrize(
    "arguments, message, hint",
    [
        (["srve"], "error: No such command 'srve'. Did you mean 'serve'?", " --help\n"),
        (["serve", "--prot", "1"], "error: No such option '--prot'", " serve --help\n"),
        (
            ["sessions", "tail", "x", "-n", "-1"],
            "error: Invalid value for '--lines'",
            "tail --help",
        ),
        (["sessions"], "Usage: ", "list  List sessions"),
    ],
)
def test_a_wrong_command_line_is_explained(
    cli: CommandLine, arguments: list[str], message: str, hint: str
) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert message in said.err.partition("\n")[0]
    assert hint in said.err
    assert said.out == ""


def test_a_defect_is_one_line_and_where_to_see_more(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("out of order")

    monkeypatch.setattr(platform, "python_version", fail)
    said = cli("version")
    assert said.code == 1
    assert said.err.startswith("error: unexpected RuntimeError: out of order\nhint: ")
    assert "Traceback" not in said.err
    assert "Traceback" in cli("--debug", "version").err


def test_nobody_reading_the_output_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "config", "schema"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(PATIENCE) == 141


@pytest.mark.parametrize(
    "error, message",
    [
        (CommandError("not today", "tomorrow"), "not today"),
        (GatewayError("The port is taken."), "The port is taken."),
        (NewerDatabase("It is newer."), "It is newer."),
        (OSError(errno.ENOSPC, "No space left on device", "x.db"), "x.db: No space left on device"),
        (SettingsError([Problem(path="a.b", expected="c")]), "a.b: expected c"),
        (ExceptionGroup("", [ExceptionGroup("", [GatewayError("taken")])]), "taken"),
    ],
)
def test_known_errors_are_put_in_words(error: Exception, message: str) -> None:
    known = explain(error)
    assert known is not None
    assert message in str(known)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), OSError("no number"), ExceptionGroup("", [GatewayError("x"), KeyError()])],
)
def test_a_defect_is_not_put_in_words(error: Exception) -> None:
    assert explain(error) is None


def test_ctrl_c_is_no_error_whatever_breaks_with_it(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        lost = ExceptionGroup("", [ConnectionLost("the runtime is gone")])
        raise BaseExceptionGroup("", [lost, KeyboardInterrupt()])

    monkeypatch.setattr(platform, "python_version", fail)
    said = cli("version")
    assert (said.code, said.err) == (130, "")


def test_only_single_exceptions_leave_their_group() -> None:
    with pytest.raises(KeyError), ungrouped():
        raise ExceptionGroup("", [ExceptionGroup("", [KeyError()])])
    with pytest.raises(ExceptionGroup), ungrouped():
        raise ExceptionGroup("", [KeyError(), ValueError()])
