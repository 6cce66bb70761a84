"""MIME types by name (R7)."""

import pytest

from runtime.sessions.filenames import extension_for, mime_type_of


@pytest.mark.parametrize(
    "name,mime_type",
    [
        ("a.png", "image/png"),
        ("A.PNG", "image/png"),
        ("photo.jpeg", "image/jpeg"),
        ("photo.jpg", "image/jpeg"),
        ("song.mp3", "audio/mpeg"),
        ("song.m4a", "audio/mp4"),
        ("voice.ogg", "audio/ogg"),
        ("x.tar.gz", "application/gzip"),
        ("notes.md", "text/markdown"),
        ("server.log", "text/plain"),
        ("page.html", "text/html"),
        ("report.pdf", "application/pdf"),
        ("png", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_what_a_name_speaks_of(name: str, mime_type: str) -> None:  # R7
    assert mime_type_of(name) == mime_type


@pytest.mark.parametrize("ending", ["png", "mp3", "wav", "ogg", "json", "mp4", "yaml", "docx"])
def test_there_and_back(ending: str) -> None:  # R7 M1
    assert extension_for(mime_type_of(f"a.{ending}"), None) == f".{ending}"
