"""Logs of the process that is the runtime."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import PATIENCE, environment

LOGGING = """
import logging, sys, trio
from runtime.kernel import Actor, Message, open_system
from runtime.log import configure, get_logger
from runtime.settings import LogSettings

log = get_logger("actors.example")

class Speak(Message, frozen=True):
    pass

class Speaker(Actor[Speak]):
    async def on_message(self, message: Speak) -> None:
        self.log_context["session"] = "s1"
        log.debug("never seen")
        log.info("turn began", turn="t1", odd=object)

async def main():
    async with open_system("runtime") as system:
        system.spawn(Speaker, name="speaker").tell(Speak())

configure(LogSettings(level="info", format=sys.argv[1]))
trio.run(main)
logging.getLogger("kernel").warning("mailbox of %s is full", "queue")
try:
    raise ValueError("out of order")
except ValueError:
    log.exception("turn failed")
"""


def lines_of(tmp_path: Path, log_format: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, log_format],
        env=environment(tmp_path),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_json_lines(tmp_path: Path, log_format: str) -> None:
    began, full, failed = [json.loads(line) for line in lines_of(tmp_path, log_format)]
    assert list(began)[:3] == ["timestamp", "level", "message"]
    assert began["message"] == "turn began"
    assert (began["turn"], began["session"]) == ("t1", "s1")
    assert began["actor"].endswith("speaker")
    assert (full["level"], full["message"]) == ("warning", "mailbox of queue is full")
    assert "actor" not in full
    assert failed["exception"].endswith("ValueError: out of order")


def test_lines_for_people(tmp_path: Path) -> None:
    began, full, failed, *traceback = lines_of(tmp_path, "text")
    assert "turn began" in began
    assert "session=s1" in began
    assert "mailbox of queue is full" in full
    assert "turn failed" in failed
    assert traceback[-1] == "ValueError: out of order"
    assert "\x1b" not in began


def test_importing_it_sets_nothing_up(tmp_path: Path) -> None:
    code = (
        "import logging, structlog, runtime.log\n"
        "assert not structlog.is_configured() and not logging.getLogger().handlers"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), check=True, timeout=60)


def test_nobody_reading_the_log_stops_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOGGING + "\nprint('still here')", "json"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout is not None
    assert process.stdout.read() == "still here\n"
    process.stdout.close()
    process.wait(PATIENCE)
