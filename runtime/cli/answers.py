"""Which pieces of text make an answer, whatever becomes of the connection. No I/O, no Trio.

Pieces of the running turn are shown as they come. When the connection broke in mid-turn, pieces are
missing from then on: the rest is shown when the turn has ended, from the whole answer that a
repeated prompt gets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container

from runtime.cli.errors import CommandError
from runtime.cli.screen import Screen
from runtime.protocol.extensions import PromptMark, UpdateMark
from runtime.sessions.content import plain_text
from runtime.sessions.updates import (
    AgentMessageChunk,
    SessionUpdate,
    ToolCall,
    UserMessageChunk,
)

_REMEMBERED_TURNS = 64


class Answers:
    """The answers of one session, as they are shown."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._speaking: str | None = None
        self._said: dict[str, str] = {}
        self._broken: set[str] = set()
        self._finished: deque[str] = deque(maxlen=_REMEMBERED_TURNS)
        self._failure: str | None = None

    def update(self, update: SessionUpdate, mark: UpdateMark, own_messages: Container[str]) -> None:
        """Something happened in the session."""
        turn_id = mark.turn_id or ""
        match update:
            case AgentMessageChunk() if mark.notice:
                self._screen.note(plain_text((update.content,)))
            case AgentMessageChunk() if turn_id not in self._finished:
                self._piece(turn_id, plain_text((update.content,)))
            case UserMessageChunk() if mark.message_id not in own_messages:
                self._interrupt(None)
                self._screen.note(f"Somebody else: {plain_text((update.content,))}")
            case ToolCall():
                self._screen.note(f"· {update.title}")

    def answered(self, mark: PromptMark, stop_reason: str) -> None:
        """A message of ours was answered; of messages that were merged, the first one shows it."""
        self._failure = None
        turn_id = mark.turn_id or ""
        if turn_id in self._finished:
            return
        self._interrupt(turn_id)
        said = self._forget(turn_id)
        if mark.text is not None:
            self._rest(mark.text, said)
        self._screen.end_answer(own=True)
        if stop_reason == "cancelled":
            self._screen.note("Cancelled.")
        elif stop_reason != "end_turn":
            self._screen.note(f"The agent stopped early: {stop_reason}.")

    def failed(self, error: CommandError) -> None:
        """A message of ours failed; of messages that were merged, the first one says so."""
        if self._speaking is not None:
            self._forget(self._speaking)
        self._screen.end_answer(own=True)
        if str(error) != self._failure:
            self._failure = str(error)
            self._screen.error(error)

    def connection_lost(self) -> None:
        """What turns say from now on is not heard."""
        self._broken.update(self._said)

    def joined(self, turn_id: str) -> None:
        """This turn runs, and what it has said until now was not heard."""
        self._broken.add(turn_id)

    def _piece(self, turn_id: str, text: str) -> None:
        if turn_id in self._broken:
            return
        self._failure = None
        self._interrupt(turn_id)
        self._speaking = turn_id
        self._said[turn_id] = self._said.get(turn_id, "") + text
        self._screen.say(text)

    def _interrupt(self, turn_id: str | None) -> None:
        """Somebody else speaks now."""
        if self._speaking not in (None, turn_id):
            self._forget(self._speaking or "")
            self._screen.end_answer(own=False)

    def _forget(self, turn_id: str) -> str:
        if turn_id:
            self._finished.append(turn_id)
        self._broken.discard(turn_id)
        self._speaking = None
        return self._said.pop(turn_id, "")

    def _rest(self, whole: str, said: str) -> None:
        if whole.startswith(said):
            self._screen.say(whole.removeprefix(said))
        elif whole.strip() != said.strip():
            self._screen.say(f"\n{whole}")
