"""What the people in the sessions said and did, and what the runtime answered."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Told = Literal["end_turn", "cancelled", "failed"]

_TOKEN = re.compile(r"\bm-\d+-\d+\b")


def tokens(text: str) -> Counter[str]:
    """Which messages a text mentions, and how often."""
    return Counter(_TOKEN.findall(text))


@dataclass
class Sent:
    """One thing that somebody said.

    Args:
        token: a word that no other message has; it is in the text.
        session_id: where it was said.
        message_id: the client's own name for it; without one it is never sent twice.
        image: the bytes of a picture that goes with it.
        accepted: the ids under which the runtime says to have it.
        refused: the runtime said that it does not take it.
        told: how its turn ended, as a waiting `session/prompt` was answered.
        attempts: how often it was sent.
        duplicates: how often the answer was that it is there already.
    """

    token: str
    session_id: str
    message_id: str | None
    image: bytes | None = None
    accepted: set[str] = field(default_factory=set)
    refused: bool = False
    told: Told | None = None
    attempts: int = 0
    duplicates: int = 0

    @property
    def text(self) -> str:
        """The words that are sent."""
        return f"Hello, this is {self.token} and it would like to be answered once, please."


class Ledger:
    """All of it. ``withdrawals`` are the requests that may end messages unanswered, by session;
    ``reconnects`` is how often an agent was started anew by request.
    """

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.withdrawals: defaultdict[str, set[str]] = defaultdict(set)
        self.interrupting: set[str] = set()
        self.broken_promises: list[str] = []
        self.reconnects = 0

    def say(
        self, token: str, session_id: str, message_id: str | None, image: bytes | None = None
    ) -> Sent:
        """Somebody is about to say something new."""
        self.sent[token] = sent = Sent(token, session_id, message_id, image)
        return sent

    def accepted(self) -> Iterator[Sent]:
        """What the runtime has said to have."""
        return (sent for sent in self.sent.values() if sent.accepted)
