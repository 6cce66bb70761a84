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
from runtime.cli.working import Work, sized
from runtime.protocol.extensions import (
    EpochStartedEvent,
    JournalEvent,
    MessageAcceptedEvent,
    MessageSteeredEvent,
    NoticeEvent,
    PromptMark,
    SessionMark,
    SnapshotEvent,
    TurnEndedEvent,
    TurnStartedEvent,
    TurnUpdateEvent,
    WireEvent,
)
from runtime.sessions.commands import ANEW
from runtime.sessions.content import Content, is_attachment, plain_text
from runtime.sessions.events import retry_notice
from runtime.sessions.relay import Reply
from runtime.sessions.updates import AgentMessageChunk, AgentThoughtChunk, Plan, SessionUpdate

_REMEMBERED_TURNS = 64
_REMEMBERED_MESSAGES = 1_000


class Answers:
    """One session as it is shown.

    Args:
        screen: where it is shown.
        recall: how many lines of the past are shown in short at the beginning.
        thoughts: whether the agent's reasoning is shown.
    """

    def __init__(self, screen: Screen, recall: int = 0, *, thoughts: bool = False) -> None:
        self._screen = screen
        self._recall = recall
        self._work = Work(thoughts=thoughts)
        self.after = 0
        self._past = SessionMark("", "", 0, "", 0, 0)
        self._speaking: str | None = None
        self._said = ""
        self._reply = Reply()
        self._finished: deque[str] = deque(maxlen=_REMEMBERED_TURNS)
        self._shown: deque[str] = deque(maxlen=_REMEMBERED_MESSAGES)
        self._own: deque[str] = deque(maxlen=_REMEMBERED_MESSAGES)
        self._own_turns: deque[str] = deque(maxlen=_REMEMBERED_TURNS)
        self._heard: dict[str, Content] = {}
        self._sending: dict[str, str] = {}
        self._failure: str | None = None
        self._noticed = ""

    # -- whose words --------------------------------------------------------------------------

    def is_own(self, turn_id: str) -> bool:
        """Whether a turn answers something that this person said."""
        return turn_id in self._own_turns

    def title_of(self, turn_id: str, tool_call_id: str) -> str | None:
        """What a tool call is named that has begun."""
        return self._work.title_of(turn_id, tool_call_id)

    def begin(self, mark: SessionMark) -> None:
        """The session is a new one to this screen: what is in it already is the past."""
        self._past = mark
        self.after = max(0, mark.journal_seq - self._recall)

    def sending(self, client_id: str, text: str) -> None:
        """This person says something, whose id in the runtime is not known yet."""
        self._failure, self._noticed = None, ""
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
            case MessageSteeredEvent():
                self._turn(event.turn_id, (event.message_id,), event.content)
            case TurnUpdateEvent() if event.turn_id not in self._finished:
                self._update(event.turn_id, event.update)
            case TurnEndedEvent():
                self._ended(event)
            case EpochStartedEvent():
                self._noticed = ANEW  # who typed it in a message is told the same once more
                self._screen.aside(ANEW)
            case NoticeEvent() if event.text not in ("", self._noticed):
                self._noticed = event.text
                self._screen.aside(event.text)

    def _accepted(self, event: MessageAcceptedEvent) -> None:
        # Of this person's files only their places are known: they are sent, and come back as links.
        said = plain_text(each for each in event.content if not is_attachment(each))
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
                self._finish(line.turn_id or "", line.content)

    def _catch_up(self, turn_id: str, updates: Iterable[SessionUpdate]) -> None:
        """Show of a running turn what was not shown."""
        updates = _as_they_stand(updates)
        known = self._said if self._speaking == turn_id else ""
        whole = Reply()
        for update in updates:
            whole.feed(update)
        skip = len(known) if whole.text.startswith(known) else 0
        if known and not skip:
            self._screen.say("\n")
            self._said = ""
        self._reply = Reply()
        for update in updates:
            skip -= self._update(turn_id, update, skip)

    def _update(self, turn_id: str, update: SessionUpdate, skip: int = 0) -> int:
        """Show what the agent says and does, without so many characters of its answer.

        Returns:
            How many of those there were.
        """
        if not isinstance(update, AgentMessageChunk):
            if self._speaking == turn_id:
                self._reply.feed(update)
            self._note(self._work.lines(turn_id, update))
            return 0
        self._note(self._work.rest_of_thought())
        self._interrupt(turn_id)
        self._speaking = turn_id
        self._reply.feed(update)
        text, _ = self._reply.take_unsaved()
        new = text[skip:]
        self._piece(turn_id, new, new.replace(plain_text((update.content,)), sized(update.content)))
        return min(skip, len(text))

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
        own = event.turn_id in self._own_turns or any(
            each in self._own for each in event.message_ids
        )
        self._finish(event.turn_id, event.text if event.error is None else None)
        if event.error is None:
            self._stopped(event.stop_reason)
        elif not own:  # of one's own messages the answer to each says so
            self._screen.note(f"It failed: {event.error.message}")

    # -- answers to this person's messages ----------------------------------------------------

    def answered(self, mark: PromptMark, stop_reason: str) -> None:
        """A message of ours was answered: shown here when the stream did not have it."""
        if mark.turn_id is None or mark.turn_id in self._finished:
            return
        self._own_turns.append(mark.turn_id)
        if mark.text is not None:
            self._whole(mark.turn_id, mark.text)
        self._finish(mark.turn_id, mark.text)
        self._stopped(stop_reason)

    def failed(self, error: CommandError) -> None:
        """A message of ours failed; of messages that were merged, the first one says so."""
        self._interrupt(None)
        if str(error) != self._failure:
            self._failure = str(error)
            self._screen.error(error)

    def kept(self, error: CommandError) -> None:
        """A message of ours is kept, since the agent cannot be started; why was said (P3)."""
        text, why = str(error), self._noticed.rstrip(".")
        if why and text.startswith(why):
            text = text.removeprefix(why).lstrip(". ")
        self.failed(CommandError(text, error.hint))

    def _stopped(self, stop_reason: str | None) -> None:
        if stop_reason == "cancelled":
            self._screen.note("Cancelled.")
        elif stop_reason not in (None, "end_turn"):
            self._screen.note(f"The agent stopped early: {stop_reason}.")

    # -- pieces -------------------------------------------------------------------------------

    def _piece(self, turn_id: str, text: str, shown: str | None = None) -> None:
        """Say a piece of an answer; ``shown`` where a person reads something else."""
        if not text:
            return
        self._failure = None
        self._interrupt(turn_id)
        self._speaking = turn_id
        self._said += text
        self._screen.say(text if shown is None else shown)

    def _whole(self, turn_id: str, whole: str) -> None:
        """The answer as it is kept: what of it was not said yet."""
        self._interrupt(turn_id)
        rest = _beyond(self._said, whole)
        self._piece(turn_id, f"\n{whole}" if rest is None else rest)

    def _finish(self, turn_id: str, text: str | None = None) -> None:
        self._note(self._work.rest_of_thought())
        self._interrupt(turn_id)
        self._finished.append(turn_id)
        self._silence()
        self._screen.end_answer(own=turn_id in self._own_turns, text=text)

    def _interrupt(self, turn_id: str | None) -> None:
        """Another turn speaks now: the one before will not go on."""
        if self._speaking not in (None, turn_id):
            self._finished.append(self._speaking or "")
            self._silence()
            self._screen.end_answer(own=False)

    def _silence(self) -> None:
        self._speaking, self._said, self._reply = None, "", Reply()

    def _note(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._screen.note(line)


def _as_they_stand(updates: Iterable[SessionUpdate]) -> list[SessionUpdate]:
    """The updates of a turn without what is past: thoughts, and plans that were replaced."""
    kept = [each for each in updates if not isinstance(each, AgentThoughtChunk)]
    plans = [each for each in kept if isinstance(each, Plan)]
    return [each for each in kept if each not in plans[:-1]]


def _beyond(said: str, whole: str) -> str | None:
    """What a text has after what was said; None when it is another one. Blanks do not count."""
    if whole.startswith(said):
        return whole.removeprefix(said)
    place = 0
    for letter in "".join(said.split()):
        while place < len(whole) and whole[place].isspace():
            place += 1
        if place == len(whole):
            return ""
        if whole[place] != letter:
            return None
        place += 1
    return whole[place:]
