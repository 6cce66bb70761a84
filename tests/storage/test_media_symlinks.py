"""Whoever swaps the root, a folder or a file for a link, at whatever moment, leads nobody away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runtime.storage.attachments import Outbox
from runtime.storage.inbox import Inbox
from runtime.storage.media_errors import FileChanged, MediaError, MediaUnsafe
from runtime.storage.media_tree import MediaTree
from tests.storage.media_stage import LIMIT, picture, prepared, put, quick_directory

SESSIONS = [f"session-{number}" for number in range(4)]
FILES = [f"file-{number}" for number in range(4)]
SECRET = b"secret"
ENOUGH = 50
"""How often each operation has to succeed and to be refused."""
DEADLINE_SECONDS = 60.0

ADVERSARY = """
import ctypes, os, random, signal, sys

root, beside, victim = sys.argv[1:4]
sessions, files = sys.argv[4].split(","), sys.argv[5].split(",")
its_own_too = sys.argv[6] == "True"
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
swaps, lost, ended, targets = 0, 0, False, {}

def end(*_):
    global ended
    ended = True

def move(name, folder, other, other_folder):
    os.rename(name, other, src_dir_fd=folder, dst_dir_fd=other_folder)
    try:  # of two names for one file, both stay
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass

def exchange(name, folder, other):
    # In one step, where the system can: whoever makes what is missing would come in between.
    try:
        return not libc.renameat2(folder, name.encode(), aside, other.encode(), 2)
    except AttributeError:
        return False

def swap(name, folder, other):
    # By descriptors, not to be led astray by its own links. In two steps, there is nothing there
    # for moments.
    global swaps, lost
    if random.random() < 0.5 and exchange(name, folder, other):
        swaps += 1
        return
    try:
        move(name, folder, "spare", aside)
    except FileNotFoundError:
        return
    try:
        move(other, aside, name, folder)
    except OSError:  # the runtime has made something there meanwhile
        for each in ("spare", other):  # whichever of them is the link
            lost += 1
            move(each, aside, f"lost-{lost}", aside)
        os.symlink(targets[other], other, dir_fd=aside)
    else:
        move("spare", aside, other, aside)
        swaps += 1

def swap_file(session, file):
    try:
        folder = os.open(session, FOLDER, dir_fd=tree)
    except OSError:
        return
    try:
        for _ in range(2):
            swap(file, folder, session + file)
    finally:
        os.close(folder)

signal.signal(signal.SIGTERM, end)
libc = ctypes.CDLL(None)
above, aside = os.open(os.path.dirname(root), FOLDER), os.open(beside, FOLDER)
tree = os.open(root, FOLDER)
targets["root"] = victim
for session in sessions:
    targets[session] = os.path.join(victim, session)
    for file in files:
        targets[session + file] = os.path.join(victim, session, file)
for other, target in targets.items():
    os.symlink(target, other, dir_fd=aside)
print("ready", flush=True)
while not ended:
    session = random.choice(sessions)
    for file in files:
        swap_file(session, file)
    places = [(session, tree, session)]
    if its_own_too:
        places.append((os.path.basename(root), above, "root"))
    for name, folder, other in places:
        for _ in range(2):  # there and back
            swap(name, folder, other)
print(swaps)
"""


@contextmanager
def adversary(root: Path, victim: Path, *, root_too: bool = True) -> Iterator[Callable[[], int]]:
    """A process that swaps what is in a folder, and the folder itself, in a tight loop until it is
    ended, which gives the number of swaps.
    """
    beside = root.parent / "beside"
    beside.mkdir()
    arguments = [str(root), str(beside), str(victim), ",".join(SESSIONS), ",".join(FILES)]
    arguments.append(str(root_too))
    with subprocess.Popen(
        [sys.executable, "-c", ADVERSARY, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:

        def end() -> int:
            process.send_signal(signal.SIGTERM)
            return int(process.communicate(timeout=60)[0])

        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield end
        finally:
            process.kill()


def fill(folder: Path, data: bytes) -> None:
    """Make the same folders and files as in the tree, open to others to see whether they stay."""
    for session in SESSIONS:
        (folder / session).mkdir(mode=0o755, parents=True)
        for file in FILES:
            (folder / session / file).write_bytes(data)
            (folder / session / file).chmod(0o644)


def read(tree: MediaTree, session: str, file: str) -> None:
    assert tree.read(session, file, limit=LIMIT) != SECRET


def scan(tree: MediaTree, _: str, __: str) -> None:
    # Nothing of the victim is counted: its files are of another size.
    assert {found.size for found in tree.scan().files} <= {0, len(b"data")}


Operation = Callable[[MediaTree, str, str], object]

OPERATIONS: dict[str, Operation] = {
    "put": put,
    "read": read,
    "scan": scan,
    "stat": lambda tree, session, file: tree.stat(session, file),
    "remove": lambda tree, session, file: tree.remove(session, file),
    "remove a session": lambda tree, session, _: tree.remove_session(session),
}


class Workers:
    """Threads with an operation each, repeated until each had its share of both outcomes."""

    def __init__(self, tree: MediaTree, operations: dict[str, Operation]) -> None:
        self._tree = tree
        self._operations = operations
        self._give_up = time.monotonic() + DEADLINE_SECONDS
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.failures: list[BaseException] = []

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, args=[name]) for name in self._operations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, name: str) -> None:
        operation = self._operations[name]
        number = 0
        try:
            while not self._is_enough() and time.monotonic() < self._give_up:
                number += 1
                # What is removed again and again is not there to be swapped: some of it stays.
                among = SESSIONS[:1] if name == "remove a session" else SESSIONS
                session, file = among[number % len(among)], FILES[number // 7 % len(FILES)]
                try:
                    operation(self._tree, session, file)
                except MediaUnsafe:
                    self.refused[name] += 1
                except MediaError:  # it is not there at the moment
                    continue
                else:
                    self.done[name] += 1
        except BaseException as failure:
            self.failures.append(failure)

    def _is_enough(self) -> bool:
        counts = (self.done, self.refused)
        plenty = all(count[name] >= ENOUGH for count in counts for name in self._operations)
        return plenty or bool(self.failures)


@pytest.fixture
def quick() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


def test_nothing_outside_is_touched_while_everything_is_swapped(quick: Path) -> None:  # M2
    victim = quick / "victim"
    fill(victim, SECRET)
    before = picture(victim)
    with prepared(quick / "media") as tree:
        for session in SESSIONS:
            for file in FILES:
                put(tree, session, file)
        workers = Workers(tree, OPERATIONS)
        with adversary(tree.root, victim) as end:
            workers.run()
            swaps = end()
        check(workers, OPERATIONS)
    assert picture(victim) == before
    assert swaps > ENOUGH


def check(workers: Workers, operations: dict[str, Operation]) -> None:
    assert workers.failures == []
    assert min(workers.done[name] for name in operations) >= ENOUGH, workers.done
    assert min(workers.refused[name] for name in operations) >= ENOUGH, workers.refused


def test_nothing_outside_is_touched_while_an_agent_swaps_its_inbox(quick: Path) -> None:  # M2 M5
    victim = quick / "victim"
    fill(victim, SECRET)
    before = picture(victim)
    inbox = Inbox(quick / "session" / "inbox")

    def copy(tree: MediaTree, file_id: str, name: str) -> None:
        inbox.copy(tree, "s", f"{file_id}.png", name)

    def link(tree: MediaTree, file_id: str, name: str) -> None:
        assert inbox.link(tree, "s", f"{file_id}.png", name)

    def count(_: MediaTree, file_id: str, __: str) -> None:
        assert inbox.copies(file_id) % len(b"data") == 0  # nothing of the victim

    operations: dict[str, Operation] = {
        "copy": copy,
        "link": link,
        "count": count,
        "remove a session": lambda _, file_id, __: inbox.remove(file_id),
    }
    with prepared(quick / "media") as tree:
        for file_id in SESSIONS:
            put(tree, "s", f"{file_id}.png")
            for name in FILES:
                link(tree, file_id, name)
        workers = Workers(tree, operations)
        # The inbox itself is made again when it is not there, and would soon be another one.
        with adversary(quick / "session" / "inbox", victim, root_too=False) as end:
            workers.run()
            swaps = end()
        check(workers, operations)
        assert [tree.read("s", f"{each}.png", limit=LIMIT) for each in SESSIONS] == [b"data"] * 4
    assert picture(victim) == before
    assert swaps > ENOUGH


# -- one swap at a time ----------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    victim = tmp_path / "victim"
    fill(victim, SECRET)
    before = picture(victim)
    yield victim
    assert picture(victim) == before


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("place", ["root", "session"])
def test_a_link_at_the_place_of_a_folder_is_refused(
    tmp_path: Path, victim: Path, operation: str, place: str
) -> None:  # M2
    with prepared(tmp_path / "media") as tree:
        put(tree, SESSIONS[0], FILES[0])
        folder = tree.root if place == "root" else tree.root / SESSIONS[0]
        target = victim if place == "root" else victim / SESSIONS[0]
        folder.rename(tmp_path / "aside")
        folder.symlink_to(target)
        if (operation, place) == ("scan", "session"):
            assert "symbolic link" in tree.scan().problems[0]
        else:
            with pytest.raises(MediaUnsafe, match=f"{folder} is a symbolic link"):
                OPERATIONS[operation](tree, SESSIONS[0], FILES[0])
        assert folder.is_symlink()
        folder.unlink()
        (tmp_path / "aside").rename(folder)
        assert tree.read(SESSIONS[0], FILES[0], limit=LIMIT) == b"data"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_another_folder_at_the_place_of_the_root_is_refused(  # M2
    tmp_path: Path, operation: str
) -> None:
    with prepared(tmp_path / "media") as tree:
        tree.root.rename(tmp_path / "aside")
        fill(tree.root, SECRET)
        before = picture(tree.root)
        with pytest.raises(MediaUnsafe, match="not the folder that it was"):
            OPERATIONS[operation](tree, SESSIONS[0], FILES[0])
        assert picture(tree.root) == before


@pytest.mark.parametrize("make", [Path.symlink_to, lambda path, _: path.write_bytes(b"x")])
def test_a_root_that_is_no_folder_is_not_prepared(
    tmp_path: Path, victim: Path, make: Callable[[Path, Path], object]
) -> None:  # M2
    make(tmp_path / "media", victim)
    tree = MediaTree(tmp_path / "media")
    with pytest.raises(MediaUnsafe, match="move it elsewhere, or choose another folder"):
        tree.prepare()
    with pytest.raises(MediaUnsafe):
        tree.scan()
    tree.release()


# -- the outbox ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["outbox", "folder", "file"])
def test_nothing_is_delivered_through_a_link(  # A3
    tmp_path: Path, victim: Path, place: str
) -> None:
    folder = tmp_path / "outbox"
    fill(folder, b"answer")
    outbox = Outbox(folder)
    files = outbox.files()
    assert len(files) == len(SESSIONS) * len(FILES)
    path = {"outbox": "", "folder": SESSIONS[0], "file": files[0].path}[place]
    (folder / path).rename(tmp_path / "aside")
    (folder / path).symlink_to(victim / path)
    with pytest.raises((MediaUnsafe, FileChanged)):
        outbox.open(files[0])
    removed = False
    with suppress(MediaUnsafe):
        removed = outbox.remove(files[0])
    assert not removed
    if place == "outbox":
        with pytest.raises(MediaUnsafe, match="symbolic link"):
            outbox.files()
    else:
        there = [file.path for file in outbox.files()]
        assert there == [file.path for file in files if not file.path.startswith(path)]
    assert os.path.lexists(tmp_path / "aside")
