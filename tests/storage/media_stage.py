"""What the tests of media on disk share: trees, files in them, and what a folder holds."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.storage.media_tree import MediaTree

LIMIT = 1_000_000
SESSION = "01a222e2-83e5-703d-8ed0-bb1211673b37"
OTHER = "01a222e3-5554-73ff-b7d7-834c5b0515f3"
NOBODY = 65_534
SOMEBODY = 65_533
MEMORY = Path("/dev/shm")


@contextmanager
def prepared(root: Path) -> Iterator[MediaTree]:
    """A tree that holds the lock of its root."""
    tree = MediaTree(root)
    tree.prepare()
    try:
        yield tree
    finally:
        tree.release()


def put(tree: MediaTree, session: str, file: str, data: bytes = b"data") -> Path:
    """Store a file the way it is done; its path."""
    with tree.create(session, limit=LIMIT) as partial:
        partial.write(data)
        partial.finish(file)
    return tree.path(session, file)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def picture(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that is below a folder and would show that anything in it was touched."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        times = (status.st_mtime_ns, status.st_ctime_ns)
        found[str(path)] = (status.st_ino, status.st_mode, status.st_uid, *times, content)
    return found


@contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory in memory, where there is such a place.

    Where many files were removed just now, some file systems take long to make others.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        yield Path(name)


@contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory in which everybody may make what nobody else may remove, like the system's."""
    if os.geteuid() != 0:
        pytest.skip("being another user needs root")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o1777)
        if any(not each.stat().st_mode & stat.S_IXOTH for each in directory.parents):
            pytest.skip("the directory for temporary files is closed to other users")
        yield directory


def as_nobody(program: str, *arguments: str) -> str:
    """Run a program that calls `drop` when it has imported all; what it prints.

    The interpreter may be where only root can read.
    """
    drop = f"""
import os
def drop():
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""
    done = subprocess.run(
        [sys.executable, "-c", drop + program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
