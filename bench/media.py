"""What it costs to know all stored files at the start, and to make room for one more later."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import Question
from runtime.storage.media_tree import MediaTree

FILES = 100_000
FILES_IN_A_FOLDER = 100
QUICK_FILES = 2_000
"""How many there are when only a look is taken."""

MEMORY = Path("/dev/shm")

REMOVALS = 200
REMOVALS_BY_SCAN = 5
SCANS = 3


@contextmanager
def filled(scale: float) -> Iterator[MediaTree]:
    """A tree with as many files as the scale says, in folders of `FILES_IN_A_FOLDER`.

    It is in memory where there is such a place. What the system knows of files that were just made
    is in memory on a disk as well, but a disk takes minutes to make them.
    """
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        tree = MediaTree(Path(directory) / "media")
        tree.prepare()
        for number in range(FILES if scale >= 1 else QUICK_FILES):
            session, file = named(number)
            if number % FILES_IN_A_FOLDER == 0:
                (tree.root / session).mkdir(mode=0o700)
            os.close(os.open(tree.path(session, file), os.O_CREAT | os.O_WRONLY, 0o600))
        yield tree
        tree.release()


def named(number: int) -> tuple[str, str]:
    """The folder and the name of the file that was made as the so many-th."""
    return f"session-{number // FILES_IN_A_FOLDER}", f"{number % FILES_IN_A_FOLDER}.jpg"


def median_ms(action: Callable[[], object], times: int) -> float:
    """The median of doing something so many times, in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1_000


def walked(root: Path) -> Iterator[tuple[float, str]]:
    """When each file was written, and its path: found by paths, from folder to folder."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - the plain way, as fast as it gets
            yield os.lstat(path).st_mtime, path


# -- the start -------------------------------------------------------------------------------------


def scan_by_descriptor(scale: float) -> float:
    """What the runtime does: no link is followed, and the loop gets its turn beside it."""
    with filled(scale) as tree:
        return median_ms(tree.scan, SCANS)


def scan_by_path(scale: float) -> float:
    """The plain way."""
    with filled(scale) as tree:
        return median_ms(lambda: list(walked(tree.root)), SCANS)


# -- making room for one file ----------------------------------------------------------------------


def remove_by_name(scale: float) -> float:
    """Which file goes is known from the index in memory: what is left is its removal."""
    with filled(scale) as tree:
        oldest = map(named, range(REMOVALS))
        return 1_000 / median_ms(lambda: tree.remove(*next(oldest)), REMOVALS)


def remove_by_scan(scale: float) -> float:
    """Which file goes is found out by looking at all of them."""
    with filled(scale) as tree:
        return 1_000 / median_ms(lambda: Path(min(walked(tree.root))[1]).unlink(), REMOVALS_BY_SCAN)


QUESTIONS = (
    Question(
        name="start-up scan",
        unit="ms",
        higher_is_better=False,
        variants={"by descriptor": scan_by_descriptor, "by path": scan_by_path},
        baseline="by path",
    ),
    Question(
        name="removal of the oldest file",
        unit="removals/s",
        higher_is_better=True,
        variants={"by name": remove_by_name, "full scan": remove_by_scan},
        baseline="full scan",
    ),
)
