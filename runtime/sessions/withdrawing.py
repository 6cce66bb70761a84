"""What chats are told when somebody elsewhere takes their messages from the queue (Q4, S40)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import structs

from runtime.sessions.rows import ReplyAddress

WITHDRAWN = (
    "Messages that waited here were withdrawn from outside this chat. Send them again if they are"
    " still wanted."
)
STOPPED = (
    "What was asked here was stopped from outside this chat. Send it again if it is still wanted."
)
BEGUN_ANEW = (
    "A new conversation was begun from outside this chat. What has no answer yet gets none: send it"
    " again if it is still wanted."
)
CLOSED = (
    "This conversation was closed from outside this chat. What has no answer yet gets none: send it"
    " again if it is still wanted, which begins a new conversation."
)


class DropNotice(msgspec.Struct, frozen=True):
    """What chats are told of one withdrawal, each of them once, however many writes it takes.

    Args:
        id: of the withdrawal.
        text: what is said.
        answered: where it was asked for, if in a chat: there it is answered.
        also: who is told although nothing of theirs is dropped.
    """

    id: str
    text: str
    answered: ReplyAddress | None = None
    also: tuple[ReplyAddress, ...] = ()

    def owed(self, addresses: Iterable[ReplyAddress | None]) -> Mapping[str, ReplyAddress]:
        """Where it is to be said, and under which id: once in each conversation, as an answer to
        no message.

        Args:
            addresses: those of the messages that are dropped.
        """
        places = {each.conversation: each for each in addresses if each is not None}
        if self.answered is not None:
            places.pop(self.answered.conversation, None)
        return {
            f"{self.id}:{hashlib.sha256(name.encode()).hexdigest()[:16]}": structs.replace(
                address, message_id=None
            )
            for name, address in places.items()
        }
