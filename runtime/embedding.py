"""Conversations for the program that embeds the runtime: sessions, turns, receipts.

session = await rt.session("demo")
turn = await session.prompt("hello")
async for update in turn:
    ...
outcome = await turn.result()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, get_args

import trio

from runtime.ports.agent import Offers
from runtime.ports.front import (
    Front,
    NoSuchSession,
    Outcome,
    SessionBlocked,
    Submitted,
    Watch,
    WatcherLagged,
)
from runtime.sessions.content import SaidBlock, TextBlock, text_content
from runtime.sessions.events import (
    MessageDropped,
    MessageSteered,
    Notice,
    QueueStatus,
    SessionEvent,
    TurnEnded,
    TurnStarted,
    TurnUpdate,
)
from runtime.sessions.rows import InboundState, JournalEntry, QueueOverrides, SessionRow, TurnError
from runtime.sessions.updates import AgentMessageChunk, SessionUpdate

Prompt: TypeAlias = str | Sequence[SaidBlock]

_BLOCKS = get_args(SaidBlock)


class TurnFailed(Exception):
    """The message was run and failed; nothing more will happen to it.

    Args:
        outcome: how it ended; ``outcome.error`` says why.
    """

    def __init__(self, outcome: Outcome) -> None:
        error = outcome.error or TurnError("failed", "the turn failed")
        super().__init__(error.message)
        self.outcome = outcome
        self.code = error.code


class Turn:
    """A message on its way through the agent. Made by `Session.prompt`.

    Iterating gives what the agent says, as it says it, from the turn that carries this message;
    when the messages of a session were merged (Q2), they share one. A message that a running turn
    took in (Q3) is carried by it from that moment on. The message does not depend on
    this object: to leave the loop, or to let go of the turn, only detaches.
    """

    def __init__(self, front: Front, session_id: str, submitted: Submitted, watch: Watch) -> None:
        self._front = front
        self._watch = watch
        self._turn_id: str | None = None
        self._said = False
        self._late = submitted.duplicate
        self._outcome: Outcome | None = None
        self.session_id = session_id
        self.message_id = submitted.message_id
        self.sequence = submitted.sequence
        self.duplicate = submitted.duplicate

    def __repr__(self) -> str:
        return f"<Turn of message {self.message_id} in session {self.session_id}>"

    def __aiter__(self) -> Turn:
        return self

    async def __anext__(self) -> SessionUpdate:
        """The next thing that the agent says; ends with the message, or when the runtime stops.

        A reader who was too slow for the buffer gets the whole answer once more, as one piece.
        Cancelled, it loses nothing.

        Raises:
            SessionBlocked: the agent cannot be started; the message is kept, see
                `Session.reconnect`.
            Unavailable: what was said could not be looked up: the disk refuses.
        """
        while not self._late:
            try:
                live = await self._watch.__anext__()
            except WatcherLagged:
                self._late = True
                self._said = False
                break
            update, over = self._see(live.event)
            if over:
                self._watch.close()
            if update is not None:
                return update
        return await self._what_was_said()

    def _see(self, event: SessionEvent) -> tuple[SessionUpdate | None, bool]:
        """What an event means for this message: an update of its turn, or that it is over."""
        match event:
            case TurnStarted(turn_id=turn_id, message_ids=ids) if self.message_id in ids:
                self._turn_id = turn_id
            case MessageSteered(turn_id=turn_id, message_id=steered) if steered == self.message_id:
                self._turn_id = turn_id
            case TurnUpdate(turn_id=turn_id, update=update) if turn_id == self._turn_id:
                return update, False
            case TurnEnded(message_ids=ids, message_state=state) if self.message_id in ids:
                self._turn_id = None
                if state is InboundState.DONE:  # then the event says all that the row does
                    self._outcome = Outcome.of(event, self.message_id)
                return None, state is not InboundState.PENDING
            case MessageDropped(message_id=ended) | Notice(message_id=ended) if (
                ended == self.message_id
            ):
                return None, True
            case Notice(code="agent_blocked", text=why) if self._turn_id is None:
                raise SessionBlocked(why)
            case _:
                pass
        return None, False

    async def _what_was_said(self) -> SessionUpdate:
        """The whole answer in one piece, for a reader who was too slow or came too late."""
        if self._said:
            raise StopAsyncIteration
        self._said = True
        outcome = await self._front.outcome(self.message_id)
        if not outcome.text:
            raise StopAsyncIteration
        return AgentMessageChunk(TextBlock(outcome.text))

    async def result(self) -> Outcome:
        """Wait until the message has ended.

        Returns:
            How: ``stop_reason`` is ``end_turn``, or ``cancelled`` also for one that was withdrawn
                while it waited.

        Raises:
            TurnFailed: it was run and failed.
            SessionBlocked: the agent cannot be started; the message is kept, see
                `Session.reconnect`.
            Unavailable: the runtime stops; the message is kept and runs after the next start.

        Cancellation only stops the waiting.
        """
        if self._outcome is not None:
            await trio.lowlevel.checkpoint()
            return self._outcome
        outcome = await self._front.outcome(self.message_id)
        if outcome.state is InboundState.FAILED:
            raise TurnFailed(outcome)
        return outcome

    async def cancel(self) -> bool:
        """Withdraw the message, or cancel the turn that carries it; whether there was anything to
        do. What the agent has done until then stays done.

        Raises:
            NoSuchSession, Unavailable.
        """
        return await self._front.cancel(self.session_id, message_id=self.message_id)


class Session:
    """One conversation. Made by `Runtime.session`; may be held for as long as one likes.

    Each method but `history` and `outcome` raises `NoSuchSession` when the session was closed, and
    all raise `Unavailable` when the disk refuses or the runtime stops. Cancelled, one that changes
    something may have done so or not.
    """

    def __init__(self, front: Front, row: SessionRow) -> None:
        self._front = front
        self.id = row.id
        self.key = row.key
        self.agent = row.agent_id

    def __repr__(self) -> str:
        return f"<Session {self.key!r} of agent {self.agent!r}, {self.id}>"

    async def prompt(self, prompt: Prompt, *, message_id: str | None = None) -> Turn:
        """Send a message and follow what becomes of it. Returns when the message is durable.

        Args:
            prompt: a text, or content blocks.
            message_id: your name for the message; sending the same one again is safe (G4).

        Raises:
            QueueIsFull, BadRequest, Unavailable, NoSuchSession: it was not accepted.
            TypeError: it is neither a text nor a sequence of blocks.

        Cancelled before it returns, the message may have been accepted or not: repeat it with the
            same ``message_id``.
        """
        watch = self._front.watch(self.id)
        try:
            submitted = await self._front.submit(self.id, _content(prompt), message_id=message_id)
        except BaseException:
            watch.close()
            raise
        return Turn(self._front, self.id, submitted, watch)

    async def send(self, prompt: Prompt, *, message_id: str | None = None) -> Submitted:
        """Send a message and go on; the receipt says that it is durable. Raises and cancels as
        `prompt` does.
        """
        return await self._front.submit(self.id, _content(prompt), message_id=message_id)

    async def outcome(self, message_id: str) -> Outcome:
        """Wait for the end of any message, by the id in its receipt. One that failed says so in the
        outcome.

        Raises:
            BadRequest: there is no such message.
            SessionBlocked, Unavailable: as of `Turn.result`.

        Cancellation only stops the waiting.
        """
        return await self._front.outcome(message_id)

    async def cancel(self) -> bool:
        """Cancel the running turn; what waits runs next. Whether one ran."""
        return await self._front.cancel(self.id)

    async def clear(self) -> int:
        """Withdraw everything that has not begun; how many messages went."""
        return await self._front.clear_queue(self.id)

    async def queue(self) -> QueueStatus:
        """What waits and what runs."""
        return await self._front.queue_status(self.id)

    async def set_queue(
        self,
        *,
        mode: str | None = None,
        debounce: float | None = None,
        cap: int | None = None,
        drop: str | None = None,
        debounce_max: float | None = None,
    ) -> None:
        """Set all of this session's own queue settings; None falls back to the configured one (Q3).

        Args:
            mode: ``collect``, ``followup``, ``steer``, ``steer-backlog`` or ``interrupt``.
            debounce: seconds of quiet before what was said becomes a turn.
            cap: messages that may wait.
            drop: which goes when there are more: ``summarize``, ``old`` or ``new``.
            debounce_max: seconds that a message waits for quiet at most.

        Raises:
            BadRequest: a value is not allowed; nothing was changed.
        """
        overrides = QueueOverrides(mode, debounce, cap, drop, debounce_max)
        await self._front.set_queue(self.id, overrides)

    async def offers(self) -> Offers:
        """What the agent lets one choose from: models, modes, commands."""
        return await self._front.offers(self.id)

    async def choose(self, option_id: str, value: str | bool) -> Offers:
        """Choose one of the agent's settings, now and after each start of it.

        Raises:
            Refused: the agent has no such setting or value.
            SessionBlocked: it cannot be started.
        """
        return await self._front.choose(self.id, option_id, value)

    async def answer(self, request_id: str, option_id: str | None) -> bool:
        """Answer a question of the agent, seen as `PermissionAsked` by a watch; None: nobody chose.

        Returns:
            Whether it was still open.
        """
        return await self._front.answer_permission(self.id, request_id, option_id)

    async def reconnect(self) -> None:
        """Start the agent again after it could not be started; what waits runs then (P3). Returns
        before it has started.
        """
        await self._front.reconnect(self.id)

    async def reset(self) -> None:
        """Begin the conversation anew: the running turn is cancelled, what waits is withdrawn, the
        old conversation stays readable (S18).
        """
        await self._front.reset_session(self.id)

    async def close(self) -> None:
        """Close the session: the running turn is cancelled, what waits is withdrawn, its files are
        removed, and its key is free for a new one (S43).
        """
        await self._front.close_session(self.id)

    async def history(self, *, after: int = 0, limit: int = 500) -> tuple[JournalEntry, ...]:
        """Lines of the transcript, oldest first.

        Args:
            after: the ``seq`` of a line: only later ones.
            limit: lines at most.
        """
        return await self._front.journal(self.id, after=after, limit=limit)

    def watch(self, *, buffer: int = 1_000) -> Watch:
        """Everything that happens in the session, live, as a context manager to iterate. It ends
        when the runtime stops.

        Args:
            buffer: events that may wait for the reader; with more, iterating raises
                `runtime.ports.front.WatcherLagged` once they are read.
        """
        return self._front.watch(self.id, buffer=buffer)


def _content(prompt: Prompt) -> Sequence[SaidBlock]:
    content = text_content(prompt) if isinstance(prompt, str) else tuple(prompt)
    for block in content:
        if not isinstance(block, _BLOCKS):
            raise TypeError(
                f"a prompt is a text or a list of blocks such as TextBlock, not of {block!r:.80}"
            )
    return content


__all__ = ["NoSuchSession", "Prompt", "Session", "Turn", "TurnFailed"]
