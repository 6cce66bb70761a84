"""Errors as a person sees them: what happened, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.cli.words import command_line

FAILURE = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


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


def explain(error: BaseException) -> CommandError | None:
    """What to tell a person about an error that is not a defect; None when it is one."""
    known = [_explain(leaf) for leaf in _leaves(error)]
    return known[0] if known and all(known) else None


def _explain(error: BaseException) -> CommandError | None:
    from runtime.gateway.config import GatewayError
    from runtime.settings import SettingsError
    from runtime.storage.errors import StoreError

    match error:
        case CommandError():
            return error
        case SettingsError():
            lines = "".join(f"\n  {problem}" for problem in error.problems)
            return CommandError(
                f"the settings cannot be used:{lines}",
                f"`{command_line('config', 'schema')}` lists every setting",
            )
        case StoreError() | GatewayError():
            return CommandError(str(error))
        case OSError() if error.errno is not None:
            where = f"{error.filename}: " if error.filename else ""
            return CommandError(f"{where}{error.strerror or error}")
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
