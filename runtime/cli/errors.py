"""Errors as a person sees them: what happened, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runtime.cli.words import command_line

if TYPE_CHECKING:
    from runtime.settings import Problem

FAILURE = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

NO_SUCH_CHANNEL = (
    "what is set there holds for nothing under `serve`; a program that embeds the runtime may have "
    "such a channel"
)
"""What follows from settings of a channel that is not there."""

DOCTOR = "python -m runtime doctor"
"""How the engine, which does not know the command line, calls the command that looks for causes."""


class CommandError(Exception):
    """A command cannot do what was asked.

    Args:
        message: what happened, in a sentence without a full stop.
        hint: what to do next; None where the message says it.
        code: the exit code.
    """

    def __init__(self, message: str, hint: str | None = None, code: int = FAILURE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


@contextmanager
def ungrouped() -> Iterator[None]:
    """Take a single exception out of the groups that nurseries wrap around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        if len(leaves) == 1:
            raise leaves[0] from leaves[0].__cause__
        raise


def explain(error: BaseException, arguments: Sequence[str] = ()) -> CommandError | None:
    """What to tell a person about an error that is not a defect; None when it is one.

    Args:
        error: what was raised.
        arguments: the command line; a command to type next works on the same data.
    """
    doctor = command_line("doctor", *_same_place(arguments))
    known = [_explain(leaf, doctor) for leaf in _leaves(error)]
    return known[0] if known and all(known) else None


def _same_place(arguments: Sequence[str]) -> Iterator[str]:
    """The options of a command line that say which settings and which data are meant."""
    for place, argument in enumerate(arguments):
        name, is_one, _ = argument.partition("=")
        if name in ("--config", "--data-dir"):
            yield from (argument,) if is_one else arguments[place : place + 2]


def _explain(error: BaseException, doctor: str) -> CommandError | None:
    from runtime.gateway.config import GatewayError
    from runtime.settings import SettingsError
    from runtime.storage.errors import StoreError
    from runtime.storage.media_errors import MediaError

    match error:
        case CommandError():
            return error
        case SettingsError():
            lines = "".join(f"\n  {problem}" for problem in error.problems)
            hint = settings_hint(error.problems)
            return CommandError(f"the settings cannot be used:{lines}", hint)
        case StoreError() | GatewayError() | MediaError():
            return CommandError(str(error).replace(DOCTOR, doctor))
        case OSError() if error.errno is not None:
            where = f"{error.filename}: " if error.filename else ""
            return CommandError(f"{where}{error.strerror or error}")
    return None


def settings_hint(problems: Sequence[Problem]) -> str:
    """What to do about problems of the settings."""
    if any("file that can be read" in problem.expected for problem in problems):
        return (
            "put the file there, or name another; the user that runs this must be able to read it"
        )
    if all(problem.path for problem in problems):
        return "docs/runtime.example.toml shows every setting with its default"
    if any(problem.expected.startswith("TOML") for problem in problems):
        return "put the line right; docs/runtime.example.toml is a file as it should be"
    return f"put it right, then `{command_line('config', 'check')}` says whether all is well"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
