"""A changed settings file holds for new turns and sessions, without a new start."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import PATIENCE, CommandLine, Served, Start

ECHO = "[agents.echo]\nkind = 'echo'\nprefix = '{prefix}'\n"


@pytest.fixture
def answer(cli: CommandLine) -> Callable[[Served], str]:
    """What a session that is new each time is answered."""
    number = 0

    def ask(served: Served) -> str:
        nonlocal number
        number += 1
        data_dir = str(served.data_dir)
        said = cli("chat", "--data-dir", data_dir, "--session", f"s{number}", typed="hello\n")
        assert said.code == 0, said.err
        return said.out.strip()

    return ask


def wait_for(answer: Callable[[Served], str], served: Served, wanted: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while answer(served) != wanted:
        assert time.monotonic() < deadline, f"never answered {wanted!r}"


def wait_for_line(served: Served, message: str) -> dict[str, Any]:
    """The next line of the log that says this."""
    assert served.process.stderr is not None
    for text in served.process.stderr:
        line: dict[str, Any] = json.loads(text)
        if line["message"] == message:
            return line
    raise AssertionError(f"the log ended without {message!r}")


@pytest.mark.parametrize("how", ["the file changed", "SIGHUP"])
def test_a_changed_file_is_applied(
    serve: Start, answer: Callable[[Served], str], tmp_path: Path, how: str
) -> None:
    served = serve(tmp_path / "data", toml=ECHO.format(prefix="old: "))
    assert answer(served) == "old: hello"
    config = served.data_dir.with_suffix(".toml")
    config.write_text(ECHO.format(prefix="new: ") + "[gateway]\nmax_connections = 7\n")
    if how == "SIGHUP":
        served.process.send_signal(signal.SIGHUP)
    wait_for(answer, served, "new: hello")
    log = [json.loads(line) for line in served.stop().err.splitlines()]
    applied = [line for line in log if line["message"] == "settings_applied"]
    assert applied[0]["at_the_next_start"] == ["gateway.max_connections"]


# G8
def test_a_file_that_appears_later_is_applied_and_followed(
    serve: Start, answer: Callable[[Served], str], tmp_path: Path
) -> None:
    served = serve(tmp_path / "data", toml=None, variables={"RUNTIME_LOG__FORMAT": "json"})
    assert answer(served) == "hello"
    config = tmp_path / "runtime.toml"
    for prefix in ("first: ", "second: "):
        config.write_text(ECHO.format(prefix=prefix))
        wait_for(answer, served, f"{prefix}hello")
    config.unlink()
    assert wait_for_line(served, "settings_refused")["cause"] == "the file changed"
    assert answer(served) == "second: hello"


def test_a_bad_file_is_refused_and_the_old_settings_stay(
    serve: Start, answer: Callable[[Served], str], tmp_path: Path
) -> None:
    served = serve(tmp_path / "data", toml=ECHO.format(prefix="old: "))
    config = served.data_dir.with_suffix(".toml")
    config.write_text("[queue]\nmode = 'sideways'\ncapp = 3\n")
    served.process.send_signal(signal.SIGHUP)
    refused = wait_for_line(served, "settings_refused")
    assert len(refused["problems"]) == 2
    assert answer(served) == "old: hello"
    config.write_text(ECHO.format(prefix="mended: "))
    served.process.send_signal(signal.SIGHUP)
    wait_for(answer, served, "mended: hello")


def test_the_log_goes_by_changed_settings_at_once(serve: Start, tmp_path: Path) -> None:
    served = serve(tmp_path / "data", toml="[log]\nlevel = 'error'\n")
    config = served.data_dir.with_suffix(".toml")
    config.write_text("[log]\nlevel = 'info'\n[gateway]\ntoken = 'a-new-token'\n")
    served.process.send_signal(signal.SIGHUP)
    assert served.process.stderr is not None
    line = json.loads(served.process.stderr.readline())
    assert (line["message"], line["at_the_next_start"]) == ("settings_applied", ["gateway.token"])


def test_a_file_that_is_gone_changes_nothing(
    serve: Start, answer: Callable[[Served], str], tmp_path: Path
) -> None:
    served = serve(tmp_path / "data", toml=ECHO.format(prefix="old: "))
    served.data_dir.with_suffix(".toml").unlink()
    served.process.send_signal(signal.SIGHUP)
    assert wait_for_line(served, "settings_refused")["cause"] == "SIGHUP"
    assert answer(served) == "old: hello"


def test_flags_win_over_the_file_also_later(serve: Start, tmp_path: Path) -> None:
    flags = ("--log-level", "debug", "--log-format", "text")
    served = serve(tmp_path / "data", *flags, toml="[log]\nlevel = 'error'\nformat = 'json'\n")
    served.process.send_signal(signal.SIGHUP)
    assert served.process.stderr is not None
    for line in served.process.stderr:
        assert not line.startswith("{")
        if "settings_applied" in line:
            break
