"""``chat`` in a terminal, for a person who is a test."""

import os
import pty
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from .conftest import PATIENCE, environment

AT_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.executable, sys.argv[1:])"


class Terminal:
    """A pseudo-terminal with ``chat`` in it, as the one that controls it; closed on leaving."""

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.controller, terminal = pty.openpty()
        chat = [sys.executable, "-m", "runtime", "chat", "--data-dir", str(data_dir), *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *chat],
            env=environment(data_dir.parent, TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1"),
            stdin=terminal,
        )
        os.close(terminal)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self.controller)

    def press(self, keys: str) -> None:
        os.write(self.controller, keys.encode())

    def say(self, text: str) -> None:
        """Enter a text and wait until it stands above the line, where it is not drawn again."""
        self.press(f"{text}\r")
        self.wait_for(f"> {text}\r\n")

    def wait_for(self, *texts: str) -> None:
        """Read until the texts were shown since the last time, in whatever order."""
        while missing := [text for text in texts if text not in self.shown]:
            readable, _, _ = select.select([self.controller], [], [], PATIENCE)
            assert readable, f"{missing!r} was not shown, only {self.shown!r}"
            self.shown += os.read(self.controller, 65_536).decode(errors="replace")
        self.shown = self.shown[max(self.shown.index(text) + len(text) for text in texts) :]

    def wait_for_end(self) -> int:
        """Read until nothing is shown any more. Returns the exit code."""
        with suppress(OSError):  # the way in which a terminal that nobody writes to ends
            while os.read(self.controller, 65_536):
                pass
        return self.process.wait(PATIENCE)
