"""``python -m runtime`` on a disk that hangs: what writes a file of a message is a call of the
system that never returns.

    python -m tests.e2e.hanging_disk serve
"""

from __future__ import annotations

import os
import runpy

import actors.disk
from runtime.storage.media_partial import Partial

LIMIT = 2.0
"""Seconds for which the disk is waited for, so that the test takes no longer."""

_reading, _writing = os.pipe()


def _write(file: Partial, chunk: bytes) -> None:
    os.read(_reading, 1)  # nobody ever writes into it


if __name__ == "__main__":
    actors.disk.LIMIT = LIMIT
    Partial.write = _write  # type: ignore[method-assign, assignment]
    runpy.run_module("runtime", run_name="__main__", alter_sys=True)
