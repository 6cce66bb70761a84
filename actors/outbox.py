"""Delivery to push channels: one actor per channel account (O1–O5).

    Due       something may be due at this account
    Finish    begin nothing more, let the sends under way end      → when they have

Per conversation the parts go out in order, one at a time; conversations do not wait for each other.
A part is committed as ``attempting`` before the network is touched.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import trio

from actors.checking import LONGEST_ERROR
from actors.drafting import withdraw_left_over
from actors.persistence import until_written
from actors.reporting import parts
from actors.services import Services
from actors.uploads import FileGone, Uploads
from runtime.kernel import (
    Actor,
    ActorRef,
    Helper,
    Intensity,
    KernelError,
    Message,
    Reply,
    Request,
    Restart,
    Timer,
)
from runtime.log import get_logger
from runtime.ports.channel import (
    Channel,
    ChannelCapabilities,
    OutboundFile,
    OutboundPart,
    PermanentFailure,
    Receipt,
    TransientFailure,
    UnknownOutcome,
)
from runtime.sessions.content import storable
from runtime.sessions.drafting import pause_asked_for
from runtime.sessions.marks import marked
from runtime.sessions.outgoing import failure_notice
from runtime.sessions.rows import OutboundRow
from runtime.storage.errors import StoreError

SEND_LIMIT = 60.0
"""Seconds for one call of a channel; after that its outcome is unknown."""

SLOWEST_UPLOAD = 50_000.0
"""Bytes per second; a file gets so much more time."""

BACKOFF = (5.0, 25.0, 120.0, 600.0)  # O4
SHORTEST_RETRY_AFTER = 1.0
WITHDRAWALS = 3
"""From so many attempts on, an answer waits no longer for its draft to go."""

LONGEST_RETRY_AFTER = 86_400.0
CONVERSATIONS = 100
"""How many conversations of one account are served at the same time, but for slow ones."""

SLOW_AFTER = 5.0
"""Seconds after which a conversation leaves its place among them to another (O3)."""

SLOW_CONVERSATIONS = 200
"""How many do at most."""

LOOK_EVERY = 30.0
"""Seconds after which an account looks for itself: a word of something due may have been lost."""

STORE_AGAIN = 5.0
FINISH_LIMIT = 5.0
"""Seconds for the sends under way when the runtime stops."""

NEVER_GIVEN_UP = Intensity(restarts=1_000_000, seconds=1.0)

log = get_logger(__name__)


class Due(Message, frozen=True):
    """Something may be due at this account."""

    channel: str
    account: str


class Finish(Request[None], frozen=True):
    """Begin nothing more, and let what is under way end."""


class Outbox(Actor[Due | Finish]):
    """Hands each account its work."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._accounts: dict[tuple[str, str], ActorRef[Due | Finish]] = {}

    async def on_start(self) -> None:
        for (name, account), channel in self._services.channels.items():
            self._accounts[name, account] = self.spawn(
                partial(Delivery, self._services, channel),
                name=f"{name}:{account}",
                restart=Restart.PERMANENT,
                intensity=NEVER_GIVEN_UP,
            )

    async def on_message(self, message: Due | Finish) -> object:
        """A row of a channel that is not configured waits until it is."""
        match message:
            case Due():
                account = self._accounts.get((message.channel, message.account))
                if account is not None:
                    account.tell(message)
            case Finish():
                self.start(self._finish, self.defer(message), name="finish")
        return None

    async def _finish(self, reply: Reply[None]) -> None:
        async with trio.open_nursery() as nursery:
            for account in self._accounts.values():
                nursery.start_soon(_finish_one, account)
        reply.set(None)


async def _finish_one(account: ActorRef[Due | Finish]) -> None:
    try:
        await account.ask(Finish(), timeout=2 * FINISH_LIMIT)
    except KernelError as error:
        log.warning("deliveries_cut_off", reason=str(error))


class _Serving(NamedTuple):
    """A conversation is being served, since a moment of Trio's clock."""

    task: Helper
    since: float


class Delivery(Actor[Due | Finish]):
    """The deliveries of one account."""

    def __init__(self, services: Services, channel: Channel) -> None:
        self._services = services
        self._channel = channel
        self._uploads = Uploads(services, channel)
        self._due = Due(channel.name, channel.account)
        self._busy: dict[str, _Serving] = {}
        self._next_look: Timer | None = None
        self._paused_until = -math.inf
        self._finishing = False

    async def on_start(self) -> None:
        """What an earlier instance was in the middle of is in doubt (O2)."""
        await until_written(
            lambda: self._services.store.outbox_recover(self._due.channel, self._due.account)
        )
        if self._channel.capabilities.delete:
            place = self._due.channel, self._due.account
            self.start(withdraw_left_over, self._services, *place, name="drafts")
        self.every(LOOK_EVERY, self._due)
        self.ref.tell(self._due)

    async def on_message(self, message: Due | Finish) -> object:
        match message:
            case Due():
                try:
                    await self._look()
                except StoreError as error:
                    log.error("deliveries_wait", reason=str(error))
                    self._look_after(STORE_AGAIN)
            case Finish():
                self._finishing = True
                self.start(self._finish, self.defer(message), name="finish")
        return None

    async def _look(self) -> None:
        """Start a task for each conversation that has something due and none yet."""
        if self._finishing:
            return
        if self._pause > 0.0:
            self._look_after(self._pause)
            return
        store, due, now = self._services.store, self._due, self._services.now()
        room = self._room()
        for row in await store.outbox_due(due.channel, due.account, CONVERSATIONS):
            conversation = row.reply_to.conversation
            if conversation not in self._busy and room > 0:
                task = self.start(self._deliver, row, name="delivery")
                self._busy[conversation] = _Serving(task, trio.current_time())
                room -= 1
        if room <= 0:
            self._look_after(SLOW_AFTER)
            return
        # Whoever is due by now has a task, or gets one when a task ends.
        next_due = await store.outbox_next_due(due.channel, due.account, after=now)
        if next_due is not None:
            self._look_after((next_due - self._services.now()) / 1000)

    def _room(self) -> int:
        """How many more conversations may be served now."""
        slow_since = trio.current_time() - SLOW_AFTER
        slow = sum(serving.since <= slow_since for serving in self._busy.values())
        return CONVERSATIONS + min(slow, SLOW_CONVERSATIONS) - len(self._busy)

    @property
    def _pause(self) -> float:
        """Seconds for which the network wants the whole account to wait (O3)."""
        return self._paused_until - trio.current_time()

    def _look_after(self, seconds: float) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self.after(max(0.0, seconds), self._due)

    async def _deliver(self, row: OutboundRow) -> None:
        """Send one part and write down what became of it, then look again."""
        try:
            if self._pause <= 0.0:
                attempt = await until_written(lambda: self._services.store.outbox_attempt(row.id))
                if attempt is not None:
                    await self._attempt(attempt)
        finally:
            del self._busy[row.reply_to.conversation]
        self.ref.tell(self._due)

    async def _attempt(self, row: OutboundRow) -> None:
        """Touch the network and write down what came of it."""
        receipt, error = await self._called(row, self._edit if row.edits else self._send)
        if row.edits and isinstance(error, PermanentFailure):
            log.info("draft_not_edited", outbound=row.id, reason=str(error))
            await self._instead(row)
            return
        await until_written(lambda: self._settle(row, receipt, error))

    async def _instead(self, row: OutboundRow) -> None:
        """Send a text whose draft cannot be edited: without that draft, or marked as what the chat
        may have seen before (R8, O2).

        The draft goes first. Whenever the power is cut, the next attempt finds that it is gone, or
        tries to remove it again.
        """
        _, stays = await self._called(row, self._withdraw)
        for_now = stays is not None and not isinstance(stays, PermanentFailure)
        if for_now and row.attempts < WITHDRAWALS:
            await until_written(lambda: self._settle(row, None, stays))
            return
        able = self._channel.capabilities
        text = row.text if stays is None else marked(row.text, able.text_limit, able.counting)
        anew = await until_written(lambda: self._services.store.outbox_send_anew(row.id, text))
        if anew is not None:
            receipt, error = await self._called(anew, self._send)
            await until_written(lambda: self._settle(anew, receipt, error))

    async def _finish(self, reply: Reply[None]) -> None:
        with trio.move_on_after(FINISH_LIMIT):
            for serving in list(self._busy.values()):
                await serving.task.wait()
        reply.set(None)

    async def _called(
        self, row: OutboundRow, call: Callable[[OutboundRow], Awaitable[Receipt]]
    ) -> tuple[Receipt, None] | tuple[None, Exception]:
        """A call of the network: a receipt, or how it failed."""
        limit = SEND_LIMIT + (row.file.size / SLOWEST_UPLOAD if row.file is not None else 0.0)
        try:
            with trio.fail_after(limit):
                return _taken(await call(row)), None
        except TransientFailure as error:
            if error.account:
                asked = pause_asked_for(error.retry_after) or BACKOFF[0]
                self._paused_until = max(self._paused_until, trio.current_time() + asked)
                log.warning("account_waits", channel=self._channel.name, seconds=asked)
            return None, error
        except (PermanentFailure, UnknownOutcome) as error:
            return None, error
        except trio.TooSlowError:
            return None, UnknownOutcome(f"no answer within {limit:g} s")
        except Exception as error:
            log.exception("channel_raised", channel=self._channel.name)
            return None, UnknownOutcome(f"{type(error).__name__}: {error}")

    async def _edit(self, row: OutboundRow) -> Receipt:
        """Put a text in the place of its draft (R8). To do so twice changes nothing, so that an
        outcome that nobody knows is no reason to mark it (O2).
        """
        if row.edits is None or not self._channel.capabilities.edit:
            raise PermanentFailure(f"{self._channel.name} cannot edit messages")
        await self._channel.edit(row.reply_to, row.edits, row.text)
        return Receipt(row.edits)

    async def _withdraw(self, row: OutboundRow) -> Receipt:
        """Remove the draft of a text."""
        if row.edits is None or not self._channel.capabilities.delete:
            raise PermanentFailure(f"{self._channel.name} cannot remove messages")
        await self._channel.withdraw(row.reply_to, row.edits)
        return Receipt()

    async def _send(self, row: OutboundRow) -> Receipt:
        """Send a text as a message of its own, or a file."""
        if row.file is None:
            return await self._hand_over(row, OutboundPart(row.reply_to, row.text))
        async with self._uploads.opened(row, row.file) as file:
            return await self._hand_over(row, file)

    async def _hand_over(self, row: OutboundRow, part: OutboundPart | OutboundFile) -> Receipt:
        """Ask what became of an earlier attempt, where there was one, and send (O2)."""
        capabilities = self._channel.capabilities
        if row.ambiguous and capabilities.reconcile:
            known = await self._channel.reconcile(part, row.id)
            if known.outcome == "sent":
                return _taken(known.receipt)
            if known.outcome == "not_sent":
                return await self._call(part, row.id)
        if row.ambiguous and not capabilities.idempotent_sends:
            part = _marked(part, capabilities)
        return await self._call(part, row.id)

    async def _call(self, part: OutboundPart | OutboundFile, key: str) -> Receipt:
        if isinstance(part, OutboundFile):
            return await self._channel.upload(part, key)
        return await self._channel.send(part, key)

    async def _settle(
        self, row: OutboundRow, receipt: Receipt | None, error: Exception | None
    ) -> None:
        store, metrics = self._services.store, self._services.metrics
        if receipt is not None:
            await store.outbox_delivered(row.id, receipt.platform_message_id)
            metrics.deliveries.labels(outcome="delivered").inc()
            return
        text = storable(str(error))[:LONGEST_ERROR]
        again = _again(row, error, self._services.now())
        if again is None:
            log.error("delivery_failed", outbound=row.id, reason=text)
            told = "" if isinstance(error, FileGone) else failure_notice(row)
            notices = parts(self._services, row.reply_to, told, "notice")
            await store.outbox_failed(row.id, error=text, notices=notices)
            metrics.deliveries.labels(outcome="failed").inc()
            return
        await store.outbox_retry(
            row.id,
            not_before=self._services.now() + int(again.delay * 1000),
            error=text,
            ambiguous=isinstance(error, UnknownOutcome) or row.ambiguous,
            counts=again.counts,
        )
        metrics.deliveries.labels(outcome="retried").inc()


class _Again(NamedTuple):
    """There is a next try, in so many seconds; whether the one before counts."""

    delay: float
    counts: bool


def _again(row: OutboundRow, error: Exception | None, now_ms: int) -> _Again | None:
    """What follows from an attempt that failed; None when it was the last (O4).

    The wait is what the network asked for, within reason, else our own. A try that ended in a wait
    that was asked for does not count while our own waits would not have been over either, so that
    short ones give up nothing early, and an end comes all the same.
    """
    if isinstance(error, PermanentFailure):
        return None
    asked = error.retry_after if isinstance(error, TransientFailure) else None
    asked = asked if asked is not None and math.isfinite(asked) else None
    first = row.attempted_at if row.attempted_at is not None else now_ms
    counts = asked is None or now_ms - first >= sum(BACKOFF) * 1000
    if counts and row.attempts > len(BACKOFF):
        return None
    if asked is None:
        return _Again(BACKOFF[max(0, row.attempts - 1)], counts)
    return _Again(min(max(asked, SHORTEST_RETRY_AFTER), LONGEST_RETRY_AFTER), counts)


def _marked(
    part: OutboundPart | OutboundFile, able: ChannelCapabilities
) -> OutboundPart | OutboundFile:
    """What may have arrived before says so (O2)."""
    said = "" if isinstance(part, OutboundFile) else part.text
    words = marked(said, able.text_limit, able.counting)
    if isinstance(part, OutboundFile):
        return dataclasses.replace(part, caption=words.strip(), duplicate_risk=True)
    return OutboundPart(part.reply_to, words, duplicate_risk=True)


def _taken(receipt: object) -> Receipt:
    """A channel that forgets to return its receipt has sent all the same."""
    return receipt if isinstance(receipt, Receipt) else Receipt()
