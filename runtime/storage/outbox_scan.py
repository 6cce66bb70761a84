"""Looking through the outboxes of all sessions (M5, M6, M8)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from runtime.sessions.ids import is_id
from runtime.sessions.media import OutboxFile
from runtime.storage.attachments import MAX_ENTRIES, OUTBOX, listed
from runtime.storage.folders import folder
from runtime.storage.media_errors import MediaError, explained
from runtime.storage.media_scan import Problems

_FOLDERS_AT_A_STRETCH = 200
"""After how many folders the thread lets go of the interpreter, for the loop (D2)."""


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
    looked_into = 0
    with explained(root), ExitStack() as stack:
        try:
            above = stack.enter_context(folder(str(root), root, private=False))
        except FileNotFoundError:
            return OutboxScan([], [], 0)
        for agent in _names(above):
            place = root / agent
            try:
                with folder(agent, place, inside=above, private=False) as sessions:
                    for session in filter(is_id, _names(sessions)):
                        looked_into += 1
                        if looked_into % _FOLDERS_AT_A_STRETCH == 0:
                            time.sleep(0)
                        _look_into(sessions, session, place / session, files, problems)
            except (MediaError, OSError) as error:
                problems.add(place, error)
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


def _names(descriptor: int) -> Iterator[str]:
    """The names of folders in a folder, and of links, so that these are told."""
    with os.scandir(descriptor) as entries:
        names = [entry.name for entry in entries if entry.is_symlink() or entry.is_dir()]
    return iter(names)
