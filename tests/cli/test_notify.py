"""What a service manager is told, over a real socket (sd_notify(3))."""

from __future__ import annotations

import configparser
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from runtime.cli.main import root
from runtime.cli.notify import EXTEND_EVERY, STOP_EXTENSION, Notifier

from .conftest import PATIENCE, ROOT, Start


class Supervision:
    """Listens, as systemd does."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE)
        self._socket.bind(address.replace("@", "\0", 1))
        self.variables = {"NOTIFY_SOCKET": address}

    def told(self) -> list[str]:
        """The lines of the next message."""
        return self._socket.recv(4096).decode().splitlines()

    def told_until(self, line: str) -> list[list[str]]:
        """All messages up to the one with this line."""
        messages = [self.told()]
        while line not in messages[-1]:
            messages.append(self.told())
        return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Supervision]:
    listening = Supervision(str(tmp_path / "notify"))
    yield listening
    listening.close()


def test_a_start_a_reload_and_a_stop_are_told(
    serve: Start, manager: Supervision, tmp_path: Path
) -> None:
    before = time.monotonic_ns() // 1_000
    served = serve(tmp_path / "data", variables=manager.variables)
    assert manager.told() == ["READY=1", f"STATUS=Listening at {served.endpoint.url}"]
    served.process.send_signal(signal.SIGHUP)
    reloading, moment = manager.told()
    name, _, microseconds = moment.partition("=")
    assert (reloading, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before < int(microseconds) < time.monotonic_ns() // 1_000
    assert manager.told() == ["READY=1", "STATUS=Working; changed settings were applied"]
    served.data_dir.with_suffix(".toml").write_text("[queue]\ncap = 0\n")
    served.process.send_signal(signal.SIGHUP)
    assert manager.told()[0] == "RELOADING=1"
    ready, status = manager.told()
    assert ready == "READY=1"
    assert "refused" in status
    # S45
    assert served.stop().code == 0
    assert manager.told()[0] == "STOPPING=1"
    assert manager.told() == ["EXTEND_TIMEOUT_USEC=15000000"]


def test_signs_of_life_come_until_the_end(
    serve: Start, manager: Supervision, tmp_path: Path
) -> None:
    variables = {**manager.variables, "WATCHDOG_USEC": "200000"}
    served = serve(tmp_path / "data", variables=variables)
    manager.told_until("READY=1")
    for _ in range(3):
        manager.told_until("WATCHDOG=1")
    served.process.send_signal(signal.SIGTERM)
    manager.told_until("STOPPING=1")


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
async def test_an_abstract_socket() -> None:
    listening = Supervision(f"@greenroom-test-{os.getpid()}")
    Notifier(listening.variables).ready("well")
    assert listening.told() == ["READY=1", "STATUS=well"]
    listening.close()


async def test_only_the_process_that_is_watched_gives_signs_of_life(
    manager: Supervision,
) -> None:
    for more in (
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getppid())},
    ):
        await Notifier({**manager.variables, **more}).keep_alive()
    Notifier(manager.variables).ready("that was all")
    assert manager.told() == ["READY=1", "STATUS=that was all"]


async def test_a_late_event_loop_gives_no_sign_of_life(
    manager: Supervision, mock_clock: trio.testing.MockClock
) -> None:
    pid = str(os.getpid())
    variables = {**manager.variables, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": pid}
    notifier = Notifier(variables)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.keep_alive)

        async def later(seconds: float) -> None:
            mock_clock.jump(seconds)
            await trio.testing.wait_all_tasks_blocked()
            notifier.ready(f"after {mock_clock.current_time():g}")

        for seconds in (0, 5, 10, 0.5, 5):
            await later(seconds)
        nursery.cancel_scope.cancel()
    messages = [" ".join(lines) for lines in manager.told_until("STATUS=after 20.5")]
    assert messages == [
        "WATCHDOG=1",
        "READY=1 STATUS=after 0",
        "WATCHDOG=1",
        "READY=1 STATUS=after 5",
        "READY=1 STATUS=after 15",
        "WATCHDOG=1",
        "READY=1 STATUS=after 15.5",
        "WATCHDOG=1",
        "READY=1 STATUS=after 20.5",
    ]


async def test_more_time_to_stop_is_asked_for_again_and_again(
    manager: Supervision, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(2.5 * EXTEND_EVERY):
        await Notifier(manager.variables).stopping()
    Notifier(manager.variables).ready("end")
    assert manager.told_until("STATUS=end")[1:-1] == [["EXTEND_TIMEOUT_USEC=15000000"]] * 3


async def test_nobody_who_listens_is_no_reason_to_fail(tmp_path: Path) -> None:
    full = Supervision(str(tmp_path / "full"))
    for address in ("", "@", "relative", str(tmp_path / "missing"), "/" + "x" * 500, "a\0b"):
        notifier = Notifier({"NOTIFY_SOCKET": address})
        notifier.reloading()
        notifier.ready("nobody knows")
        with trio.move_on_after(0):
            await notifier.stopping()
    for _ in range(1_000):
        Notifier(full.variables).reloading()
    full.close()
    await Notifier({}).stopping()
    await Notifier({"WATCHDOG_USEC": "1000000"}).keep_alive()


def test_the_example_of_a_unit_fits_what_the_runtime_does() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.read(ROOT / "docs" / "greenroom.service", encoding="utf-8")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > STOP_EXTENSION
    assert float(service["WatchdogSec"]) > 0
    _, _, command = service["ExecStart"].partition(" -m runtime ")
    name, *arguments = command.split()
    context = root.commands[name].make_context(name, arguments)
    assert context.params["config"] == Path("/etc/greenroom/runtime.toml")
