"""A runtime under siege: attacks on its port while well-behaved clients talk, then a reckoning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import trio

from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import LIMIT, House, until
from tests.gateway import raw
from tests.gateway.client import connected, said
from tests.hostile.attacks import ATTACKS, MAX_FRAME, Attack
from tests.hostile.wire import Target

AT_ONCE = 8
"""Attacks that go on at one time."""

GROWTH = 48 * 1024 * 1024
"""Bytes that the process may have more after a siege than after its first attacks.

What the allocator keeps, and the sessions that are still awake. What attackers had accepted is
work like any other, and takes memory until it is done.
"""

SETTINGS = f"""
[gateway]
max_connections = 2000
handshakes_per_second = 100000.0
handshake_timeout = "2s"
max_frame_bytes = {MAX_FRAME}
[sessions]
hibernate_after = "1s"
shutdown_grace = "1s"
[agents.echo]
kind = "echo"
[agents.quick]
kind = "echo"
[agents.slow]
kind = "echo"
pace = "2ms"
"""

WITNESS = Path(__file__).with_name("sdk_witness.py")


class Siege:
    """A runtime with two well-behaved clients, and what it holds before anything else happened."""

    def __init__(self, house: House, process: RuntimeProcess) -> None:
        self.target = Target.of(process.url)
        self._house = house
        self._process = process
        self._pid: int = json.loads((house.data_dir / "endpoint.json").read_text())["pid"]
        self._files = self.open_files()

    @property
    def memory(self) -> int:
        """Bytes that the process has in memory."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def open_files(self) -> int:
        """How many files and sockets the process has open, besides the database.

        The store opens connections for reading when they are needed first, and keeps them.
        """
        names = (_name_of(link) for link in Path(f"/proc/{self._pid}/fd").iterdir())
        return sum("runtime.db" not in name for name in names)

    async def attack(self, seed: int, attacks: Iterable[Attack] = ATTACKS) -> None:
        """Each attack once, in random order, some at the same time."""
        order = list(attacks)
        Random(seed).shuffle(order)
        room = trio.Semaphore(AT_ONCE)

        async def run(number: int, attack: Attack) -> None:
            async with room:
                try:
                    await attack(self.target, Random(f"{seed}.{number}"))
                except Exception as error:
                    error.add_note(f"attack {attack.__name__}, seed {seed}")
                    raise

        async with trio.open_nursery() as nursery:
            for number, attack in enumerate(order):
                nursery.start_soon(run, number, attack)

    @asynccontextmanager
    async def witnessed(self) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
        """Two clients talk meanwhile, and everything that they say is answered.

        What the block is given waits until one of them was answered so many times more.
        """
        answered = 0
        over = False

        async def go_on(times: int) -> None:
            enough = answered + times
            await until(lambda: answered >= enough)

        async def talk(task_status: trio.TaskStatus[None]) -> None:
            nonlocal answered
            async with connected(self._process.url) as client:
                session_id = await client.new_session()
                while not over or not answered:
                    client.messages.clear()
                    text = f"witness {answered}"
                    answer = await client.call("session/prompt", said(session_id, text))
                    assert answer["stopReason"] == "end_turn"
                    assert client.text().strip() == text
                    answered += 1
                    if answered == 1:
                        task_status.started()

        async with trio.open_nursery() as nursery:
            sdk = await trio.lowlevel.open_process(
                [sys.executable, str(WITNESS), self._process.url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert sdk.stdin is not None
            assert sdk.stdout is not None
            try:
                with trio.fail_after(LIMIT):
                    assert await _line(sdk.stdout) == b"here"
                await nursery.start(talk)
                yield go_on
                await go_on(1)
                over = True
                await sdk.stdin.aclose()
                with trio.fail_after(LIMIT):
                    assert await sdk.wait() == 0, "the SDK's client noticed"
                assert int(await _line(sdk.stdout)) > 1
            finally:
                if sdk.poll() is None:
                    sdk.kill()
                await sdk.wait()
                await sdk.stdin.aclose()
                await sdk.stdout.aclose()

    async def memory_is_back(self, before: int) -> None:
        """Wait until what was accepted is done, and memory is at most `GROWTH` above ``before``."""
        await until(lambda: self.memory < before + GROWTH)

    async def files_are_closed(self) -> None:
        """Wait until nothing is open that was not open at the beginning."""
        await until(lambda: self.open_files() <= self._files)

    async def end(self) -> None:
        """It is well, and stops as if nothing had been."""
        assert raw.status(await raw.get(self.target, "/healthz")) == 200
        await self.files_are_closed()
        assert await self._process.stop() == 0
        for bad in ("Traceback", "ERROR", '"level": "error"', '"level":"error"', "[error"):
            assert bad not in self._house.log, self._house.log[-5_000:]


async def _line(stream: trio.abc.ReceiveStream) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := await stream.receive_some(1)):
        line += more
    return line.strip()


def _name_of(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed since the folder was read
        return "runtime.db"


@asynccontextmanager
async def besieged(house: House) -> AsyncIterator[Siege]:
    """A runtime to attack, which is looked at afterwards."""
    siege = Siege(house, await house.serve(SETTINGS))
    yield siege
    await siege.end()
