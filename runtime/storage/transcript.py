r"""Transcript files: one JSONL per session and epoch, a projection of the journal (J1–J3).

The journal rows in the store are the truth. The file is for people and for tools that know only
``role`` and ``content``; it is appended to after the commit, checked when the session wakes, and
made anew from the rows when it is missing, torn, ahead, or has a gap. Lines end with ``\n`` only:
U+2028 is data.

=====================================  ==========================================================
the file                               what is done
=====================================  ==========================================================
is missing, or lacks the newest lines  the missing lines are appended
ends in the middle of a line           made anew; the torn line goes to the quarantine
has a line that cannot be read         made anew; the line goes to the quarantine
lacks lines in the middle              made anew
has lines that the journal does not    made anew; those lines go to the quarantine
=====================================  ==========================================================
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from runtime.sessions.names import file_name
from runtime.sessions.rows import JournalEntry, SessionRow
from runtime.storage.requests import JournalExtent
from runtime.storage.store import Store

T = TypeVar("T")

PAGE = 1_000
"""How many lines are read from the journal at once."""

THREADS = 2
"""How many files are worked on at once."""

_TAIL_BYTES = 64 * 1024

_LINES_AT_A_STRETCH = 500
"""After how many lines a reading thread lets go of the interpreter, for the loop (D2)."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(JournalEntry).decode


class Loaded(msgspec.Struct, frozen=True):
    """The readable lines of a transcript file, in order, and how many could not be read."""

    entries: tuple[JournalEntry, ...]
    skipped: int = 0


class Verified(msgspec.Struct, frozen=True):
    """What the check of a transcript file did, and how many lines it put into quarantine."""

    rebuilt: bool = False
    quarantined: int = 0


class FileState(msgspec.Struct, frozen=True):
    """What a transcript file holds. ``sound``: whole, readable lines with rising numbers only."""

    lines: int
    last_seq: int
    sound: bool


# -- the session's folder --------------------------------------------------------------------------


def session_folder(data_dir: Path, agent_id: str, session_id: str) -> Path:
    """Where a session keeps its files (S7)."""
    return data_dir / "sessions" / file_name(agent_id) / file_name(session_id)


def make_session_folder(folder: Path) -> None:
    """Make a session's folder with ``inbox`` and ``outbox``, or what is missing of it (S7)."""
    above = (folder.parent.parent, folder.parent)  # `parents=True` would make them for everybody
    for each in (*above, folder, folder / "inbox", folder / "outbox"):
        each.mkdir(mode=0o700, parents=each is above[0], exist_ok=True)


# -- one file, synchronously -----------------------------------------------------------------------


def append(path: Path, entries: Sequence[JournalEntry]) -> None:
    """Append lines, as a whole or not at all unless the machine stops.

    Raises:
        OSError: The file cannot be written; it is as it was.
    """
    make_session_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        try:
            _write(descriptor, entries)
        except BaseException:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def append_next(path: Path, entries: Sequence[JournalEntry]) -> bool:
    """Append lines if they are the very next ones of a file; whether they were.

    Raises:
        OSError: The file cannot be read or written; it is as it was.
    """
    last = last_seq(path)
    if last is None or any(entry.seq != seq for seq, entry in enumerate(entries, last + 1)):
        return False
    append(path, entries)
    return True


def last_seq(path: Path) -> int | None:
    """The number of the last line; 0 without lines, None when the end cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            length = _TAIL_BYTES
            while True:
                file.seek(max(0, size - length))
                tail = file.read()
                if not tail:
                    return 0
                if not tail.endswith(b"\n"):
                    return None
                start = tail.rfind(b"\n", 0, -1)
                if start >= 0 or len(tail) >= size:
                    return _seq(tail[start + 1 :])
                length *= 4
    except FileNotFoundError:
        return 0


def check(path: Path) -> FileState:
    """Read a file through and say what it holds."""
    lines, last = 0, 0
    for line in _lines(path):
        seq = _seq(line) if line.endswith(b"\n") else None
        if seq is None or seq <= last:
            return FileState(lines, last, sound=False)
        lines, last = lines + 1, seq
    return FileState(lines, last, sound=True)


def load(path: Path) -> Loaded:
    """Read a file; a missing one has no lines, and what cannot be read is quarantined (J3)."""
    entries: list[JournalEntry] = []
    bad: list[bytes] = []
    for line in _lines(path):
        try:
            entries.append(_decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            bad.append(line)
    quarantine(path, bad)
    return Loaded(tuple(entries), len(bad))


def quarantine(path: Path, lines: Iterable[bytes]) -> None:
    """Keep lines beside a file, in ``<file>.quarantine``, each once."""
    bad = [line if line.endswith(b"\n") else line + b"\n" for line in lines]
    if not bad:
        return
    beside = path.with_name(f"{path.name}.quarantine")
    kept = set(_lines(beside))
    new = [line for line in dict.fromkeys(bad) if line not in kept]
    descriptor = os.open(beside, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(new))


class Rebuild:
    """Makes a transcript file anew, beside the old one, and replaces that when all is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f"{path.name}.unfinished")
        self._seqs: set[int] = set()

    def begin(self) -> None:
        """Make the empty file."""
        make_session_folder(self._path.parent)
        self._unfinished.unlink(missing_ok=True)

    def add(self, entries: Sequence[JournalEntry]) -> None:
        """Append lines to it."""
        append(self._unfinished, entries)
        self._seqs.update(entry.seq for entry in entries)

    def finish(self) -> int:
        """Put it in the old file's place; how many lines of that went to the quarantine."""
        bad = [line for line in _lines(self._path) if _seq(line) not in self._seqs]
        quarantine(self._path, bad)
        if self._seqs:
            descriptor = os.open(self._unfinished, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._unfinished.replace(self._path)
        else:
            self._path.unlink(missing_ok=True)
        return len(bad)


def _write(descriptor: int, entries: Sequence[JournalEntry]) -> None:
    data = memoryview(b"".join(_encode(entry) + b"\n" for entry in entries))
    while data:
        data = data[os.write(descriptor, data) :]


def _lines(path: Path) -> Iterable[bytes]:
    r"""The lines of a file with their ends, split on ``\n`` only; none of a missing file."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number % _LINES_AT_A_STRETCH == _LINES_AT_A_STRETCH - 1:
                    time.sleep(0)
                yield line
    except FileNotFoundError:
        return


def _seq(line: bytes) -> int | None:
    try:
        return _decode(line).seq
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


# -- all files, on Trio ----------------------------------------------------------------------------


class Transcripts:
    """Keeps the transcript files of a data directory in step with the journal.

    Work on one session's files is done in order; different sessions do not wait for each other,
    except for a thread. Nothing here touches a disk on the loop.

    Args:
        data_dir: The files are in ``sessions/<agent>/<session>/transcript-<epoch>.jsonl`` below it.
        store: Where the journal is.
    """

    def __init__(self, data_dir: Path, store: Store) -> None:
        self._data_dir = data_dir
        self._store = store
        self._limiter = trio.CapacityLimiter(THREADS)
        self._locks: dict[str, trio.Lock] = {}

    def path(self, session: SessionRow, epoch: int | None = None) -> Path:
        """The file of a session's epoch, the current one by default."""
        folder = session_folder(self._data_dir, session.agent_id, session.id)
        return folder / f"transcript-{session.epoch if epoch is None else epoch}.jsonl"

    async def project(
        self,
        session: SessionRow,
        epoch: int | None = None,
        committed: Sequence[JournalEntry] = (),
    ) -> None:
        """Append what the journal has and the file has not; called after a commit.

        Args:
            session: Whose transcript.
            epoch: Which epoch was written to; the current one by default.
            committed: The lines of that commit, in order. When nothing else is missing, they need
                not be read from the journal.

        Raises:
            OSError: The file cannot be written.
            StoreError: The journal cannot be read.

        When it is cancelled the file is behind by whole lines at most, and the next call goes on.
        """
        chosen = session.epoch if epoch is None else epoch
        async with self._alone(session.id):
            path = self.path(session, chosen)
            if committed:
                was_next = await self._run(append_next, path, committed)
                if was_next:
                    return
            last = await self._run(last_seq, path)
            if last is None:
                await self._rebuild(session, chosen)
            else:
                await self._append_after(session, chosen, last)

    async def verify(self, session: SessionRow) -> Verified:
        """Check the current epoch's file and the one before it, and mend them; called at wake-up.

        The epoch before may have got its last lines after the current one began.

        Raises:
            OSError: The file cannot be read or written.
            StoreError: The journal cannot be read.
        """
        epochs = range(max(1, session.epoch - 1), session.epoch + 1)
        async with self._alone(session.id):
            found = [await self._verify(session, epoch) for epoch in epochs]
        return Verified(
            rebuilt=any(each.rebuilt for each in found),
            quarantined=sum(each.quarantined for each in found),
        )

    async def load(self, session: SessionRow, epoch: int | None = None) -> Loaded:
        """Read a file (J3). The loop goes on meanwhile, however long the file is."""
        async with self._alone(session.id):
            return await self._run(load, self.path(session, epoch))

    async def _verify(self, session: SessionRow, epoch: int) -> Verified:
        state = await self._run(check, self.path(session, epoch))
        if state.sound:
            held = await self._append_after(session, epoch, state.last_seq, state.lines)
            if held == await self._store.journal_extent(session.id, epoch):
                return Verified()
        return Verified(rebuilt=True, quarantined=await self._rebuild(session, epoch))

    async def _append_after(
        self, session: SessionRow, epoch: int, last: int, lines: int = 0
    ) -> JournalExtent:
        """Append the lines above a number; what the file then holds, if it held so many before."""
        write = partial(append, self.path(session, epoch))
        added = await self._each_page(session.id, epoch, last, write)
        return JournalExtent(lines + added.count, max(last, added.last_seq))

    async def _rebuild(self, session: SessionRow, epoch: int) -> int:
        rebuild = Rebuild(self.path(session, epoch))
        await self._run(rebuild.begin)
        await self._each_page(session.id, epoch, 0, rebuild.add)
        return await self._run(rebuild.finish)

    async def _each_page(
        self,
        session_id: str,
        epoch: int,
        after: int,
        take: Callable[[Sequence[JournalEntry]], None],
    ) -> JournalExtent:
        """Hand the journal above a number to a function, page by page; how much it was."""
        count, last = 0, after
        while True:
            page = await self._store.journal(session_id, after=last, limit=PAGE, epoch=epoch)
            if page:
                await self._run(take, page)
                count, last = count + len(page), page[-1].seq
            if len(page) < PAGE:
                return JournalExtent(count, last)

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(partial(function, *arguments), limiter=self._limiter)

    @asynccontextmanager
    async def _alone(self, session_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(session_id, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(session_id, None)


class NoTranscripts(Transcripts):
    """Keeps no files: for a store in memory."""

    def __init__(self) -> None:
        pass

    async def project(
        self,
        session: SessionRow,
        epoch: int | None = None,
        committed: Sequence[JournalEntry] = (),
    ) -> None:
        """Do nothing."""
        await trio.lowlevel.checkpoint()

    async def verify(self, session: SessionRow) -> Verified:
        """Find nothing wrong."""
        await trio.lowlevel.checkpoint()
        return Verified()

    async def load(self, session: SessionRow, epoch: int | None = None) -> Loaded:
        """Find nothing."""
        await trio.lowlevel.checkpoint()
        return Loaded(())
