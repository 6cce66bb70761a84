"""What ``chat`` does: lines from a keyboard or a pipe, answers to questions, Ctrl-C."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import AsyncIterator, Callable

import msgspec
import trio

from runtime import endpoint as endpoints
from runtime.cli.client import NotReachable
from runtime.cli.commands import Commands
from runtime.cli.conversation import Conversation
from runtime.cli.errors import FAILURE, INTERRUPTED, CommandError, ungrouped
from runtime.cli.questions import Asking
from runtime.cli.saying import Talk
from runtime.cli.screen import PipeScreen, Screen
from runtime.cli.words import command_line, on_terminal
from runtime.endpoint import Endpoint
from runtime.protocol.extensions import SessionMark
from runtime.sessions.numbers import number_of
from runtime.sessions.permissions import PermissionPolicy
from runtime.settings import Loaded

PATIENCE = 60.0
"""Seconds for which a script waits for a runtime that was lost."""

RECALLED = 4
"""Lines of a conversation that are shown in short to a person who comes back to it."""

SECOND_PRESS = 2.0
"""Seconds within which a second Ctrl-C means to leave."""


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
        busy = self._conversation.unanswered or self._conversation.asked
        if not busy or now - self._cancelled_at < SECOND_PRESS:
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


async def talk(
    loaded: Loaded, wish: Talk, permissions: PermissionPolicy | None, url: str | None
) -> int:
    """Talk until the person leaves, or the pipe ends.

    Args:
        loaded: the settings.
        wish: the session, and how to talk in it.
        permissions: who decides what the agent may do; None for the person, or for a script: no.
        url: the runtime; None for that of the data directory.

    Raises:
        CommandError: the runtime cannot be reached.
    """
    locate = _locator(loaded, url)
    if on_terminal():
        asking = Asking(permissions or "ask", dialog=True)
        return await _at_terminal(
            locate, msgspec.structs.replace(wish, asking=asking, recall=RECALLED)
        )
    asking = Asking(permissions or "deny")
    return await _in_pipe(locate, msgspec.structs.replace(wish, asking=asking, patience=PATIENCE))


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


async def _at_terminal(locate: Callable[[], Endpoint], wish: Talk) -> int:
    from prompt_toolkit.patch_stdout import patch_stdout

    from runtime.cli.terminal import Terminal

    # Ctrl-C is a key while a line is edited, and a signal in the moments in between.
    with (
        trio.open_signal_receiver(signal.SIGINT) as signals,
        ungrouped(),
        patch_stdout(raw=True),
    ):
        async with trio.open_nursery() as nursery:
            terminal = Terminal(
                wish.key, lambda: presses.press(), lambda text: commands.completions(text)
            )
            conversation = Conversation(
                locate, wish, terminal, greet=lambda mark: terminal.note(_greeting(mark))
            )
            presses = _Presses(conversation, terminal, nursery)
            nursery.start_soon(presses.heed, signals)
            commands = Commands(conversation, terminal)
            await nursery.start(conversation.run)
            while (line := await terminal.read_line()) is not None:
                try:
                    if not await _take_line(line, conversation, commands):
                        break
                except CommandError as error:
                    terminal.error(error)
            if conversation.unanswered:
                count = number_of(conversation.unanswered, "message")
                terminal.note(f"{count} in work; the answers will be in the conversation.")
            nursery.cancel_scope.cancel()
    return 0


async def _take_line(line: str, conversation: Conversation, commands: Commands) -> bool:
    """Do what a typed line says. Returns False when the person wants to leave.

    Raises:
        CommandError: it cannot be done.
    """
    if conversation.answer(line):
        return True
    text = commands.message_in(line)
    if text is None:
        return await commands.run(line)
    if text or commands.attached:
        busy = conversation.unanswered > 0
        await conversation.say(text, commands.take_attached())
        if busy and conversation.connected:
            await commands.run("/queue")
    return True


async def _in_pipe(locate: Callable[[], Endpoint], wish: Talk) -> int:
    screen = PipeScreen()
    code = INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT) as signals, ungrouped():
        async with trio.open_nursery() as nursery:
            conversation = Conversation(locate, wish, screen)
            presses = _Presses(conversation, screen, nursery)
            nursery.start_soon(presses.heed, signals)
            await nursery.start(conversation.run)
            code = await _say_lines(conversation, Commands(conversation, screen), screen)
            nursery.cancel_scope.cancel()
    return code


async def _say_lines(conversation: Conversation, commands: Commands, screen: Screen) -> int:
    """Say each line of standard input when the one before has been answered."""
    code = 0
    while line := await trio.to_thread.run_sync(sys.stdin.buffer.readline, abandon_on_cancel=True):
        typed = line.decode(errors="replace")
        text = commands.message_in(typed)
        if text is None:
            try:
                if not await commands.run(typed):
                    break
            except CommandError as error:
                screen.error(error)
                code = FAILURE
        elif text or commands.attached:
            message = await conversation.say(text, commands.take_attached())
            await message.done.wait()
            code = {"failed": FAILURE, "cancelled": INTERRUPTED}.get(message.outcome, code)
            if message.outcome == "cancelled":
                break
    if commands.attached:
        names = ", ".join(file.name for file in commands.attached)
        hint = "a message has to come after /attach; an empty line sends the files alone"
        screen.error(CommandError(f"not sent: {names}", hint))
        code = code or FAILURE
    return code


def _greeting(mark: SessionMark) -> str:
    known = number_of(mark.journal_seq, "line")
    past = f", {known} so far" if mark.journal_seq else ""
    where = f" in {mark.workspace}" if mark.workspace is not None else ""
    greeting = (
        f"Session {mark.key}, agent {mark.agent}{where}{past}. /help for help, Ctrl-D leaves."
    )
    if mark.journal_seq > RECALLED:
        greeting += f"\nThe last lines follow in short; `sessions tail {mark.key}` has more."
    return greeting
