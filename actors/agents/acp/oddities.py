"""What an agent did that was passed over: counted, and logged the first time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias

from runtime.log import get_logger
from runtime.protocol import peer

Oddity: TypeAlias = (
    peer.Oddity
    | Literal[
        "too_long",
        "foreign_session",
        "unknown_update",
        "unusable_update",
        "late_update",
        "unknown_notification",
        "unusable_answer",
    ]
)

log = get_logger(__name__)


class Oddities:
    """Counts of one agent's process. Nothing of what it said is logged, it may be private."""

    def __init__(self, agent: str, session: str) -> None:
        self._log = log.bind(agent=agent, session=session)
        self._counts: Counter[Oddity] = Counter()

    @property
    def counts(self) -> Mapping[Oddity, int]:
        """How often each was seen."""
        return self._counts

    def note(self, what: Oddity, error: BaseException | None = None) -> None:
        """Count one."""
        self._counts[what] += 1
        if self._counts[what] == 1:
            self._log.warning("agent_oddity", what=what, exc_info=error)

    def sum_up(self) -> None:
        """Log what was counted more than once; for the end."""
        often = {what: count for what, count in self._counts.items() if count > 1}
        if often:
            self._log.info("agent_oddities", **often)
