"""What can be said to the janitor, and what it answers."""

from __future__ import annotations

import msgspec

from runtime.kernel import Message, Request


class Swept(msgspec.Struct, frozen=True):
    """What a sweep removed: files and bytes, and how many could not be."""

    files: int = 0
    size: int = 0
    problems: int = 0


class Look(Message, frozen=True):
    """Something may be nobody's, new in an outbox, over the cap; or a session was closed (S43)."""


class LookSoon(Message, frozen=True):
    """Something may be new in an outbox, as after every turn: one look is for many of them."""


class MakeRoom(Request[None], frozen=True):
    """Evict until ``size`` more bytes fit under the cap, and ``lack`` more bytes of the disk are
    free.
    """

    size: int
    lack: int


class Sweep(Request[Swept], frozen=True):
    """Enforce everything now."""


class SweepAgain(Message, frozen=True):
    """It is time for a sweep."""


class Reconcile(Message, frozen=True):
    """It is time to hold the index against the disk."""


JanitorMessage = Look | LookSoon | MakeRoom | Sweep | SweepAgain | Reconcile
