"""The front as the actors serve it: what the gateway and the embedding API talk to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import trio

from actors.client_errors import REQUEST_LIMIT, client_errors
from actors.intake import Intake, brings_files, texts_of
from actors.janitor_messages import Sweep
from actors.library import largest_media, usage_report
from actors.questions import NoSuchOption
from actors.router import Submit
from actors.services import Services
from actors.session_messages import (
    Answer,
    Cancel,
    Choose,
    Clear,
    Close,
    GetOffers,
    GetSnapshot,
    GetStatus,
    Reconnect,
    Reset,
    SessionMessage,
    SetQueue,
    SetWorkplace,
)
from actors.sessions import FindLive, Obtain, SessionsMessage
from actors.watch import SessionWatch
from runtime.kernel import ActorRef, ActorStopped, AskTimeout, MailboxFull, Request, System
from runtime.ports.agent import AgentRefused, Offers
from runtime.ports.front import (
    BadRequest,
    Front,
    InfoPage,
    MediaSwept,
    MediaUsage,
    NoSuchAgent,
    Outcome,
    Readiness,
    Refused,
    SessionBlocked,
    SessionInfo,
    SessionMedia,
    Submitted,
    Unavailable,
)
from runtime.sessions.commands import command_in
from runtime.sessions.content import SaidBlock, plain_text, storable
from runtime.sessions.events import QueueStatus, Snapshot
from runtime.sessions.keys import client_key
from runtime.sessions.overrides import BadOverride, checked_overrides
from runtime.sessions.rows import (
    InboundRow,
    InboundState,
    JournalEntry,
    QueueOverrides,
    Sender,
    SessionRow,
    SessionSpec,
    SessionStatus,
    Workplace,
)
from runtime.storage.entries import answer_id
from runtime.storage.errors import (
    UnknownSession,
)
from runtime.storage.requests import Admitted, MessageStatus

ASK_TIMES = 3

LOOK_LIMIT = 1.0
"""Seconds for a session to say what it does, in a list; one that is too busy for that is
running.
"""

MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,200}")
WAITS = (InboundState.PENDING, InboundState.CLAIMED, InboundState.HELD)

R = TypeVar("R")


class ActorFront(Front):
    """Stands on the router, the sessions and the store."""

    def __init__(
        self,
        services: Services,
        system: System,
        router: ActorRef[Submit],
        sessions: ActorRef[SessionsMessage],
        janitor: ActorRef[Sweep],
    ) -> None:
        self._janitor = janitor
        self._services = services
        self._system = system
        self._router = router
        self._sessions = sessions
        self._stopping = False

    def refuse_new(self) -> None:
        """From now on nothing is accepted: the runtime stops (S45)."""
        self._stopping = True

    # -- sessions -----------------------------------------------------------------------------

    async def open_session(
        self,
        *,
        key: str | None = None,
        agent: str | None = None,
        workplace: Workplace | None = None,
    ) -> SessionRow:
        agent_id = agent if agent is not None else self.agents[0]
        if agent_id not in self._services.agents:
            known = ", ".join(self.agents)
            raise NoSuchAgent(f"no agent {agent_id!r} is configured; there are: {known}")
        try:
            name = key if key is not None else self._services.ids.new()
            spec = SessionSpec(agent_id, client_key(agent_id, name))
        except ValueError as error:
            raise BadRequest(str(error), "$._meta.runtime.key") from None
        async with client_errors():
            row, _ = await self._services.store.resolve(spec)
        return row if workplace is None else await self.set_workplace(row.id, workplace)

    async def set_workplace(self, session_id: str, workplace: Workplace) -> SessionRow:
        row = await self._row(session_id)
        if row.overrides.workplace == workplace:
            return row
        return await self._ask(session_id, SetWorkplace(workplace))

    async def offers(self, session_id: str) -> Offers:
        return await self._ask(session_id, GetOffers())

    async def choose(self, session_id: str, option_id: str, value: str | bool) -> Offers:
        try:
            return await self._ask(session_id, Choose(option_id, value))
        except AgentRefused as error:
            raise Refused(str(error)) from None

    async def reconnect(self, session_id: str) -> None:
        await self._ask(session_id, Reconnect())

    async def answer_permission(
        self, session_id: str, request_id: str, option_id: str | None
    ) -> bool:
        try:
            return await self._ask(session_id, Answer(request_id, option_id))
        except NoSuchOption as error:
            raise BadRequest(str(error), "$.outcome.optionId") from None

    async def session_info(self, session_id: str) -> SessionInfo:
        row = await self._row(session_id)
        (info,) = await self._with_run_state((row,))
        return info

    async def list_sessions(self, *, cursor: str | None = None, limit: int = 50) -> InfoPage:
        if not 1 <= limit <= 1_000:
            raise BadRequest("the limit is a number from 1 to 1000", "$.limit")
        try:
            async with client_errors():
                page = await self._services.store.sessions(cursor=cursor, limit=limit)
        except ValueError as error:
            raise BadRequest(str(error), "$.cursor") from None
        return InfoPage(await self._with_run_state(page.sessions), page.next_cursor)

    async def reset_session(self, session_id: str) -> SessionRow:
        return await self._ask(session_id, Reset())

    async def close_session(self, session_id: str) -> None:
        await self._ask(session_id, Close())

    async def set_queue(self, session_id: str, overrides: QueueOverrides) -> SessionRow:
        try:
            overrides = checked_overrides(overrides)
        except BadOverride as error:
            raise BadRequest(str(error), f"$.{error.field}") from None
        return await self._ask(session_id, SetQueue(overrides))

    # -- messages -----------------------------------------------------------------------------

    async def submit(
        self,
        session_id: str,
        content: Sequence[SaidBlock],
        *,
        message_id: str | None = None,
        connection: str | None = None,
        sender: Sender | None = None,
    ) -> Submitted:
        if not plain_text(content).strip():
            raise BadRequest("there is nothing in the message", "$.prompt")
        if any(storable(text) != text for text in texts_of(content)):
            raise BadRequest("the text has halves of surrogate pairs in it", "$.prompt")
        if message_id is not None and MESSAGE_ID.fullmatch(message_id) is None:
            raise BadRequest(
                "a message id has 1 to 200 printable ASCII characters and no blanks",
                "$._meta.runtime.messageId",
            )
        self._require_open()
        admitted = await self._admit(session_id, content, message_id, connection, sender)
        return Submitted(admitted.message.id, admitted.message.seq, admitted.duplicate)

    async def _admit(
        self,
        session_id: str,
        content: Sequence[SaidBlock],
        message_id: str | None,
        connection: str | None,
        sender: Sender | None,
    ) -> Admitted:
        """Keep the files of a message until the router takes them over, or is not going to."""
        services, place, hears = self._services, None, False
        if any(map(brings_files, content)):  # nothing is written for a session that is not there
            place = services.place_of_work(await self._row(session_id))
            hears = services.transcriber is not None
        intake = Intake(services.library, session_id, place, hears=hears)
        async with intake, client_errors(session_id):
            stored = await intake.take(content)
            files = intake if intake.has_files else None
            request = Submit(session_id, stored, message_id, connection, sender, files)
            return await self._router.ask(request, timeout=REQUEST_LIMIT)

    async def outcome(self, message_id: str) -> Outcome:
        with self._services.watchers.waiting_for(message_id) as waiter:
            status = await self._status(message_id)
            if status.message.state in WAITS:
                self._require_unblocked(status.message)
                await waiter.woken.wait()
                if waiter.outcome is not None:
                    return waiter.outcome
                if waiter.blocked is not None:
                    raise SessionBlocked(waiter.blocked)
                status = await self._status(message_id)
        if status.message.state in WAITS:
            raise Unavailable(
                "the runtime is stopping; the message is kept and runs after the start"
            )
        turn = status.turn
        text = status.message.said
        if turn is not None:
            async with client_errors():
                entry = await self._services.store.journal_entry(
                    status.message.session_id, answer_id(turn.id)
                )
            text = entry.content or None if entry is not None else None
        stop_reason = turn.stop_reason if turn is not None else None
        if status.message.state in (InboundState.DROPPED, InboundState.EXPIRED):
            stop_reason = "cancelled"
        elif status.message.state is InboundState.DONE and turn is None:
            stop_reason = "end_turn"  # it was a command, or an answer
        return Outcome(
            message_id=message_id,
            state=status.message.state,
            stop_reason=stop_reason,
            error=turn.error if turn is not None else None,
            turn_id=turn.id if turn is not None else None,
            text=text,
        )

    async def cancel(
        self, session_id: str, *, connection: str | None = None, message_id: str | None = None
    ) -> bool:
        return await self._ask(session_id, Cancel(connection, message_id))

    async def clear_queue(self, session_id: str) -> int:
        return await self._ask(session_id, Clear())

    async def queue_status(self, session_id: str) -> QueueStatus:
        return await self._ask(session_id, GetStatus())

    # -- watching -----------------------------------------------------------------------------

    def watch(self, session_id: str, *, buffer: int = 1_000) -> SessionWatch:
        return self._services.watchers.watch(session_id, buffer)

    async def snapshot(self, session_id: str) -> Snapshot:
        """Only the session's own actor knows an instant: between the row and the events is time."""
        return await self._ask(session_id, GetSnapshot())

    async def journal(
        self, session_id: str, *, after: int = 0, limit: int = 500, epoch: int | None = None
    ) -> tuple[JournalEntry, ...]:
        async with client_errors(session_id):
            return await self._services.store.journal(
                session_id, after=after, limit=limit, epoch=epoch
            )

    # -- files --------------------------------------------------------------------------------

    @property
    def max_file_bytes(self) -> int:
        media = self._services.settings.media
        return min(media.max_file_bytes, media.max_media_bytes)

    def media_usage(self) -> MediaUsage:
        return usage_report(self._services.library)

    async def largest_media(self) -> tuple[SessionMedia, ...]:
        return await largest_media(self._services.library)

    async def sweep_media(self) -> MediaSwept:
        async with client_errors():
            swept = await self._janitor.ask(Sweep(), timeout=REQUEST_LIMIT)
        return MediaSwept(swept.files, swept.size, swept.problems)

    # -- the runtime --------------------------------------------------------------------------

    def readiness(self) -> Readiness:
        problems = []
        health = self._services.store.health()
        if not health.ready:
            problems.append(f"the store does not take writes: {health.problem}")
        if self._stopping:
            problems.append("the runtime is stopping")
        return Readiness(not problems, tuple(problems))

    def metrics(self) -> bytes:
        return self._services.metrics.render()

    def tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = msgspec.to_builtins(self._system.tree())
        return tree

    @property
    def agents(self) -> tuple[str, ...]:
        default = self._services.default_agent
        return (default, *(name for name in self._services.agents if name != default))

    # -- helpers ------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._stopping:
            raise Unavailable(
                "the runtime is stopping: nothing was done, try again after its start"
            )

    def _require_unblocked(self, message: InboundRow) -> None:
        """A message that nothing runs is not waited for; a command is carried out at any time."""
        why = self._services.watchers.blocked(message.session_id)
        triggers = self._services.settings.sessions.reset_triggers
        if why is not None and command_in(message.content, triggers=triggers) is None:
            raise SessionBlocked(why)

    async def _ask(self, session_id: str, request: Request[R]) -> R:
        """Ask a session, woken if it sleeps; one that just fell asleep is woken again."""
        await self._row(session_id)
        async with client_errors(session_id):
            for _ in range(ASK_TIMES):
                self._require_open()
                live: ActorRef[SessionMessage] = await self._sessions.ask(
                    Obtain(session_id), timeout=REQUEST_LIMIT
                )
                with suppress(ActorStopped):
                    return await live.ask(request, timeout=REQUEST_LIMIT)
        self._require_open()
        raise Unavailable("the session could not be woken; the log says why. Try again later")

    async def _row(self, session_id: str) -> SessionRow:
        async with client_errors(session_id):
            row = await self._services.store.session(session_id)
            if row is None or row.status is not SessionStatus.ACTIVE:
                raise UnknownSession(session_id)
        return row

    async def _status(self, message_id: str) -> MessageStatus:
        async with client_errors():
            status = await self._services.store.message_status(message_id)
        if status is None:
            raise BadRequest(f"there is no message {message_id!r}", "$.messageId")
        return status

    async def _with_run_state(self, rows: tuple[SessionRow, ...]) -> tuple[SessionInfo, ...]:
        """What each does now: derived from the live actors, stored nowhere."""
        async with client_errors():
            live = await self._sessions.ask(
                FindLive(tuple(row.id for row in rows)), timeout=REQUEST_LIMIT
            )
        states = dict.fromkeys((row.id for row in rows), "stopped")
        states.update(dict.fromkeys(live, "running"))

        async def look(session_id: str, ref: ActorRef[SessionMessage]) -> None:
            with suppress(ActorStopped, MailboxFull, AskTimeout):
                snapshot = await ref.ask(GetSnapshot(), timeout=LOOK_LIMIT)
                states[session_id] = "idle" if snapshot.running is None else "running"
            if self._services.watchers.blocked(session_id) is not None:
                states[session_id] = "blocked"

        async with trio.open_nursery() as nursery:
            for session_id, ref in live.items():
                nursery.start_soon(look, session_id, ref)
        return tuple(SessionInfo(row, states[row.id]) for row in rows)
