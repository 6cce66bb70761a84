"""Walking through the folders of all sessions, for what is in their inboxes and outboxes (M8)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runtime.sessions.ids import is_id
from runtime.storage.folders import folder
from runtime.storage.media_errors import MediaError, explained
from runtime.storage.media_scan import Problems

_FOLDERS_AT_A_STRETCH = 200
"""After how many folders the thread lets go of the interpreter, for the loop (D2)."""


def each_session(root: Path, problems: Problems) -> Iterator[tuple[int, str, Path]]:
    """The folders of all sessions, one after the other, as the descriptor of the folder that each
    is in, its name there, and its path. It may be a link: whoever opens it takes care.

    It is synchronous, and belongs into a worker thread.

    Args:
        root: Where the folders of agents are, with those of their sessions in them; it need not
            exist.
        problems: Gets what cannot be read.

    Raises:
        MediaUnsafe: The root is a link or no folder.
        MediaFailed: It cannot be read.
    """
    number = 0
    with (
        explained(root),
        suppress(FileNotFoundError),
        folder(str(root), root, private=False) as above,
    ):
        for agent in folders_in(above):
            place = root / agent
            try:
                with folder(agent, place, inside=above, private=False) as sessions:
                    for session in filter(is_id, folders_in(sessions)):
                        number += 1
                        if number % _FOLDERS_AT_A_STRETCH == 0:
                            time.sleep(0)
                        yield sessions, session, place / session
            except (MediaError, OSError) as error:
                problems.add(place, error)


def folders_in(descriptor: int) -> list[str]:
    """The names of folders in a folder, and of links, so that these are told."""
    with os.scandir(descriptor) as entries:
        return [entry.name for entry in entries if entry.is_symlink() or entry.is_dir()]
