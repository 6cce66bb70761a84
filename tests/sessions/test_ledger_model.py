"""The index of files against a plain model: whose each file is, in any order of events (H1–H6)."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from runtime.sessions.ledger import Blob, Ledger, Usage
from runtime.sessions.media import (
    BlobRow,
    Claimed,
    Ended,
    HandedOver,
    Leased,
    MediaChange,
    SessionEnded,
)

SESSIONS = ("a", "b")
HASHES = ("h1", "h2", "h3")
SIZES = st.integers(0, 30)


class File:
    """What the model knows of a file on disk. ``touched``: when anything last concerned it."""

    def __init__(self, session_id: str, file: str, content_hash: str, size: int) -> None:
        self.key = (session_id, file)
        self.hash = content_hash
        self.size = size
        self.handed_over = False
        self.taken = False
        self.touched = 0


class Said:
    """A message that is not at its end."""

    def __init__(self, session_id: str, message_id: str, files: tuple[str, ...]) -> None:
        self.session_id = session_id
        self.id = message_id
        self.files = files
        self.claimed = False
        self.begun = False


class Files(RuleBasedStateMachine):
    """Two sessions, and whatever may happen to their files."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.files: dict[tuple[str, str], File] = {}
        self.staged: dict[str, File] = {}
        self.messages: dict[str, Said] = {}
        self.blobs: dict[tuple[str, str], Blob] = {}
        self.doubled: set[tuple[str, str]] = set()
        self.reserved = 0
        self.tick = 0

    # -- what the model says ------------------------------------------------------------------

    def flies(self, file: File) -> bool:
        """Somebody who is not at the end, and whose agent has not begun, refers to it."""
        return file in self.staged.values() or any(
            not said.begun for said in self.referring(file) if file.key[1] in said.files
        )

    def referring(self, file: File) -> list[Said]:
        return [
            said
            for said in self.messages.values()
            if said.session_id == file.key[0] and file.key[1] in said.files
        ]

    def evictable(self) -> list[File]:
        found = [file for file in self.here() if file.handed_over and not self.flies(file)]
        return sorted(found, key=lambda file: file.touched)

    def discarded(self) -> list[File]:
        return [file for file in self.here() if not file.handed_over and not self.flies(file)]

    def here(self) -> list[File]:
        return [file for file in self.files.values() if not file.taken]

    def taken(self) -> list[File]:
        return [file for file in self.files.values() if file.taken]

    def touch(self, *files: File) -> None:
        for file in files:
            self.tick += 1
            file.touched = self.tick

    def new(self, session_id: str, content_hash: str, size: int) -> File:
        self.tick += 1
        file = File(session_id, f"f{self.tick}", content_hash, size)
        if any(other.hash == content_hash for other in self.here() if other.key[0] == session_id):
            self.doubled.add((session_id, content_hash))
        self.files[file.key] = file
        return file

    def row(self, file: File) -> BlobRow:
        session_id, name = file.key
        handed_at = 1 if file.handed_over else None
        return BlobRow(session_id, name, file.hash, file.size, 1, 1, 1, handed_at=handed_at)

    def apply(self, change: MediaChange) -> None:
        self.ledger.apply((change,))

    # -- the start ----------------------------------------------------------------------------

    @initialize(data=st.data(), count=st.integers(0, 5))
    def opens(self, data: st.DataObject, count: int) -> None:
        rows = []
        for number in range(count):
            session_id = data.draw(st.sampled_from(SESSIONS))
            file = self.new(session_id, f"old {number}", data.draw(SIZES))
            file.handed_over = data.draw(st.booleans())
            file.touched = -data.draw(st.integers(1, 1_000)) * 10 - number
            rows.append(replace(self.row(file), used_at=10_000 + file.touched))
        self.ledger.load(rows)
        for row in rows:
            if data.draw(st.booleans()):
                said = Said(row.session_id, f"m{row.file}", (row.file,))
                self.messages[said.id] = said
                self.apply(Leased(said.session_id, said.id, said.files))
        self.ledger.settle()

    # -- files on their way in ----------------------------------------------------------------

    @rule(session_id=st.sampled_from(SESSIONS), content_hash=st.sampled_from(HASHES), size=SIZES)
    def arrives(self, session_id: str, content_hash: str, size: int) -> None:
        self.tick += 1
        token = f"t{self.tick}"
        same = [
            file for file in self.here() if file.key[0] == session_id and file.hash == content_hash
        ]
        reused = self.ledger.reuse(token, session_id, content_hash)
        if reused is not None:
            assert (session_id, reused) in {file.key for file in same}
            file = self.files[session_id, reused]
        else:
            assert not same or (session_id, content_hash) in self.doubled
            file = self.new(session_id, content_hash, size)
            self.ledger.stage(token, *file.key, content_hash, size, self.tick)
        self.staged[token] = file
        self.touch(file)

    @precondition(lambda self: self.staged)
    @rule(data=st.data())
    def is_given_up(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.staged)))
        self.unstage(token)

    def unstage(self, token: str) -> None:
        file = self.staged.pop(token)
        self.ledger.unstage(token, *file.key)
        self.ledger.unstage(token, *file.key)  # a second time nothing happens
        self.touch(file)

    @precondition(lambda self: self.staged)
    @rule(data=st.data(), all_of_it=st.booleans())
    def is_accepted(self, data: st.DataObject, all_of_it: bool) -> None:
        """A message with staged files, the same one twice too; then they are let go of."""
        session_id = data.draw(st.sampled_from(sorted({f.key[0] for f in self.staged.values()})))
        tokens = [token for token, file in self.staged.items() if file.key[0] == session_id]
        if not all_of_it:
            tokens = tokens[:1]
        files = [self.staged[token] for token in tokens]
        self.tick += 1
        said = Said(session_id, f"m{self.tick}", tuple(file.key[1] for file in files))
        self.messages[said.id] = said
        rows = tuple(map(self.row, files))
        self.apply(Leased(session_id, said.id, said.files, rows))
        self.touch(*files)
        for token in tokens:
            self.unstage(token)

    # -- messages -----------------------------------------------------------------------------

    def some(self, data: st.DataObject) -> Said:
        return self.messages[data.draw(st.sampled_from(sorted(self.messages)))]

    def files_of(self, said: Said) -> list[File]:
        keys = [(said.session_id, name) for name in said.files]
        return [self.files[key] for key in keys if key in self.files]

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def is_claimed(self, data: st.DataObject) -> None:
        said = self.some(data)
        said.claimed = True
        self.apply(Claimed(said.session_id, said.id))
        self.touch(*self.files_of(said))

    @precondition(lambda self: any(said.claimed for said in self.messages.values()))
    @rule(data=st.data(), at=st.integers(0, 50))
    def begins(self, data: st.DataObject, at: int) -> None:
        claimed = sorted(said.id for said in self.messages.values() if said.claimed)
        said = self.messages[data.draw(st.sampled_from(claimed))]
        said.begun = True
        for file in self.files_of(said):
            file.handed_over = True
        self.apply(HandedOver(said.session_id, said.id, said.files, at))
        self.touch(*self.files_of(said))

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def waits_again(self, data: st.DataObject) -> None:
        said = self.some(data)
        said.claimed = said.begun = False
        self.apply(Leased(said.session_id, said.id, said.files))
        self.touch(*self.files_of(said))

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        said = self.some(data)
        del self.messages[said.id]
        self.apply(Ended(said.session_id, said.id))
        self.apply(Ended(said.session_id, said.id))
        self.touch(*self.files_of(said))

    @rule(session_id=st.sampled_from(SESSIONS))
    def is_closed(self, session_id: str) -> None:
        self.apply(SessionEnded(session_id))
        for said in [said for said in self.messages.values() if said.session_id == session_id]:
            del self.messages[said.id]
        for file in self.files.values():
            if file.key[0] == session_id:
                file.handed_over = False
                self.touch(file)

    # -- files on their way out ---------------------------------------------------------------

    def take(self, blobs: list[Blob]) -> list[File]:
        """None of them was taken before, and none flies."""
        found = [self.files[blob.session_id, blob.file] for blob in blobs]
        assert len({file.key for file in found}) == len(found)
        for file, blob in zip(found, blobs, strict=True):
            assert not file.taken
            assert not self.flies(file)
            assert (blob.size, blob.hash) == (file.size, file.hash)
            file.taken = True
            self.blobs[file.key] = blob
        return found

    @rule(limit=st.integers(0, 3))
    def discards(self, limit: int) -> None:  # H2
        wanted = self.discarded()
        found = self.take(self.ledger.take_discarded(limit))
        assert len(found) == min(limit, len(wanted))
        assert all(file in wanted for file in found)

    @rule(size=st.integers(-1, 60), limit=st.integers(0, 4))
    def evicts(self, size: int, limit: int) -> None:  # M5
        oldest = self.evictable()
        needed = 0
        while needed < min(limit, len(oldest)) and sum(f.size for f in oldest[:needed]) < size:
            needed += 1
        assert self.take(self.ledger.take_evictable(size, limit)) == oldest[:needed]

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def evicts_one(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.files)))
        may = self.files[key] in self.evictable()
        blob = self.ledger.take(*key)
        assert (blob is not None) is may
        if blob is not None:
            assert [file.key for file in self.take([blob])] == [key]

    @precondition(lambda self: self.taken())
    @rule(data=st.data(), removed=st.booleans())
    def is_decided(self, data: st.DataObject, removed: bool) -> None:
        key = data.draw(st.sampled_from(sorted(file.key for file in self.taken())))
        file, blob = self.files[key], self.blobs.pop(key)
        if removed:
            self.ledger.gone(blob)
            self.ledger.gone(blob)  # a second time nothing happens
            self.ledger.stay(blob)
            self.forget(file)
            return
        self.ledger.stay(blob)
        self.ledger.gone(blob)
        self.note_double(file)
        file.taken = False
        file.touched = min(each.touched for each in self.files.values()) - 1

    def note_double(self, file: File) -> None:
        if any((o.key[0], o.hash) == (file.key[0], file.hash) for o in self.here()):
            self.doubled.add((file.key[0], file.hash))

    def forget(self, file: File) -> None:
        del self.files[file.key]
        self.staged = {token: each for token, each in self.staged.items() if each is not file}

    # -- room ---------------------------------------------------------------------------------

    @rule(size=SIZES)
    def reserves(self, size: int) -> None:
        self.ledger.incoming.reserve(size)
        self.reserved += size

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def releases(self, data: st.DataObject) -> None:
        size = data.draw(st.integers(1, self.reserved))
        self.ledger.incoming.release(size, arrived=0)
        self.reserved -= size

    # -- what always holds --------------------------------------------------------------------

    @invariant()
    def the_bytes_are_right(self) -> None:  # M5
        size = sum(file.size for file in self.files.values())
        evictable = sum(file.size for file in self.evictable())
        flying = sum(file.size for file in self.here() if self.flies(file))
        assert self.ledger.usage == Usage(len(self.files), size, flying, evictable)
        assert self.ledger.evictable == evictable
        assert len(self.ledger) == len(self.files)
        assert self.ledger.on_disk == size
        assert self.ledger.incoming.reserved == self.reserved
        assert self.ledger.total == size + self.reserved
        leaving = sum(file.size for file in self.taken())
        for cap in (0, 40, 10_000):
            assert self.ledger.excess(5, cap) == max(0, size + self.reserved - leaving + 5 - cap)

    @invariant()
    def each_sessions_bytes_are_right(self) -> None:
        sizes = {}
        for session_id in SESSIONS:
            files = [file for file in self.files.values() if file.key[0] == session_id]
            size = sum(file.size for file in files)
            flying = sum(file.size for file in files if self.flies(file) and not file.taken)
            evictable = sum(file.size for file in self.evictable() if file in files)
            assert self.ledger.usage_of(session_id) == Usage(len(files), size, flying, evictable)
            if files:
                sizes[session_id] = (len(files), size)
        largest = {
            name: (files, size)
            for name, files, size in self.ledger.largest(9, self.ledger.sessions)
            if files
        }
        assert largest == sizes

    @invariant()
    def the_files_are_right(self) -> None:  # H2
        assert {(blob.session_id, blob.file) for blob in self.ledger} == set(self.files)
        assert all(self.ledger.knows(*key) for key in self.files)
        assert self.ledger.has_discarded is bool(self.discarded())
        leaving = {(blob.session_id, blob.file) for blob in self.ledger.leaving}
        assert leaving == {file.key for file in self.taken()}

    @invariant()
    def nothing_is_kept_of_a_session_without_files(self) -> None:
        used = {file.key[0] for file in self.files.values()}
        used |= {said.session_id for said in self.messages.values()}
        assert set(self.ledger._shelves) <= used
        kept = {message for shelf in self.ledger._shelves.values() for message in shelf.messages}
        assert kept <= set(self.messages)


TestFiles = Files.TestCase
