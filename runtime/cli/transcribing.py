"""What ``doctor`` says of the transcriber, as far as can be seen without asking it anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from runtime.cli.findings import Finding
from runtime.processes.environment import child_environment
from runtime.processes.programs import CannotStart, find_program
from runtime.settings import Settings, is_loopback

_NAME = "transcriber"


def transcriber_findings(settings: Settings) -> Iterator[Finding]:
    """Look for the program, or at how the service is reached; nothing where there is neither."""
    transcriber = settings.media.transcriber
    if transcriber.url is not None:
        parts = urlsplit(transcriber.url)
        where = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme == "https" or is_loopback(parts.hostname or ""):
            yield Finding(_NAME, "ok", where)
        else:
            text = f"what people say crosses the network in the clear, to {where}"
            yield Finding(_NAME, "warning", text, "use an https address in media.transcriber.url")
    elif transcriber.command:
        yield _program(transcriber.command[0])


def _program(program: str) -> Finding:
    hint = "see to media.transcriber.command"
    if os.sep in program and not Path(program).is_absolute():
        text = f"{program} is looked for in an empty folder"
        return Finding(_NAME, "problem", text, "give its full path in media.transcriber.command")
    try:
        found = find_program(program, Path(), child_environment(os.environ, (), {}, marker=""))
    except CannotStart as error:
        return Finding(_NAME, "problem", str(error), hint)
    return Finding(_NAME, "ok", found)
