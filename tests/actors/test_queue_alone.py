"""The queue's actor by itself, with a session that is played by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
from trio.testing import MockClock

from actors.queue import (
    Arrived,
    Batch,
    Configure,
    Ended,
    Fetched,
    FirstEvent,
    InterruptTurn,
    Offered,
    QueueActor,
    QueueMessage,
    Status,
    SteerTurn,
    Withdraw,
)
from actors.services import Services
from runtime.kernel import ActorRef, open_system
from runtime.metrics import Metrics
from runtime.sessions.ids import IdSource
from runtime.sessions.media import MediaItem
from runtime.sessions.modes import QueueMode
from runtime.sessions.queueing import QueuePolicy
from runtime.sessions.rows import InboundRow
from tests.actors.stage import clock
from tests.sessions.rows import inbound


class Session:
    """Hears what the queue says, once it has room."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.heard: list[Offered | InterruptTurn | SteerTurn] = []

    def tell(self, message: Offered | InterruptTurn | SteerTurn) -> bool:
        if self.refusals:
            self.refusals -= 1
            return False
        self.heard.append(message)
        return True

    @property
    def batch(self) -> Batch:
        last = self.heard[-1]
        assert isinstance(last, Offered)
        return last.batch


class Played:
    """What the queue needs of the services."""

    def __init__(self) -> None:
        self.ids = IdSource()
        self.metrics = Metrics()
        self.now = clock


@asynccontextmanager
async def queue_of(
    *rows: InboundRow,
    mode: QueueMode = QueueMode.COLLECT,
    refusals: int = 0,
    overflow: Sequence[InboundRow] = (),
) -> AsyncIterator[tuple[ActorRef[QueueMessage], Session, Played]]:
    session, services = Session(refusals), Played()
    async with open_system() as system:
        queue: ActorRef[Any] = system.spawn(
            lambda: QueueActor(
                cast("Services", services),
                cast("ActorRef[Any]", session),
                QueuePolicy(mode),
                2,
                Arrived(rows, overflow=tuple(overflow)),
            ),
            name="queue",
        )
        await queue.ask(Status(), timeout=1)
        yield queue, session, services


async def test_a_session_without_room_is_asked_again(autojump_clock: MockClock) -> None:
    # Q8 T2
    async with queue_of(inbound(1), mode=QueueMode.INTERRUPT, refusals=3) as (queue, session, _):
        assert session.heard == []
        await trio.sleep(1)
        (offered,) = session.heard
        assert offered == Offered(session.batch)
        session.refusals = 2
        queue.tell(Arrived((inbound(2),)))
        await trio.sleep(1)
        assert isinstance(session.heard[-1], InterruptTurn)


async def test_what_is_said_of_a_turn_that_is_over_is_counted(autojump_clock: MockClock) -> None:
    # T3
    async with queue_of(inbound(1), inbound(2)) as (queue, session, services):
        first = session.batch
        queue.tell(Ended(first.turn_id))
        for late in (Ended(first.turn_id, first.rows), FirstEvent(first.turn_id, "s", 1, 1)):
            queue.tell(late)
        assert (await queue.ask(Status(), timeout=1)).rows == ()
        assert b"late_events_total 2.0" in services.metrics.render()


async def test_context_whose_files_are_on_their_way_waits_for_the_next_turn(
    autojump_clock: MockClock,
) -> None:
    # S31 Q7
    there = inbound(1, trigger=False)
    fetching = inbound(2, trigger=False, media=(MediaItem(reference="r"),))
    async with queue_of(there, fetching, inbound(3)) as (queue, session, _):
        assert [row.id for row in session.batch.context] == ["m1"]
        come = inbound(2, trigger=False, media=(MediaItem(file="r"),))
        queue.tell(Fetched(come))
        queue.tell(Arrived((inbound(4),)))
        queue.tell(Ended(session.batch.turn_id))
        await queue.ask(Status(), timeout=1)
        assert session.batch.context == (come,)


async def test_lines_for_the_cap_are_as_many_as_are_wanted_now(autojump_clock: MockClock) -> None:
    # Q3 Q4
    dropped = tuple(inbound(seq) for seq in (5, 6, 7))
    async with queue_of(inbound(1)) as (queue, session, _):
        queue.tell(Arrived(overflow=dropped))
        queue.tell(Configure(QueuePolicy(), 1))
        queue.tell(Arrived((inbound(9),), overflow=(inbound(8),)))
        queue.tell(Ended(session.batch.turn_id))
        await queue.ask(Status(), timeout=1)
        assert [row.id for row in session.batch.overflow] == ["m8"]


async def test_with_what_waits_the_lines_go_too(autojump_clock: MockClock) -> None:
    # Q5 H3
    async with queue_of(inbound(1)) as (queue, session, _):
        queue.tell(Arrived((inbound(3),), overflow=(inbound(2),)))
        assert await queue.ask(Withdraw(everything=True), timeout=1) == ("m1", "m3")
        queue.tell(Ended(session.batch.turn_id))
        queue.tell(Arrived((inbound(4),)))
        await queue.ask(Status(), timeout=1)
        assert (session.batch.message_ids, session.batch.overflow) == (("m4",), ())
