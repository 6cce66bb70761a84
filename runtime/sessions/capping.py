"""What chats are told when the cap takes messages from a full queue (Q4).

A chat is told once per burst, that is until a turn begins. So what it is told has to hold for all
that is said meanwhile, and says what to do about it.
"""

from __future__ import annotations

from enum import StrEnum


class Overflow(StrEnum):
    """Which messages go when there are too many."""

    SUMMARIZE = "summarize"
    OLD = "old"
    NEW = "new"
    COMMANDS = "commands"
    """New ones, which are commands."""

    @property
    def notice(self) -> str:
        """What a chat is told, once, when the first of its messages goes."""
        return _NOTICES[self]


_NOTICES = {
    Overflow.SUMMARIZE: (
        "Too many messages are waiting. Until there is an answer each new one pushes out the"
        " oldest, of which the agent reads only the beginning: if the rest matters, send it again"
        " then."
    ),
    Overflow.OLD: (
        "Too many messages are waiting. Until there is an answer each new one pushes out the"
        " oldest: send that again then if it is still wanted."
    ),
    Overflow.NEW: (
        "Too many messages are waiting. No more are taken until there is an answer: send them again"
        " then."
    ),
    Overflow.COMMANDS: (
        "Too many commands are waiting. No more are taken until some are done: send them again"
        " then."
    ),
}
