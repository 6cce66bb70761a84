"""What ``chat`` does: lines from a keyboard or a pipe, commands that begin with a slash, Ctrl-C."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import trio

from runtime import endpoint as endpoints
from runtime.cli.client import NotReachable
from runtime.cli.conversation import Conversation
from runtime.cli.errors import FAILURE, INTERRUPTED, CommandError, ungrouped
from runtime.cli.screen import PipeScreen, Screen
from runtime.cli.words import command_line, number_of, on_terminal
from runtime.endpoint import Endpoint
from runtime.protocol.acp import SetConfigOptionResult
from runtime.protocol.extensions import (
    QueueClearResult,
    QueueStatusResult,
    ResetResult,
    SessionMark,
)
from runtime.settings import Loaded, parse_queue_mode

PATIENCE = 60.0
"""Seconds for which a script waits for a runtime that was lost."""

RECALLED = 4
"""Lines of a conversation that are shown in short to a person who comes back to it."""

SECOND_PRESS = 2.0
"""Seconds within which a second Ctrl-C means to leave."""

_HELP = """\
/new         begin a new conversation; the old one stays readable
/queue       what runs and what waits; /queue collect|followup|interrupt sets the mode
/clear       withdraw what waits
/cancel      cancel the running turn, withdraw what you said and waits (Ctrl-C)
/quit        leave (Ctrl-D); what was sent is answered nevertheless
//text       say a text that begins with a slash"""


class Commands:
    """What a person can type besides messages."""

    def __init__(self, conversation: Conversation, screen: Screen) -> None:
        self._conversation = conversation
        self._screen = screen
        self._table: Mapping[str, Callable[[str], Awaitable[None]]] = {
            "help": self._help,
            "new": self._new,
            "queue": self._queue,
            "clear": self._clear,
            "cancel": self._cancel,
        }

    async def run(self, line: str) -> bool:
        """Run a line such as ``/queue collect``. Returns False when the person wants to leave."""
        name, _, argument = line.removeprefix("/").strip().partition(" ")
        if name.lower() in ("quit", "exit"):
            return False
        command = self._table.get(name.lower())
        if command is None:
            hint = "/help lists them; // begins a text with a slash"
            self._screen.error(CommandError(f"there is no command /{name}", hint))
            return True
        try:
            await command(argument.strip())
        except CommandError as error:
            self._screen.error(error)
        return True

    async def _help(self, _argument: str) -> None:
        self._screen.aside(_HELP)

    async def _new(self, _argument: str) -> None:
        await self._conversation.call("_runtime/session/reset", ResetResult)
        self._screen.aside("A new conversation begins.")

    async def _queue(self, argument: str) -> None:
        if argument:
            try:
                mode = parse_queue_mode(argument)
            except ValueError as error:
                raise CommandError(f"{argument!r} is no mode", f"choose {error}") from None
            await self._conversation.call(
                "session/set_config_option",
                SetConfigOptionResult,
                configId="queue_mode",
                value=mode,
            )
        status = await self._conversation.call("_runtime/queue/status", QueueStatusResult)
        running = "a turn runs" if status.running is not None else "nothing runs"
        waiting = f"{number_of(status.waiting, 'message')} waiting"
        self._screen.aside(f"mode {status.mode}, {running}, {waiting}")

    async def _clear(self, _argument: str) -> None:
        result = await self._conversation.call("_runtime/queue/clear", QueueClearResult)
        self._screen.aside(f"{number_of(result.cleared, 'message')} withdrawn")

    async def _cancel(self, _argument: str) -> None:
        await self._conversation.cancel()


class _Presses:
    """Ctrl-C: the first cancels what runs; the second, or one with nothing to cancel, leaves."""

    def __init__(self, conversation: Conversation, screen: Screen, nursery: trio.Nursery) -> None:
        self._conversation = conversation
        self._screen = screen
        self._nursery = nursery
        self._cancelled_at = -math.inf

    def press(self) -> None:
        """The person pressed it."""
        now = trio.current_time()
        if not self._conversation.unanswered or now - self._cancelled_at < SECOND_PRESS:
            self._nursery.cancel_scope.cancel()
            return
        self._cancelled_at = now
        self._screen.aside("Cancelling; Ctrl-C again leaves.")
        self._nursery.start_soon(self._cancel)

    async def heed(self, signals: AsyncIterator[int]) -> None:
        """Take signals for presses."""
        async for _ in signals:
            self.press()

    async def _cancel(self) -> None:
        try:
            await self._conversation.cancel()
        except CommandError as error:
            self._screen.error(error)


async def talk(loaded: Loaded, key: str, agent: str | None, url: str | None) -> int:
    """Talk until the person leaves, or the pipe ends.

    Raises:
        CommandError: the runtime cannot be reached.
    """
    locate = _locator(loaded, url)
    if on_terminal():
        return await _at_terminal(locate, key, agent)
    return await _in_pipe(locate, key, agent)


def _locator(loaded: Loaded, url: str | None) -> Callable[[], Endpoint]:
    settings = loaded.settings
    data_dir = settings.storage.data_dir
    named = loaded.origins.get("storage.data_dir") == "--data-dir"

    def locate() -> Endpoint:
        if url is not None:
            return Endpoint(url, settings.gateway.token)
        found = endpoints.find(settings)
        if found is None and named:
            # Whoever listens at the usual port works on other data.
            start = command_line("serve", "--data-dir", str(data_dir))
            raise NotReachable(f"no runtime works on {data_dir}", f"start it with `{start}`")
        return found or endpoints.expected(settings.gateway)

    return locate


async def _at_terminal(locate: Callable[[], Endpoint], key: str, agent: str | None) -> int:
    from prompt_toolkit.patch_stdout import patch_stdout

    from runtime.cli.terminal import Terminal

    # Ctrl-C is a key while a line is edited, and a signal in the moments in between.
    with (
        trio.open_signal_receiver(signal.SIGINT) as signals,
        ungrouped(),
        patch_stdout(raw=True),
    ):
        async with trio.open_nursery() as nursery:
            terminal = Terminal(key, lambda: presses.press())
            conversation = Conversation(
                locate,
                key,
                agent,
                terminal,
                greet=lambda mark: terminal.note(_greeting(mark)),
                recall=RECALLED,
            )
            presses = _Presses(conversation, terminal, nursery)
            nursery.start_soon(presses.heed, signals)
            commands = Commands(conversation, terminal)
            await nursery.start(conversation.run)
            while (line := await terminal.read_line()) is not None:
                if not await _take_line(line, conversation, commands):
                    break
            if conversation.unanswered:
                count = number_of(conversation.unanswered, "message")
                terminal.note(f"{count} in work; the answers will be in the conversation.")
            nursery.cancel_scope.cancel()
    return 0


async def _take_line(line: str, conversation: Conversation, commands: Commands) -> bool:
    """Do what a typed line says. Returns False when the person wants to leave."""
    if _is_command(line):
        return await commands.run(line)
    text = _text(line)
    if text:
        busy = conversation.unanswered > 0
        await conversation.say(text)
        if busy:
            await commands.run("/queue")
    return True


async def _in_pipe(locate: Callable[[], Endpoint], key: str, agent: str | None) -> int:
    screen = PipeScreen()
    code = INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT) as signals, ungrouped():
        async with trio.open_nursery() as nursery:
            conversation = Conversation(locate, key, agent, screen, PATIENCE)
            presses = _Presses(conversation, screen, nursery)
            nursery.start_soon(presses.heed, signals)
            await nursery.start(conversation.run)
            code = await _say_lines(conversation, Commands(conversation, screen))
            nursery.cancel_scope.cancel()
    return code


async def _say_lines(conversation: Conversation, commands: Commands) -> int:
    """Say each line of standard input when the one before has been answered."""
    code = 0
    while line := await trio.to_thread.run_sync(sys.stdin.buffer.readline, abandon_on_cancel=True):
        typed = line.decode(errors="replace")
        if _is_command(typed):
            if not await commands.run(typed):
                break
        elif text := _text(typed):
            message = await conversation.say(text)
            await message.done.wait()
            code = {"failed": FAILURE, "cancelled": INTERRUPTED}.get(message.outcome, code)
            if message.outcome == "cancelled":
                break
    return code


def _is_command(line: str) -> bool:
    return line.startswith("/") and not line.startswith("//")


def _text(line: str) -> str:
    return line.removeprefix("/").strip() if line.startswith("//") else line.strip()


def _greeting(mark: SessionMark) -> str:
    known = number_of(mark.journal_seq, "line")
    past = f", {known} so far" if mark.journal_seq else ""
    greeting = f"Session {mark.key}, agent {mark.agent}{past}. /help for help, Ctrl-D leaves."
    if mark.journal_seq > RECALLED:
        greeting += f"\nThe last lines follow in short; `sessions tail {mark.key}` has more."
    return greeting
