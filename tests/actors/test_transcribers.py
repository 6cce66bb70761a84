"""A command or a service makes text of a file (H5, P1, P5). Real processes, a real server."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio

from actors.disk import inline
from actors.transcribers import CommandTranscriber, HttpTranscriber, configured_transcriber
from runtime.ports.transcriber import Transcriber, TranscriptionFailed
from runtime.processes import Processes, open_processes
from runtime.processes.scan import see
from runtime.settings import TranscriberSettings
from tests.actors.web_stage import in_a_thread

DEADLINE = 30
"""Seconds; generous, since nothing here is about speed."""

TOKEN = "a-token-of-the-service"
SOUND = b"OggS" + bytes(range(256)) * 64


def content(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    async with open_processes(tmp_path / "processes") as opened:
        yield opened


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    path = tmp_path / "a voice {note}.ogg"
    path.write_bytes(SOUND)
    return path


@pytest.fixture(autouse=True)
def folders_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "for a while"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def program(text: str, *args: str) -> tuple[str, ...]:
    lines = "import os, sys, time\n" + textwrap.dedent(text)
    return (sys.executable, "-I", "-S", "-c", lines, *args)


async def failure(transcriber: Transcriber, voice: Path) -> str:
    with trio.fail_after(DEADLINE), pytest.raises(TranscriptionFailed) as raised:
        await transcriber.transcribe(voice, "audio/ogg")
    return str(raised.value)


# -- a command ------------------------------------------------------------------------------------


# H5
@pytest.mark.parametrize(
    "arguments, given",
    [
        ((), ["{path}"]),
        (("-f", "{file}", "--text"), ["-f", "{path}", "--text"]),
        (("--in={file}", "--out={file}.txt"), ["--in={path}", "--out={path}.txt"]),
    ],
)
async def test_what_a_command_prints_is_the_text(
    processes: Processes, voice: Path, arguments: tuple[str, ...], given: list[str]
) -> None:
    command = program("print('wörter', sys.argv[1:], sys.stdin.read())", *arguments)
    with trio.fail_after(DEADLINE):
        said = await CommandTranscriber(command, processes, inline).transcribe(voice, None)
    assert said.split(" ", 1)[0] == "wörter"
    # Its own braces are no place for anything.
    expected = [argument.replace("{path}", str(voice)) for argument in given]
    assert said.split(" ", 1)[1].strip() == str(expected)


# P1: secrets of the runtime stay with it, and what a command leaves goes
async def test_a_command_has_its_own_folder_and_no_secrets(
    processes: Processes,
    voice: Path,
    folders_for_a_while: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNTIME_MEDIA__TRANSCRIBER__TOKEN", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    command = program(
        """
        open("note.txt", "w").write("left behind")
        print(os.getcwd(), "secret" in os.environ.values(), os.environ["PATH"] != "")
        """
    )
    with trio.fail_after(DEADLINE):
        said = await CommandTranscriber(command, processes, inline).transcribe(voice, None)
    *cwd, leaked, path = said.split()
    assert Path(" ".join(cwd)).parent.name == folders_for_a_while.name
    assert (leaked, path) == ("False", "True")
    assert content(folders_for_a_while) == []
    assert await trio.Path(voice).read_bytes() == SOUND


# P5
async def test_a_command_that_is_waited_for_no_more_ends_with_all_it_started(
    processes: Processes, voice: Path, tmp_path: Path, folders_for_a_while: Path
) -> None:
    fifo = tmp_path / "pids"
    os.mkfifo(fifo)
    reader = trio.lowlevel.FdStream(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    command = program(
        """
        child = os.fork()
        if not child:
            os.setpgid(0, 0)  # it has left the group
            time.sleep(600)
        with open(sys.argv[1], "w") as pids:
            print(os.getpid(), child, file=pids)
        time.sleep(600)
        """,
        str(fifo),
    )
    async with reader, trio.open_nursery() as nursery:

        async def transcribe() -> None:
            await CommandTranscriber(command, processes, inline).transcribe(voice, None)

        nursery.start_soon(transcribe)
        with trio.fail_after(DEADLINE):
            pids = [int(pid) for pid in (await reader.receive_some()).split()]
        assert all(see(pid) for pid in pids)
        nursery.cancel_scope.cancel()
    for pid in pids:
        seen = see(pid)
        assert seen is None or seen.dead
    assert processes.live == 0
    assert content(folders_for_a_while) == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("print('half'); print('no such model', file=sys.stderr); sys.exit(1)", "no such model"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("while True: print('x' * 1000)", "more than 64 KiB"),
    ],
)
async def test_a_command_that_fails(
    processes: Processes, voice: Path, text: str, words: str
) -> None:
    assert words in await failure(CommandTranscriber(program(text), processes, inline), voice)
    assert processes.live == 0


async def test_a_command_that_is_not_installed(processes: Processes, voice: Path) -> None:
    missing = CommandTranscriber(("no-such-whisper", "{file}"), processes, inline)
    assert "was not found on PATH" in await failure(missing, voice)


# -- a service ------------------------------------------------------------------------------------


class Service(BaseHTTPRequestHandler):
    """Answers as the path says, and notes what it was sent."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        match self.path:
            case "/json":
                self.answer(200, "application/json; charset=utf-8", b'{"text": "w\\u00f6rter"}')
            case "/text":
                self.answer(200, "text/plain; charset=utf-8", "wörter\n".encode())
            case "/refuses":
                said = f"what is {self.headers['Authorization']}?\n" * 100
                self.answer(500, "text/plain", said.encode())
            case "/moved":
                self.answer(307, "text/plain", b"", Location="/json")
            case "/huge":
                self.answer(200, "application/json", b'{"text": "' + b"x" * 65_536 + b'"}')
            case "/packed":
                self.answer(200, "application/json", b"\x1f\x8b", **{"Content-Encoding": "gzip"})
            case "/other":
                self.answer(200, "application/json", b'{"error": "no"}')
            case "/page":
                self.answer(200, "text/html", b"<p>words</p>")
            case "/cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
                self.close_connection = True
            case "/silent":
                self.server.asked.set()
                self.rfile.read(1)  # until the other side hangs up
                self.server.hung_up.set()
                self.close_connection = True

    def answer(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class Server(ThreadingHTTPServer):
    """A service on a free port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Service)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.asked, self.hung_up = threading.Event(), threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server, in_a_thread(server):
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def form(headers: dict[str, str], body: bytes) -> dict[str, EmailMessage]:
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    parsed = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + body)
    parts = {}
    for part in parsed.iter_parts():
        assert isinstance(part, EmailMessage)
        parts[str(part.get_param("name", header="Content-Disposition"))] = part
    return parts


# H5
@pytest.mark.parametrize("path, text", [("/json", "wörter"), ("/text", "wörter\n")])
async def test_what_a_service_answers_is_the_text(
    server: Server, voice: Path, path: str, text: str
) -> None:
    transcriber = HttpTranscriber(server.url(path), disk=inline, model="whisper-1", token=TOKEN)
    with trio.fail_after(DEADLINE):
        assert await transcriber.transcribe(voice, "audio/ogg") == text
    ((_, headers, body),) = server.requests
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    parts = form(headers, body)
    assert set(parts) == {"file", "model"}
    assert parts["file"].get_payload(decode=True) == SOUND
    assert parts["file"].get_content_type() == "audio/ogg"
    assert parts["model"].get_payload(decode=True) == b"whisper-1"


async def test_what_is_not_set_is_not_sent(server: Server, voice: Path) -> None:
    with trio.fail_after(DEADLINE):
        await HttpTranscriber(server.url("/json"), disk=inline).transcribe(voice, None)
    ((_, headers, body),) = server.requests
    assert "Authorization" not in headers
    assert set(form(headers, body)) == {"file"}


async def test_a_service_on_this_machine_is_asked_without_a_proxy(
    server: Server, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with trio.fail_after(DEADLINE):
        assert await HttpTranscriber(server.url("/json"), disk=inline).transcribe(voice, None)


@pytest.mark.parametrize(
    "path, words",
    [
        ("/refuses", "answered 500 Internal Server Error: what is Bearer ***?"),
        ("/moved", "answered 307"),
        ("/huge", "more than 64 KiB"),
        ("/packed", "packs its answer"),
        ("/other", "no text in the service's answer"),
        ("/page", 'answers with "text/html"'),
        ("/cut", "does not answer"),
    ],
)
async def test_a_service_that_fails(
    server: Server, voice: Path, path: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = await failure(HttpTranscriber(server.url(path), disk=inline, token=TOKEN), voice)
    assert words in said
    assert len(said) < 400
    assert [asked for asked, _, _ in server.requests] == [path]  # no redirect was followed
    assert TOKEN not in said
    assert TOKEN not in caplog.text


async def test_nobody_serves_there(voice: Path) -> None:
    with serving() as gone:
        url = gone.url("/json")
    assert "does not answer" in await failure(HttpTranscriber(url, disk=inline), voice)


async def test_a_service_that_is_waited_for_no_more_is_hung_up_on(
    server: Server, voice: Path
) -> None:
    async with trio.open_nursery() as nursery:
        transcriber = HttpTranscriber(server.url("/silent"), disk=inline)
        nursery.start_soon(transcriber.transcribe, voice, None)
        assert await trio.to_thread.run_sync(server.asked.wait, DEADLINE)
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(server.hung_up.wait, DEADLINE)


# M2: what stands in the place of a file is not sent anywhere
async def test_only_a_file_is_sent(server: Server, voice: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.ogg"
    link.symlink_to(voice)
    fifo = tmp_path / "fifo.ogg"
    os.mkfifo(fifo)
    for path in (link, fifo, tmp_path, tmp_path / "none"):
        assert "cannot be read" in await failure(
            HttpTranscriber(server.url("/json"), disk=inline), path
        )
    assert server.requests == []


# No address is in the log, with all that may be in it; and who needs no library has none
@pytest.mark.parametrize("level", ["debug", "info"])
async def test_the_library_is_quiet_and_is_there_when_it_is_needed(level: str) -> None:
    code = f"""
import logging, sys
import runtime.app
from runtime.log import configure
from runtime.settings import LogSettings
assert "httpx2" not in sys.modules
configure(LogSettings(level={level!r}))
for name in ("httpx2", "httpcore2.http11"):
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
"""
    await trio.run_process([sys.executable, "-c", code])


# -- which one ------------------------------------------------------------------------------------


async def test_the_settings_say_which(processes: Processes) -> None:
    assert configured_transcriber(TranscriberSettings(), processes, inline) is None
    command = TranscriberSettings(command=("whisper-cli",))
    assert isinstance(configured_transcriber(command, processes, inline), CommandTranscriber)
    service = TranscriberSettings(url="http://127.0.0.1/", token=TOKEN)
    made = configured_transcriber(service, processes, inline)
    assert isinstance(made, HttpTranscriber)
    assert TOKEN not in repr(made)
