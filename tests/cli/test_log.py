"""Logs of the process that is the runtime."""

import base64
import io
import json
import logging
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest
import trio

from runtime.log import configure, get_logger, log_context
from runtime.settings import (
    AgentEntry,
    GatewaySettings,
    LogSettings,
    Settings,
    VariableNames,
    secrets_of,
)

from .conftest import PATIENCE, Start, environment

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


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


SECRET = "sesame-0123456789\"'\\/+="  # what JSON, Python, URLs and base64 each write otherwise


def test_secrets_are_left_out_however_they_are_written() -> None:
    lines = io.StringIO()
    logs = configure(LogSettings(format="json"), lines, [SECRET, "abc"])
    log = get_logger("example")
    token = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    log.info("said", plain=SECRET, nested={"a": [SECRET]}, shown=repr(SECRET), token=token)
    log.info(f"{SECRET} in the middle", url=f"http://host/?t={quote(SECRET)}", n=json.dumps(SECRET))
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("failed")
        logs.apply(LogSettings(format="text"))
        log.exception("failed again", header={"authorization": f"Bearer {SECRET}"})
    logging.getLogger("somebody.else").error("with %s and %r", SECRET, SECRET)
    logs.hide(["open-sesame"])
    log.info("open-sesame", abc="abc")
    text = lines.getvalue()
    for part in (SECRET, repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1], token, quote(SECRET)):
        assert part not in text
    assert "0123456789" not in text
    assert "open-sesame" not in text
    assert text.count("***") >= 10
    assert "abc" in text, "what is too short is left as it is"
    assert all(json.loads(line)["level"] for line in text.splitlines()[:2])


def test_the_level_and_the_format_can_change() -> None:
    lines = io.StringIO()
    logs = configure(LogSettings(level="error", format="json"), lines)
    log = get_logger("example")
    log.info("unseen")
    logs.apply(LogSettings(level="debug", format="text"))
    log.debug("seen")
    assert "unseen" not in lines.getvalue()
    assert "seen" in lines.getvalue()
    assert not lines.getvalue().startswith("{")


async def test_what_is_said_in_a_context_has_its_values() -> None:
    lines = io.StringIO()
    configure(LogSettings(format="json"), lines)
    log = get_logger("example")

    async def helper() -> None:
        log.info("helped")
        logging.getLogger("somebody.else").warning("so did I")

    with log_context(turn="t1", session="s1"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(helper)
        log.info("own value", turn="t2")
    log.info("outside")
    *inside, own, outside = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["turn"], line["session"]) for line in inside] == [("t1", "s1")] * 2
    assert (own["turn"], own["session"]) == ("t2", "s1")
    assert "turn" not in outside


def test_the_secrets_of_settings_are_found() -> None:
    class Options(msgspec.Struct, frozen=True):
        env: Annotated[dict[str, str] | None, msgspec.Meta(extra={"secret": True})] = None
        servers: Annotated[tuple[dict[str, Any], ...], msgspec.Meta(extra={"secret": True})] = ()
        passed: VariableNames = ()
        harmless: tuple[str, ...] = ("some-long-text-that-is-no-secret",)

    header = {"name": "Authorization", "value": "Bearer abcd"}
    options = Options(
        env={"API_KEY": "k-1", "MODE": "production", "HOME": "/somewhere/else/far/away"}
        | {"OTHER": "sk-0123456789abcdef"},
        servers=({"name": "files", "command": "/usr/bin/files", "headers": [header]},),
        passed=("OTHERS_TOKEN", "EDITOR", "UNSET_KEY"),
    )
    environ = {"OTHERS_TOKEN": "o-1", "EDITOR": "vi", "KEY_OF_NOBODY": "n-1"}
    settings = Settings(
        gateway=GatewaySettings(token="t-1"),
        agents={"mine": AgentEntry("acp", options)},
    )
    assert secrets_of(settings, environ) == {"t-1", "k-1", "sk-0123456789abcdef", "abcd", "o-1"}


# G8
def test_no_secret_is_in_the_log_of_a_runtime(serve: Start, tmp_path: Path) -> None:
    token = "open-sesame-0123456789"
    toml = f"[log]\nlevel = 'debug'\n[gateway.principals.ada]\ntoken = '{token}-of-ada'\n"
    served = serve(tmp_path / "data", toml=toml, variables={"RUNTIME_GATEWAY__TOKEN": token})
    place = urlsplit(served.endpoint.url).netloc
    key = served.endpoint.local_key
    assert key is not None
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    requests: tuple[tuple[str, dict[str, str]], ...] = (
        (f"/{token}?token={token}", {}),
        (f"/acp?token={token}", handshake),
        ("/acp", {**handshake, "Authorization": f"Basic {token}"}),
        ("/acp", {**handshake, "Authorization": f"Bearer {token}-wrong"}),
        ("/acp", {**handshake, "Sec-WebSocket-Protocol": f"acp, bearer.{encoded}, {token}"}),
        ("/acp", {**handshake, "Origin": f"https://{token}.example.com"}),
        ("/readyz", {"Host": f"{token}.example.com"}),
        (f"/{key}", {"Origin": key, "Host": key}),
    )
    for path, headers in requests:
        request = urllib.request.Request(f"http://{place}{path}", headers=headers)
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=PATIENCE):
            pass
    log = ""
    config = served.data_dir.with_suffix(".toml")
    assert served.process.stderr is not None
    later = "closed-sesame-9876543210"
    for changed in (
        f"{toml}[gateway.principals.bob]\ntoken = '{later}'\nrole = 'member'\n",
        f"[routing]\ndefault_agent = '{later}'\n",
        f"[gateway]\nallowed_origins = ['{token}']\n",
        f"[gateway]\ntoken = ['{token}']\n",
        f"[gateway.principals]\nada = '{token}'\n",
        f"[routing]\ndefault_agent = '{token}'\n",
        f"[gateway]\n{token}\n",
    ):
        config.write_text(changed)
        served.process.send_signal(signal.SIGHUP)
        lines = iter(served.process.stderr.readline, "")
        log += "".join(takewhile_including(lines, "settings_"))
    said = served.stop()
    log += said.err
    assert "settings_applied" in log
    assert "settings_refused" in log
    assert "refused a client" in log
    assert "***" in log
    for secret in (token, encoded, key, later):
        assert secret not in log + said.out


def takewhile_including(lines: Iterator[str], part: str) -> Iterator[str]:
    for line in lines:
        yield line
        if part in line:
            return
