"""Looking through the outboxes of all sessions (M5, M6, M8)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from runtime.sessions.media import OutboxFile
from runtime.storage.attachments import MAX_ENTRIES, OUTBOX, listed
from runtime.storage.folders import folder
from runtime.storage.media_errors import MediaError
from runtime.storage.media_scan import Problems
from runtime.storage.session_scan import each_session


class OutboxScan(msgspec.Struct, frozen=True):
    """What is in all outboxes.

    Attributes:
        files: The files that are ready, each with the id of its session.
        problems: What could not be read, one sentence each, not all of them when there are many.
        skipped: How many of those there are in all.
    """

    files: list[tuple[str, OutboxFile]]
    problems: list[str]
    skipped: int


def scan_outboxes(root: Path) -> OutboxScan:
    """Find the files in all outboxes. What cannot be read, or is a link, is told and skipped.

    It is synchronous, and belongs into a worker thread.

    Args:
        root: Where the folders of agents are, with those of their sessions in them; it need not
            exist.

    Raises:
        MediaUnsafe: It is a link or no folder.
        MediaFailed: It cannot be read.
    """
    files: list[tuple[str, OutboxFile]] = []
    problems = Problems()
    for sessions, session, where in each_session(root, problems):
        _look_into(sessions, session, where, files, problems)
    return OutboxScan(files, problems.told, problems.count)


def _look_into(
    sessions: int,
    session: str,
    where: Path,
    files: list[tuple[str, OutboxFile]],
    problems: Problems,
) -> None:
    """Add the files in the outbox of one session."""
    place = where / OUTBOX
    try:
        with (
            folder(session, where, inside=sessions, private=False) as above,
            folder(OUTBOX, place, inside=above, private=False) as outbox,
        ):
            files += [(session, file) for file in listed(outbox, place, MAX_ENTRIES)]
    except FileNotFoundError:
        return
    except (MediaError, OSError) as error:
        problems.add(place, error)
