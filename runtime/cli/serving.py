"""What ``serve`` does: the runtime, signals, a few words for the person."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import trio
from structlog.stdlib import BoundLogger

from runtime import __version__
from runtime.app import Runtime, open_runtime
from runtime.cli.errors import INTERRUPTED, ungrouped
from runtime.cli.notify import Notifier
from runtime.cli.reloading import follow
from runtime.cli.words import command_line
from runtime.endpoint import read as read_endpoint
from runtime.endpoint import websocket_url
from runtime.log import Logs, get_logger
from runtime.sessions.numbers import number_of
from runtime.settings import Loaded, Settings
from runtime.settings.structs import default_data_dir


async def run(loaded: Loaded, read: Callable[[], Loaded], logs: Logs) -> int:
    """Run the runtime until the first SIGINT or SIGTERM, then stop it gracefully.

    The second signal gives up waiting for what still runs; all that was accepted is on disk. The
    third ends the process.

    Args:
        loaded: the settings to start with.
        read: reads them again when they changed.
        logs: go by them as well.

    Returns:
        The exit code.
    """
    stop, code = trio.Event(), INTERRUPTED
    log, notifier = get_logger(__name__), Notifier()
    # From here on no signal interrupts anything: the runtime is stopped, not torn down.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heed, signals, stop, nursery.cancel_scope, log)
            nursery.start_soon(notifier.keep_alive)
            nursery.start_soon(_say_that_it_stops, stop, notifier)
            async with (
                open_runtime(loaded.settings, serve=True) as runtime,
                following(partial(follow, runtime, loaded, read, logs, notifier)),
            ):
                await hide_local_key(loaded.settings.storage.data_dir, logs)
                await _serve(runtime, loaded.settings, stop, notifier, log)
            code = 0
            nursery.cancel_scope.cancel()
    log.info("stopped", at_once=code != 0)
    return code


@contextlib.asynccontextmanager
async def following(
    follow_settings: Callable[[AsyncIterator[int]], Awaitable[None]],
) -> AsyncIterator[None]:
    """Changed settings are applied for as long as the block."""
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_settings, hangups)
            yield
            nursery.cancel_scope.cancel()


async def hide_local_key(data_dir: Path, logs: Logs) -> None:
    """Keep the key of local clients, which the endpoint file holds, out of the log."""
    endpoint = await trio.to_thread.run_sync(read_endpoint, data_dir)
    if endpoint is not None and endpoint.local_key is not None:
        logs.hide([endpoint.local_key])


async def _say_that_it_stops(stop: trio.Event, notifier: Notifier) -> None:
    await stop.wait()
    await notifier.stopping()


async def _serve(
    runtime: Runtime, settings: Settings, stop: trio.Event, notifier: Notifier, log: BoundLogger
) -> None:
    url = url_of(runtime, settings)
    # What is alive now stays: without it the collector would look at it again and again.
    gc.collect()
    gc.freeze()
    _say(*_greeting(runtime, settings, url))
    log_start(runtime, settings, url, log)
    notifier.ready(f"Listening at {url}")
    await stop.wait()
    _say("Stopping: running turns may finish; Ctrl-C again stops at once.")


def url_of(runtime: Runtime, settings: Settings) -> str:
    """Where a runtime that serves is reached."""
    host, port = runtime.address or (settings.gateway.host, settings.gateway.port)
    return websocket_url(host, port, tls=settings.gateway.tls_certificate is not None)


def log_start(runtime: Runtime, settings: Settings, url: str, log: BoundLogger) -> None:
    """Say that the runtime serves, and what its start has recovered."""
    log.info(
        "started",
        url=url,
        data_dir=str(settings.storage.data_dir),
        agents=list(runtime.agents),
        pid=os.getpid(),
        version=__version__,
    )
    recovery = runtime.recovery
    if _recovered(runtime):
        log.info(
            "recovered",
            turns=len(recovery.settled),
            requeued=sum(len(turn.requeued) for turn in recovery.settled),
            failed=sum(len(turn.failed) for turn in recovery.settled),
            waiting=recovery.pending_messages,
            ambiguous_deliveries=recovery.ambiguous_deliveries,
        )


async def heed(
    signals: AsyncIterator[int],
    stop: trio.Event,
    everything: trio.CancelScope,
    log: BoundLogger,
) -> None:
    """Take signals for wishes: to stop, to stop at once, to be gone."""
    async for number in signals:
        log.info("stopping", signal=signal.Signals(number).name, at_once=stop.is_set())
        if everything.cancel_called:
            os._exit(INTERRUPTED)
        if stop.is_set():
            everything.cancel()
        stop.set()


def _greeting(runtime: Runtime, settings: Settings, url: str) -> list[str]:
    data_dir = settings.storage.data_dir
    default, *others = runtime.agents
    lines = [
        f"Greenroom {__version__}",
        f"  listens at  {url}{_elsewhere(settings.gateway.host)}",
        f"  data        {data_dir}",
        f"  agents      {', '.join((f'{default} (default)', *others))}",
    ]
    recovered = _recovered(runtime)
    if recovered:
        lines.append(f"  recovered   {recovered}")
    elsewhere = [] if data_dir == default_data_dir() else ["--data-dir", _short(data_dir)]
    lines += ["", "Talk to it in a second terminal:", f"  {command_line('chat', *elsewhere)}", ""]
    return lines


def _elsewhere(host: str) -> str:
    return ", and at every other address of this machine" if host in ("0.0.0.0", "::") else ""  # noqa: S104


def _recovered(runtime: Runtime) -> str:
    recovery = runtime.recovery
    counts = (
        (len(recovery.settled), "interrupted turn"),
        (recovery.pending_messages, "waiting message"),
        (recovery.ambiguous_deliveries, "delivery of unknown outcome"),
    )
    return ", ".join(
        number_of(count, what, "deliveries of unknown outcome" if "delivery" in what else None)
        for count, what in counts
        if count
    )


def _short(path: Path) -> str:
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _say(*lines: str) -> None:
    # Nobody reading it any more is no reason to stop.
    with contextlib.suppress(OSError):
        print(*lines, sep="\n", flush=True)
