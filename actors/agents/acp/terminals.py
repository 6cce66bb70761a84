"""Commands that the agent runs through the runtime: the methods ``terminal/*``.

A command runs in the folder of the session, with the usual variables and those that come with it;
the agent's own, its keys among them, stay with the agent. All commands end with the conversation.
"""

from __future__ import annotations

import codecs
import itertools
import signal
from collections.abc import Mapping
from functools import partial

import msgspec
import trio

from actors.agents.acp.client import Method
from actors.agents.acp.files import Folder, answered
from actors.agents.acp.parameters import read_params
from actors.disk import Disk
from runtime.processes import ExitStatus, Processes, ProcessGone, ProcessSpec
from runtime.protocol import jsonrpc
from runtime.protocol.acp import RESOURCE_NOT_FOUND, Empty
from runtime.protocol.acp_agent import (
    CreateTerminalParams,
    TerminalCreated,
    TerminalExit,
    TerminalOutput,
    TerminalParams,
)
from runtime.protocol.jsonrpc import RpcError

MOST_TERMINALS = 16
MOST_OUTPUT = 1024 * 1024
"""Bytes of output that are kept of one command."""

# Both outputs are one, in the order in which they are written, and there is nothing to read. An
# agent that gives no arguments gives a whole command line.
_LINE = ("/bin/sh", "-c", 'exec </dev/null 2>&1; eval "$1"', "sh")
_PROGRAM = ("/bin/sh", "-c", 'exec "$@" </dev/null 2>&1', "sh")


class Output:
    """The end of what a command has written.

    Args:
        limit: bytes that are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.truncated = False

    def add(self, data: bytes) -> None:
        """Take what was written."""
        self._kept += data
        if len(self._kept) > self._limit:
            self.truncated = True
            del self._kept[: len(self._kept) - self._limit]

    def text(self, *, complete: bool) -> str:
        """It as text, of at most so many bytes; a character of which only a part is there is left
        out.
        """
        kept = _from_boundary(bytes(self._kept)) if self.truncated else bytes(self._kept)
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(kept, final=complete)
        encoded = text.encode()
        if len(encoded) <= self._limit:
            return text
        self.truncated = True  # what was no text became longer
        return _from_boundary(encoded[len(encoded) - self._limit :]).decode()


class Terminal:
    """A command and what it has written. ``ended`` is set when nothing of it runs any more."""

    def __init__(self, limit: int) -> None:
        self.output = Output(limit)
        self.kept = trio.CancelScope()
        self.ended = trio.Event()
        self.status: ExitStatus | None = None

    @property
    def exit(self) -> TerminalExit | None:
        """How it ended."""
        if self.status is None:
            return None
        number = self.status.signal
        return TerminalExit(
            exit_code=self.status.code,
            signal=None if number is None else signal.Signals(number).name,
        )


class Terminals:
    """The commands of one conversation.

    Args:
        processes: where they are started.
        folder: they begin in it or below.
        disk: where is looked for the folders in it.
        nursery: they end when it is cancelled.
    """

    def __init__(
        self, processes: Processes, folder: Folder, disk: Disk, nursery: trio.Nursery
    ) -> None:
        self._processes = processes
        self._disk = disk
        self._folder = folder
        self._nursery = nursery
        self._terminals: dict[str, Terminal] = {}
        self._numbers = itertools.count(1)

    @property
    def methods(self) -> Mapping[str, Method]:
        """What the agent may call."""
        return {
            "terminal/create": self._create,
            "terminal/output": self._output,
            "terminal/wait_for_exit": self._wait_for_exit,
            "terminal/kill": self._kill,
            "terminal/release": self._release,
        }

    async def _create(self, params: msgspec.Raw) -> TerminalCreated:
        asked = read_params(params, CreateTerminalParams)
        if len(self._terminals) >= MOST_TERMINALS:
            what = f"There are {MOST_TERMINALS} terminals already: release some."
            raise RpcError(jsonrpc.INVALID_REQUEST, what)
        cwd = self._folder.root
        if asked.cwd is not None:
            inside = partial(self._folder.inside, asked.cwd)
            with answered():
                cwd = await self._disk(inside, abandon=True)
        spec = ProcessSpec(
            command=(*(_PROGRAM if asked.args else _LINE), asked.command, *asked.args),
            cwd=cwd,
            env={variable.name: variable.value for variable in asked.env},
        )
        limit = MOST_OUTPUT if asked.output_byte_limit is None else asked.output_byte_limit
        terminal = Terminal(max(0, min(limit, MOST_OUTPUT)))
        identity = f"terminal-{next(self._numbers)}"
        self._terminals[identity] = terminal
        try:
            await self._nursery.start(self._run, terminal, spec)
        except BaseException as error:
            del self._terminals[identity]
            if isinstance(error, ProcessGone):
                raise RpcError(jsonrpc.INVALID_PARAMS, str(error)) from None
            raise
        return TerminalCreated(identity)

    async def _run(
        self,
        terminal: Terminal,
        spec: ProcessSpec,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with self._processes.run(spec) as process:
            task_status.started()
            with terminal.kept:
                while data := await process.read_some():
                    terminal.output.add(data)
                await process.wait()
        terminal.status = process.exit_status
        terminal.ended.set()

    async def _output(self, params: msgspec.Raw) -> TerminalOutput:
        terminal = self._terminal(params)
        text = terminal.output.text(complete=terminal.ended.is_set())
        return TerminalOutput(text, terminal.output.truncated, terminal.exit)

    async def _wait_for_exit(self, params: msgspec.Raw) -> TerminalExit | None:
        terminal = self._terminal(params)
        await terminal.ended.wait()
        return terminal.exit

    async def _kill(self, params: msgspec.Raw) -> Empty:
        terminal = self._terminal(params)
        terminal.kept.cancel()
        await terminal.ended.wait()
        return Empty()

    async def _release(self, params: msgspec.Raw) -> Empty:
        terminal = self._terminal(params)
        terminal.kept.cancel()
        await terminal.ended.wait()
        self._terminals.pop(read_params(params, TerminalParams).terminal_id, None)
        return Empty()

    def _terminal(self, params: msgspec.Raw) -> Terminal:
        identity = read_params(params, TerminalParams).terminal_id
        terminal = self._terminals.get(identity)
        if terminal is None:
            raise RpcError(RESOURCE_NOT_FOUND, f"There is no terminal {identity[:100]!r}.")
        return terminal


def _from_boundary(data: bytes) -> bytes:
    """UTF-8 from the first whole character on. The bytes of a character after its first begin with
    the bits 10, and there are at most three.
    """
    start = 0
    while start < min(3, len(data)) and data[start] & 0b1100_0000 == 0b1000_0000:
        start += 1
    return data[start:]
