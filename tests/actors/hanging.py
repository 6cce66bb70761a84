"""A gate at which threads hang, as on a disk that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

PATIENCE = 60.0
SHORT = 0.5
"""Seconds for which the disk of a test is waited for."""


class Gate:
    """Where threads hang until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.reached = self.passed = 0

    def wait(self) -> None:
        self.reached += 1
        self._open.wait(PATIENCE)
        self.passed += 1

    def open(self) -> None:
        self._open.set()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - threads announce nothing
            await trio.sleep(0.01)


def hang(patch: pytest.MonkeyPatch, owner: type, name: str, gate: Gate, *, late: bool) -> None:
    """An operation hangs: before it has done anything, or when it has done all of it."""
    operation = getattr(owner, name)

    def hanging(*args: Any, **options: Any) -> Any:
        if not late:
            gate.wait()
        done = operation(*args, **options)
        if late:
            gate.wait()
        return done

    patch.setattr(owner, name, hanging)
