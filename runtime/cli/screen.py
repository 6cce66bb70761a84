"""What a conversation looks like on a screen, or in a pipe."""

from __future__ import annotations

import sys
import unicodedata
from abc import ABC, abstractmethod

from runtime.cli.errors import CommandError


class Screen(ABC):
    """Where a conversation is shown. Nothing here waits."""

    @abstractmethod
    def say(self, text: str) -> None:
        """A piece of an answer, to be appended to what was said before."""

    @abstractmethod
    def end_answer(self, *, own: bool, text: str | None = None) -> None:
        """The answer is complete.

        Args:
            own: it answers what this person said.
            text: all of it as it is kept, where that is known.
        """

    @abstractmethod
    def note(self, text: str) -> None:
        """A line about what happens in the course of an answer."""

    def aside(self, text: str) -> None:
        """A line that has nothing to do with the answer that may be under way."""
        self.note(text)

    def question(self, text: str) -> None:
        """Something that this person is asked."""
        self.note(text)

    @abstractmethod
    def error(self, error: CommandError) -> None:
        """Something did not work; the conversation goes on."""

    @abstractmethod
    def state(self, text: str) -> None:
        """What goes on just now, where there is a place for it."""


class PipeScreen(Screen):
    """Answers to standard output, whole; everything else to standard error."""

    def __init__(self) -> None:
        self._answer: list[str] = []

    def say(self, text: str) -> None:
        """Keep it until the answer is complete: others may talk in the session as well."""
        self._answer.append(text)

    def end_answer(self, *, own: bool, text: str | None = None) -> None:
        """Print the answer, with a newline at its end, unless it was for somebody else."""
        whole = "".join(self._answer) if text is None else text
        answer = whole if own else ""
        self._answer.clear()
        if sys.stdout.isatty():
            answer = printable(answer)
        if answer:
            print(answer, end="" if answer.endswith("\n") else "\n", flush=True)

    def note(self, text: str) -> None:
        """Print it for the person who watches."""
        print(printable(text), file=sys.stderr, flush=True)

    def error(self, error: CommandError) -> None:
        """Print it in the way of all errors."""
        self.note(f"error: {error}")
        if error.hint is not None:
            self.note(f"hint: {error.hint}")

    def state(self, text: str) -> None:
        """There is no place for it."""


def printable(text: str) -> str:
    """The text without characters that would steer the terminal."""
    return "".join(
        letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc"
    )
