"""What it costs to accept a message for good, and that this does not grow with what is stored."""

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import trio

from bench.harness import Question
from runtime.sessions.content import text_content
from runtime.sessions.ids import IdSource, wall_clock_ms
from runtime.sessions.rows import DropReason, MessageKey, ReplyAddress, SessionSpec
from runtime.storage.requests import Drop, NewInbound, QueueLimit
from runtime.storage.sqlite import SqliteStore, open_sqlite
from runtime.storage.writer import BATCH_LIMIT

SENDERS = 200
ADMISSIONS = 40_000
ADMISSIONS_ALONE = 4_000
DROPS = 200_000
DROPS_ALONE = 10_000
LATENCIES = 2_000
FEW_SESSIONS = 10
MANY_SESSIONS = 100_000
LISTED_SESSIONS = 10_000
SESSIONS_PER_TRANSACTION = 5_000

ids = IdSource()


def new_message(session: str, number: int) -> NewInbound:
    """A message as a chat network brings it: with a key, a reply address and a cap."""
    return NewInbound(
        ids.new(),
        session,
        text_content("A message of the usual length, about as long as this sentence is."),
        key=MessageKey("bench", "bot", session, str(number)),
        reply_to=ReplyAddress("bench", "bot", session),
        limit=QueueLimit(1_000_000, "old"),
    )


def on_disk(
    measure: Callable[[SqliteStore], Awaitable[float]], *, batch_limit: int = BATCH_LIMIT
) -> float:
    """Take a figure with a new store in a temporary directory."""

    def opened(directory: str) -> AbstractAsyncContextManager[SqliteStore]:
        return open_sqlite(Path(directory), wall_clock_ms, batch_limit=batch_limit)

    async def main() -> float:
        with tempfile.TemporaryDirectory() as directory:
            async with opened(directory) as store:
                return await measure(store)

    return trio.run(main)


async def make_sessions(store: SqliteStore, count: int) -> list[str]:
    """Make idle sessions; their ids."""
    made: list[str] = []

    async def make(number: int) -> None:
        session, _ = await store.resolve(SessionSpec("echo", f"agent:echo:bench:{number}"))
        made.append(session.id)

    for start in range(0, count, SESSIONS_PER_TRANSACTION):
        async with trio.open_nursery() as nursery:
            for number in range(start, min(start + SESSIONS_PER_TRANSACTION, count)):
                nursery.start_soon(make, number)
    return made


# -- how many per second ---------------------------------------------------------------------------


async def admissions_per_second(store: SqliteStore, total: int) -> float:
    """So many senders at once, each with a session of its own."""
    sessions = await make_sessions(store, SENDERS)

    async def send(session: str) -> None:
        for number in range(total // SENDERS):
            await store.admit([new_message(session, number)])

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(send, session)
    return total // SENDERS * SENDERS / (time.perf_counter() - began)


def admissions_shared(scale: float) -> float:
    """Requests that come together share a commit."""
    total = max(SENDERS, int(ADMISSIONS * scale))
    return on_disk(partial(admissions_per_second, total=total))


def admissions_alone(scale: float) -> float:
    """Each request has a commit of its own."""
    total = max(SENDERS, int(ADMISSIONS_ALONE * scale))
    return on_disk(partial(admissions_per_second, total=total), batch_limit=1)


# -- how many of the smallest writes per second ----------------------------------------------------


async def drops_per_second(store: SqliteStore, total: int) -> float:
    """The smallest write there is, one row without an index: what is left is the commit."""
    drop = Drop(DropReason.UNKNOWN_SENDER, "bench", "bot", "chat")

    async def send() -> None:
        for _ in range(total // SENDERS):
            await store.record_drop(drop)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(SENDERS):
            nursery.start_soon(send)
    return total // SENDERS * SENDERS / (time.perf_counter() - began)


def drops_shared(scale: float) -> float:
    """Requests that come together share a commit."""
    total = max(SENDERS, int(DROPS * scale))
    return on_disk(partial(drops_per_second, total=total))


def drops_alone(scale: float) -> float:
    """Each request has a commit of its own."""
    total = max(SENDERS, int(DROPS_ALONE * scale))
    return on_disk(partial(drops_per_second, total=total), batch_limit=1)


# -- how long one takes ----------------------------------------------------------------------------


async def admission_latency(store: SqliteStore, sessions: int, total: int) -> float:
    """The median of one admission after the other, in milliseconds."""
    known = await make_sessions(store, sessions)
    await store.maintain()
    taken = []
    for number in range(total):
        new = new_message(known[number * 7_919 % sessions], number)
        began = time.perf_counter()
        await store.admit([new])
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1_000


def latency_with(sessions: int) -> Callable[[float], float]:
    """One admission in a store that holds so many sessions, whatever the scale."""

    def variant(scale: float) -> float:
        total = max(100, int(LATENCIES * scale))
        return on_disk(partial(admission_latency, sessions=sessions, total=total))

    return variant


# -- listing ---------------------------------------------------------------------------------------


async def listing(store: SqliteStore, page: int) -> float:
    """Milliseconds to read the whole list of sessions, page by page."""
    await make_sessions(store, LISTED_SESSIONS)
    began = time.perf_counter()
    cursor: str | None = None
    while True:
        found = await store.sessions(cursor=cursor, limit=page)
        cursor = found.next_cursor
        if cursor is None:
            return (time.perf_counter() - began) * 1_000


def listing_by(page: int) -> Callable[[float], float]:
    """The list in pages of one size, whatever the scale."""
    return lambda _: on_disk(partial(listing, page=page))


QUESTIONS = (
    Question(
        name="durable admissions",
        unit="messages/s",
        higher_is_better=True,
        variants={"group commit": admissions_shared, "one commit each": admissions_alone},
        baseline="one commit each",
    ),
    Question(
        name="smallest durable writes",
        unit="rows/s",
        higher_is_better=True,
        variants={"group commit": drops_shared, "one commit each": drops_alone},
        baseline="one commit each",
    ),
    Question(
        name="admission among sessions",
        unit="ms",
        higher_is_better=False,
        variants={
            f"{FEW_SESSIONS} sessions": latency_with(FEW_SESSIONS),
            f"{MANY_SESSIONS} sessions": latency_with(MANY_SESSIONS),
        },
    ),
    Question(
        name=f"list {LISTED_SESSIONS} sessions",
        unit="ms",
        higher_is_better=False,
        variants={
            "pages of 1000": listing_by(1_000),
            "pages of 50": listing_by(50),
        },
    ),
)
