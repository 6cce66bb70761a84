"""Files of this machine that messages link to, read through no symbolic link (M2)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.storage.linked import LinkedFile
from runtime.storage.media_errors import MediaUnsafe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"0123456789")
    return folder


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_file_is_read_to_its_end(folder: Path) -> None:
    file = LinkedFile(folder / "file")
    assert file.read(4) == b""
    assert file.open() == 10
    assert [file.read(4), file.read(8), file.read(8)] == [b"0123", b"456789", b""]
    before = open_files()
    file.close()
    file.close()
    assert len(open_files()) == len(before) - 1


def test_no_link_is_followed(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "file")
    (folder.parent / "c").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    before = open_files()
    for path in (folder / "link", folder.parent / "c" / "file", folder / "pipe"):
        with pytest.raises(MediaUnsafe):
            LinkedFile(path).open()
    with pytest.raises(OSError):
        LinkedFile(folder / "missing").open()
    with pytest.raises((MediaUnsafe, OSError)):
        LinkedFile(folder).open()
    assert open_files() == before
