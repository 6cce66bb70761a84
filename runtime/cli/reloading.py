"""The settings file as it is now, for a runtime that runs: after a change, or at SIGHUP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import trio
from structlog.stdlib import BoundLogger

from runtime.app import Runtime
from runtime.settings import Loaded, SettingsError

LOOK_EVERY = 2.0
"""Seconds between two looks at the file."""

Stamp = tuple[tuple[str, int, int], ...]


async def follow(
    runtime: Runtime,
    loaded: Loaded,
    read: Callable[[], Loaded],
    hangups: AsyncIterator[int],
    log: BoundLogger,
) -> None:
    """Apply changed settings until cancelled. Bad ones are refused and the old ones stay.

    Args:
        runtime: what goes by them.
        loaded: the settings that it was started with.
        read: reads all sources again, in a thread.
        hangups: SIGHUPs.
        log: what happened is said here.
    """
    lock = trio.Lock()

    async def apply(cause: str) -> None:
        async with lock:
            await _apply(runtime, read, cause, log)

    async def heed() -> None:
        async for _ in hangups:
            await apply("SIGHUP")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heed)
        seen = await trio.to_thread.run_sync(_stamp, loaded.source_files)
        while loaded.source_files:
            await trio.sleep(LOOK_EVERY)
            now = await trio.to_thread.run_sync(_stamp, loaded.source_files)
            if now != seen:
                seen = now
                await apply("the file changed")


async def _apply(
    runtime: Runtime, read: Callable[[], Loaded], cause: str, log: BoundLogger
) -> None:
    try:
        loaded = await trio.to_thread.run_sync(read)
        later = runtime.reconfigure(loaded.settings)
    except (SettingsError, OSError) as error:
        log.error("settings_refused", cause=cause, problems=str(error).splitlines())
        return
    log.info("settings_applied", cause=cause, at_the_next_start=list(later))


def _stamp(files: tuple[Path, ...]) -> Stamp:
    """What changes when a file is written, replaced or removed."""
    stamps = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            continue
        stamps.append((str(path), status.st_mtime_ns, status.st_ino))
    return tuple(stamps)
