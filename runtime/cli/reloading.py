"""The settings file as it is now, for a runtime that runs: after a change, or at SIGHUP."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import trio

from runtime.app import Runtime
from runtime.cli.notify import Notifier
from runtime.log import Logs, get_logger
from runtime.settings import Loaded, Problem, SettingsError, secrets_of

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""

log = get_logger(__name__)

_REFUSED = "Working; changed settings were refused, see the log"

Stamp = tuple[tuple[str, int, int], ...]


async def follow(
    runtime: Runtime,
    loaded: Loaded,
    read: Callable[[], Loaded],
    logs: Logs,
    notifier: Notifier,
    hangups: AsyncIterator[int],
) -> None:
    """Apply changed settings until cancelled. Bad ones are refused and the old ones stay.

    Args:
        runtime: what goes by them.
        loaded: the settings that it was started with.
        read: reads all sources again, in a thread.
        logs: go by them as well.
        notifier: is told that they are read.
        hangups: SIGHUPs.
    """
    lock = trio.Lock()
    current = loaded
    seen = await trio.to_thread.run_sync(_stamp, current.places)

    async def apply(cause: str) -> None:
        nonlocal current, seen
        async with lock:
            seen = await trio.to_thread.run_sync(_stamp, current.places)
            notifier.reloading()
            applied = await _apply(runtime, partial(_read, current, read), logs, cause)
            if applied is None:
                notifier.ready(_REFUSED)
                return
            notifier.ready("Working; changed settings were applied")
            if applied.places != current.places:
                seen = await trio.to_thread.run_sync(_stamp, applied.places)
            current = applied

    async def heed() -> None:
        async for _ in hangups:
            await apply("SIGHUP")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heed)
        before = seen
        while True:
            await trio.sleep(LOOK_EVERY)
            now = await trio.to_thread.run_sync(_stamp, current.places)
            # One that is being written is left alone until it stays as it is.
            if now != seen and now == before:
                await apply("the file changed")
            before = now


def _read(current: Loaded, read: Callable[[], Loaded]) -> Loaded:
    """Read all sources again. A file that is gone stands for no other settings."""
    again = read()
    gone = set(current.source_files).difference(again.source_files)
    if gone:
        raise SettingsError(
            Problem(path="", expected="the settings file that was there", source=str(path))
            for path in sorted(gone)
        )
    return again


async def _apply(
    runtime: Runtime, read: Callable[[], Loaded], logs: Logs, cause: str
) -> Loaded | None:
    """Read and apply; what holds from now on, None when it was refused."""
    try:
        loaded = await trio.to_thread.run_sync(read)
        logs.hide(secrets_of(loaded.settings, os.environ))
        later = runtime.reconfigure(loaded.settings)
    except (SettingsError, OSError) as error:
        log.error("settings_refused", cause=cause, problems=str(error).splitlines())
        return None
    except Exception:
        # A kind of agent that somebody else made may raise anything; that must not end the rest.
        log.exception("settings_refused", cause=cause)
        return None
    logs.apply(loaded.settings.log)
    log.info("settings_applied", cause=cause, at_the_next_start=list(later))
    return loaded


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
