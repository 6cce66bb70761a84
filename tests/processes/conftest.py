"""Small programs, and a look at which processes there are."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from runtime.processes import ChildProcess, Processes, ProcessSpec, open_processes
from runtime.processes.scan import see

DEADLINE = 30
"""Seconds; generous, since nothing here is about speed."""

Program = Callable[..., ProcessSpec]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "processes"


@pytest.fixture
async def processes(folder: Path) -> AsyncIterator[Processes]:
    async with open_processes(folder) as opened:
        yield opened


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes the spec of a Python program from its text. Standard library only, starts quickly."""

    def make(text: str, *args: str, **fields: object) -> ProcessSpec:
        lines = "import os, signal, sys, time\n" + textwrap.dedent(text)
        command = (sys.executable, "-I", "-S", "-c", lines, *args)
        return ProcessSpec(command, tmp_path / "cwd", **fields)  # type: ignore[arg-type]

    return make


async def number(child: ChildProcess) -> int:
    """The next record, which is a process id."""
    with trio.fail_after(DEADLINE):
        record = await child.read_record()
    assert record is not None, child.describe_exit()
    return int(record)


def lives(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    seen = see(pid)
    return seen is not None and not seen.dead


async def gone(pid: int) -> None:
    """Wait for the end of a process that may be anybody's child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(DEADLINE):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
