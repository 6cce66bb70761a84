"""The queue modes, and what people call them (Q3)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, TypeAlias


class QueueMode(StrEnum):
    """What becomes of messages that arrive while a turn runs (Q3)."""

    COLLECT = "collect"
    FOLLOWUP = "followup"
    STEER = "steer"
    STEER_BACKLOG = "steer-backlog"
    INTERRUPT = "interrupt"

    @property
    def steers(self) -> bool:
        """Whether a running turn is told what arrives."""
        return self in (QueueMode.STEER, QueueMode.STEER_BACKLOG)


ModeName: TypeAlias = Literal["collect", "followup", "steer", "steer-backlog", "interrupt"]
"""The values of `QueueMode`, for settings that are written in code."""

MODES_IN_WORDS = "collect, followup, steer, steer-backlog or interrupt"

MODE_NAMES: Mapping[str, QueueMode] = {
    **{mode.value: mode for mode in QueueMode},
    "coalesce": QueueMode.COLLECT,
    "follow-up": QueueMode.FOLLOWUP,
    "followups": QueueMode.FOLLOWUP,
    "follow-ups": QueueMode.FOLLOWUP,
    "queue": QueueMode.STEER,
    "queued": QueueMode.STEER,
    "steering": QueueMode.STEER,
    "steer+backlog": QueueMode.STEER_BACKLOG,
    "steer_backlog": QueueMode.STEER_BACKLOG,
    "interrupts": QueueMode.INTERRUPT,
    "abort": QueueMode.INTERRUPT,
}
"""Every name of a mode."""


def mode_named(name: str) -> QueueMode:
    """The mode of a name or one of its aliases, in any case.

    Raises:
        ValueError: there is no such mode; the text says which there are.
    """
    mode = MODE_NAMES.get(name.strip().lower())
    if mode is None:
        raise ValueError(MODES_IN_WORDS)
    return mode
