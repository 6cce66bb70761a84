"""What the tests of the store share: a clock that is set, short ways to make requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtime.sessions.content import text_content
from runtime.sessions.ids import IdSource
from runtime.sessions.rows import (
    InboundRow,
    InboundState,
    MessageKey,
    ReplyAddress,
    SessionRow,
    SessionSpec,
    TurnState,
)
from runtime.storage.requests import (
    Admitted,
    Awake,
    BeginTurn,
    EndTurn,
    InterruptedPolicy,
    NewEntry,
    NewInbound,
    NewOutbound,
    Owner,
    QueueLimit,
    Settlement,
)
from runtime.storage.sqlite import SqliteStore, open_memory, open_sqlite
from runtime.storage.store import Store

START = 1_750_000_000_000
"""What the clock shows at first."""

POLICY = InterruptedPolicy()
OWNER = Owner("instance-1", "incarnation-1")
CHAT = ReplyAddress("telegram", "bot", "chat-1", message_id="1")
SPEC = SessionSpec("echo", "agent:echo:main")


class Clock:
    """A wall clock that moves only when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


_ids = IdSource()


def new_id() -> str:
    """An id that was never used."""
    return _ids.new()


def message(session: str | SessionSpec = SPEC, text: str = "hello", **fields: Any) -> NewInbound:
    """A message to admit, from somebody on a chat network."""
    fields.setdefault("reply_to", CHAT)
    return NewInbound(new_id(), session, text_content(text), **fields)


def prompt(session: str | SessionSpec = SPEC, text: str = "hello", **fields: Any) -> NewInbound:
    """A message of a caller who waits for the answer."""
    return message(session, text, reply_to=None, refuse_when_full=True, **fields)


def key(number: int, version: int = 0) -> MessageKey:
    """What names a message on its platform."""
    return MessageKey("telegram", "bot", "chat-1", str(number), version)


def cap(size: int, drop: str = "old") -> QueueLimit:
    """The cap of a queue."""
    return QueueLimit(size, drop)


async def admit(store: Store, new: NewInbound) -> Admitted:
    """Admit one message."""
    (admitted,) = await store.admit([new])
    return admitted


async def state_of(store: Store, message_id: str) -> tuple[InboundState, str | None]:
    """Where a message stands, and why."""
    status = await store.message_status(message_id)
    assert status is not None
    return status.message.state, status.message.reason


class Actor:
    """One incarnation of a session's actor, as far as the store sees it."""

    def __init__(self, store: Store, awake: Awake, owner: Owner) -> None:
        self.store = store
        self.awake = awake
        self.session: SessionRow = awake.session
        self.owner = owner

    @classmethod
    async def wake(
        cls,
        store: Store,
        session_id: str,
        owner: Owner = OWNER,
        policy: InterruptedPolicy = POLICY,
    ) -> Actor:
        """Take the session."""
        return cls(store, await store.wake(session_id, owner, policy), owner)

    async def begin(self, *rows: InboundRow | str, overflow: tuple[str, ...] = ()) -> str:
        """Begin a turn with messages; its id."""
        request = self.beginning(*rows, overflow=overflow)
        await self.store.begin_turn(request)
        return request.turn_id

    def beginning(self, *rows: InboundRow | str, overflow: tuple[str, ...] = ()) -> BeginTurn:
        """The request that begins a turn."""
        return BeginTurn(
            new_id(),
            self.session.id,
            self.session.epoch,
            self.session.fence,
            self.owner,
            tuple(row if isinstance(row, str) else row.id for row in rows),
            overflow,
        )

    def ending(
        self,
        turn_id: str,
        *message_ids: str,
        state: TurnState = TurnState.DONE,
        settle: InboundState = InboundState.DONE,
        **fields: Any,
    ) -> EndTurn:
        """The request that ends a turn, all messages in one state."""
        fields.setdefault(
            "messages", tuple(Settlement(message_id, settle) for message_id in message_ids)
        )
        return EndTurn(
            turn_id, self.session.id, self.session.epoch, self.session.fence, state, **fields
        )

    async def answer(self, *message_ids: str, text: str = "an answer") -> EndTurn:
        """Run a whole turn."""
        turn_id = await self.begin(*message_ids)
        end = self.ending(
            turn_id,
            *message_ids,
            journal=(
                *(NewEntry(each, "user", "a question") for each in message_ids),
                NewEntry(f"{turn_id}:answer", "assistant", text),
            ),
            outbound=(NewOutbound(new_id(), CHAT, text),),
        )
        await self.store.end_turn(end)
        return end


@asynccontextmanager
async def opened(kind: str, clock: Clock, data_dir: Path) -> AsyncIterator[SqliteStore]:
    """A store: ``disk`` with its threads, ``memory`` inline."""
    opening = open_memory(clock) if kind == "memory" else open_sqlite(data_dir, clock)
    async with opening as store:
        yield store
