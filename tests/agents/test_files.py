import itertools
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.agents.acp.files import LARGEST_FILE, FileRefused, Folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret", encoding="utf-8")
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "notes").write_text("one\ntwo\nthree\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    "line, limit, text",
    [
        (None, None, "one\ntwo\nthree\n"),
        (1, None, "one\ntwo\nthree\n"),
        (0, 1, "one\n"),
        (2, 1, "two\n"),
        (2, 9, "two\nthree\n"),
        (9, None, ""),
        (1, 0, ""),
    ],
)
def test_lines_of_a_file(root: Path, line: int | None, limit: int | None, text: str) -> None:
    assert Folder(root).read(str(root / "notes"), line, limit) == text
    assert Folder(root).read("notes", line, limit) == text


def test_a_file_is_made_with_its_folders_and_replaced_as_a_whole(root: Path) -> None:
    folder = Folder(root)
    folder.write(str(root / "new" / "deep" / "file"), "ä")
    assert (root / "new" / "deep" / "file").read_text(encoding="utf-8") == "ä"
    (root / "notes").chmod(0o640)
    before = (root / "notes").open(encoding="utf-8")
    folder.write("notes", "other")
    with before:
        assert before.read() == "one\ntwo\nthree\n"
    assert stat.S_IMODE((root / "notes").stat().st_mode) == 0o640
    assert sorted(entry.name for entry in root.iterdir()) == ["inner", "new", "notes"]


OUTSIDE = ["../outside/secret", "/etc/passwd", "inner/../../outside/secret", "", ".", "..", "a\0b"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_lead_inside_only(root: Path, path: str) -> None:
    for action in (lambda: Folder(root).read(path), lambda: Folder(root).write(path, "x")):
        with pytest.raises(FileRefused):
            action()


def test_a_path_that_only_begins_like_the_folder_is_outside(root: Path) -> None:
    (root.parent / "root-too").write_text("secret", encoding="utf-8")
    with pytest.raises(FileRefused, match="not inside"):
        Folder(root).read(str(root) + "-too")


@pytest.mark.parametrize("path", ["link", "folder/secret", "inner/round/notes"])
def test_no_symbolic_link_is_followed(root: Path, path: str) -> None:
    (root / "link").symlink_to(root.parent / "outside" / "secret")
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "inner" / "round").symlink_to(root)
    with pytest.raises(FileRefused, match="symbolic link"):
        Folder(root).read(path)
    with pytest.raises(FileRefused, match="symbolic link"):
        Folder(root).write(path, "changed")
    assert (root.parent / "outside" / "secret").read_text(encoding="utf-8") == "secret"
    assert (root / "notes").read_text(encoding="utf-8") == "one\ntwo\nthree\n"


def test_a_link_that_is_swapped_in_meanwhile_leads_nowhere(root: Path) -> None:
    """A folder becomes a link to the outside and back, as fast as can be, while it is used."""
    outside = root.parent / "outside"
    over = threading.Event()

    def swap() -> None:
        inner = root / "inner"
        for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count()):
            with suppress(OSError):  # the other side makes folders meanwhile
                inner.rename(root / f"aside-{number}")
                inner.symlink_to(outside)
            with suppress(OSError):
                inner.unlink()
                inner.mkdir()

    swapping = threading.Thread(target=swap)
    swapping.start()
    outcomes = set()
    try:
        for number in range(600):
            for path in ("inner/secret", "inner/new"):
                try:
                    if number % 2:
                        outcomes.add(Folder(root).read(path))
                    else:
                        Folder(root).write(path, "written")
                except FileRefused:
                    outcomes.add("refused")
    finally:
        over.set()
        swapping.join()
    assert outcomes <= {"refused", "written"}
    assert [entry.name for entry in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text(encoding="utf-8") == "secret"


def test_only_regular_files_are_read_and_replaced(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for path in ("pipe", "inner"):
        with pytest.raises(FileRefused):
            Folder(root).read(path)
        with pytest.raises(FileRefused, match="no regular file"):
            Folder(root).write(path, "x")


def test_sizes_are_limited(root: Path) -> None:
    with (root / "large").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(FileRefused, match="larger than"):
        Folder(root).read("large", 1, 1)
    with pytest.raises(FileRefused, match="larger than"):
        Folder(root).write("other", "x" * (LARGEST_FILE + 1))
    assert not (root / "other").exists()


def test_refusals_name_the_path_and_the_reason(root: Path) -> None:
    (root / "binary").write_bytes(b"ab\xff")
    with pytest.raises(FileRefused, match=r"^binary: it is no UTF-8 text \(at byte 2\)$"):
        Folder(root).read("binary")
    with pytest.raises(FileRefused, match=r"^missing: No such file or directory$") as raised:
        Folder(root).read("missing")
    assert raised.value.missing
    with pytest.raises(FileRefused, match=r"^notes/x: there is a symbolic link or a file"):
        Folder(root).read("notes/x")


def test_folders_inside(root: Path) -> None:
    (root / "link").symlink_to(root / "inner")
    assert Folder(root).inside(str(root)) == root
    assert Folder(root).inside(str(root / "inner")) == root / "inner"
    for path in ("link", "notes", "..", "/", str(root.parent)):
        with pytest.raises(FileRefused):
            Folder(root).inside(path)


@given(st.text() | st.text(alphabet="a./\0\\~ü", max_size=12))
def test_a_path_is_refused_or_inside(path: str) -> None:
    try:
        parts = Folder(Path("/nowhere/root"))._parts(path)
    except FileRefused:
        return
    assert parts
    assert not {"..", "/", ""} & set(parts)
    assert all("/" not in part and "\0" not in part for part in parts)
