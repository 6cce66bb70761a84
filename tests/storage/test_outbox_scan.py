"""Looking through the outboxes of all sessions (M5, M6, M8)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.sessions.ids import IdSource
from runtime.storage import attachments
from runtime.storage.attachments import Outbox
from runtime.storage.media_errors import MediaFailed, MediaUnsafe
from runtime.storage.outbox_scan import scan_outboxes
from runtime.storage.transcript import make_session_folder, session_folder
from tests.storage.media_stage import descriptors

AGENTS = ("echo", "another agent")
new_id = IdSource().new


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def made(tmp_path: Path, *paths: str, agent: str = "echo") -> tuple[str, Path]:
    """A session with these files in its outbox."""
    session_id = new_id()
    folder = session_folder(tmp_path, agent, session_id)
    make_session_folder(folder)
    for path in paths:
        (folder / "outbox" / path).parent.mkdir(exist_ok=True)
        (folder / "outbox" / path).write_text(path)
    return session_id, folder


def found(root: Path) -> set[tuple[str, str]]:
    return {(session_id, file.path) for session_id, file in scan_outboxes(root).files}


def test_all_files_are_found_as_a_look_finds_them(tmp_path: Path, root: Path) -> None:  # M8
    expected = {}
    for agent in AGENTS:
        session_id, folder = made(tmp_path, "b", "a", "sub/c", "sub/.d", "e.part", agent=agent)
        expected[session_id] = Outbox(folder / "outbox").files()
        made(tmp_path, agent=agent)
    before = descriptors()
    scan = scan_outboxes(root)
    assert descriptors() == before
    assert (scan.problems, scan.skipped) == ([], 0)
    by_session = {each: [file for of, file in scan.files if of == each] for each in expected}
    assert by_session == expected
    assert len(scan.files) == 6


def test_without_sessions_nothing_is_found_and_nothing_made(tmp_path: Path, root: Path) -> None:
    assert scan_outboxes(root).files == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_sessions_is_left_alone(tmp_path: Path, root: Path) -> None:  # M8
    session_id, folder = made(tmp_path, "a")
    (folder.parent / "notes" / "outbox").mkdir(parents=True)
    (folder.parent / "notes" / "outbox" / "mine").touch()
    (folder.parent / "file").touch()
    (root / "file").touch()
    made(tmp_path)[1].joinpath("outbox").rmdir()
    assert found(root) == {(session_id, "a")}
    assert scan_outboxes(root).skipped == 0


@pytest.mark.parametrize("what", ["agent", "session", "outbox"])
def test_a_link_is_told_and_not_followed(tmp_path: Path, root: Path, what: str) -> None:  # M2 M6
    good, _ = made(tmp_path, "a")
    _, bad = made(tmp_path, "b", agent="bad")
    place = {"agent": bad.parent, "session": bad, "outbox": bad / "outbox"}[what]
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    scan = scan_outboxes(root)
    assert [session_id for session_id, _ in scan.files] == [good]
    (problem,) = scan.problems
    assert f"{place} is a symbolic link" in problem


def test_a_root_that_is_a_link_is_refused(tmp_path: Path, root: Path) -> None:  # M2
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MediaUnsafe):
        scan_outboxes(root)


def test_what_cannot_be_read_is_told_and_the_rest_found(  # M6
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = made(tmp_path, "a")
    _, bad = made(tmp_path, "b")
    inode = (bad / "outbox").stat().st_ino
    really = attachments._ready

    def refused(descriptor: int, limit: int) -> tuple[list[str], list[str]]:
        if os.fstat(descriptor).st_ino == inode:
            raise PermissionError(13, "Permission denied")
        return really(descriptor, limit)

    monkeypatch.setattr(attachments, "_ready", refused)
    scan = scan_outboxes(root)
    assert [session_id for session_id, _ in scan.files] == [good]
    assert scan.problems == [f"{bad / 'outbox'}: [Errno 13] Permission denied"]


def test_a_root_that_cannot_be_read_is_an_error(  # M6
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a")

    def refused(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(MediaFailed):
        scan_outboxes(root)
