"""What a service manager such as systemd is told: ready, reloading, stopping, still alive.

The protocol is sd_notify(3): lines in a datagram to the socket named by ``$NOTIFY_SOCKET``. Without
that variable nobody is told. Nothing here waits or fails: a manager that does not read is no reason
to stop working.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

import trio

BEATS = 2
"""Signs of life per `WATCHDOG_USEC`, as sd_watchdog_enabled(3) recommends."""

LATE = 0.4
"""The part of that time by which a sign of life may be late. With more, the event loop is not well,
and the next one is given only after it has been on time again.
"""

STOP_EXTENSION = 15.0
"""Seconds for which more time to stop is asked at once."""

EXTEND_EVERY = 5.0


class Notifier:
    """Tells the service manager how this process is.

    Args:
        environ: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked up.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An address that begins with @ is abstract: it is in no file system.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = _watchdog_seconds(environ) if address else None

    def ready(self, status: str) -> None:
        """It works, after the start or after a reload."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """It reads its settings again; `ready` says that it has."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    async def keep_alive(self) -> None:
        """Give signs of life until cancelled, as long as the event loop is on time.

        They say nothing of the disk or of agents: a new start would not mend those.
        """
        if self._watchdog is None:
            return
        interval, late = self._watchdog / BEATS, self._watchdog * LATE
        while True:
            self._send("WATCHDOG=1")
            wait = interval
            while not await _on_time(wait, late):
                wait = interval / 10

    async def stopping(self) -> None:
        """It stops, and takes the time that it needs: ask for more until cancelled."""
        self._send("STOPPING=1", "STATUS=Running turns may finish")
        while self._address:
            self._send(f"EXTEND_TIMEOUT_USEC={STOP_EXTENSION * 1e6:.0f}")
            await trio.sleep(EXTEND_EVERY)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        text = "\n".join(line.replace("\n", " ") for line in lines)
        # ValueError: what the variable holds cannot be an address.
        with (
            contextlib.suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(text.encode(errors="replace"), self._address)


async def _on_time(seconds: float, late: float) -> bool:
    """Sleep; whether that took not much longer."""
    due = trio.current_time() + seconds
    await trio.sleep_until(due)
    return trio.current_time() - due < late


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The time within which a sign of life is expected; None when nobody expects one of us."""
    pid = environ.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 else None
