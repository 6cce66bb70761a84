"""A place on the web that a test can look into, and a runtime that fetches from there: a real
server, and real time.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer

import trio

from runtime.sessions.content import ResourceLink, TextBlock
from runtime.storage.store import Store
from tests.actors.media_stage import House, SeeingAgent, house
from tests.actors.stage import Call, HandAgent

DEADLINE = 30
"""Seconds; generous, since nothing here is about speed."""

WORDS = b"what is there\n" * 10
LIMIT = 100_000


class Place(BaseHTTPRequestHandler):
    """Answers as the path says, and notes what it was asked for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        target = self.server.redirects.get(self.path)
        if target is not None:
            self.answer(302, b"", Location=target, **{"Set-Cookie": "a=secret"})
            return
        match self.path.partition("?")[0].split("/")[1:]:
            case ["files", "status", status, *_] if len(self.server.asked) <= self.server.failures:
                self.answer(int(status), b"secrets of the server")
            case ["files", "long"]:
                self.answer(200, b"x" * (LIMIT + 1))
            case ["files", "announced"]:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n")
                self.server.go.wait(DEADLINE)  # and not a byte of it
                self.close_connection = True
            case ["files", "endless"]:
                self.send_response(200)
                self.end_headers()  # it ends when one has heard enough
                while self.server.running and self.write(b"x" * 10_000):
                    pass
                self.close_connection = True
            case ["files", "packed"]:
                self.answer(200, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
            case ["files", "cut"]:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
                self.close_connection = True
            case ["files", "slow", *_]:
                self.send_response(200)
                self.send_header("Content-Length", str(len(WORDS)))
                self.end_headers()
                self.write(WORDS[:10])
                self.server.begun.release()
                self.server.go.wait(DEADLINE)
                self.write(WORDS[10:])
            case _:
                self.answer(200, WORDS)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def write(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
        except OSError:
            return False
        return True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class Server(ThreadingHTTPServer):
    """A place on the web, of which the files are below ``/files/``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Place)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.redirects: dict[str, str] = {}
        self.failures = 1_000
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        self.running = True

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    @property
    def files(self) -> str:
        return self.url("/files/")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


@contextmanager
def in_a_thread(server: BaseServer) -> Iterator[None]:
    """A server that answers for as long as the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server, in_a_thread(server):
        try:
            yield server
        finally:
            server.running = False
            server.go.set()


def link(url: str, name: str = "it", mime_type: str | None = None) -> ResourceLink:
    return ResourceLink(name, url, mime_type=mime_type)


@asynccontextmanager
async def place(
    root: Path,
    *prefixes: str,
    store: Store | None = None,
    agent: HandAgent | None = None,
    timeout: float = DEADLINE,
) -> AsyncIterator[House]:
    media = {"fetch_links": prefixes, "fetch_timeout": timeout, "max_file_bytes": LIMIT}
    with trio.fail_after(2 * DEADLINE):
        agent = agent if agent is not None else SeeingAgent(hold=False)
        async with house(root, store=store, agent=agent, media=media) as here:
            yield here


async def given(here: House, *blocks: ResourceLink) -> Call:
    """The first prompt, when a message with these blocks has come."""
    session = await here.session()
    await session.send((TextBlock("look"), *blocks))
    return await here.agent.called(1)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells
        await trio.sleep(0.01)


async def begun(server: Server) -> None:
    assert await trio.to_thread.run_sync(lambda: server.begun.acquire(timeout=DEADLINE))
