"""``python -m runtime`` on a disk that hangs: what writes a file of a message is a call of the
system that never returns.

    python -m tests.e2e.hanging_disk serve
"""

from __future__ import annotations

import os
import runpy
import select

import actors.disk
import runtime.app
from runtime.storage.media_partial import Partial

LIMIT = 2.0
"""Seconds for which the disk is waited for, so that the test takes no longer."""

LATE = 2.0
"""Seconds after which a disk that is only slow answers: longer than clients get for a farewell."""

SLOW = "GREENROOM_TEST_SLOW_DISK"
"""A variable that says that the disk is only slow."""

write = Partial.write
_reading, _writing = os.pipe()


def _write(file: Partial, chunk: bytes) -> None:
    os.read(_reading, 1)  # nobody ever writes into it


def _write_late(file: Partial, chunk: bytes) -> None:
    select.select([_reading], [], [], LATE)
    write(file, chunk)


if __name__ == "__main__":
    if os.environ.get(SLOW):
        runtime.app.FAREWELL_LIMIT = LATE / 10
        Partial.write = _write_late  # type: ignore[method-assign, assignment]
    else:
        actors.disk.LIMIT = LIMIT
        Partial.write = _write  # type: ignore[method-assign, assignment]
    runpy.run_module("runtime", run_name="__main__", alter_sys=True)
