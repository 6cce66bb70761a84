"""Finding the program to start, and saying why it cannot be started. Not for the loop."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from runtime.processes.folders import make_private

_REASONS = {
    errno.ENOENT: "the interpreter that it needs is not there; look at its first line",
    errno.EACCES: "it may not be executed; make it executable with chmod +x",
    errno.ENOEXEC: "it is no program for this machine, or a script without a line such as #!/bin/sh"
    " at its beginning",
    errno.E2BIG: "its arguments and its environment are too long",
    errno.EMFILE: "this process has too many open files; raise the limit with ulimit -n",
    errno.ENFILE: "the machine has too many open files",
    errno.EAGAIN: "the machine allows no more processes; raise the limit with ulimit -u",
    errno.ENOMEM: "the machine has no memory left for it",
    errno.ETIMEDOUT: "its disk did not answer in time",
}


_PASSING = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ETIMEDOUT, errno.EIO}
"""Errors that may be gone at the next try, without anybody having changed anything."""


class CannotStart(Exception):
    """A program cannot be started; the text says why and what to do.

    Args:
        text: for people.
        for_good: it will not be different before somebody changes something.
    """

    def __init__(self, text: str, *, for_good: bool = True) -> None:
        super().__init__(text)
        self.for_good = for_good


def cannot_start(program: str, error: OSError | ValueError) -> CannotStart:
    """Say in words why a program could not be executed."""
    reason = _REASONS.get(error.errno or 0) if isinstance(error, OSError) else None
    if reason is None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    passing = isinstance(error, OSError) and error.errno in _PASSING
    return CannotStart(f"{program} cannot be started: {reason}", for_good=not passing)


def enter_folder(program: str, folder: Path) -> None:
    """See to it that a program can run in a folder.

    Raises:
        CannotStart: it cannot.
    """
    try:
        make_private(folder)
    except OSError as error:
        text = f"{program} cannot be started: its folder {folder} cannot be made: {error.strerror}"
        raise CannotStart(text, for_good=False) from error
    if not os.access(folder, os.X_OK):
        raise CannotStart(f"{program} cannot be started: its folder {folder} may not be entered")


def find_program(program: str, folder: Path, env: Mapping[str, str]) -> str:
    """The full path of a program, found on ``PATH`` of its environment or from its folder.

    Raises:
        CannotStart: there is none, or it may not be executed.
    """
    path = env.get("PATH", os.defpath)
    if os.sep not in program:
        found = shutil.which(program, path=path)
        if found is None:
            raise CannotStart(
                f"{program} cannot be started: it was not found on PATH; install it, or give"
                " its full path"
            )
        return str(Path(found).absolute())
    full = (folder / program).absolute()
    if not full.is_file():
        raise CannotStart(f"{program} cannot be started: there is no file {full}")
    if not os.access(full, os.X_OK):
        raise cannot_start(program, PermissionError(errno.EACCES, ""))
    return str(full)
