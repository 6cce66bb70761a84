"""Files that an agent puts into its outbox: found, delivered as they were found, removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.storage import attachments
from runtime.storage.attachments import MAX_ENTRIES, Outbox, OutboxFile
from runtime.storage.media_errors import FileChanged, MediaFailed, MediaUnsafe, UnsafeName
from tests.storage.media_stage import descriptors, mode


def make(folder: Path, *paths: str) -> Outbox:
    """An outbox with these files, each of which holds its path."""
    folder.mkdir(exist_ok=True)
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return Outbox(folder)


FEW = 100


def paths(outbox: Outbox, limit: int = MAX_ENTRIES) -> list[str]:
    return [file.path for file in outbox.files(limit)]


def content(outbox: Outbox, file: OutboxFile) -> str:
    with os.fdopen(outbox.open(file)) as opened:
        return opened.read()


def test_a_file_is_found_read_and_removed(tmp_path: Path) -> None:  # A3 R7
    outbox = make(tmp_path / "outbox", "b.txt", "a.txt", "sub/c.txt")
    before = descriptors()
    files = outbox.files()
    assert [file.path for file in files] == ["a.txt", "b.txt", "sub/c.txt"]
    assert [file.name for file in files] == ["a.txt", "b.txt", "c.txt"]
    assert [file.size for file in files] == [5, 5, 9]
    for file in files:
        assert content(outbox, file) == file.path
        assert outbox.remove(file)
        assert not outbox.remove(file)
        with pytest.raises(FileChanged, match="is gone"):
            outbox.open(file)
    assert outbox.files() == []
    assert (tmp_path / "outbox" / "sub").is_dir()
    assert descriptors() == before


def test_an_outbox_that_is_not_there_is_empty(tmp_path: Path) -> None:  # A3
    outbox = Outbox(tmp_path / "outbox")
    assert outbox.files() == []
    gone = OutboxFile("a.txt", 1, 1, 1)
    assert not outbox.remove(gone)
    with pytest.raises(FileChanged):
        outbox.open(gone)
    assert list(tmp_path.iterdir()) == []


def test_an_outbox_that_is_no_folder_is_refused(tmp_path: Path) -> None:  # A3
    (tmp_path / "outbox").touch()
    with pytest.raises(MediaUnsafe, match="is not a folder"):
        Outbox(tmp_path / "outbox").files()
    with pytest.raises(MediaFailed):
        Outbox(tmp_path / ("x" * 300)).files()


def test_only_what_is_ready_and_a_regular_file_is_found(tmp_path: Path) -> None:  # A3 R7
    hidden = [".hidden", "a.part", "b.tmp", ".sub/file", "sub.tmp/file", "sub/inner/file"]
    hidden += ["sub/.hidden", "sub/a.part", "a\\b"]
    outbox = make(tmp_path / "outbox", "file", "sub/file", "part", "tmp", *hidden)
    elsewhere = make(tmp_path / "elsewhere", "file")
    assert paths(elsewhere) == ["file"]
    for folder in (tmp_path / "outbox", tmp_path / "outbox" / "sub"):
        (folder / "link").symlink_to(tmp_path / "elsewhere" / "file")
        (folder / "folder link").symlink_to(tmp_path / "elsewhere")
        os.mkfifo(folder / "pipe")
    assert paths(outbox) == ["file", "part", "sub/file", "tmp"]


def test_a_folder_is_left_as_the_agent_made_it(tmp_path: Path) -> None:  # A3
    outbox = make(tmp_path / "outbox", "sub/file")
    for folder in (tmp_path / "outbox", tmp_path / "outbox" / "sub"):
        folder.chmod(0o755)
    (file,) = outbox.files()
    assert outbox.remove(file)
    assert mode(tmp_path / "outbox") == mode(tmp_path / "outbox" / "sub") == 0o755


def test_at_most_so_many_and_the_others_later(tmp_path: Path) -> None:  # A3
    wanted = sorted([f"file-{number}" for number in range(FEW)] + ["a/z", "a-b/c", "z/a"])
    outbox = make(tmp_path / "outbox", *wanted)
    found = outbox.files(FEW)
    assert [file.path for file in found] == wanted[:FEW]
    for file in found:
        assert outbox.remove(file)
    assert paths(outbox) == wanted[FEW:]


def test_a_full_folder_does_not_come_before_its_turn(tmp_path: Path) -> None:  # A3
    many = sorted(f"a/{number}" for number in range(FEW))
    outbox = make(tmp_path / "outbox", "a-b/c", *many)
    assert paths(outbox, FEW) == ["a-b/c", *many[:-1]]


def test_empty_folders_hide_no_file(tmp_path: Path) -> None:  # A3
    outbox = make(tmp_path / "outbox", "z/file")
    for number in range(FEW + 1):
        (tmp_path / "outbox" / f"folder-{number}").mkdir()
    assert paths(outbox) == ["z/file"]


def test_names_without_end_are_not_all_looked_at(  # A3
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MAX_ENTRIES", 10)
    outbox = make(tmp_path / "outbox", *(f"file-{number:02}" for number in range(20)))
    assert len(outbox.files()) == 10


def rewritten(path: Path) -> None:
    path.write_text("longer than before")


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced(path: Path) -> None:
    status = path.stat()
    path.with_name("new").write_text(path.read_text())
    path.with_name("new").replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def linked(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = [rewritten, touched, replaced, linked, piped, made_a_folder]


@pytest.mark.parametrize("path", ["file", "sub/file"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_after_it_was_found_is_not_delivered(  # A3
    tmp_path: Path, change: Callable[[Path], None], path: str
) -> None:
    outbox = make(tmp_path / "outbox", path)
    (file,) = outbox.files()
    change(tmp_path / "outbox" / path)
    before = descriptors()
    with pytest.raises((FileChanged, MediaUnsafe)):
        outbox.open(file)
    assert not outbox.remove(file)
    assert descriptors() == before
    assert os.path.lexists(tmp_path / "outbox" / path)


@pytest.mark.parametrize("path", ["", "..", "../file", "/file", "a/b/c", "a//b", "sub/..", "a\0"])
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:  # A2 A3
    outbox = make(tmp_path / "outbox", "file", "a/b/c")
    (tmp_path / "file").touch()
    status = (tmp_path / "file").stat()
    file = OutboxFile(path, status.st_size, status.st_mtime_ns, status.st_ino)
    with pytest.raises(UnsafeName):
        outbox.open(file)
    with pytest.raises(UnsafeName):
        outbox.remove(file)
    assert (tmp_path / "file").exists()


def test_whether_a_file_is_there_as_it_was_found(tmp_path: Path) -> None:  # A3
    outbox = make(tmp_path / "outbox", "file", "sub/file")
    before = descriptors()
    for file in outbox.files():
        assert outbox.has(file)
        (tmp_path / "outbox" / file.path).write_text("anew")
        assert not outbox.has(file)
        (tmp_path / "outbox" / file.path).unlink()
        assert not outbox.has(file)
    assert not outbox.has(OutboxFile("gone/file", 1, 1, 1))
    assert descriptors() == before


def test_a_session_whose_folder_is_a_link_has_no_outbox(tmp_path: Path) -> None:  # A3 M2
    (tmp_path / "elsewhere").mkdir()
    (file,) = make(tmp_path / "elsewhere" / "outbox", "file").files()
    (tmp_path / "session").symlink_to(tmp_path / "elsewhere")
    outbox = Outbox(tmp_path / "session" / "outbox")
    for refused in (outbox.files, lambda: outbox.open(file), lambda: outbox.remove(file)):
        with pytest.raises(MediaUnsafe):
            refused()
    assert (tmp_path / "elsewhere" / "outbox" / "file").exists()


def test_how_many_are_found_is_said(tmp_path: Path) -> None:  # M5
    outbox = make(tmp_path / "outbox", *(f"{number:03}" for number in range(FEW + 5)), "a/b")
    assert len(outbox.files(FEW)) == FEW
    assert len(outbox.files()) == FEW + 6
    assert paths(outbox, FEW) == paths(outbox)[:FEW]
