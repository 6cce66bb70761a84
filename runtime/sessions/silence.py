"""Replies that say that there is nothing to say (R6).

An agent answers ``NO_REPLY`` when it has read a message and nobody needs an answer. The word
counts when it is the whole of the last line, with nothing but punctuation behind it; whatever is
on the lines before it was the agent thinking aloud, and is not delivered either. Inside a longer
word, or on a line with other text, it is text like any other.

==============================  ==========
text                            suppresses
==============================  ==========
``NO_REPLY``                    yes
``NO_REPLY.``, ``NO_REPLY !``   yes
``Checked.⏎NO_REPLY``           yes
``NO_REPLY⏎Well, one thing.``   no
``I say NO_REPLY``              no
``NO_REPLY is what I say``      no
``NO_REPLY_NEEDED``             no
``no_reply``                    no
==============================  ==========

While an answer is being written, what may still become the word is held back (`presentable`): a
last line that is a beginning of it, and lines at the end that already say it.
"""

from __future__ import annotations

import string
import unicodedata

NO_REPLY = "NO_REPLY"


def suppresses(text: str) -> bool:
    """Whether a final answer means that nothing is to be delivered."""
    lines = text.split("\n")
    return _is_the_word(next((line for line in reversed(lines) if line.strip()), ""))


def visible_text(text: str) -> str | None:
    """What of a final answer is delivered: all of it, or None when it is blank or suppressed."""
    return None if not text.strip() or suppresses(text) else text


def presentable(text: str) -> str:
    """What of an answer in the making can be shown: not the end that may yet become the word.

    It never gets shorter while the text grows. Blank when there is nothing to show. Each line is
    looked at once: an agent may say the word over and over.
    """
    lines = text.split("\n")
    if NO_REPLY.startswith(lines[-1].lstrip()):
        lines.pop()
    while lines and (not lines[-1].strip() or _is_the_word(lines[-1])):
        lines.pop()
    return "\n".join(lines).rstrip()


def _is_the_word(line: str) -> bool:
    """Whether a line says that there is nothing to say."""
    said = line.strip()
    rest = said.removeprefix(NO_REPLY)
    return len(rest) < len(said) and all(map(_may_follow, rest))


def _may_follow(character: str) -> bool:
    """Punctuation, by Unicode or by ASCII; not ``_``, which would make a longer word of it."""
    return character != "_" and (
        character.isspace()
        or character in string.punctuation
        or unicodedata.category(character).startswith("P")
    )
