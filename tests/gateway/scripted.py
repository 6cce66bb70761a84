"""A front that does what a test tells it: sessions in memory, turns on command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import trio

from runtime.ports.agent import Offers
from runtime.ports.front import (
    BadRequest,
    FrontError,
    InfoPage,
    NoSuchAgent,
    NoSuchSession,
    Outcome,
    Readiness,
    Refused,
    SessionBlocked,
    SessionInfo,
    Submitted,
    Unavailable,
    Watch,
)
from runtime.sessions.content import SaidBlock, TextBlock, plain_text
from runtime.sessions.events import (
    AgentAnnounced,
    EpochStarted,
    MessageAccepted,
    MessageDropped,
    QueueStatus,
    RunningTurn,
    SessionClosed,
    Snapshot,
    TurnEnded,
    TurnStarted,
    TurnUpdate,
)
from runtime.sessions.rows import (
    DropReason,
    InboundState,
    JournalEntry,
    Overrides,
    QueueOverrides,
    Sender,
    SessionRow,
    SessionStatus,
    TurnError,
    TurnState,
    Workplace,
)
from runtime.sessions.updates import (
    AgentMessageChunk,
    ConfigOptions,
    SessionUpdate,
)
from tests.gateway.scripted_files import ScriptedFiles
from tests.gateway.scripted_session import ScriptedSession, ScriptedWatch, as_shown


class ScriptedFront(ScriptedFiles):
    """Args: ``echo`` starts and ends a turn for each message by itself, repeating what was said."""

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo
        self.sessions: dict[str, ScriptedSession] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.ended: dict[str, trio.Event] = {}
        self.problems: tuple[str, ...] = ()
        self.fail_with: FrontError | Exception | None = None
        self.before_snapshot: Callable[[], object] = lambda: None
        self.offered = Offers()
        self.arrived = trio.Event()

    # -- the script ---------------------------------------------------------------------------

    def start_turn(self, session_id: str, *ids: str) -> str:
        session = self.sessions[session_id]
        message_ids = ids or tuple(session.waiting)
        session.turns += 1
        prompt = tuple(block for each in message_ids for block in session.waiting.pop(each))
        started = TurnStarted(f"turn-{session.turns}", session.row.epoch, message_ids, prompt)
        session.running = RunningTurn(started, ())
        session.publish(started)
        return started.turn_id

    def say(self, session_id: str, *texts: str) -> None:
        for text in texts:
            self.update(session_id, AgentMessageChunk(TextBlock(text)))

    def update(self, session_id: str, update: SessionUpdate) -> None:
        session = self.sessions[session_id]
        assert session.running is not None
        running = session.running
        session.running = msgspec.structs.replace(running, updates=(*running.updates, update))
        session.publish(TurnUpdate(running.started.turn_id, update))

    def ask(self, session_id: str, request_id: str = "q-1") -> None:
        self.sessions[session_id].ask(request_id)

    def settle(self, session_id: str, request_id: str, option_id: str | None = None) -> None:
        self.sessions[session_id].settle(request_id, option_id)

    def block(self, session_id: str, why: str) -> None:
        """The agent is not started any more; who waits for an outcome is told."""
        session = self.sessions[session_id]
        session.blocked = why
        for name in session.waiting:
            self.ended[name].set()

    def end_turn(
        self,
        session_id: str,
        *,
        stop_reason: str | None = "end_turn",
        error: TurnError | None = None,
        retry_at: int | None = None,
    ) -> None:
        session = self.sessions[session_id]
        assert session.running is not None
        started, updates = session.running.started, session.running.updates
        session.running = None
        text = "".join(
            each.content.text
            for each in updates
            if isinstance(each, AgentMessageChunk) and isinstance(each.content, TextBlock)
        )
        state = InboundState.FAILED if error is not None else InboundState.DONE
        if retry_at is not None:
            state = InboundState.PENDING
            for each in started.message_ids:
                session.waiting[each] = started.prompt
        else:
            for each in started.message_ids:
                self.add_line(session_id, "user", plain_text(started.prompt), started.turn_id, each)
            data = {"updates": [msgspec.to_builtins(each) for each in updates]}
            self.add_line(session_id, "assistant", text, started.turn_id, data=data)
        session.publish(
            TurnEnded(
                started.turn_id,
                started.epoch,
                started.message_ids,
                TurnState.FAILED if error is not None else TurnState.DONE,
                state,
                stop_reason,
                text=text or None,
                error=error,
                retry_at=retry_at,
                journal_seq=len(session.journal),
            )
        )
        if state is not InboundState.PENDING:
            for each in started.message_ids:
                self.finish(Outcome(each, state, stop_reason, error, started.turn_id, text))

    def add_line(
        self,
        session_id: str,
        role: str,
        content: str,
        turn_id: str | None = None,
        name: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        session = self.sessions[session_id]
        seq = len(session.journal) + 1
        entry = JournalEntry(
            seq, 1_000 + seq, name or f"line-{seq}", role, content, session.row.epoch, turn_id, data
        )
        session.journal.append(entry)

    def drop(self, session_id: str, message_id: str, reason: DropReason) -> None:
        session = self.sessions[session_id]
        session.waiting.pop(message_id)
        session.publish(MessageDropped(message_id, reason))
        self.finish(Outcome(message_id, InboundState.DROPPED, "cancelled"))

    def finish(self, outcome: Outcome) -> None:
        self.outcomes[outcome.message_id] = outcome
        self.ended[outcome.message_id].set()

    def stop(self) -> None:
        """Let go of everybody who waits or watches."""
        for event in self.ended.values():
            event.set()
        for session in self.sessions.values():
            for watch in session.watches:
                watch.close()

    async def until_waiting(self, session_id: str, count: int) -> tuple[str, ...]:
        """Wait until so many messages wait, and name them."""
        while len(self.sessions[session_id].waiting) < count:
            await self.arrived.wait()
        return tuple(self.sessions[session_id].waiting)

    # -- the port -----------------------------------------------------------------------------

    def _session(self, session_id: str) -> ScriptedSession:
        if self.fail_with is not None:
            raise self.fail_with
        session = self.sessions.get(session_id)
        if session is None or session.row.status is not SessionStatus.ACTIVE:
            raise NoSuchSession(f"there is no session {session_id!r}")
        return session

    async def open_session(
        self,
        *,
        key: str | None = None,
        agent: str | None = None,
        workplace: Workplace | None = None,
    ) -> SessionRow:
        await trio.lowlevel.checkpoint()
        if agent not in (None, *self.agents):
            raise NoSuchAgent(f"there is no agent {agent!r}")
        name = self._known(key)
        if name is None:
            name = f"session-{len(self.sessions) + 1}"
            row = SessionRow(
                name, agent or "echo", key or name, SessionStatus.ACTIVE, 1, 1_000, 2_000
            )
            self.sessions[name] = ScriptedSession(row)
            self.sessions[name].offers = self.offered
        if workplace is not None:
            await self.set_workplace(name, workplace)
        return self.sessions[name].row

    def _known(self, key: str | None) -> str | None:
        names = [name for name, session in self.sessions.items() if session.row.key == key]
        return names[0] if names else None

    async def set_workplace(self, session_id: str, workplace: Workplace) -> SessionRow:
        session = self._session(session_id)
        overrides = Overrides(workplace=workplace)
        session.row = msgspec.structs.replace(session.row, overrides=overrides)
        return session.row

    async def offers(self, session_id: str) -> Offers:
        await trio.lowlevel.checkpoint()
        return self._session(session_id).offers

    async def choose(self, session_id: str, option_id: str, value: str | bool) -> Offers:
        await trio.lowlevel.checkpoint()
        session = self._session(session_id)
        if session.blocked is not None:
            raise SessionBlocked(session.blocked)
        options = [dict(each) for each in session.offers.config_options]
        found = [each for each in options if each["id"] == option_id]
        if not found:
            raise BadRequest(f"there is no setting {option_id!r}", "$.configId")
        if value == "forbidden":
            raise Refused("This is not for you.")
        found[0]["currentValue"] = value
        session.offers = msgspec.structs.replace(session.offers, config_options=tuple(options))
        session.publish(AgentAnnounced(ConfigOptions(options)))
        return session.offers

    async def reconnect(self, session_id: str) -> None:
        self._session(session_id).blocked = None

    async def answer_permission(
        self, session_id: str, request_id: str, option_id: str | None
    ) -> bool:
        await trio.lowlevel.checkpoint()
        session = self._session(session_id)
        session.answers.append((request_id, option_id))
        running = session.running
        if running is None or request_id not in [each.request_id for each in running.questions]:
            return False
        self.settle(session_id, request_id, option_id)
        return True

    async def session_info(self, session_id: str) -> SessionInfo:
        await trio.lowlevel.checkpoint()
        session = self._session(session_id)
        return SessionInfo(session.row, "running" if session.running else "idle")

    async def list_sessions(self, *, cursor: str | None = None, limit: int = 50) -> InfoPage:
        await trio.lowlevel.checkpoint()
        if cursor is not None and not cursor.isdecimal():
            raise BadRequest("no cursor", "$.cursor")
        start = int(cursor or 0)
        rows = [each.row for each in self.sessions.values()][start:]
        more = str(start + limit) if len(rows) > limit else None
        return InfoPage(tuple(SessionInfo(row, "idle") for row in rows[:limit]), more)

    async def reset_session(self, session_id: str) -> SessionRow:
        session = self._session(session_id)
        session.row = msgspec.structs.replace(session.row, epoch=session.row.epoch + 1)
        session.publish(EpochStarted(session.row.epoch))
        return session.row

    async def close_session(self, session_id: str) -> None:
        session = self._session(session_id)
        await self.clear_queue(session_id)
        session.row = msgspec.structs.replace(session.row, status=SessionStatus.CLOSED)
        session.publish(SessionClosed())

    async def set_queue(self, session_id: str, overrides: QueueOverrides) -> SessionRow:
        session = self._session(session_id)
        session.row = msgspec.structs.replace(session.row, queue=overrides)
        return session.row

    async def submit(
        self,
        session_id: str,
        content: Sequence[SaidBlock],
        *,
        message_id: str | None = None,
        connection: str | None = None,
        sender: Sender | None = None,
    ) -> Submitted:
        session = self._session(session_id)
        known = session.names.get(message_id) if message_id is not None else None
        if known is not None:
            await trio.lowlevel.checkpoint()
            return msgspec.structs.replace(known, duplicate=True)
        session.sequence += 1
        name = f"{session_id}/m{session.sequence}"
        submitted = Submitted(name, session.sequence)
        if message_id is not None:
            session.names[message_id] = submitted
        self.ended[name] = trio.Event()
        said = tuple(as_shown(block) for block in content)
        session.waiting[name] = said
        session.connections[name] = connection
        session.senders.append(sender)
        session.publish(MessageAccepted(name, session.sequence, said))
        self.arrived.set()
        self.arrived = trio.Event()
        if self.echo:
            self.start_turn(session_id, name)
            for word in plain_text(said).split(" "):
                self.say(session_id, word + " ")
            self.end_turn(session_id)
        # The caller learns the id after everybody else: a real commit is answered late, too.
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        return submitted

    async def outcome(self, message_id: str) -> Outcome:
        await self.ended[message_id].wait()
        for session in self.sessions.values():
            if message_id in session.waiting and session.blocked is not None:
                raise SessionBlocked(session.blocked)
        if message_id not in self.outcomes:
            raise Unavailable("the runtime is stopping; the message is kept")
        return self.outcomes[message_id]

    async def cancel(
        self, session_id: str, *, connection: str | None = None, message_id: str | None = None
    ) -> bool:
        session = self._session(session_id)
        for name in list(session.waiting):
            if name == message_id or (
                message_id is None and session.connections[name] == connection
            ):
                self.drop(session_id, name, DropReason.CANCELLED)
        running = session.running
        if running is not None and message_id in (None, *running.started.message_ids):
            self.end_turn(session_id, stop_reason="cancelled")
        return True

    async def clear_queue(self, session_id: str) -> int:
        session = self._session(session_id)
        names = list(session.waiting)
        for name in names:
            self.drop(session_id, name, DropReason.CLEARED)
        return len(names)

    async def queue_status(self, session_id: str) -> QueueStatus:
        session = self._session(session_id)
        running = session.running.started.turn_id if session.running is not None else None
        mode = session.row.queue.mode or "collect"
        return QueueStatus(mode, running, len(session.waiting), blocked=session.blocked)

    def watch(self, session_id: str, *, buffer: int = 1_000) -> Watch:
        watch = ScriptedWatch(buffer)
        if session_id in self.sessions:
            self.sessions[session_id].watches.append(watch)
        return watch

    async def snapshot(self, session_id: str) -> Snapshot:
        await trio.lowlevel.checkpoint()
        session = self._session(session_id)
        self.before_snapshot()
        return Snapshot(session.number, len(session.journal), session.running)

    async def journal(
        self, session_id: str, *, after: int = 0, limit: int = 500, epoch: int | None = None
    ) -> tuple[JournalEntry, ...]:
        await trio.lowlevel.checkpoint()
        lines = self._session(session_id).journal
        found = [each for each in lines if each.seq > after and epoch in (None, each.epoch)]
        return tuple(found[:limit])

    def readiness(self) -> Readiness:
        return Readiness(not self.problems, self.problems)

    def metrics(self) -> bytes:
        return b"greenroom_up 1\n"

    def tree(self) -> dict[str, Any]:
        return {"name": "system", "children": []}

    @property
    def agents(self) -> tuple[str, ...]:
        return ("echo", "other")
