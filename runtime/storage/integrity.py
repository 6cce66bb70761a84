"""Whether a database is sound, as far as can be seen in a given time."""

from __future__ import annotations

import time
from pathlib import Path

import apsw
import msgspec

from runtime.storage.failures import STORAGE_FAILURES, unavailable
from runtime.storage.reader import BUSY_TIMEOUT_MS

_STEPS = 10_000
"""Steps of SQLite's machine between two looks at the clock."""


class Integrity(msgspec.Struct, frozen=True):
    """What was seen.

    Args:
        damage: what is wrong; None when nothing was found.
        whole: whether all of it was looked at.
    """

    damage: str | None = None
    whole: bool = True


def look_for_damage(database: Path, seconds: float) -> Integrity:
    """Look through a database, beside whoever works on it. For a thread.

    Args:
        database: the file.
        seconds: after which it is enough.
    """
    deadline = time.monotonic() + seconds
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone() or ("ok",)
    except apsw.InterruptError:
        return Integrity(whole=False)
    except STORAGE_FAILURES as error:
        return Integrity(damage=str(unavailable(error)))
    finally:
        connection.close()
    return Integrity(damage=None if said == "ok" else str(said))
