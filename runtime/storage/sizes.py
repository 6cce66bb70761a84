"""How much the database takes and how much is free (D3)."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """What was measured last, in bytes; zeros for a store in memory."""

    database: int = 0
    log: int = 0
    free: int = 0


def measure(database: Path) -> Sizes:
    """The sizes of a database, of its write-ahead log, and of what is free beside it.

    What cannot be read counts as 0: a gauge is no reason to fail.
    """
    try:
        space = os.statvfs(database.parent)
        free = space.f_bavail * space.f_frsize
    except OSError:
        free = 0
    return Sizes(file_size(database), file_size(database.with_name(f"{database.name}-wal")), free)


def file_size(path: Path) -> int:
    """The size of a file in bytes, 0 when it is missing or cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
