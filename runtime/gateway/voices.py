"""Whose words a connection is shown: those of others, once each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runtime.sessions.content import Content
from runtime.sessions.events import MessageAccepted, MessageSteered, TurnStarted


class Voices:
    """The messages of one session that wait or run, as one connection sees them.

    What is kept of a message goes when it has ended, so this is as bounded as the session's queue.
    """

    def __init__(self) -> None:
        self._own: set[str] = set()
        self._shown: set[str] = set()
        self._heard: dict[str, Content] = {}

    def is_own(self, message_id: str) -> bool:
        """Whether this connection sent a message."""
        return message_id in self._own

    def sent(self, message_id: str) -> None:
        """This connection sent a message; its client knows what it said."""
        self._own.add(message_id)

    def shown(self, message_ids: Iterable[str]) -> None:
        """These messages were shown already."""
        self._shown.update(message_ids)

    def accepted(self, event: MessageAccepted) -> None:
        """Keep what was said until its turn starts."""
        self._heard[event.message_id] = event.content

    def to_show(self, event: TurnStarted) -> Iterator[tuple[str, Content]]:
        """The messages of others that a turn begins with, with their ids.

        Messages from before this connection came are known only merged, as the agent gets them.
        """
        news = [each for each in event.message_ids if each not in self._own | self._shown]
        self._shown.update(news)
        if all(each in self._heard for each in news):
            yield from ((each, self._heard[each]) for each in news)
        else:
            yield news[0], event.prompt

    def joined(self, event: MessageSteered) -> Iterator[tuple[str, Content]]:
        """The message of somebody else that a running turn has taken in, with its id."""
        if event.message_id not in self._own | self._shown:
            self._shown.add(event.message_id)
            yield event.message_id, self._heard.get(event.message_id, event.content)

    def ended(self, message_ids: Iterable[str]) -> None:
        """Forget messages that will not come again."""
        for message_id in message_ids:
            self._own.discard(message_id)
            self._shown.discard(message_id)
            self._heard.pop(message_id, None)
