"""A screen that remembers."""

from runtime.cli.errors import CommandError
from runtime.cli.screen import Screen


class Paper(Screen):
    """Writes down what is shown."""

    def __init__(self) -> None:
        self.lines = [""]

    def say(self, text: str) -> None:
        self.lines[-1] += text

    def end_answer(self, *, own: bool, text: str | None = None) -> None:
        if self.lines[-1]:
            self.lines[-1] += "." if own else "…"
            self.lines.append("")

    def note(self, text: str) -> None:
        self.end_answer(own=False)
        self.lines[-1:] = [f"({text})", ""]

    def error(self, error: CommandError) -> None:
        self.note(f"error: {error}")

    def state(self, text: str) -> None:
        raise AssertionError

    @property
    def shown(self) -> list[str]:
        return [line for line in self.lines if line]
