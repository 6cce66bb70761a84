"""The index of media folders and outboxes: which files there are, who refers to them, which may go
(M4–M8).

It is a projection: of the store's rows, from which it is loaded at each start, and of the changes
that the store reports in the order of its commits. It alone decides that a file may go, by
`runtime.sessions.handover`:

- what nobody refers to and was never handed over is *discarded* (H2);
- what is the session's is *evicted*, least recently used first, when the bytes are needed (M5);
- what is in flight stays.

A file in an agent's outbox is the session's from the first: the agent made it. It is in flight for
as long as it is owed to a chat, and nobody's when the chat has it (R7).

A file that is to go leaves the index's choice at once, and its bytes when it is gone from disk.
Every operation costs what it touches, never what is stored (M7); all are for one thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from runtime.sessions.blobs import Blob, Incoming, Pile, Shelf, Shelves, Usage
from runtime.sessions.handover import Lease, Owner, Step, after
from runtime.sessions.media import (
    BlobRow,
    Claimed,
    Ended,
    HandedOver,
    Leased,
    MediaChange,
    OutboxFile,
    Owed,
    SessionEnded,
    Settled,
)

__all__ = ["Blob", "Ledger", "Usage"]

_NS_PER_MS = 1_000_000


class Ledger(Shelves):
    """Who refers to which file, and what that means."""

    def __init__(self) -> None:
        super().__init__()
        self.incoming = Incoming()
        """Files that are not here yet."""
        self._evictable = Pile()
        self._discarded = Pile()
        self._leaving = Pile()
        self._on_disk = 0
        self._files = 0

    # -- figures ------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Bytes that are on disk, and those that are reserved for files on their way (M3)."""
        return self._on_disk + self.incoming.reserved

    @property
    def on_disk(self) -> int:
        """Bytes of all files on disk."""
        return self._on_disk

    @property
    def usage(self) -> Usage:
        """What all files take."""
        evictable = self._evictable.size
        flying = self._on_disk - evictable - self._discarded.size - self._leaving.size
        return Usage(self._files, self._on_disk, flying, evictable)

    def usage_of(self, session_id: str) -> Usage:
        """What the files of a session take; costs as much as it has files."""
        shelf = self._shelves.get(session_id)
        if shelf is None:
            return Usage()
        blobs = [blob for blob in shelf.files.values() if blob not in self._leaving]
        return Usage(
            files=len(shelf.files),
            size=shelf.size,
            in_flight=sum(blob.size for blob in blobs if blob.owner is Owner.IN_FLIGHT),
            evictable=sum(blob.size for blob in blobs if blob in self._evictable),
        )

    def __len__(self) -> int:
        return self._files

    # -- room ---------------------------------------------------------------------------------

    def excess(self, size: int, cap: int) -> int:
        """Bytes that have to go so that so many more fit under the cap, beside those that leave."""
        return max(0, self.total - self._leaving.size + size - cap)

    def has_too_much(self, cap: int) -> bool:
        """Whether there is what nobody wants, or what may be evicted and is over the cap (M5)."""
        return self.has_discarded or (self.evictable > 0 and self.excess(0, cap) > 0)

    @property
    def evictable(self) -> int:
        """Bytes that may be evicted."""
        return self._evictable.size

    # -- files on their way in ----------------------------------------------------------------

    def reuse(self, token: str, session_id: str, content_hash: str) -> str | None:
        """The name of a file of the session with these bytes, which stays until `unstage` (M4).

        Args:
            token: names the lease.
            session_id: the session.
            content_hash: SHA-256, hexadecimal.
        """
        shelf = self._shelves.get(session_id)
        blob = None if shelf is None else shelf.by_hash.get(content_hash)
        if blob is None:
            return None
        blob.leases[token] = Lease.STAGED
        self._place(blob)
        return blob.file

    def keep(self, token: str, session_id: str, file: str) -> bool:
        """A file stays until `unstage`; False when it is gone, or on its way out."""
        blob = self.blob(session_id, file)
        if blob is None or blob in self._leaving:
            return False
        blob.leases[token] = Lease.STAGED
        self._place(blob)
        return True

    def changed(self, token: str, session_id: str, file: str) -> None:
        """A file that was to be reused has not the bytes that it had: it is let go of, and found by
        them no more.
        """
        blob = self.blob(session_id, file)
        if blob is not None:
            self._shelves[session_id].lose(blob)
            self.unstage(token, session_id, file)

    def stage(
        self, token: str, session_id: str, file: str, content_hash: str, size: int, now_ms: int
    ) -> None:
        """A new file is on disk; it stays until `unstage`, and for as long as messages refer to it
        by then.
        """
        blob = self._add(Blob(session_id, file, content_hash, size, now_ms))
        blob.leases[token] = Lease.STAGED
        self._place(blob)

    def unstage(self, token: str, session_id: str, file: str) -> None:
        """The message of a staged file was accepted, which is known by now, or never will be."""
        blob = self.blob(session_id, file)
        if blob is not None and blob.leases.pop(token, None) is not None:
            self._place(blob)

    def measured(self, session_id: str, file: str, size: int) -> bool:
        """A file has so many bytes; whether it had others, until its agent wrote to it."""
        if (blob := self.blob(session_id, file)) is None or blob.size == size:
            return False
        more, blob.size = size - blob.size, size
        self._shelves[session_id].size += more
        self._on_disk += more
        for pile in (self._evictable, self._discarded, self._leaving):
            pile.grown(blob, more)
        return True

    # -- files in outboxes --------------------------------------------------------------------

    def found(self, session_id: str, file: OutboxFile, now_ms: int) -> Blob:
        """A file is in an outbox. What is known of it already stays true; no file was used later
        than now, whatever it says of itself.
        """
        blob = self.blob(session_id, file.key)
        if blob is None:
            used_at = min(file.mtime_ns // _NS_PER_MS, now_ms)
            blob = self._add(Blob(session_id, file.key, "", file.size, used_at, file))
            blob.handed_over = True
            self._place(blob)
        return blob

    def hold(self, token: str, session_id: str, file: OutboxFile, now_ms: int) -> bool:
        """A file that was found may be owed soon, and stays until `unstage`; False when it does
        not stay.
        """
        return self.keep(token, session_id, self.found(session_id, file, now_ms).file)

    def disown(self, session_id: str, file: OutboxFile) -> None:
        """A file of an outbox was delivered: nobody wants it any more."""
        blob = self.blob(session_id, file.key)
        if blob is not None:
            blob.handed_over = False
            self._place(blob)

    # -- what the store says ------------------------------------------------------------------

    def load(self, rows: Iterable[BlobRow]) -> None:
        """Take in files as the store has them: first all of these, then who refers to them, then
        `settle`.
        """
        for row in rows:
            blob = self._add(Blob(row.session_id, row.file, row.hash, row.size, row.used_at))
            blob.handed_over = row.handed_at is not None

    def settle(self) -> None:
        """After loading: decide about all files, those used longest ago first."""
        for blob in sorted(self, key=lambda blob: blob.used_at):
            self._place(blob)

    def apply(self, changes: Iterable[MediaChange]) -> None:
        """Take in what the store has committed, in its order."""
        for change in changes:
            match change:
                case Leased():
                    self._lease(change)
                case Claimed():
                    self._step(change.session_id, change.message_id, Step.CLAIMED)
                case HandedOver():
                    self._hand_over(change)
                case Ended():
                    self._step(change.session_id, change.message_id, Step.ENDED)
                case SessionEnded():
                    self._end_session(change.session_id)
                case Owed():
                    blob = self.found(change.session_id, change.file, change.at)
                    blob.leases[change.outbound_id] = Lease.QUEUED
                    self._place(blob)
                case Settled():
                    self.unstage(change.outbound_id, change.session_id, change.file.key)
                    if change.delivered:
                        self.disown(change.session_id, change.file)

    def _lease(self, change: Leased) -> None:
        for row in change.blobs:
            if not self.knows(row.session_id, row.file):
                self.load((row,))
        shelf = self._shelves.get(change.session_id)
        if shelf is None:
            return
        shelf.messages[change.message_id] = change.files
        for file in change.files:
            blob = shelf.files.get(file)
            if blob is not None:
                lease = blob.leases.get(change.message_id)
                blob.leases[change.message_id] = after(lease, Step.ADMITTED)
                self._place(blob)

    def _hand_over(self, change: HandedOver) -> None:
        for file in change.files:
            blob = self.blob(change.session_id, file)
            if blob is None:
                continue
            blob.handed_over = True
            blob.used_at = max(blob.used_at, change.at)
            lease = blob.leases.get(change.message_id)
            if lease is not None:
                blob.leases[change.message_id] = after(lease, Step.FIRST_EVENT)
            self._place(blob)

    def _step(self, session_id: str, message_id: str, step: Step) -> None:
        shelf = self._shelves.get(session_id)
        if shelf is None:
            return
        ended = step is Step.ENDED
        names = shelf.messages.pop(message_id, ()) if ended else shelf.messages.get(message_id, ())
        for file in names:
            blob = shelf.files.get(file)
            if blob is None or message_id not in blob.leases:
                continue
            lease = after(blob.leases[message_id], step)
            if ended:
                del blob.leases[message_id]
            else:
                blob.leases[message_id] = lease
            self._place(blob)
        self._tidy(session_id, shelf)

    def _end_session(self, session_id: str) -> None:
        shelf = self._shelves.get(session_id)
        if shelf is None:
            return
        for message_id in list(shelf.messages):
            self._step(session_id, message_id, Step.ENDED)
        for blob in list(shelf.files.values()):
            blob.handed_over = False
            self._place(blob)

    # -- files on their way out ---------------------------------------------------------------

    @property
    def has_discarded(self) -> bool:
        """Whether there are files that nobody wants."""
        return bool(self._discarded.blobs)

    def take_discarded(self, limit: int = 1_000) -> list[Blob]:
        """Files that nobody wants and that are to be removed; each is given once, see `gone`."""
        taken: list[Blob] = []
        while self._discarded.blobs and len(taken) < limit:
            taken.append(self._leave(self._discarded.first()))
        return taken

    def take_evictable(self, size: int, limit: int = 1_000) -> list[Blob]:
        """The least recently used files of sessions, of so many bytes at least if there are so
        many; to be removed, see `gone`.
        """
        taken: list[Blob] = []
        enough = self._evictable.size - size
        while self._evictable.blobs and self._evictable.size > enough and len(taken) < limit:
            taken.append(self._leave(self._evictable.first()))
        return taken

    def take(self, session_id: str, file: str) -> Blob | None:
        """One file of a session that may be evicted; None when it may not. See `gone`."""
        blob = self._evictable.blobs.get((session_id, file))
        return None if blob is None else self._leave(blob)

    @property
    def leaving(self) -> list[Blob]:
        """The files that were taken and are not gone yet."""
        return list(self._leaving.blobs.values())

    def stay(self, blob: Blob) -> None:
        """A file that was taken stays after all, first in line: of several the last comes first."""
        if self._leaving.remove(blob):
            self._shelves[blob.session_id].remember(blob)
            self._place(blob)
            self._evictable.put_first(blob)

    def gone(self, blob: Blob) -> None:
        """A file that was taken is not on disk any more."""
        if self._leaving.remove(blob):
            self._drop(blob)

    def _leave(self, blob: Blob) -> Blob:
        """A file is to go: it is not used for the same bytes any more."""
        shelf = self._shelves[blob.session_id]
        shelf.lose(blob)
        self._unplace(blob)
        self._leaving.add(blob)
        return blob

    # -- where a file stands ------------------------------------------------------------------

    def _add(self, blob: Blob) -> Blob:
        shelf = self._shelves.setdefault(blob.session_id, Shelf())
        shelf.files[blob.file] = blob
        shelf.remember(blob)
        shelf.size += blob.size
        self._on_disk += blob.size
        self._files += 1
        return blob

    def _drop(self, blob: Blob) -> None:
        shelf = self._shelves[blob.session_id]
        del shelf.files[blob.file]
        shelf.size -= blob.size
        self._on_disk -= blob.size
        self._files -= 1
        self._tidy(blob.session_id, shelf)

    def _tidy(self, session_id: str, shelf: Shelf) -> None:
        """Nothing is kept of a session without files."""
        if not shelf.files and not shelf.messages:
            del self._shelves[session_id]

    def _unplace(self, blob: Blob) -> None:
        self._evictable.remove(blob)
        self._discarded.remove(blob)

    def _place(self, blob: Blob) -> None:
        """Put a file where its owner says: nowhere what flies; one on its way out goes on."""
        if blob in self._leaving:
            return
        self._unplace(blob)
        match blob.owner:
            case Owner.SESSION:
                self._evictable.add(blob)
            case Owner.NOBODY:
                self._discarded.add(blob)
