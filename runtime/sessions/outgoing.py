"""Files that an agent sends: which of those in its outbox are owed, what is said of others (R7).

A file is *the same* for as long as its path, size, time and number in the file system are. What has
become of it is in the rows of deliveries:

==============================  =======================================================
its newest row                  what follows
==============================  =======================================================
there is none                   it is owed, or refused when the chat does not take it
pending, attempting             nothing: it is on its way
failed, abandoned               nothing: it stays until the agent writes it anew
delivered                       it is removed, which a crash had come in between with
==============================  =======================================================

A file of the first and the third kind is the session's own: it stays until the room is needed (M5),
or the session is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from runtime.sessions.media import OutboxFile
from runtime.sessions.rows import OutboundRow, OutboundState, SessionStatus

NAMED = 5
"""How many refused files a notice names."""

AT_ONCE = 100
"""How many files of which nothing has become yet go with one answer; others go with the next."""


class Standing(StrEnum):
    """What is to become of a file in an outbox."""

    OWED = "owed"
    KEPT = "kept"
    UNWANTED = "unwanted"
    STRANGE = "strange"


def standing(session: SessionStatus | None, delivery: OutboundState | None) -> Standing:
    """What is to become of a file in an outbox.

    Args:
        session: the state of the session; None when there is none with such an outbox.
        delivery: the state of the file's newest row; None when it was never owed.

    Returns:
        ``OWED``: it stays. ``KEPT``: it is the session's, until the room is needed (M5).
        ``UNWANTED``: the chat has it, or its session was closed (S43). ``STRANGE``: it is not ours.
    """
    if session is None:
        return Standing.STRANGE
    if delivery in (OutboundState.PENDING, OutboundState.ATTEMPTING):
        return Standing.OWED
    if delivery is OutboundState.DELIVERED or session is not SessionStatus.ACTIVE:
        return Standing.UNWANTED
    return Standing.KEPT


class Outgoing(msgspec.Struct, frozen=True):
    """What follows from a look into an outbox.

    Args:
        owed: to be delivered.
        refused: not taken by the chat: the file and why, in words.
        leftover: delivered before; to be removed.
        waiting: how many more there are, which are dealt with next time.
    """

    owed: tuple[OutboxFile, ...] = ()
    refused: tuple[tuple[OutboxFile, str], ...] = ()
    leftover: tuple[OutboxFile, ...] = ()
    waiting: int = 0


def next_ones(
    found: Sequence[OutboxFile], known: Mapping[OutboxFile, OutboundState]
) -> tuple[list[OutboxFile], int]:
    """The files of an outbox that something follows for now, at most `AT_ONCE` of each kind, and
    how many new ones wait. What has failed or is on its way takes no place among them.

    Args:
        found: what is there, in order.
        known: the state of the newest row of those that have one.
    """
    new = [file for file in found if file not in known]
    delivered = [file for file in found if known.get(file) is OutboundState.DELIVERED]
    return new[:AT_ONCE] + delivered[:AT_ONCE], max(0, len(new) - AT_ONCE)


def sort_out(
    found: Sequence[OutboxFile],
    known: Mapping[OutboxFile, OutboundState],
    max_bytes: int,
    waiting: int = 0,
) -> Outgoing:
    """Decide about the files of an outbox.

    Args:
        found: what is there, in order.
        known: the state of the newest row of those that have one.
        max_bytes: the largest file that the chat takes; 0 when it takes none.
        waiting: how many more there are.
    """
    new = [file for file in found if file not in known]
    reasons = {file: reason for file in new if (reason := refusal(file, max_bytes)) is not None}
    return Outgoing(
        owed=tuple(file for file in new if file not in reasons),
        refused=tuple(reasons.items()),
        leftover=tuple(file for file in found if known.get(file) is OutboundState.DELIVERED),
        waiting=waiting,
    )


def refusal(file: OutboxFile, max_bytes: int) -> str | None:
    """Why a chat does not take a file; None when it does."""
    if max_bytes <= 0:
        return "this chat takes no files"
    if file.size > max_bytes:
        return f"it has {_bytes(file.size)}, and this chat takes {_bytes(max_bytes)} at most"
    return None


def refusal_notice(refused: Sequence[tuple[OutboxFile, str]]) -> str:
    """What the chat is told about refused files; empty for none."""
    if not refused:
        return ""
    lines = [f"{file.name}: {reason}" for file, reason in refused[:NAMED]]
    if len(refused) > NAMED:
        lines.append(f"and {len(refused) - NAMED} more")
    count = "A file was" if len(refused) == 1 else f"{len(refused)} files were"
    return "\n".join((f"{count} not sent, and kept in the agent's outbox.", *lines))


def waiting_notice(count: int) -> str:
    """What the chat is told about files that go with the next answer; empty for none."""
    if count == 0:
        return ""
    files = "One more file waits" if count == 1 else f"{count} more files wait"
    return f"{files} in the agent's outbox for its next answer."


def failure_notice(row: OutboundRow) -> str:
    """What the chat is told when a delivery has failed for good; empty for nothing.

    Of an answer the later parts go on, so that one must not be missing unnoticed (R5). Without its
    first part there is nothing to be noticed, and a notice about a notice would help nobody.
    """
    if row.file is not None:
        return f"The file {row.file.name} could not be delivered; it is kept in the agent's outbox."
    if row.kind == "answer" and row.part > 0:
        return f"Part {row.part + 1} of this answer could not be delivered."
    return ""


def _bytes(size: int) -> str:
    """A size for people."""
    for unit, factor in (("GiB", 1_024**3), ("MiB", 1_024**2), ("KiB", 1_024)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
