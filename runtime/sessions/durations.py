"""Durations as people write them: ``500ms``, ``1.5s``, ``10m``, ``24h``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re
from decimal import Decimal

LONGEST_DURATION = 36_500 * 86_400.0
"""Seconds. A hundred years: as milliseconds it fits every clock and column that it meets."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AMOUNT = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile(rf"(?:{_AMOUNT}(?:ms|[smhd]))+", re.ASCII)
_PART = re.compile(rf"({_AMOUNT})(ms|[smhd])", re.ASCII)


def parse_duration(text: str) -> float:
    """The seconds of a duration such as ``500ms``, ``1.5s``, ``10m``, ``24h``, ``7d`` or ``1h30m``.

    Raises:
        ValueError: it is written otherwise, or over a hundred years.
    """
    if _DURATION.fullmatch(text) is None:
        raise ValueError
    seconds = float(
        sum(Decimal(amount) * Decimal(str(_UNITS[unit])) for amount, unit in _PART.findall(text))
    )
    if seconds > LONGEST_DURATION:
        raise ValueError("a duration of at most 36500d")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest duration text that `parse_duration` reads as exactly these seconds.

    Raises:
        ValueError: not a number of seconds from 0 to a hundred years.
    """
    if not 0 <= seconds <= LONGEST_DURATION:
        raise ValueError(f"not a duration: {seconds}")
    if not seconds:
        return "0s"
    exact = Decimal(repr(seconds))
    for unit in ("d", "h", "m"):
        amount = exact / Decimal(_UNITS[unit])
        if amount == amount.to_integral_value():
            return f"{int(amount)}{unit}"
    if exact < 1 and exact * 1_000 == (exact * 1_000).to_integral_value():
        return f"{int(exact * 1_000)}ms"
    return f"{int(exact)}s" if exact == exact.to_integral_value() else f"{exact:f}s"
