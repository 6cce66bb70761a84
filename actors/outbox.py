"""Delivery to push channels: one actor per channel account (O1–O5).

    Due    something may be due at this account

Per conversation the parts go out in order, one at a time; conversations do not wait for each other.
A part is committed as ``attempting`` before the network is touched.
"""

from __future__ import annotations

import trio

from actors.services import Services
from runtime.kernel import Actor, ActorRef, Helper, Message, Restart
from runtime.log import get_logger
from runtime.ports.channel import (
    Channel,
    OutboundPart,
    PermanentFailure,
    Receipt,
    TransientFailure,
    UnknownOutcome,
)
from runtime.sessions.rows import OutboundRow
from runtime.storage.errors import StoreUnavailable

SEND_LIMIT = 60.0
"""Seconds for one call of a channel; after that its outcome is unknown."""

BACKOFF = (5.0, 25.0, 120.0, 600.0)  # O4
CONVERSATIONS = 100
"""How many conversations of one account are served at the same time."""

STORE_AGAIN = 5.0

DUPLICATE_MARK = "(This message may have reached you before.)\n"

log = get_logger(__name__)


class Due(Message, frozen=True):
    """Something may be due at this account."""

    channel: str
    account: str


class Outbox(Actor[Due]):
    """Hands each account its work."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._accounts: dict[tuple[str, str], ActorRef[Due]] = {}

    async def on_start(self) -> None:
        for (name, account), channel in self._services.channels.items():
            self._accounts[name, account] = self.spawn(
                lambda channel=channel: Delivery(self._services, channel),  # type: ignore[misc]
                name=f"{name}:{account}",
                restart=Restart.PERMANENT,
            )

    async def on_message(self, message: Due) -> object:
        """A row of a channel that is not configured waits until it is."""
        account = self._accounts.get((message.channel, message.account))
        if account is not None:
            account.tell(message)
        return None


class Delivery(Actor[Due]):
    """The deliveries of one account."""

    def __init__(self, services: Services, channel: Channel) -> None:
        self._services = services
        self._channel = channel
        self._due = Due(channel.name, channel.account)
        self._busy: dict[str, Helper] = {}

    async def on_start(self) -> None:
        self.ref.tell(self._due)

    async def on_message(self, message: Due) -> object:
        """Start a task for each conversation that has something due and none yet."""
        store, channel = self._services.store, self._channel
        self._busy = {name: task for name, task in self._busy.items() if not task.finished}
        for row in await store.outbox_due(channel.name, channel.account, CONVERSATIONS):
            conversation = row.reply_to.conversation
            if conversation not in self._busy and len(self._busy) < CONVERSATIONS:
                self._busy[conversation] = self.start(self._deliver, row, name="delivery")
        if not self._busy:
            due_at = await store.outbox_next_due(channel.name, channel.account)
            if due_at is not None:
                self.after(max(0.0, (due_at - self._services.now()) / 1000), self._due)
        return None

    async def _deliver(self, row: OutboundRow) -> None:
        """Send one part and write down what became of it, then look again."""
        try:
            attempt = await self._services.store.outbox_attempt(row.id)
            if attempt is not None:
                await self._settle(attempt, *await self._send(attempt))
        except StoreUnavailable as error:
            log.error("delivery_not_recorded", outbound=row.id, reason=str(error))
            self.after(STORE_AGAIN, self._due)
            return
        self._busy.pop(row.reply_to.conversation, None)
        self.ref.tell(self._due)

    async def _send(self, row: OutboundRow) -> tuple[Receipt | None, Exception | None]:
        """The network call: a receipt, or how it failed."""
        capabilities = self._channel.capabilities
        part = OutboundPart(row.reply_to, row.text)
        try:
            with trio.fail_after(SEND_LIMIT):
                if row.ambiguous and capabilities.reconcile:
                    known = await self._channel.reconcile(part, row.id)
                    if known.outcome == "sent":
                        return known.receipt or Receipt(), None
                    if known.outcome == "not_sent":
                        return await self._channel.send(part, row.id), None
                if row.ambiguous and not capabilities.idempotent_sends:
                    part = OutboundPart(row.reply_to, DUPLICATE_MARK + row.text, True)
                return await self._channel.send(part, row.id), None
        except (TransientFailure, PermanentFailure, UnknownOutcome) as error:
            return None, error
        except trio.TooSlowError:
            return None, UnknownOutcome(f"no answer within {SEND_LIMIT:g} s")
        except Exception as error:
            log.exception("channel_raised", channel=self._channel.name)
            return None, UnknownOutcome(f"{type(error).__name__}: {error}")

    async def _settle(
        self, row: OutboundRow, receipt: Receipt | None, error: Exception | None
    ) -> None:
        store, metrics = self._services.store, self._services.metrics
        if receipt is not None:
            metrics.deliveries.labels(outcome="delivered").inc()
            await store.outbox_delivered(row.id, receipt.platform_message_id)
            return
        text = str(error)
        if isinstance(error, PermanentFailure) or row.attempts > len(BACKOFF):
            metrics.deliveries.labels(outcome="failed").inc()
            log.error("delivery_failed", outbound=row.id, reason=text)
            await store.outbox_failed(row.id, error=text)
            return
        delay = BACKOFF[max(0, row.attempts - 1)]
        if isinstance(error, TransientFailure) and error.retry_after is not None:
            delay = max(error.retry_after, 0.0)
        metrics.deliveries.labels(outcome="retried").inc()
        await store.outbox_retry(
            row.id,
            not_before=self._services.now() + int(delay * 1000),
            error=text,
            ambiguous=isinstance(error, UnknownOutcome) or row.ambiguous,
        )
