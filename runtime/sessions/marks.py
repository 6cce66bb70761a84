"""The mark of what is sent again although it may have arrived (O2), and the room it needs.

A network whose messages are short takes a short mark, so that little is lost of each. Both stand on
a line of their own: a code block that a part begins with stays one.

====================  =============================================  ====================
a network's limit     room left in each part                         the mark
====================  =============================================  ====================
long enough           for the sentence                               the sentence
shorter               for the word                                   the longest that fits
====================  =============================================  ====================
"""

from __future__ import annotations

from runtime.sessions.split import MINIMUM_LIMIT, Counting, split

DUPLICATE_MARK = "(This message may have reached you before.)\n"
SHORT_MARK = "(again)\n"

SHORTEST_MESSAGES = MINIMUM_LIMIT + len(SHORT_MARK)
"""The smallest limit of a network: an answer is split, and each part can be marked."""

_LONG_ENOUGH = 4 * len(DUPLICATE_MARK)


def room_for_mark(limit: int) -> int:
    """How much of a network's limit is left free in each part, however it counts: the marks are
    ASCII.
    """
    return len(DUPLICATE_MARK if limit >= _LONG_ENOUGH else SHORT_MARK)


def marked(text: str, limit: int, counting: Counting) -> str:
    """A text that says that it may have come before, within the limit wherever there is room. It
    says so once.
    """
    if text.startswith((DUPLICATE_MARK, SHORT_MARK)):
        return text
    whole = DUPLICATE_MARK + text
    return whole if split(whole, limit, counting) == (whole,) else SHORT_MARK + text
