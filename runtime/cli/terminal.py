"""A person's screen and keyboard: answers stream above a line that can be typed in meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable

import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import AnyFormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from runtime.cli.errors import CommandError
from runtime.cli.screen import Screen, printable

_DIM, _RED, _BOLD, _PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


class _Words(Completer):
    """Completes the last word of a line."""

    def __init__(self, completions: Callable[[str], Iterable[str]]) -> None:
        self._completions = completions

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What the word before the cursor can become."""
        text = document.text_before_cursor
        length = len(text.rpartition(" ")[2])
        if text.startswith("/"):
            for word in self._completions(text):
                yield Completion(word, start_position=-length)


class Terminal(Screen):
    """A terminal that a person sits at. Used inside `prompt_toolkit.patch_stdout.patch_stdout`.

    The line that is being typed is edited in a thread. Finished lines are printed above it; the
    unfinished last line of an answer is shown as the first line of the prompt.

    Args:
        title: what the conversation is, for the line at the bottom.
        interrupted: called on the Trio side when the person presses Ctrl-C with nothing typed.
        completions: what the last word of a line can become; called in the thread of the line.
    """

    def __init__(
        self,
        title: str,
        interrupted: Callable[[], None],
        completions: Callable[[str], Iterable[str]],
    ) -> None:
        self._title = title
        self._state = "idle"
        self._unfinished = ""
        self._broken = False
        self._interrupted = interrupted
        self._trio = trio.lowlevel.current_trio_token()
        self._leaving = False
        self._prompt: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),
            key_bindings=self._keys(),
            completer=_Words(completions),
            complete_while_typing=False,
            erase_when_done=True,
            bottom_toolbar=lambda: f" {self._title} · {self._state} ",
        )

    # -- the screen ---------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print what is complete, show what is not."""
        if self._broken:
            text = text.removeprefix("\n")
            self._broken = False
        *lines, self._unfinished = (self._unfinished + printable(text)).split("\n")
        for line in lines:
            print(line)
        width = max(20, shutil.get_terminal_size().columns - 1)
        while len(self._unfinished) > width:
            # At a blank, so that the row above the typed line never grows into two.
            cut = self._unfinished.rfind(" ", 1, width + 1)
            cut = cut if cut > 0 else width
            print(self._unfinished[:cut])
            self._unfinished = self._unfinished[cut:].removeprefix(" ")
        self._prompt.app.invalidate()

    def end_answer(self, *, own: bool, text: str | None = None) -> None:
        """Print what is left of it."""
        self._broken = False
        if self._unfinished:
            print(self._unfinished)
            self._unfinished = ""
        self._prompt.app.invalidate()

    def note(self, text: str) -> None:
        """Print it, less visible than an answer."""
        self.end_answer(own=False)
        self._broken = True  # the line of the answer ends here, whatever it goes on with
        self.aside(text)

    def question(self, text: str) -> None:
        """Print it, as visible as an answer."""
        self.end_answer(own=False)
        self._broken = True
        print(_styled(_BOLD, printable(text)))

    def aside(self, text: str) -> None:
        """Print it above the unfinished line of an answer."""
        print(_styled(_DIM, printable(text)))

    def error(self, error: CommandError) -> None:
        """Print it, visible."""
        self.end_answer(own=False)
        print(_styled(_RED, f"error: {printable(str(error))}"))
        if error.hint is not None:
            print(_styled(_DIM, f"hint: {printable(error.hint)}"))

    def state(self, text: str) -> None:
        """Show it at the bottom."""
        self._state = text
        self._prompt.app.invalidate()

    # -- the keyboard -------------------------------------------------------------------------

    async def read_line(self) -> str | None:
        """What the person types next; None when they want to leave (Ctrl-D).

        When cancelled the terminal is put back in order before this returns.
        """
        line: str | None = None
        finished = trio.Event()

        async def read() -> None:
            nonlocal line
            with trio.CancelScope(shield=True):
                line = await trio.to_thread.run_sync(self._edit)
            finished.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            try:
                await finished.wait()
            finally:
                self._leaving = not finished.is_set()
                self._leave()
        if line is not None:
            print(_styled(_BOLD, f"> {line}"))
        return line

    def _edit(self) -> str | None:
        try:
            return self._prompt.prompt(self._message, handle_sigint=False, pre_run=self._leave)
        except (EOFError, KeyboardInterrupt):
            return None

    def _message(self) -> AnyFormattedText:
        return f"{self._unfinished}\n> " if self._unfinished else "> "

    def _leave(self) -> None:
        app, loop = self._prompt.app, self._prompt.app.loop
        if self._leaving and loop is not None:
            loop.call_soon_threadsafe(lambda: app.is_running and app.exit(exception=EOFError()))

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        def interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                self._trio.run_sync_soon(self._interrupted)

        return keys


def _styled(style: str, text: str) -> str:
    return text if os.environ.get("NO_COLOR") else f"{style}{text}{_PLAIN}"
