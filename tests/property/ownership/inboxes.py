"""The inboxes of agents that see nothing else, in a world whose rows are in memory (M5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from actors.outboxes import Inboxes
from tests.property.ownership.player import FileKey

WITH_INBOX = ("two", "chat-blue")
"""Whose agents find files in their inbox only."""


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Runtimes that are opened in the block have their inboxes there."""
    with patch("runtime.app.Inboxes", lambda _: Inboxes(folder)):
        yield


def file_at(path: Path, names: Iterable[str]) -> str:
    """The name in the media folder of the file at a path that an agent was told.

    Args:
        path: in a media folder, or in an inbox.
        names: what files are called in the session's media folder, or were.
    """
    if path.parents[1].name != "inbox":
        return path.name
    found = {name for name in names if name.partition(".")[0] == path.parent.name}
    assert len(found) == 1, f"{path} is in the inbox, and of no file: {found}"
    return found.pop()


def check_inboxes(folder: Path, root: Path, disk: Iterable[FileKey]) -> None:
    """What is in an inbox is one of the session's files, and is not there twice."""
    there = set(disk)
    for place in folder.glob("sessions/*/*/inbox/*"):
        session_id = place.parents[1].name
        files = [
            file
            for session, file in there
            if session == session_id and file.partition(".")[0] == place.name
        ]
        assert len(files) == 1, f"{place} is of no file"
        for path in place.iterdir():
            assert path.samefile(root / session_id / files[0]), f"{path} is another file"
