"""Which names are safe, which endings files get, and that no operation takes another name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.filenames import extension_for, name_for, safe_name
from runtime.storage.media_errors import UnsafeName
from runtime.storage.media_tree import MediaTree
from tests.storage.media_stage import picture, prepared, put

SAFE = ["a", "photo.jpg", "..a", "a..", "...", " ", "été.png", "\u2028", "~", "-rf", "x" * 255]
UNSAFE = ["", ".", "..", "a/b", "/", "../a", "a\\b", "a\0", "\ud800", "x" * 256, "é" * 128]


@pytest.mark.parametrize("name", SAFE)
def test_safe_names_stay(name: str) -> None:  # A2
    assert safe_name(name) == name


@pytest.mark.parametrize("name", [*UNSAFE, None, 7, b"a", ["a"]])
def test_anything_else_is_not_safe(name: object) -> None:  # A2
    assert safe_name(name) is None


@given(st.text(alphabet="a./\\\0é", max_size=5))
def test_a_safe_name_is_its_own_base_name(name: str) -> None:  # A2
    safe = name not in ("", ".", "..") and not set(name) & set("/\\\0")
    assert safe_name(name) == (name if safe else None)
    if safe:
        assert Path("folder", name).name == name


@pytest.mark.parametrize(
    "mime_type, kind, extension",
    [
        (None, "photo", ".jpg"),
        (None, "voice", ".ogg"),
        (None, "sticker", ".webp"),
        (None, "animation", ".mp4"),
        (None, "video", ".mp4"),
        (None, "image", ".jpg"),
        (None, "Voice", ".ogg"),
        ("image/png", "photo", ".png"),
        ("audio/mpeg", "voice", ".mp3"),
        ("video/webm", "sticker", ".webm"),
        ("IMAGE/JPEG", None, ".jpg"),
        ("audio/ogg; codecs=opus", None, ".ogg"),
        (" text/plain ;charset=utf-8", "file", ".txt"),
        ("application/octet-stream", "voice", ".ogg"),
        ("application/octet-stream", "file", ""),
        ("image/../../etc", None, ""),
        ("image/x", "photo", ".jpg"),
        ("", "file", ""),
        (None, None, ""),
        (None, "../../etc", ""),
    ],
)
def test_the_ending_is_by_type_and_then_by_kind(  # M1 A2
    mime_type: str | None, kind: str | None, extension: str
) -> None:
    assert extension_for(mime_type, kind) == extension
    assert name_for("01h", mime_type, kind) == f"01h{extension}"


@given(st.text(), st.text())
def test_an_ending_never_makes_a_name_unsafe(mime_type: str, kind: str) -> None:  # M1 A2
    assert safe_name(name_for("01h", mime_type, kind)) is not None


OPERATIONS: dict[str, Callable[[MediaTree, str, str], object]] = {
    "path": lambda tree, session, file: tree.path(session, file),
    "open": lambda tree, session, file: tree.open(session, file),
    "read": lambda tree, session, file: tree.read(session, file, limit=100),
    "stat": lambda tree, session, file: tree.stat(session, file),
    "remove": lambda tree, session, file: tree.remove(session, file),
    "put": put,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", UNSAFE)
def test_no_operation_takes_an_unsafe_name(tmp_path: Path, operation: str, name: str) -> None:  # A2
    with prepared(tmp_path / "media") as tree:
        put(tree, "session", "file")
        for session, file in ((name, "file"), ("session", name)):
            with pytest.raises(UnsafeName):
                OPERATIONS[operation](tree, session, file)
        with pytest.raises(UnsafeName):
            tree.remove_session(name)
        assert [(each.session, each.file) for each in tree.scan().files] == [("session", "file")]


def test_names_with_a_dot_in_front_are_not_for_sessions_and_files(tmp_path: Path) -> None:  # M1 A2
    with prepared(tmp_path / "media") as tree:
        before = picture(tree.root)
        with pytest.raises(UnsafeName, match="dot"):
            tree.create(".session", limit=100)
        with pytest.raises(UnsafeName, match="dot"):
            tree.remove_session(".session")
        assert picture(tree.root) == before
        with pytest.raises(UnsafeName, match="dot"):
            put(tree, "session", ".file")
        assert tree.scan().files == []
