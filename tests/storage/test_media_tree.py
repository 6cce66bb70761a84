"""Files of sessions on disk: written under limits, found again, removed, and private."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runtime.storage.media_errors import (
    FileTooLarge,
    MediaError,
    MediaFailed,
    MediaInUse,
    MediaUnsafe,
    NameTaken,
    NoSuchFile,
    UnsafeName,
)
from runtime.storage.media_scan import Removed
from runtime.storage.media_tree import MediaTree
from tests.storage.media_stage import (
    LIMIT,
    OTHER,
    SESSION,
    descriptors,
    mode,
    picture,
    prepared,
    put,
)


def names(tree: MediaTree) -> set[tuple[str, str]]:
    return {(each.session, each.file) for each in tree.scan().files}


# -- writing ---------------------------------------------------------------------------------------


def test_a_file_is_written_under_another_name_first(tmp_path: Path) -> None:  # M1 M3
    with prepared(tmp_path / "media") as tree:
        partial = tree.create("session", limit=LIMIT)
        partial.write(b"one ")
        partial.write(memoryview(b"two"))
        (unfinished,) = tree.scan().files
        assert unfinished.partial
        assert unfinished.size == partial.size == 7
        assert not tree.exists("session", "file.txt")
        partial.finish("file.txt")
        assert partial.hash == hashlib.sha256(b"one two").hexdigest()
        assert tree.path("session", "file.txt").read_bytes() == b"one two"
        (finished,) = tree.scan().files
        assert finished == tree.stat("session", "file.txt")
        assert (finished.session, finished.file, finished.size) == ("session", "file.txt", 7)
        written = tree.path("session", "file.txt").stat().st_mtime
        assert finished.mtime == int(written * 1_000)
        assert not finished.partial


def test_a_file_is_durable_before_it_is_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # M3 D1: what was accepted outlives a power cut, and its file with it
    done: list[tuple[str, int]] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        done.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renamed(*names: str, **folders: Any) -> None:
        done.append(("rename", 0))
        rename(*names, **folders)

    with prepared(tmp_path / "media") as tree:
        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "rename", renamed)
        path = put(tree, SESSION, "a")
        root, folder, file = (each.stat().st_ino for each in (tree.root, path.parent, path))
        assert done == [("fsync", root), ("fsync", file), ("rename", 0), ("fsync", folder)]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_all_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:  # M1
    before = os.umask(umask)
    try:
        with prepared(tmp_path / "above" / "media") as tree:
            path = put(tree, "session", "file")
            for folder in (path.parent, tree.root, tree.root.parent):
                assert mode(folder) == 0o700
            assert mode(path) == 0o600
    finally:
        os.umask(before)


def test_what_was_open_to_others_is_closed(tmp_path: Path) -> None:  # M1
    root = tmp_path / "media"
    with prepared(root) as tree:
        put(tree, SESSION, "file")
        shared = put(tree, OTHER, "file")
    os.link(shared, tmp_path / "its other name")
    for path in (root, root / SESSION, root / SESSION / "file", root / OTHER, shared):
        path.chmod(0o777)
    with prepared(root) as tree:
        assert mode(root) == 0o700
        tree.stat(SESSION, "file")
        assert mode(root / SESSION) == 0o700
        tree.scan()
        assert mode(root / SESSION / "file") == 0o600
        assert mode(root / OTHER) == 0o700
        # Whose file it is under its other name is not known.
        assert mode(shared) == 0o777


@pytest.mark.parametrize("chunks", [[10], [4, 6], [1] * 10])
def test_the_limit_is_the_last_size_that_fits(tmp_path: Path, chunks: list[int]) -> None:  # M3
    with prepared(tmp_path / "media") as tree:
        with tree.create("session", limit=10) as partial:
            for size in chunks:
                partial.write(b"x" * size)
            partial.finish("file")
        assert len(tree.read("session", "file", limit=10)) == 10
        with tree.create("session", limit=9) as partial:
            for size in chunks[:-1]:
                partial.write(b"x" * size)
            with pytest.raises(FileTooLarge, match="9 bytes"):
                partial.write(b"x" * chunks[-1])
            assert names(tree) == {("session", "file")}
            with pytest.raises(ValueError, match="aborted"):
                partial.write(b"")
            with pytest.raises(ValueError, match="aborted"):
                partial.finish("second")


def test_a_file_never_replaces_another(tmp_path: Path) -> None:  # M3
    with prepared(tmp_path / "media") as tree:
        path = put(tree, "session", "file", b"first")
        (path.parent / "link").symlink_to(path)
        before = picture(path.parent)
        for name in ("file", "link"):
            with pytest.raises(NameTaken):
                put(tree, "session", name, b"second")
        after = picture(path.parent)
        assert after.pop(str(path.parent))  # its time has changed
        assert before.pop(str(path.parent))
        assert after == before


def test_aborting_removes_what_was_written(tmp_path: Path) -> None:  # M3
    with prepared(tmp_path / "media") as tree:
        partial = tree.create("session", limit=LIMIT)
        partial.write(b"x")
        partial.abort()
        partial.abort()
        assert names(tree) == set()
        with tree.create("session", limit=LIMIT) as partial:
            partial.write(b"x")
        assert names(tree) == set()
        partial = tree.create("session", limit=LIMIT)
        partial.finish("file")
        partial.abort()
        assert names(tree) == {("session", "file")}


def test_a_folder_that_was_moved_away_meanwhile(tmp_path: Path) -> None:  # M2 M3
    with prepared(tmp_path / "media") as tree:
        partial = tree.create("session", limit=LIMIT)
        partial.write(b"x")
        moved = (tree.root / "session").rename(tmp_path / "moved")
        put(tree, "session", "other")
        with pytest.raises(MediaUnsafe, match="swapped"):
            partial.finish("file")
        assert list(moved.iterdir()) == []
        assert names(tree) == {("session", "other")}


def test_a_folder_that_was_removed_meanwhile(tmp_path: Path) -> None:  # M3
    with prepared(tmp_path / "media") as tree:
        partial = tree.create("session", limit=LIMIT)
        partial.write(b"x")
        assert tree.remove_session("session").count == 1
        with pytest.raises(MediaFailed):
            partial.finish("file")
        assert list(tree.root.iterdir()) == []


def test_a_file_that_was_swapped_while_it_was_written(tmp_path: Path) -> None:  # M2 M3
    victim = tmp_path / "victim"
    victim.write_bytes(b"secret")
    before = picture(victim)
    with prepared(tmp_path / "media") as tree:
        partial = tree.create("session", limit=LIMIT)
        (unfinished,) = (tree.root / "session").iterdir()
        unfinished.unlink()
        unfinished.symlink_to(victim)
        partial.write(b"x")
        with pytest.raises(MediaUnsafe, match="swapped"):
            partial.finish("file")
        assert list((tree.root / "session").iterdir()) == []
    assert picture(victim) == before


def test_making_and_removing_a_session_at_once(tmp_path: Path) -> None:  # M6
    with prepared(tmp_path / "media") as tree:
        thread = threading.Thread(
            target=lambda: [tree.remove_session("session") for _ in range(2_000)]
        )
        thread.start()
        number = 0
        while thread.is_alive():
            number += 1
            with suppress(MediaFailed, MediaUnsafe):
                put(tree, "session", f"file-{number}")
        thread.join()
        put(tree, "session", "last")
        assert tree.exists("session", "last")
        tree.remove_session("session")
        assert list(tree.root.iterdir()) == []


def too_much(tree: MediaTree, session: str, file: str) -> None:
    with tree.create(session, limit=1) as partial:
        partial.write(b"too large")


OPERATIONS: tuple[Callable[[MediaTree, str, str], object], ...] = (
    put,
    too_much,
    lambda tree, session, _: tree.create(session, limit=1).abort(),
    lambda tree, session, file: os.close(tree.open(session, file)),
    lambda tree, session, file: tree.read(session, file, limit=1),
    lambda tree, session, file: tree.stat(session, file),
    lambda tree, session, file: tree.remove(session, file),
    lambda tree, session, _: tree.remove_session(session),
    lambda tree, _, __: tree.scan(),
    lambda tree, _, __: tree.space(),
    lambda tree, _, __: MediaTree(tree.root).prepare(),
)


def test_nothing_stays_open(tmp_path: Path) -> None:  # M3
    with prepared(tmp_path / "media") as tree:
        path = put(tree, "session", "file")
        (path.parent / "folder").mkdir()
        (path.parent / "link").symlink_to(path)
        (tree.root / "away").symlink_to(tmp_path)
        before = descriptors()
        failed = 0
        for operation in OPERATIONS:
            for session in ("session", "away", "missing"):
                for file in ("file", "folder", "link", "missing"):
                    try:
                        operation(tree, session, file)
                    except MediaError:
                        failed += 1
        assert failed > len(OPERATIONS)
        assert descriptors() == before


# -- reading ---------------------------------------------------------------------------------------


def test_reading(tmp_path: Path) -> None:  # M2
    with prepared(tmp_path / "media") as tree:
        put(tree, "session", "file", b"x" * 1_000_000)
        assert tree.read("session", "file", limit=1_000_000) == b"x" * 1_000_000
        with pytest.raises(FileTooLarge):
            tree.read("session", "file", limit=999_999)
        with os.fdopen(tree.open("session", "file"), "rb") as file:
            assert file.read(3) == b"xxx"
        for session, name in (("session", "missing"), ("missing", "file")):
            assert not tree.exists(session, name)
            with pytest.raises(NoSuchFile):
                tree.read(session, name, limit=1)


def test_whether_a_file_has_its_bytes(tmp_path: Path) -> None:  # M2 M4
    with prepared(tmp_path / "media") as tree:
        folder = put(tree, "session", "file").parent
        (folder / "link").symlink_to(folder / "file")
        wanted = hashlib.sha256(b"data").hexdigest()
        assert tree.holds("session", "file", wanted)
        assert not tree.holds("session", "file", hashlib.sha256(b"atad").hexdigest())
        for session, name in (("session", "missing"), ("missing", "file"), ("session", "link")):
            assert not tree.holds(session, name, wanted)
        with pytest.raises(UnsafeName):
            tree.holds("session", "../session/file", wanted)


def test_only_regular_files_are_read(tmp_path: Path) -> None:  # M2
    with prepared(tmp_path / "media") as tree:
        folder = put(tree, "session", "file").parent
        (folder / "link").symlink_to(folder / "file")
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        for name in ("link", "folder", "pipe"):
            assert tree.stat("session", name) is None
            with pytest.raises(MediaUnsafe):
                tree.open("session", name)


def test_the_space_of_the_file_system(tmp_path: Path) -> None:  # M7
    with prepared(tmp_path / "media") as tree:
        space = tree.space()
    assert space.total == shutil.disk_usage(tmp_path).total
    assert 0 < space.free < space.total


# -- removing --------------------------------------------------------------------------------------


def test_removing_a_file(tmp_path: Path) -> None:  # M6
    with prepared(tmp_path / "media") as tree:
        path = put(tree, "session", "file")
        put(tree, "session", "other")
        target = tmp_path / "target"
        target.write_bytes(b"x")
        (path.parent / "link").symlink_to(target)
        (path.parent / "folder").mkdir()
        assert tree.remove("session", "file")
        assert not tree.remove("session", "file")
        assert not tree.remove("missing", "file")
        assert tree.remove("session", "link")
        with pytest.raises(MediaUnsafe, match="is a folder"):
            tree.remove("session", "folder")
        assert names(tree) == {("session", "other")}
        assert target.read_bytes() == b"x"
        assert (path.parent / "folder").is_dir()


def test_removing_a_session(tmp_path: Path) -> None:  # M6
    with prepared(tmp_path / "media") as tree:
        for number in range(3):
            put(tree, "session", f"file-{number}", b"x" * 10)
        put(tree, "other", "file")
        partial = tree.create("session", limit=LIMIT)
        partial.write(b"x")
        assert tree.remove_session("session") == Removed(count=4, bytes=31)
        assert not (tree.root / "session").exists()
        assert tree.remove_session("session") == Removed()
        assert names(tree) == {("other", "file")}
        partial.abort()


def test_removing_an_empty_folder(tmp_path: Path) -> None:  # M2 S43
    with prepared(tmp_path / "media") as tree:
        put(tree, "session", "file")
        assert not tree.remove_empty("session")
        assert not tree.remove_empty("other")
        tree.remove("session", "file")
        (tree.root / "link").symlink_to(tree.root / "session")
        with pytest.raises(MediaFailed):
            tree.remove_empty("link")
        assert tree.remove_empty("session")
        assert [path.name for path in tree.root.iterdir()] == ["link"]


def test_what_is_not_ours_in_a_session_is_left_and_told(tmp_path: Path) -> None:  # M6
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").touch()
    with prepared(tmp_path / "media") as tree:
        folder = put(tree, "session", "file").parent
        (folder / "link").symlink_to(target)
        (folder / "inner").mkdir()
        (folder / "inner" / "precious").touch()
        removed = tree.remove_session("session")
        assert (removed.count, removed.bytes, removed.failed) == (2, 4, 2)
        assert removed.problems[0].startswith(f"{folder / 'inner'}: ")
        assert removed.problems[1].startswith(f"{folder}: ")
        assert [path.name for path in folder.iterdir()] == ["inner"]
        assert (folder / "inner" / "precious").exists()
    assert (target / "precious").exists()


# -- the root --------------------------------------------------------------------------------------


def test_one_runtime_works_on_a_root(tmp_path: Path) -> None:  # M8
    with prepared(tmp_path / "media") as tree:
        put(tree, "session", "file")
        second = MediaTree(tmp_path / "media")
        with pytest.raises(MediaInUse, match="Another runtime"):
            second.prepare()
        second.release()
        with pytest.raises(MediaInUse):
            second.prepare()
    with prepared(tmp_path / "media") as tree:
        assert names(tree) == {("session", "file")}


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    tree = MediaTree(tmp_path / "media")
    for operation in (tree.scan, tree.space):
        with pytest.raises(MediaFailed, match="is gone"):
            operation()
    with pytest.raises(MediaFailed, match="is gone"):
        tree.create("session", limit=1)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaFailed, match="permissions"):
        MediaTree(tmp_path / "file" / "media").prepare()
