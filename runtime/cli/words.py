"""How to say things to a person: what to type next, sizes, times."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def program() -> str:
    """How this program is typed here: the shortest way that starts the same interpreter."""
    name = Path(sys.argv[0]).name
    if name == "greenroom":
        return name
    interpreter = Path(sys.executable)
    if shutil.which(interpreter.name) == sys.executable:
        return f"{interpreter.name} -m runtime"
    if interpreter.is_relative_to(Path.cwd()):
        interpreter = interpreter.relative_to(Path.cwd())
    return f"{shlex.quote(str(interpreter))} -m runtime"


def command_line(*arguments: str) -> str:
    """A command of this program as it can be pasted into a shell."""
    return " ".join((program(), *map(shlex.quote, arguments)))


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    print()


def moment(milliseconds: int | None) -> str:
    """A time in ms since 1970 as local time to the second; ``-`` for none."""
    if milliseconds is None:
        return "-"
    utc = datetime.fromtimestamp(milliseconds / 1_000, tz=UTC)
    return utc.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def amount(size: int) -> str:
    """Bytes as people read them: ``512 B``, ``3.4 MiB``."""
    for unit, name in ((1_024**4, "TiB"), (1_024**3, "GiB"), (1_024**2, "MiB"), (1_024, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def shortened(text: str, length: int = 200) -> str:
    """A text as one line of at most so many characters."""
    line = " ".join(text[: 2 * length].split())
    return line if len(line) <= length and len(text) <= 2 * length else f"{line[: length - 1]}…"


def on_terminal() -> bool:
    """Whether a person sits at both ends: keyboard and screen."""
    return os.isatty(0) and os.isatty(1)
