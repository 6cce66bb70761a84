"""Files on disk as the index holds them, and what they take, also those to come (M3–M5)."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from operator import itemgetter

import msgspec

from runtime.sessions.handover import Lease, Owner, owner
from runtime.sessions.media import OutboxFile


class Blob:
    """A file on disk: in a media folder, or an agent's own, ``outgoing``, in its outbox."""

    __slots__ = (
        "file",
        "handed_over",
        "hash",
        "leases",
        "outgoing",
        "session_id",
        "size",
        "used_at",
    )

    def __init__(
        self,
        session_id: str,
        file: str,
        hash: str,  # noqa: A002 - the field's name
        size: int,
        used_at: int,
        outgoing: OutboxFile | None = None,
    ) -> None:
        self.session_id = session_id
        self.file = file
        self.hash = hash
        self.size = size
        self.used_at = used_at
        self.outgoing = outgoing
        self.handed_over = False
        self.leases: dict[str, Lease] = {}

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return owner(self.leases.values(), handed_over=self.handed_over)

    def __repr__(self) -> str:
        return f"<{self.session_id}/{self.file} {self.owner} {dict(self.leases)}>"


class Usage(msgspec.Struct, frozen=True):
    """What the files of a session, or of all, take: how many, and bytes.

    ``in_flight`` and ``evictable`` are bytes among them; what is neither is on its way out.
    """

    files: int = 0
    size: int = 0
    in_flight: int = 0
    evictable: int = 0


class Shelf:
    """The files of one session."""

    __slots__ = ("by_hash", "files", "messages", "size")

    def __init__(self) -> None:
        self.files: dict[str, Blob] = {}
        self.by_hash: dict[str, Blob] = {}
        self.messages: dict[str, tuple[str, ...]] = {}
        self.size = 0

    def remember(self, blob: Blob) -> None:
        """Find a file by its bytes from now on, unless it is an agent's own (M4)."""
        if blob.outgoing is None:
            self.by_hash.setdefault(blob.hash, blob)

    def lose(self, blob: Blob) -> None:
        """Find a file by its bytes no more."""
        if self.by_hash.get(blob.hash) is blob:
            del self.by_hash[blob.hash]


class Shelves:
    """The files of all sessions. What is about one session costs as much as that has files."""

    def __init__(self) -> None:
        self._shelves: dict[str, Shelf] = {}

    def __iter__(self) -> Iterator[Blob]:
        for shelf in self._shelves.values():
            yield from shelf.files.values()

    @property
    def sessions(self) -> list[str]:
        """The ids of the sessions of which anything is known."""
        return [*self._shelves]

    def pages(self, size: int) -> Iterator[list[Blob]]:
        """All files that there are now, at most so many at a stretch: between two pages there may
        be changes, and what is given later may be gone by then.
        """
        page: list[Blob] = []
        for session_id in self.sessions:
            page += self.files(session_id)
            if len(page) >= size:
                yield from (page[start : start + size] for start in range(0, len(page), size))
                page = []
        if page:
            yield page

    def largest(self, count: int, among: Iterable[str]) -> list[tuple[str, int, int]]:
        """Those of some sessions that take most: id, files, bytes."""
        found = ((each, self._shelves[each]) for each in among if each in self._shelves)
        sizes = ((each, len(shelf.files), shelf.size) for each, shelf in found)
        return heapq.nlargest(count, sizes, key=itemgetter(2))

    def files(self, session_id: str) -> list[Blob]:
        """The files of a session, also those on their way out."""
        shelf = self._shelves.get(session_id)
        return [] if shelf is None else [*shelf.files.values()]

    def outgoing(self, session_id: str) -> list[Blob]:
        """The files in the outbox of a session."""
        return [blob for blob in self.files(session_id) if blob.outgoing is not None]

    def ids(self, session_id: str) -> set[str]:
        """The ids of the files in the media folder of a session: their names without an ending."""
        return {blob.file.partition(".")[0] for blob in self.files(session_id)}

    def has_session(self, session_id: str) -> bool:
        """Whether there is any file in the media folder of a session, or any message with files."""
        shelf = self._shelves.get(session_id)
        if shelf is None:
            return False
        return bool(shelf.messages) or any(blob.outgoing is None for blob in shelf.files.values())

    def knows(self, session_id: str, file: str) -> bool:
        """Whether there is such a file, also one that is on its way out."""
        return self.blob(session_id, file) is not None

    def blob(self, session_id: str, file: str) -> Blob | None:
        """One file."""
        shelf = self._shelves.get(session_id)
        return None if shelf is None else shelf.files.get(file)


class Pile:
    """Files in an order, and their bytes."""

    __slots__ = ("blobs", "size")

    def __init__(self) -> None:
        self.blobs: OrderedDict[tuple[str, str], Blob] = OrderedDict()
        self.size = 0

    def __contains__(self, blob: Blob) -> bool:
        return (blob.session_id, blob.file) in self.blobs

    def add(self, blob: Blob) -> None:
        """Put a file that is not in it at the end."""
        self.blobs[blob.session_id, blob.file] = blob
        self.size += blob.size

    def put_first(self, blob: Blob) -> None:
        """Put a file at the beginning, if it is in it."""
        if blob in self:
            self.blobs.move_to_end((blob.session_id, blob.file), last=False)

    def remove(self, blob: Blob) -> bool:
        """Whether the file was in it."""
        if self.blobs.pop((blob.session_id, blob.file), None) is None:
            return False
        self.size -= blob.size
        return True

    def grown(self, blob: Blob, more: int) -> None:
        """A file has more bytes, or fewer, than it had; if it is in it, it stays at its place."""
        if blob in self:
            self.size += more

    def first(self) -> Blob:
        """The file that is in it for the longest time."""
        return next(iter(self.blobs.values()))


class Incoming:
    """What is counted for files on their way in, so that two cannot take the same room (M3)."""

    def __init__(self) -> None:
        self.reserved = 0
        """Bytes that they may take."""
        self._arrived = 0

    @property
    def to_come(self) -> int:
        """Those of them that are not on disk yet: the disk does not show them as taken (M7)."""
        return self.reserved - self._arrived

    def reserve(self, size: int) -> None:
        """Count bytes before they are written."""
        self.reserved += size

    def arrive(self, size: int) -> None:
        """Some of the bytes that were reserved are on disk, in files that are not whole."""
        self._arrived += size

    def release(self, size: int, *, arrived: int) -> None:
        """Bytes that were reserved, ``arrived`` of which had come, are in a file that is counted by
        itself now, or never will be.
        """
        self.reserved -= size
        self._arrived -= arrived
