"""A runtime with villains for agents, and with honest ones."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from runtime.processes.stderr import LOG_BYTES, LOG_FILES
from tests.crash.agents import Agents, Living
from tests.crash.processes import RuntimeProcess
from tests.e2e.stage import until
from tests.gateway.client import AcpClient, connected, said
from tests.hostile_agents.crimes import CRIMES, FIRST_EVENT, SILENCE, TEXT, Crime

VILLAIN = Path(__file__).with_name("villain.py")
SAINT, ECHO = "saint", "echo"
OTHERS = {
    "floods": 1,
    "forgets": 0,
    "exits-at-every-start": 99,
    "wants-a-login": 99,
    "bears-children-quietly": 99,
    SAINT: 0,
}
"""Villains with a test of their own, and how many of their starts are bad."""

SETTINGS = f"""
[queue]
mode = "followup"
[sessions]
first_event_limit = "{FIRST_EVENT:g}s"
turn_silence_limit = "{SILENCE:g}s"
retry_delay = "200ms"
max_tries = 1
shutdown_grace = "1s"
[log]
level = "warning"
[agents.{ECHO}]
kind = "echo"
"""

BUSY = 30.0
"""Seconds beyond the deadlines that apply: 5 by the rules, the others since the machine is busy."""

MEMORY = 450 * 1024 * 1024
"""Bytes that the process may have at most: the largest record that is read is 32 MiB, and what an
agent has said exists in several forms for a moment.
"""


class Den:
    """One data directory, one runtime at a time."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self._counts = folder / "counts"
        self._settings = folder / "runtime.toml"
        self._log = folder / "runtime.log"
        self._of = {name: Agents(folder / name) for name in (*CRIMES, *OTHERS)}
        self._counts.mkdir()
        times = OTHERS | {name: crime.times for name, crime in CRIMES.items()}
        self._settings.write_text(SETTINGS + "".join(map(self._table, times, times.values())))

    def _table(self, name: str, times: int) -> str:
        arguments = [self._of[name].tag, str(self._counts), name, str(times)]
        command = [sys.executable, "-I", "-S", str(VILLAIN), *arguments]
        return f'[agents.{name}]\nkind = "acp"\ncommand = {command}\n'

    @asynccontextmanager
    async def runtime(self) -> AsyncIterator[RuntimeProcess]:
        """Start one, wait until it serves; it does not outlive the block."""
        program = ("-m", "tests.hostile_agents.hasty")
        process = await RuntimeProcess.start(self.data_dir, self._settings, self._log, program)
        try:
            await process.serving()
            yield process
        finally:
            process.end()
            await process.ended()

    def mend(self, name: str) -> None:
        """Make an honest agent of a villain."""
        Path(self._counts, f"{name}.mended").touch()

    def forget_crimes(self) -> None:
        """Let all of them be as bad again as they were."""
        for file in self._counts.iterdir():
            file.unlink()

    def living(self, *names: str) -> set[Living]:
        """Who lives of these villains, or of all, with those that they have started."""
        return {each for name in names or self._of for each in self._of[name].living()}

    def kill(self, name: str) -> None:
        """SIGKILL for a villain."""
        for each in self.living(name):
            self._of[name].kill(each)

    async def is_deserted(self, *names: str) -> None:
        """Wait until nobody lives of these villains, or of all."""
        await until(lambda: not self.living(*names))

    def end(self) -> None:
        """Leave nobody behind, whatever went wrong."""
        for agents in self._of.values():
            agents.end()

    @property
    def log(self) -> str:
        """What the runtime wrote to standard error."""
        return self._log.read_text(errors="replace")

    def is_well(self, process: RuntimeProcess) -> None:
        """Nothing has gone wrong inside, memory and logs are bounded."""
        assert "Traceback" not in self.log, self.log[-5_000:]
        assert self._log.stat().st_size < 1024 * 1024
        assert self.memory(process, "VmHWM") < MEMORY
        for log in self.data_dir.rglob("*.log"):  # what agents wrote to standard error
            kept = sum(file.stat().st_size for file in log.parent.glob(f"{log.name}*"))
            assert kept <= LOG_BYTES * LOG_FILES

    @staticmethod
    def memory(process: RuntimeProcess, which: str = "VmRSS") -> int:
        """Bytes that the process has in memory now, or ``VmHWM``, had at most (proc(5))."""
        status = Path(f"/proc/{process.pid}/status").read_text()
        (kilobytes,) = re.findall(rf"{which}:\s+(\d+) kB", status)
        return int(kilobytes) * 1024

    # -- people -------------------------------------------------------------------------------

    @asynccontextmanager
    async def witnessed(self, process: RuntimeProcess) -> AsyncIterator[None]:
        """Meanwhile two sessions with honest agents are answered all the time."""
        over = trio.Event()
        async with trio.open_nursery() as witnesses:
            for agent in (ECHO, SAINT):
                witnesses.start_soon(_witness, process.url, agent, over)
            yield
            over.set()

    async def commit(self, process: RuntimeProcess, name: str) -> None:
        """One crime, from the first prompt to the end of its session."""
        crime = CRIMES[name]
        async with connected(process.url) as client:
            try:
                session_id = await follow(client, name)
                requests = [
                    await client.request("session/prompt", said(session_id, text))
                    for text in (TEXT, "and then?")
                ]
                with trio.fail_after(crime.seconds + BUSY):
                    first, second = [await client.answer(number) for number in requests]
                await _is_told(client, first, crime)
                assert second["result"]["stopReason"] == "end_turn", second
                await client.call("session/close", {"sessionId": session_id})
                await self.is_deserted(name)
            except BaseException as error:
                error.add_note(f"crime: {name}")
                raise


async def follow(client: AcpClient, agent: str) -> str:
    """A new session, with its events."""
    session_id = await client.new_session(agent=agent)
    await client.call("_runtime/session/events", {"sessionId": session_id})
    return session_id


async def until_told(client: AcpClient, code: str) -> str:
    """Wait for what the runtime has to say in the chat; its words."""
    while True:
        for params in client.updates():
            if params["_meta"]["runtime"].get("notice") == code:
                return str(params["update"]["content"]["text"])
        await client.receive()


async def _is_told(client: AcpClient, first: dict[str, Any], crime: Crime) -> None:
    """The outcome is in the chat and in the answer."""
    for code, words in crime.notices:
        told = await until_told(client, code)
        assert words in told, told
    ended = [
        event
        for event in client.events()
        if event["type"] == "turn_ended" and event["messageState"] != "pending"
    ]
    if crime.answer is not None:
        assert first["result"]["stopReason"] == "end_turn", first
        assert ended[0]["text"].endswith(crime.answer)
        return
    code, words = crime.error
    assert first["error"]["data"]["code"] == code, first
    assert words in first["error"]["message"], first
    assert ended[0]["error"]["code"] == code
    assert words in ended[0]["error"]["message"]


async def _witness(url: str, agent: str, over: trio.Event) -> None:
    async with connected(url) as client:
        session_id = await client.new_session(agent=agent)
        number = 0
        while not over.is_set():
            number += 1
            client.messages.clear()
            text = f"witness {number}"
            answer = await client.call("session/prompt", said(session_id, text))
            assert answer["stopReason"] == "end_turn"
            assert client.text().strip() == text
            with trio.move_on_after(0.05):
                await over.wait()
        await client.call("session/close", {"sessionId": session_id})
