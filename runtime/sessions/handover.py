"""Whose a file is: one lease per message and file, one handover per turn (H1–H8).

A *lease* says that a message which has not come to its end refers to a file:

=========  =========  =========  ===========  =========  =========
lease      admitted   claimed    first event  returned   ended
=========  =========  =========  ===========  =========  =========
none       queued                                        discarded
staged     queued                                        discarded
queued     queued     offered    owned        queued     discarded
offered    queued     offered    owned        queued     discarded
owned      queued     owned      owned        queued     owned
discarded  queued                                        discarded
=========  =========  =========  ===========  =========  =========

``staged``: the file is on disk, its message is not accepted yet. ``queued``: the message waits.
``offered``: a turn has it, and its agent has not begun. ``owned``: the agent has begun, so the
conversation refers to the file. ``discarded``: the message has come to its end, and the handover
never happened (H2). A message that waits again after its turn had begun, because the runtime died
(T5 d), is queued once more; that its file was handed over stays true.

An empty place cannot be: the store admits before it claims, and its changes come in the order of
its commits.

**The file** is in flight while any lease of it is staged, queued or offered. Otherwise it belongs
to the session when it was ever handed over, and to nobody when it was not. Only two things remove
what is the session's: the cap, and the session's end. Nothing removes what is in flight.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Lease(StrEnum):
    """Where a message stands that refers to a file."""

    STAGED = "staged"
    QUEUED = "queued"
    OFFERED = "offered"
    OWNED = "owned"
    DISCARDED = "discarded"


class Step(StrEnum):
    """What can happen to a message."""

    ADMITTED = "admitted"
    CLAIMED = "claimed"
    FIRST_EVENT = "first_event"
    RETURNED = "returned"
    ENDED = "ended"


class Owner(StrEnum):
    """Whose a file is."""

    IN_FLIGHT = "in_flight"
    SESSION = "session"
    NOBODY = "nobody"


class ImpossibleStep(Exception):
    """A message cannot do that where it stands."""


_WAITING = {
    Step.ADMITTED: Lease.QUEUED,
    Step.CLAIMED: Lease.OFFERED,
    Step.FIRST_EVENT: Lease.OWNED,
    Step.RETURNED: Lease.QUEUED,
    Step.ENDED: Lease.DISCARDED,
}
_NOT_WAITING = {Step.ADMITTED: Lease.QUEUED, Step.ENDED: Lease.DISCARDED}
_TABLE: dict[Lease | None, dict[Step, Lease]] = {
    None: _NOT_WAITING,
    Lease.STAGED: _NOT_WAITING,
    Lease.QUEUED: _WAITING,
    Lease.OFFERED: _WAITING,
    Lease.OWNED: {
        Step.ADMITTED: Lease.QUEUED,
        Step.CLAIMED: Lease.OWNED,
        Step.FIRST_EVENT: Lease.OWNED,
        Step.RETURNED: Lease.QUEUED,
        Step.ENDED: Lease.OWNED,
    },
    Lease.DISCARDED: _NOT_WAITING,
}
_IN_FLIGHT = frozenset((Lease.STAGED, Lease.QUEUED, Lease.OFFERED))


def after(lease: Lease | None, step: Step) -> Lease:
    """The lease after a step of its message.

    Args:
        lease: as it is; None when there is none yet.
        step: what happens.

    Raises:
        ImpossibleStep: see the table.
    """
    try:
        return _TABLE[lease][step]
    except KeyError:
        raise ImpossibleStep(f"{step} of a message whose file is {lease or 'unknown'}") from None


def is_in_flight(lease: Lease) -> bool:
    """Whether a file must stay for this lease."""
    return lease in _IN_FLIGHT


def owner(leases: Iterable[Lease], *, handed_over: bool) -> Owner:
    """Whose a file is.

    Args:
        leases: those of all messages that refer to it.
        handed_over: whether an agent ever began to answer a prompt with it.
    """
    if any(map(is_in_flight, leases)):
        return Owner.IN_FLIGHT
    return Owner.SESSION if handed_over else Owner.NOBODY


class Handover:
    """The handover of one turn: it happens once, or it is called off, whichever comes first.

    The first event of the agent's stream hands over (H1). ``/queue clear`` and its like call it off
    as long as there was none; an event that arrives later changes nothing then (H3).
    """

    def __init__(self) -> None:
        self._at: int | None = None
        self._withdrawn = False

    @property
    def at(self) -> int | None:
        """When it happened, in ms since 1970; None when it has not."""
        return self._at

    @property
    def withdrawn(self) -> bool:
        """Whether it was called off."""
        return self._withdrawn

    def first_event(self, now_ms: int) -> bool:
        """The agent has said something; whether that hands over."""
        if self._withdrawn or self._at is not None:
            return False
        self._at = now_ms
        return True

    def withdraw(self) -> bool:
        """Call it off; whether it is called off: not when it has happened."""
        self._withdrawn = self._at is None
        return self._withdrawn
