"""Logs. Everything is logged through `logging`, so a program that embeds the runtime keeps its own.

`get_logger` is what the engine logs with: an event and its values, to which the path of the actor
and what it wants to see in its lines are added, and what `log_context` says of the code that runs.
`configure` is for a process that is the runtime: lines on standard error, those of libraries like
the others, and no secret in any of them.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TextIO
from urllib.parse import quote

import msgspec
import structlog
from structlog.types import EventDict, Processor

from runtime.kernel import current_actor
from runtime.settings import LogSettings

SHORTEST_SECRET = 4
"""Characters. A shorter one cannot be taken out of a text without taking the text apart."""

HIDDEN = "***"


class Logs:
    """The logs of this process: from which level on, in which format, and what they never show.

    Made by `configure`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._handler = _Handler(stream)
        logging.basicConfig(handlers=[self._handler], force=True)
        # These report every frame and every task at the level of a person's own debugging.
        for chatty in ("trio-websocket",):
            logging.getLogger(chatty).setLevel(logging.INFO)
        # And these, already at that of every day, every address with all that is in it.
        for chatty in ("httpx2", "httpcore2"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._secrets: dict[str, None] = {}
        self._hidden: re.Pattern[str] | None = None

    def apply(self, settings: LogSettings) -> None:
        """Go by these settings from now on."""
        as_json = settings.format == "json" or (
            settings.format == "auto" and not self._stream.isatty()
        )
        self._handler.setFormatter(
            _Formatter(
                self._without_secrets,
                foreign_pre_chain=_shared_processors(),
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *(_json_lines() if as_json else _text_lines(self._stream)),
                ],
            )
        )
        logging.getLogger().setLevel(settings.level.upper())

    def hide(self, secrets: Iterable[str]) -> None:
        """Show ``***`` instead of these from now on, and of those that were given before.

        They are found as they are, and as JSON, Python, a URL or base64 would write them, anywhere
        in a line, also in a traceback. Those shorter than `SHORTEST_SECRET` are not.
        """
        for secret in secrets:
            if len(secret) >= SHORTEST_SECRET:
                self._secrets.update(dict.fromkeys(_spellings(secret)))
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._hidden = (
            re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        )

    def _without_secrets(self, line: str) -> str:
        return line if self._hidden is None else self._hidden.sub(HIDDEN, line)


def configure(
    settings: LogSettings, stream: TextIO | None = None, secrets: Iterable[str] = ()
) -> Logs:
    """Set up the logs of this process, before anything is logged.

    Args:
        settings: the least level, and the format.
        stream: where the lines go; None for standard error.
        secrets: what no line may show, see `Logs.hide`.

    Returns:
        What changes them later.
    """
    logs = Logs(stream if stream is not None else sys.stderr)
    logs.hide(secrets)
    logs.apply(settings)
    return logs


def log_context(**values: object) -> AbstractContextManager[None]:
    """Have these values in every line that is logged in the block, and in tasks that it starts.

        with log_context(turn=turn_id):
            ...

    A value that is given with an event goes before one of the context.
    """
    return structlog.contextvars.bound_contextvars(**values)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger of events with values, which ends in `logging`'s logger of that name."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _add_actor,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.render_to_log_kwargs,
        ],
    )
    return logger


def _shared_processors() -> list[Processor]:
    """What every line gets, whoever logs it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _add_actor,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _add_actor(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Whose code logs this: the kernel binds it per drain (K13)."""
    actor = current_actor.get()
    if actor is not None:
        event.setdefault("actor", actor.path)
        for key, value in actor.log_context.items():
            event.setdefault(key, value)
    return event


class _Handler(logging.StreamHandler[TextIO]):
    """Nobody reading the log any more must not stop the work."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name it has
        with contextlib.suppress(OSError, ValueError):
            if not isinstance(sys.exception(), (OSError, ValueError)):
                super().handleError(record)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders a record, and leaves secrets out of what was rendered, tracebacks included."""

    def __init__(self, without_secrets: Callable[[str], str], **options: Any) -> None:
        super().__init__(**options)
        self._without_secrets = without_secrets

    def format(self, record: logging.LogRecord) -> str:
        return self._without_secrets(super().format(record))


def _spellings(secret: str) -> Iterator[str]:
    """How a secret looks where somebody has written it down."""
    yield secret
    as_json = msgspec.json.encode(secret).decode()[1:-1]
    yield as_json
    yield msgspec.json.encode(as_json).decode()[1:-1]
    as_python = repr(secret)[1:-1]
    yield as_python
    yield msgspec.json.encode(as_python).decode()[1:-1]
    yield quote(secret, safe="")
    yield quote(secret)
    yield base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")
    yield base64.b64encode(secret.encode()).decode().rstrip("=")


def _json_lines() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _text_lines(stream: TextIO) -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _to_json(line: dict[str, Any], **_options: Any) -> str:
    first = {name: line[name] for name in ("timestamp", "level", "message") if name in line}
    return msgspec.json.encode(first | line, enc_hook=repr).decode()
