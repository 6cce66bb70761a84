"""What a session's one ordered stream of events shows, whatever becomes of the connection. No I/O.

After a lost connection the stream goes on from `Answers.after`: first the lines of the transcript
that were missed, then the running turn as a whole, then what happens live. What was shown already
is not shown again (G5, G12).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from runtime.cli.errors import CommandError
from runtime.cli.screen import Screen
from runtime.cli.words import shortened
from runtime.protocol.extensions import (
    JournalEvent,
    MessageAcceptedEvent,
    PromptMark,
    SessionMark,
    SnapshotEvent,
    TurnEndedEvent,
    TurnStartedEvent,
    TurnUpdateEvent,
    WireEvent,
)
from runtime.sessions.content import Content, plain_text
from runtime.sessions.events import retry_notice
from runtime.sessions.updates import AgentMessageChunk, SessionUpdate, ToolCall

_REMEMBERED_TURNS = 64
_REMEMBERED_MESSAGES = 1_000
_REMEMBERED_TOOLS = 1_000


class Answers:
    """One session as it is shown.

    Args:
        screen: where it is shown.
        recall: how many lines of the past are shown in short at the beginning.
    """

    def __init__(self, screen: Screen, recall: int = 0) -> None:
        self._screen = screen
        self._recall = recall
        self.after = 0
        self._past = SessionMark("", "", 0, "", 0, 0)
        self._speaking: str | None = None
        self._said = ""
        self._finished: deque[str] = deque(maxlen=_REMEMBERED_TURNS)
        self._tools: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED_TOOLS)
        self._shown: deque[str] = deque(maxlen=_REMEMBERED_MESSAGES)
        self._own: deque[str] = deque(maxlen=_REMEMBERED_MESSAGES)
        self._own_turns: deque[str] = deque(maxlen=_REMEMBERED_TURNS)
        self._heard: dict[str, Content] = {}
        self._sending: dict[str, str] = {}
        self._failure: str | None = None

    # -- whose words --------------------------------------------------------------------------

    def begin(self, mark: SessionMark) -> None:
        """The session is a new one to this screen: what is in it already is the past."""
        self._past = mark
        self.after = max(0, mark.journal_seq - self._recall)

    def sending(self, client_id: str, text: str) -> None:
        """This person says something, whose id in the runtime is not known yet."""
        self._sending[client_id] = text

    def sent(self, client_id: str, message_id: str | None) -> None:
        """The runtime has named what this person said; None when it will not."""
        self._sending.pop(client_id, None)
        if message_id is not None and message_id not in self._own:
            self._own.append(message_id)

    def connection_lost(self) -> None:
        """What was under way may or may not have arrived."""
        self._sending.clear()
        self._heard.clear()

    # -- the stream ---------------------------------------------------------------------------

    def take(self, event: WireEvent) -> None:
        """Show an event of the session, unless it was shown."""
        match event:
            case JournalEvent() if event.seq > self.after:
                self._line(event)
                self.after = event.seq
            case SnapshotEvent():
                if event.running is not None:
                    running = event.running
                    self._turn(running.turn_id, running.message_ids, running.prompt)
                    self._catch_up(running.turn_id, running.updates)
            case MessageAcceptedEvent():
                self._accepted(event)
            case TurnStartedEvent():
                self._turn(event.turn_id, event.message_ids, event.prompt)
            case TurnUpdateEvent() if event.turn_id not in self._finished:
                self._update(event.turn_id, event.update)
            case TurnEndedEvent():
                self._ended(event)

    def _accepted(self, event: MessageAcceptedEvent) -> None:
        said = plain_text(event.content)
        for client_id, text in self._sending.items():
            if text == said:
                self.sent(client_id, event.message_id)
                return
        self._heard[event.message_id] = event.content
        while len(self._heard) > _REMEMBERED_MESSAGES:
            self._heard.pop(next(iter(self._heard)))

    def _turn(self, turn_id: str, message_ids: Iterable[str], prompt: Content) -> None:
        """A turn runs: whose words it answers."""
        self._interrupt(turn_id)
        if any(each in self._own for each in message_ids):
            self._own_turns.append(turn_id)
        news = [each for each in message_ids if each not in self._own and each not in self._shown]
        heard = [self._heard.pop(each, None) for each in news]
        self._shown.extend(news)
        if None not in heard:
            for content in heard:
                self._other(plain_text(content or ()))
        else:
            self._other(plain_text(prompt))

    def _other(self, text: str) -> None:
        self._screen.note(f"Somebody else: {text}")

    def _line(self, line: JournalEvent) -> None:
        if line.seq <= self._past.journal_seq:
            if line.epoch == self._past.epoch:
                who = "agent" if line.role == "assistant" else line.role
                self._screen.note(f"{who}: {shortened(line.content)}")
        elif line.role == "user":
            self._interrupt(line.turn_id)
            if line.id in self._own:
                self._own_turns.append(line.turn_id or "")
            elif line.id not in self._shown:
                self._shown.append(line.id)
                self._other(line.content)
        elif line.role == "system":
            self._screen.note(line.content)
        elif line.turn_id not in self._finished:
            self._whole(line.turn_id or "", line.content)
            if (line.data or {}).get("interrupted"):
                self._interrupt(None)  # it is no answer: its messages are tried again, or failed
            else:
                self._finish(line.turn_id or "")

    def _catch_up(self, turn_id: str, updates: Iterable[SessionUpdate]) -> None:
        """Show of a running turn what was not shown."""
        pieces = (each for each in updates if isinstance(each, AgentMessageChunk))
        whole = "".join(plain_text((each.content,)) for each in pieces)
        known = self._said if self._speaking == turn_id else ""
        skip = len(known) if whole.startswith(known) else 0
        if known and not skip:
            self._screen.say("\n")
        for update in updates:
            if isinstance(update, AgentMessageChunk):
                text = plain_text((update.content,))
                self._piece(turn_id, text[skip:])
                skip = max(0, skip - len(text))
            else:
                self._update(turn_id, update)

    def _update(self, turn_id: str, update: SessionUpdate) -> None:
        match update:
            case AgentMessageChunk():
                self._piece(turn_id, plain_text((update.content,)))
            case ToolCall() if (turn_id, update.tool_call_id) not in self._tools:
                self._tools.append((turn_id, update.tool_call_id))
                self._screen.note(f"· {update.title}")

    def _ended(self, event: TurnEndedEvent) -> None:
        self.after = max(self.after, event.journal_seq)
        if event.turn_id in self._finished:
            return
        if event.message_state == "pending":
            self._interrupt(None)
            if event.state == "vanished":
                self._screen.note(retry_notice(event.error, event.retry_at))
            return
        if event.text is not None and event.error is None:
            self._whole(event.turn_id, event.text)
        own = event.turn_id in self._own_turns
        self._finish(event.turn_id)
        if own and event.error is None:
            self._stopped(event.stop_reason)

    # -- answers to this person's messages ----------------------------------------------------

    def answered(self, mark: PromptMark, stop_reason: str) -> None:
        """A message of ours was answered: shown here when the stream did not have it."""
        if mark.turn_id is None or mark.turn_id in self._finished:
            return
        self._own_turns.append(mark.turn_id)
        if mark.text is not None:
            self._whole(mark.turn_id, mark.text)
        self._finish(mark.turn_id)
        self._stopped(stop_reason)

    def failed(self, error: CommandError) -> None:
        """A message of ours failed; of messages that were merged, the first one says so."""
        self._interrupt(None)
        if str(error) != self._failure:
            self._failure = str(error)
            self._screen.error(error)

    def _stopped(self, stop_reason: str | None) -> None:
        if stop_reason == "cancelled":
            self._screen.note("Cancelled.")
        elif stop_reason not in (None, "end_turn"):
            self._screen.note(f"The agent stopped early: {stop_reason}.")

    # -- pieces -------------------------------------------------------------------------------

    def _piece(self, turn_id: str, text: str) -> None:
        if not text:
            return
        self._failure = None
        self._interrupt(turn_id)
        self._speaking = turn_id
        self._said += text
        self._screen.say(text)

    def _whole(self, turn_id: str, whole: str) -> None:
        """The answer as it is kept: what of it was not said yet."""
        self._interrupt(turn_id)
        if whole.startswith(self._said):
            self._piece(turn_id, whole.removeprefix(self._said))
        elif not self._said.startswith(whole.rstrip()):
            self._piece(turn_id, f"\n{whole}")

    def _finish(self, turn_id: str) -> None:
        self._interrupt(turn_id)
        self._finished.append(turn_id)
        self._speaking, self._said = None, ""
        self._screen.end_answer(own=turn_id in self._own_turns)

    def _interrupt(self, turn_id: str | None) -> None:
        """Another turn speaks now: the one before will not go on."""
        if self._speaking not in (None, turn_id):
            self._finished.append(self._speaking or "")
            self._speaking, self._said = None, ""
            self._screen.end_answer(own=False)
