"""Writing although the disk refuses: what must be written is tried again until it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from runtime.log import get_logger
from runtime.storage.errors import StoreUnavailable

FIRST_PAUSE = 1.0
LAST_PAUSE = 30.0

R = TypeVar("R")

log = get_logger(__name__)


async def decided(write: Awaitable[R]) -> R:
    """What a write has done, also for whoever is cancelled meanwhile: so that those who wait for it
    are told, which takes no wait.
    """
    with trio.CancelScope(shield=True):
        result = await write
    return result  # noqa: RET504 - within, a scope might swallow it, for all that mypy knows


async def until_written(write: Callable[[], Awaitable[R]]) -> R:
    """Repeat a write for as long as the disk refuses it. Cancelled only between two attempts."""
    pause = FIRST_PAUSE
    while True:
        try:
            with trio.CancelScope(shield=True):
                return await write()
        except StoreUnavailable as error:
            log.error("write_refused", reason=str(error), again_in=pause)
        await trio.sleep(pause)
        pause = min(pause * 2, LAST_PAUSE)
