"""What it costs to keep the files of messages: to enforce the cap, to start, to take one in."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import trio

from actors.disk import Threads
from actors.front import ActorFront
from actors.intake import pieces
from actors.library import Library
from actors.library_opening import open_library
from actors.receiving import receive
from bench.harness import Question
from bench.media import FILES, FILES_IN_A_FOLDER, MEMORY, QUICK_FILES, median_ms
from runtime.app import open_runtime
from runtime.metrics import Metrics
from runtime.sessions.content import FileBlock
from runtime.sessions.ids import IdSource, wall_clock_ms
from runtime.sessions.media import MediaItem, NewBlob
from runtime.sessions.rows import InboundState, SessionSpec, TurnState
from runtime.settings import MediaSettings, Settings, StorageSettings
from runtime.storage.media_tree import MediaTree
from runtime.storage.requests import (
    BeginTurn,
    EndTurn,
    InterruptedPolicy,
    NewInbound,
    Owner,
    Settlement,
)
from runtime.storage.sqlite import open_sqlite
from runtime.storage.store import Store

SIZE = 1_000
"""Bytes of each stored file, none of which is written: on disk they are holes."""

TIMES = 50
"""How often room is made, or was there."""

TIMES_BY_WALK = 5
STARTS = 3

RECEIVED = 200
"""How many files are taken in, one after another."""

CONTENT = b"\x89PNG" * 4_096
"""As large as a small image."""

OWNER = Owner("bench", "1")


class Place:
    """A data directory, and a folder for files; in memory where there is such a place."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.media = folder / "media"

    def settings(self, cap: int) -> Settings:
        """Settings of a runtime that works here."""
        return Settings(
            media=MediaSettings(root=self.media, max_media_bytes=cap),
            storage=StorageSettings(data_dir=self.data),
        )


@contextmanager
def place() -> Iterator[Place]:
    """An empty place."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Place(Path(folder))


@contextmanager
def filled(scale: float) -> Iterator[tuple[Place, int]]:
    """A place with as many files as the scale says, all of them given to an agent long ago; and how
    many there are.
    """
    count = FILES if scale >= 1 else QUICK_FILES
    with place() as here:
        trio.run(_fill, here, count)
        yield here, count


async def _fill(here: Place, count: int) -> None:
    ids = IdSource(wall_clock_ms)
    here.media.mkdir(mode=0o700)
    async with open_sqlite(here.data, wall_clock_ms) as store:
        for _ in range(count // FILES_IN_A_FOLDER):
            names = [f"{ids.new()}.jpg" for _ in range(FILES_IN_A_FOLDER)]
            session_id = await _given(store, ids, names)
            await trio.to_thread.run_sync(_make, here.media / session_id, names)


def _make(folder: Path, names: list[str]) -> None:
    folder.mkdir(mode=0o700)
    for name in names:
        descriptor = os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600)
        os.truncate(descriptor, SIZE)
        os.close(descriptor)


async def _given(store: Store, ids: IdSource, names: list[str]) -> str:
    """Files of a new session that came with one message, which was answered; the session."""
    message_id, turn_id = ids.new(), ids.new()
    new = NewInbound(
        message_id,
        SessionSpec("echo", message_id),
        tuple(map(FileBlock, range(len(names)))),
        media=tuple(MediaItem(file=name, size=SIZE) for name in names),
        blobs=tuple(NewBlob(name, name, SIZE) for name in names),
    )
    (admitted,) = await store.admit([new])
    session_id = admitted.session.id
    awake = await store.wake(session_id, OWNER, InterruptedPolicy())
    turn = (turn_id, session_id, awake.session.epoch, awake.session.fence)
    await store.begin_turn(BeginTurn(*turn, OWNER, (message_id,)))
    messages = (Settlement(message_id, InboundState.DONE),)
    await store.end_turn(
        EndTurn(*turn, TurnState.DONE, messages=messages, first_event_at=wall_clock_ms())
    )
    return session_id


# -- the cap ---------------------------------------------------------------------------------------


def nothing_to_remove(scale: float) -> float:
    """Files come, and there is room for them."""
    return room_made(scale, spare=TIMES)


def one_file_to_remove(scale: float) -> float:
    """A file comes, and one has to go: it is written down, removed, and gone from the index."""
    return room_made(scale, spare=0)


def room_made(scale: float, spare: int) -> float:
    """How long the janitor takes to make room for a file, in ms; ``spare`` is how many more files
    there is room for at first.
    """
    with filled(scale) as (here, count):
        return trio.run(_make_room, here.settings((count + spare) * SIZE), count)


async def _make_room(settings: Settings, count: int) -> float:
    async with open_runtime(settings) as rt:
        library = cast("ActorFront", rt.front)._services.library  # noqa: SLF001 - what is measured
        assert library.ledger.usage.files == count
        spent = []
        for _ in range(TIMES):
            began = time.perf_counter()
            await library.cleaner.make_room(SIZE, 0)
            spent.append(time.perf_counter() - began)
            library.ledger.incoming.reserve(SIZE)  # the file for which it was made
        return statistics.median(spent) * 1_000


def room_made_by_walk(scale: float) -> float:
    """The plain way: look at all files for their sizes and for the oldest, which goes."""

    def once() -> None:
        files = [*walked_with_sizes(here.media)]
        if sum(size for _, size, _ in files) + SIZE > cap:
            os.unlink(min(files)[2])  # noqa: PTH108 - as it was walked

    with filled(scale) as (here, count):
        cap = count * SIZE
        return median_ms(once, TIMES_BY_WALK)


def walked_with_sizes(root: Path) -> Iterator[tuple[float, int, str]]:
    """When each file was written, its bytes and its path."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - the plain way, as fast as it gets
            status = os.lstat(path)
            yield status.st_mtime, status.st_size, path


# -- the start -------------------------------------------------------------------------------------


def index_made(scale: float) -> float:
    """What the runtime does at a start: rows, disk, and whether they say the same."""
    with filled(scale) as (here, count):
        return trio.run(_open, here, count)


async def _open(here: Place, count: int) -> float:
    spent = []
    async with open_sqlite(here.data, wall_clock_ms) as store:
        for _ in range(STARTS):
            library = _library(here, store)
            began = time.perf_counter()
            async with open_library(library, store) as opened:
                spent.append(time.perf_counter() - began)
                assert (opened.files, opened.orphans, opened.missing) == (count, 0, 0)
    return statistics.median(spent)


def folders_walked(scale: float) -> float:
    """The disk alone, in the plain way."""
    with filled(scale) as (here, _):
        return median_ms(lambda: [*walked_with_sizes(here.media)], STARTS) / 1_000


def _library(here: Place, store: Store) -> Library:
    settings = MediaSettings(root=here.media)
    return Library(
        store,
        MediaTree(here.media),
        Threads(),
        lambda: settings,
        Metrics(),
        IdSource(wall_clock_ms),
        wall_clock_ms,
    )


# -- one file --------------------------------------------------------------------------------------


def bookkeeping(scale: float) -> float:
    """What taking a file in costs beside writing it: each time the one after the other."""
    return trio.run(_received, scale, lambda received, written: received - written)


def received(scale: float) -> float:
    """A file is taken in: room, threads, hash, the same bytes of before, the index."""
    return trio.run(_received, scale, lambda received, _: received)


def written(scale: float) -> float:
    """The same bytes are written in the same way, by nobody who keeps count."""
    return trio.run(_received, scale, lambda _, written: written)


async def _received(scale: float, figure: Callable[[float, float], float]) -> float:
    figures = []
    with place() as here:
        async with open_sqlite(here.data, wall_clock_ms) as store:
            library = _library(here, store)
            async with open_library(library, store):
                session, other = IdSource(wall_clock_ms).new(), IdSource(wall_clock_ms).new()
                for number in range(max(3, round(RECEIVED * scale))):
                    content = number.to_bytes(8) + CONTENT
                    began = time.perf_counter()
                    await receive(library, session, pieces(content), MediaItem(size=len(content)))
                    took = time.perf_counter() - began
                    began = time.perf_counter()
                    _write(MediaTree(here.media), other, f"{number}.png", content)
                    figures.append(figure(took, time.perf_counter() - began))
    return statistics.median(figures) * 1_000


def _write(tree: MediaTree, session: str, name: str, content: bytes) -> None:
    with tree.create(session, limit=len(content)) as file:
        file.write(content)
        file.finish(name)


QUESTIONS = (
    Question(
        name="room for one file",
        unit="ms",
        higher_is_better=False,
        variants={
            "nothing to remove": nothing_to_remove,
            "one to remove": one_file_to_remove,
            "looking at all": room_made_by_walk,
        },
        baseline="looking at all",
    ),
    Question(
        name="start",
        unit="s",
        higher_is_better=False,
        variants={"rows and disk": index_made, "disk alone": folders_walked},
        baseline="disk alone",
    ),
    Question(
        name="taking one file in",
        unit="ms",
        higher_is_better=False,
        variants={"taken in": received, "written": written, "the difference": bookkeeping},
        baseline="written",
    ),
)
