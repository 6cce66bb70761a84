"""Looking through all media on disk: what is there, and what is not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.storage import media_scan
from runtime.storage.media_errors import MediaUnsafe
from runtime.storage.media_tree import MediaTree
from tests.storage.media_stage import LIMIT, SESSION, mode, picture, prepared, put, quick_directory


def test_a_scan_tells_what_is_not_ours(tmp_path: Path) -> None:  # M2 M6 M8
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_bytes(b"x")
    before = picture(target)
    with prepared(tmp_path / "media") as tree:
        folder = put(tree, "session", "file").parent
        partial = tree.create("session", limit=LIMIT)
        foreign = [tree.root / "file", tree.root / ".hidden", tree.root / "link"]
        foreign += [folder / "link", folder / "inner", folder / "pipe", folder / "a\\b"]
        (tree.root / "empty").mkdir()
        (tree.root / "file").touch()
        (tree.root / ".hidden").mkdir()
        (tree.root / "link").symlink_to(target)
        (folder / "link").symlink_to(target / "precious")
        (folder / "inner").mkdir()
        (folder / "inner" / "hidden").touch()
        os.mkfifo(folder / "pipe")
        (folder / "a\\b").touch()
        scan = tree.scan()
        assert sorted(each.partial for each in scan.files) == [False, True]
        assert {each.session for each in scan.files} == {"session"}
        assert scan.empty == ["empty"]
        assert scan.skipped == len(scan.problems) == len(foreign)
        for path in foreign:
            assert any(problem.startswith(f"{path}: ") for problem in scan.problems)
        partial.abort()
    assert picture(target) == before


def test_problems_without_end_are_only_counted(  # M6
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_scan, "TOLD", 3)
    with prepared(tmp_path / "media") as tree:
        folder = put(tree, "session", "file").parent
        for number in range(10):
            (folder / f"folder-{number}").mkdir()
        scan = tree.scan()
        assert (len(scan.files), len(scan.problems), scan.skipped) == (1, 3, 10)
        removed = tree.remove_session("session")
        assert (removed.count, removed.failed) == (1, 11)


def test_a_hundred_thousand_files() -> None:  # M8
    with quick_directory() as directory, prepared(directory / "media") as tree:
        wanted = set()
        for session in range(1_000):
            folder = tree.root / f"session-{session}"
            folder.mkdir()
            for number in range(100):
                os.close(os.open(folder / str(number), os.O_CREAT | os.O_WRONLY, 0o600))
                wanted.add((folder.name, str(number)))
        assert {(each.session, each.file) for each in tree.scan().files} == wanted
        for session in range(1_000):
            assert tree.remove_session(f"session-{session}").count == 100
        assert tree.scan().files == []


def album(folder: Path, permissions: int) -> None:
    """Somebody's pictures, which everybody may look at."""
    (folder / "2024").mkdir(parents=True)
    (folder / "2024" / "beach.jpg").write_bytes(b"x")
    (folder / "cat.jpg").write_bytes(b"x")
    for path in (folder / "2024" / "beach.jpg", folder / "cat.jpg"):
        path.chmod(0o644)
    (folder / "2024").chmod(0o755)
    folder.chmod(permissions)


def test_a_folder_of_somebodys_pictures_is_refused_and_not_touched(tmp_path: Path) -> None:  # M2
    pictures = tmp_path / "pictures"
    album(pictures, 0o755)
    before = picture(pictures)
    tree = MediaTree(pictures)
    for use in (tree.prepare, tree.scan, tree.space):
        with pytest.raises(MediaUnsafe, match=r"open to others .* Choose an empty or a new folder"):
            use()
    assert picture(pictures) == before


def test_what_is_foreign_in_a_private_root_stays_open_to_others(tmp_path: Path) -> None:  # M2
    pictures = tmp_path / "pictures"
    album(pictures, 0o700)
    before = picture(pictures)
    with prepared(pictures) as tree:
        assert [each.file for each in tree.scan().files] == ["beach.jpg"]
    assert picture(pictures) == before


def test_an_empty_root_and_one_of_ours_are_closed_to_others(tmp_path: Path) -> None:  # M2
    root = tmp_path / "media"
    root.mkdir()
    (root / "lost+found").mkdir()
    session = root / SESSION
    session.mkdir()
    (session / "file").touch()
    for path, permissions in ((session / "file", 0o644), (session, 0o755), (root, 0o755)):
        path.chmod(permissions)
    with prepared(root) as tree:
        tree.scan()
    assert [mode(path) for path in (root, session, session / "file")] == [0o700, 0o700, 0o600]
