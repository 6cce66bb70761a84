"""What can be wrong with settings, said so that a person can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

_LONGEST_GIVEN = 60


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Args:
        path: which setting, as in ``gateway.port``; empty when it is about a whole source.
        expected: what should be there, continuing "expected ...".
        given: what is there, as it would be written; None when it is missing or must not be shown.
        source: where it was given: a file, a variable, a flag; None for a value set in code.
        suggestion: the name that was probably meant, complete with where it goes.
    """

    path: str
    expected: str
    given: str | None = None
    source: str | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"{self.path} ({self.source})" if self.source and self.path else self.path
        text = f"{where or self.source or 'settings'}: "
        if self.given is not None:
            text += f"{self.given} was given, "
        text += f"expected {self.expected}"
        if self.suggestion is not None:
            text += f"; did you mean {self.suggestion}?"
        return text


class SettingsError(Exception):
    """The settings cannot be used. Carries every problem there is, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(value: object) -> str:
    """A value as it would be written, cut to a readable length."""
    try:
        text = msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        text = repr(value)
    return text if len(text) <= _LONGEST_GIVEN else f"{text[: _LONGEST_GIVEN - 1]}…"


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, if one is near enough."""
    lowered = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def listed(names: Iterable[Any]) -> str:
    """``a, b or c``; empty for nothing."""
    texts = [str(name) for name in names]
    *head, last = texts or [""]
    return f"{', '.join(head)} or {last}" if head else last
