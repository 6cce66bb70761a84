"""A full disk while media are written and removed: typed errors, and nothing half-written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.storage.media_errors import MediaError, MediaFailed, MediaFull
from runtime.storage.media_tree import MediaTree
from tests.e2e.stage import SmallDisk, small_disk
from tests.storage.media_stage import LIMIT, descriptors, prepared, put

CHUNK = b"x" * 50_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "1m") as disk:
        yield disk


def names(tree: MediaTree) -> list[str]:
    return sorted(each.file for each in tree.scan().files)


def write_until_full(tree: MediaTree) -> None:
    with tree.create("session", limit=10_000_000) as partial:
        while True:
            partial.write(CHUNK)


def test_a_disk_that_becomes_full_while_a_file_is_written(disk: SmallDisk) -> None:  # M3
    with prepared(disk.root / "media") as tree:
        put(tree, "session", "first", CHUNK)
        free, before = tree.space().free, descriptors()
        with pytest.raises(MediaFull, match="free some space"):
            write_until_full(tree)
        assert tree.space().free == free
        assert descriptors() == before
        assert names(tree) == ["first"]
        assert tree.read("session", "first", limit=LIMIT) == CHUNK
        put(tree, "session", "second", CHUNK)
        assert names(tree) == ["first", "second"]


def test_several_that_write_at_once(disk: SmallDisk) -> None:  # M3
    with prepared(disk.root / "media") as tree:
        partials = [tree.create(f"session-{number}", limit=LIMIT) for number in range(4)]
        failed = 0
        for partial in partials:
            try:
                for _ in range(6):
                    partial.write(CHUNK)
                partial.finish("file")
            except MediaFull:
                failed += 1
        assert failed == 1
        assert [each.size for each in tree.scan().files] == [300_000] * 3


def test_removing_makes_room_on_a_full_disk(disk: SmallDisk) -> None:  # M3 M6
    with prepared(disk.root / "media") as tree:
        for number in range(4):
            put(tree, "session", f"file-{number}", CHUNK)
        put(tree, "other", "file", CHUNK)
        disk.fill()
        assert tree.space().free == 0
        with pytest.raises(MediaFull):
            put(tree, "session", "more", CHUNK)
        assert tree.remove("session", "file-0")
        put(tree, "session", "more", CHUNK)
        assert tree.remove_session("session").count == 4
        assert tree.space().free >= 4 * len(CHUNK)
        assert names(tree) == ["file"]


@contextmanager
def with_inodes(folder: Path, more: int) -> Iterator[MediaTree]:
    """A tree in which so many files or folders can still be made."""
    with small_disk(folder, "1m,nr_inodes=40") as disk, prepared(disk.root / "media") as tree:
        for number in range(os.statvfs(disk.root).f_ffree - more):
            (disk.root / f"filler-{number}").touch()
        assert os.statvfs(disk.root).f_ffree == more
        yield tree


@pytest.mark.parametrize("more", [0, 1, 2])
def test_no_room_for_another_name(tmp_path: Path, more: int) -> None:  # M3
    # A folder, a file and the name that it gets at last: one of them is one too many.
    with with_inodes(tmp_path / "disk", more) as tree:
        before = descriptors()
        with pytest.raises(MediaFull):
            put(tree, "session", "file")
        assert descriptors() == before
        scan = tree.scan()
        assert (scan.files, scan.problems) == ([], [])
        tree.remove_session("session")
        assert list(tree.root.iterdir()) == []


def test_just_enough_room_for_another_name(tmp_path: Path) -> None:  # M3
    with with_inodes(tmp_path / "disk", 3) as tree:
        put(tree, "session", "file")
        assert names(tree) == ["file"]


def test_no_room_for_the_root(tmp_path: Path) -> None:  # M3
    with small_disk(tmp_path / "disk", "1m,nr_inodes=40") as disk:
        for number in range(os.statvfs(disk.root).f_ffree):
            (disk.root / f"filler-{number}").touch()
        tree = MediaTree(disk.root / "media")
        with pytest.raises(MediaFull):
            tree.prepare()
        (disk.root / "filler-0").unlink()
        with prepared(disk.root / "media") as tree:
            assert names(tree) == []


def test_a_disk_that_cannot_be_written(disk: SmallDisk) -> None:  # M6
    with prepared(disk.root / "media") as tree:
        put(tree, "session", "file", CHUNK)
        disk.forbid_writing()
        with pytest.raises(MediaFailed):
            put(tree, "session", "second")
        with pytest.raises(MediaFailed):
            tree.remove("session", "file")
        removed = tree.remove_session("session")
        assert (removed.count, removed.failed) == (0, 2)
        assert tree.read("session", "file", limit=LIMIT) == CHUNK


CALLS: dict[str, Callable[[MediaTree], object]] = {
    "write": lambda tree: put(tree, "session", "file"),
    "fsync": lambda tree: put(tree, "session", "file"),
    "rename": lambda tree: put(tree, "session", "file"),
    "mkdir": lambda tree: put(tree, "new", "file"),
    "unlink": lambda tree: tree.remove("session", "first"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "code, kind",
    [(errno.ENOSPC, MediaFull), (errno.EDQUOT, MediaFull), (errno.EIO, MediaFailed)],
)
def test_a_refusal_at_any_step(  # M3
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    kind: type[MediaError],
) -> None:
    """Some file systems tell only at the end that there is no space, or no quota."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with prepared(tmp_path / "media") as tree:
        put(tree, "session", "first")
        before = descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(kind):
                CALLS[call](tree)
        assert descriptors() == before
        assert names(tree) == ["first"]
        assert put(tree, "session", "file").read_bytes() == b"data"
