"""What waits in one session: a cache of its pending rows, and which of them run next (Q1–Q8).

    Arrived    rows were admitted; others went to make room
    Ended      the offered batch is over; these rows wait again
    FirstEvent the agent has begun: the batch is handed over
    Fetched    a file of a waiting row has come
    Steered    what became of a row that the turn was to take in
    Withdraw   forget waiting rows                                 → their ids
    Status     what waits                                          → Waiting
    Configure  new settings
    Hold       offer nothing more
    Look       a window has closed: look again

The rows are the truth. A batch is *offered* from the moment that the session has it until it has
ended; that is what "busy" means here, and there is never more than one.
"""

from __future__ import annotations

import msgspec
import trio

from actors.services import Services
from runtime.kernel import Actor, ActorRef, Message, Request, Timer
from runtime.log import get_logger
from runtime.sessions.modes import QueueMode
from runtime.sessions.queueing import (
    Heard,
    Idle,
    Interrupt,
    QueuePolicy,
    Run,
    Running,
    Steer,
    WaitingQueue,
    WaitUntil,
    conversation_of,
)
from runtime.sessions.rows import InboundRow
from runtime.storage.errors import StoreError
from runtime.storage.media_requests import HandOver

OFFER_AGAIN = 0.05
"""Seconds until a batch is offered again to a session that had no room for it."""

log = get_logger(__name__)


class Batch(msgspec.Struct, frozen=True):
    """Messages that run as one turn.

    Args:
        turn_id: the id of the turn to be.
        rows: the messages, in order; they share one reply address (Q2).
        overflow: rows that were dropped for the cap, whose lines come first (Q4).
        more: whether others may have been dropped, that leave no line.
        context: rows that wake nobody, to be read as context (S31).
        collected: whether they were collected while an earlier turn ran (Q2).
    """

    turn_id: str
    rows: tuple[InboundRow, ...]
    overflow: tuple[InboundRow, ...] = ()
    more: bool = False
    context: tuple[InboundRow, ...] = ()
    collected: bool = False

    @property
    def message_ids(self) -> tuple[str, ...]:
        """The messages that the turn answers."""
        return tuple(row.id for row in self.rows)

    def joined_by(self, row: InboundRow) -> Batch:
        """The batch with a message that the running turn has taken in (Q3)."""
        return msgspec.structs.replace(self, rows=(*self.rows, row))

    @property
    def claimed(self) -> tuple[InboundRow, ...]:
        """All rows that the turn settles, in order."""
        return tuple(sorted((*self.context, *self.rows), key=lambda row: row.seq))


class Offered(Message, frozen=True):
    """To the session: run this."""

    batch: Batch


class InterruptTurn(Message, frozen=True):
    """To the session: cancel the running turn, something newer waits (Q3)."""

    turn_id: str


class SteerTurn(Message, frozen=True):
    """To the session: hand this row to the running turn (Q3).

    ``keep``: it waits all the same. The queue is told what became of it, or that the turn is over.
    """

    turn_id: str
    row: InboundRow
    keep: bool


class Arrived(Message, frozen=True):
    """Rows that wait now, and rows that went for the cap; ``overflow``: those that leave a line.

    ``behind``: ids of rows that came while an earlier incarnation of the session ran a turn (Q2).
    """

    rows: tuple[InboundRow, ...] = ()
    dropped: tuple[InboundRow, ...] = ()
    overflow: tuple[InboundRow, ...] = ()
    behind: frozenset[str] = frozenset()


class Ended(Message, frozen=True):
    """A turn is over. ``again``: its rows as they wait now; ``overflow`` lines not yet told."""

    turn_id: str
    again: tuple[InboundRow, ...] = ()
    overflow: tuple[InboundRow, ...] = ()


class FirstEvent(Message, frozen=True):
    """The agent has begun: from now on the batch's files are the session's (H1).

    ``at``: when, in ms since 1970. ``steerable``: the agent can be told of what arrives.
    """

    turn_id: str
    session_id: str
    fence: int
    at: int
    steerable: bool = False


class Fetched(Message, frozen=True):
    """A file of a waiting row has come, or will not come: the row as it is now (Q7)."""

    row: InboundRow


class Steered(Message, frozen=True):
    """What became of a row that a running turn was to be told of; the row as it is now."""

    turn_id: str
    row: InboundRow
    heard: Heard


class Withdraw(Request[tuple[str, ...]], frozen=True):
    """Forget waiting rows: those of a connection, those named, or all, or all with a ``seq`` below
    ``before``. Those of the offered batch are in the answer as well: until its turn has claimed
    them, they can be withdrawn.
    """

    connection: str | None = None
    message_ids: tuple[str, ...] = ()
    everything: bool = False
    before: int | None = None


class Waiting(msgspec.Struct, frozen=True):
    """What waits, and the batch that is offered, if there is one."""

    mode: str
    rows: tuple[InboundRow, ...]
    offered: Batch | None


class Status(Request[Waiting], frozen=True):
    """Ask what waits."""


class Configure(Message, frozen=True):
    """Use these settings from now on."""

    policy: QueuePolicy
    cap: int


class Hold(Message, frozen=True):
    """Offer nothing more: the session is about to stop (S45)."""


class Look(Message, frozen=True):
    """A window has closed."""


QueueMessage = (
    Arrived | Ended | FirstEvent | Fetched | Steered | Withdraw | Status | Configure | Hold | Look
)


class Offer:
    """A batch that was offered, and what its turn has heard of since."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.steerable = False
        self.asking = False
        self.lines_forgotten = False
        self.told: set[str] = set()
        self.refused: set[str] = set()

    @property
    def running(self) -> Running:
        """The turn as the rules see it."""
        return Running(
            conversation=conversation_of(self.batch.rows[0]),
            steerable=self.steerable and not self.asking,
            told=frozenset(self.told),
            refused=frozenset(self.refused),
        )

    def heard(self, row: InboundRow, heard: Heard) -> None:
        """What became of the row that its agent was asked about."""
        self.asking = False
        match heard:
            case Heard.TAKEN:
                self.batch = self.batch.joined_by(row)
            case Heard.TOLD:
                self.told.add(row.id)
            case Heard.REFUSED:
                self.refused.add(row.id)
            case Heard.GONE:
                pass


class QueueActor(Actor[QueueMessage]):
    """The queue of one session."""

    def __init__(
        self,
        services: Services,
        session: ActorRef[Offered | InterruptTurn | SteerTurn],
        policy: QueuePolicy,
        cap: int,
        first: Arrived,
    ) -> None:
        self._services = services
        self._session = session
        self._policy = policy
        self._cap = cap
        self._first = first
        self._waiting = WaitingQueue()
        self._overflow: list[InboundRow] = []
        self._offered: Offer | None = None
        self._held = False
        self._next_look: Timer | None = None

    async def on_start(self) -> None:
        self._arrive(self._first)
        self._look()

    async def on_message(self, message: QueueMessage) -> object:
        match message:
            case Arrived():
                self._arrive(message)
            case Ended():
                self._end(message)
            case FirstEvent():
                self._hand_over(message)
            case Fetched():
                self._waiting.replace(message.row)
            case Steered():
                self._steered(message)
            case Withdraw():
                return self._withdraw(message)
            case Status():
                return self._status()
            case Configure():
                self._policy, self._cap = message.policy, message.cap
            case Hold():
                self._held = True
                return None
            case Look():
                pass
        self._look()
        return None

    def _arrive(self, message: Arrived) -> None:
        now = trio.current_time()
        offered = self._offered.batch.message_ids if self._offered is not None else ()
        for row in message.rows:
            if row.id not in offered:
                self._waiting.add(
                    row,
                    now,
                    debounced=row.reply_to is not None or self._policy.prompts_wait,
                    behind=self._offered is not None or row.id in message.behind,
                )
        self._waiting.remove(row.id for row in message.dropped)
        self._overflow = [*self._overflow, *message.overflow][-self._cap :]

    def _end(self, message: Ended) -> None:
        offer = self._current(message.turn_id)
        if offer is None:
            return
        self._offered = None
        now = trio.current_time()
        for row in message.again:
            self._waiting.add(row, now, debounced=False, behind=offer.batch.collected)
        overflow = () if offer.lines_forgotten else message.overflow
        self._overflow = [*overflow, *self._overflow][-self._cap :]

    def _current(self, turn_id: str) -> Offer | None:
        """The offer of a turn; None, and counted, when it is over (T3)."""
        if self._offered is not None and self._offered.batch.turn_id == turn_id:
            return self._offered
        self._services.metrics.late_events.inc()
        return None

    def _hand_over(self, message: FirstEvent) -> None:
        """The files of the batch are the session's from now on (H1)."""
        offer = self._current(message.turn_id)
        if offer is None:
            return
        offer.steerable = message.steerable
        batch = offer.batch
        ids = tuple(row.id for row in batch.claimed if row.media)
        if ids:
            request = HandOver(batch.turn_id, message.session_id, message.fence, message.at, ids)
            self.start(self._write_down, request, name="handover")

    async def _write_down(self, request: HandOver) -> None:
        """Beside the queue, which waits for nothing. When the disk refuses, the end of the turn
        writes it down.
        """
        try:
            await self._services.store.hand_over(request)
        except StoreError as error:
            log.warning("handover_not_written", turn=request.turn_id, reason=str(error))

    def _steered(self, message: Steered) -> None:
        offer = self._current(message.turn_id)
        if offer is None:
            return
        offer.heard(message.row, message.heard)
        if message.heard in (Heard.TAKEN, Heard.GONE):
            self._waiting.remove((message.row.id,))
        elif message.heard is Heard.TOLD:
            self._waiting.replace(message.row)

    def _withdraw(self, message: Withdraw) -> tuple[str, ...]:
        offered = self._offered.batch.rows if self._offered is not None else ()
        ids = tuple(
            row.id
            for row in (*offered, *self._waiting.waiting, *self._waiting.context)
            if (message.everything and (message.before is None or row.seq < message.before))
            or row.id in message.message_ids
            or (message.connection is not None and row.connection == message.connection)
        )
        self._waiting.remove(ids)
        if message.everything:
            self._overflow = []
            if self._offered is not None:
                self._offered.lines_forgotten = True
        self._look()
        return ids

    def _status(self) -> Waiting:
        return Waiting(
            mode=self._policy.mode.value,
            rows=tuple(self._waiting.waiting),
            offered=self._offered.batch if self._offered is not None else None,
        )

    def _look(self) -> None:
        """Do what is due: offer a batch, ask for an interruption, or look again later."""
        if self._held:
            return
        now = trio.current_time()
        running = self._offered.running if self._offered is not None else None
        decision = self._waiting.decide(now, self._services.now(), running, self._policy)
        match decision:
            case Run():
                self._offer(decision)
            case Interrupt():
                if self._offered is not None:
                    self._ask(InterruptTurn(self._offered.batch.turn_id))
            case Steer():
                if self._offered is not None:
                    keep = self._policy.mode is QueueMode.STEER_BACKLOG
                    steer = SteerTurn(self._offered.batch.turn_id, decision.row, keep)
                    self._offered.asking = self._ask(steer)
            case WaitUntil():
                self._look_after(decision.at - now)
            case Idle():
                pass

    def _offer(self, decision: Run) -> None:
        batch = Batch(
            turn_id=self._services.ids.new(),
            rows=decision.rows,
            collected=decision.collected,
            overflow=tuple(self._overflow),
            more=len(self._overflow) >= self._cap,
            context=tuple(row for row in self._waiting.context if not row.fetching),
        )
        if not self._ask(Offered(batch)):
            return
        self._offered = Offer(batch)
        self._overflow = []
        self._waiting.remove(batch.message_ids)
        self._waiting.remove(row.id for row in batch.context)

    def _ask(self, message: Offered | InterruptTurn | SteerTurn) -> bool:
        """Tell the session; whether it has room for it. If not, the queue looks again later."""
        told = self._session.tell(message)
        if not told:
            self._look_after(OFFER_AGAIN)
        return told

    def _look_after(self, seconds: float) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self.after(max(0.0, seconds), Look())
