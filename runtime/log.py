"""Logs. Everything is logged through `logging`, so a program that embeds the runtime keeps its own.

`get_logger` is what the engine logs with: an event and its values, to which the path of the actor
and what it wants to see in its lines are added. `configure` is for a process that is the runtime:
lines on standard error, those of libraries like the others.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog
from structlog.types import EventDict, Processor

from runtime.kernel import current_actor
from runtime.settings import LogSettings


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set up the logs of this process. Called once, before anything is logged.

    Args:
        settings: the least level, and the format.
        stream: where the lines go; None for standard error.
    """
    stream = stream if stream is not None else sys.stderr
    as_json = settings.format == "json" or (settings.format == "auto" and not stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json_lines() if as_json else _console_lines(stream)),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)
    # These report every frame and every task at the level of a person's own debugging.
    for chatty in ("trio-websocket",):
        logging.getLogger(chatty).setLevel(logging.INFO)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger of events with values, which ends in `logging`'s logger of that name."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            _add_actor,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.render_to_log_kwargs,
        ],
    )
    return logger


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


def _json_lines() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _console_lines(stream: TextIO) -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _to_json(line: dict[str, Any], **_options: Any) -> str:
    first = {name: line[name] for name in ("timestamp", "level", "message") if name in line}
    return msgspec.json.encode(first | line, enc_hook=repr).decode()
