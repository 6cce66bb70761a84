"""The queue settings of one session, and how people type them (Q3, Q5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec

from runtime.sessions.durations import LONGEST_DURATION, format_duration, parse_duration
from runtime.sessions.modes import MODES_IN_WORDS, mode_named
from runtime.sessions.rows import DropName, QueueOverrides

DROPS: tuple[str, ...] = get_args(DropName)
LARGEST_CAP = 10_000


class BadOverride(ValueError):
    """A queue setting that cannot be.

    Args:
        field: which one, as it is called in `QueueOverrides`.
        text: why, for people.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def checked_overrides(overrides: QueueOverrides) -> QueueOverrides:
    """Queue settings under their proper names. Raises `BadOverride`."""
    mode = overrides.mode
    if mode is not None:
        try:
            mode = mode_named(mode).value
        except ValueError:
            raise BadOverride(
                "mode", f"{overrides.mode!r} is no queue mode; choose {MODES_IN_WORDS}"
            ) from None
    if overrides.cap is not None and not 1 <= overrides.cap <= LARGEST_CAP:
        raise BadOverride("cap", f"the cap is from 1 to {LARGEST_CAP}")
    if overrides.drop is not None and overrides.drop not in DROPS:
        raise BadOverride("drop", "drop is old, new or summarize")
    for name in ("debounce", "debounce_max"):
        seconds = getattr(overrides, name)
        if seconds is not None and not 0 <= seconds <= LONGEST_DURATION:
            raise BadOverride(name, "a debounce is from 0 to a hundred years")
    return msgspec.structs.replace(overrides, mode=mode)


_ALONE = ("clear", "default", "reset", "status")
"""What follows ``/queue`` and is no setting."""


def typed_overrides(words: Sequence[str], before: QueueOverrides) -> QueueOverrides:
    """What is typed after ``/queue``: a mode, ``debounce:2s``, ``debounce_max:10s``, ``cap:25``,
    ``drop:old``, each at most once, in any order.

    Args:
        words: in lower case.
        before: what holds of the session already; what is not named stays.

    Raises:
        BadOverride: what is typed is none of these.
    """
    found: dict[str, object] = {}
    for word in words:
        name, colon, value = word.partition(":")
        if not colon:
            name, value = "mode", word
            if word in _ALONE and len(words) > 1:
                raise BadOverride(name, f"/queue {word} stands alone, with nothing before or after")
        if name in found:
            raise BadOverride(name, f"there are two values for {name}")
        found[name] = _read(name, value)
    return checked_overrides(msgspec.structs.replace(before, **found))


def in_words(overrides: QueueOverrides) -> str:
    """Queue settings as one would type them; empty when there are none."""
    words = [overrides.mode] if overrides.mode is not None else []
    for name in ("debounce", "debounce_max"):
        seconds = getattr(overrides, name)
        words += [f"{name}:{format_duration(seconds)}"] if seconds is not None else []
    words += [f"cap:{overrides.cap}"] if overrides.cap is not None else []
    words += [f"drop:{overrides.drop}"] if overrides.drop is not None else []
    return " ".join(words)


def _read(name: str, value: str) -> object:
    match name:
        case "mode" | "drop":
            return value
        case "cap":
            if not value.isascii() or not value.isdigit() or len(value) > 9:
                raise BadOverride(name, f"{value!r} is no cap; write one as in cap:25")
            return int(value)
        case "debounce" | "debounce_max":
            try:
                return parse_duration(value)
            except ValueError:
                raise BadOverride(
                    name, f"{value!r} is no duration; write one as in {name}:2s"
                ) from None
        case _:
            raise BadOverride(
                name,
                f"there is no queue setting {name!r}; there are debounce, debounce_max, cap and"
                " drop",
            )
