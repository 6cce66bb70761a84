"""What a chat sees of a turn while it runs: that somebody is typing, and drafts (R3, R4).

Tasks beside the turn, for push channels only (R8). All of it is cosmetic: a network that is slow,
refuses or hangs costs the turn nothing, but for the draft in flight when the answer is complete.
That one is waited for a little, so that it does not arrive after the final message.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from actors.persistence import until_written
from actors.queue import Batch
from actors.services import Services
from runtime.kernel import ActorStopped, Helper
from runtime.log import get_logger
from runtime.ports.channel import Channel, PermanentFailure, TransientFailure
from runtime.sessions.content import storable
from runtime.sessions.drafting import FAILURES, Drafting, pause_asked_for
from runtime.sessions.relay import Reply
from runtime.sessions.rows import Draft, InboundRow, ReplyAddress, SessionRow
from runtime.settings import ChannelSettings
from runtime.storage.errors import StoreError
from runtime.storage.requests import SaveDraft

DRAFT_LIMIT = 15.0
"""Seconds for one draft; after that nobody knows what became of it."""

LAST_DRAFT_LIMIT = 3.0  # R3
TYPING_LIMIT = 5.0
WITHDRAW_LIMIT = 5.0
WITHDRAW_AGAIN = (0.0, 2.0, 10.0, 30.0)
"""Seconds before each try to remove a draft, or later where the network asked for that: within the
minute after which a session sleeps.
"""

LOOK_AGAIN = 0.1
"""Seconds between two looks at what there is to show: an agent says more than is worth a look."""

SHORTEST_TYPING = 1.0

log = get_logger(__name__)


class Drafts:
    """The drafts and the typing indicator of one turn.

    Args:
        services: what the actors share.
        session: whose turn it is.
        batch: what the turn answers; its reply address says where.
        reply: the answer in the making.
        start: starts a task, by its name, that may outlive the turn.
    """

    def __init__(
        self,
        services: Services,
        session: SessionRow,
        batch: Batch,
        reply: Reply,
        start: Callable[[Callable[[], Awaitable[object]], str], Helper],
    ) -> None:
        self._services = services
        self._session = session
        self._turn_id = batch.turn_id
        self._reply = reply
        self._start = start
        self._chat = _Chat.of(services, batch.rows[0].reply_to)
        self._news = trio.Event()
        self._landed = trio.Event()
        self._landed.set()
        self._too_late = False
        self._seen = trio.Event()
        self._pauses = services.pauses
        self._type_at = self._pauses.until(self._chat.conversation) if self._chat else -math.inf
        self._typing_failures = 0
        self.draft: Draft | None = None
        """The message that shows the answer in the making; None when there is none."""

    @property
    def edits(self) -> str | None:
        """The platform's id of the message that the final one takes the place of, if it can."""
        if self.draft is None or self._chat is None or not self._chat.channel.capabilities.edit:
            return None
        return self.draft.platform_message_id

    def inherit(self, draft: Draft | None) -> None:
        """Go on with what an earlier try of the same messages showed."""
        chat = self._chat
        if draft is not None and chat is not None:
            there = draft.reply_to.conversation == chat.address.conversation
            self.draft = draft if there else None

    def note(self) -> None:
        """The turn has said something more."""
        self._news.set()

    @asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Show that somebody is typing while the block runs, until there is more to see (R4)."""
        chat = self._chat
        if chat is None or not chat.types:
            yield
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._type, chat)
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show the answer while the block makes it (R3, R4). Afterwards nothing is on its way: the
        draft in flight was waited for, or given up. Only the first one goes on, since it may yet
        make a message that nobody would know of: when it does, that one is removed.
        """
        chat = self._chat
        if chat is None or not chat.drafts:
            async with self.typing():
                yield
            return
        drafting = chat.drafting(
            exists=self.draft is not None, not_before=self._pauses.until(chat.conversation)
        )
        async with self.typing(), trio.open_nursery() as nursery:
            nursery.start_soon(self._show, chat, drafting)
            yield
            drafting.close()
            with trio.move_on_after(LAST_DRAFT_LIMIT):
                await self._landed.wait()
            nursery.cancel_scope.cancel()

    async def withdraw(self) -> None:
        """Remove the draft, since no final message takes its place. The turn waits for the first
        try, the others may outlive it.
        """
        if self.draft is None:
            return
        removal = partial(_withdraw_left_over, self._services, self._turn_id, self.draft)
        with suppress(ActorStopped), trio.move_on_after(WITHDRAW_LIMIT):
            await self._start(removal, "withdrawal").wait()

    async def _type(self, chat: _Chat) -> None:
        while self._typing_failures < FAILURES:
            with trio.move_on_at(self._type_at):
                await self._seen.wait()
                return
            self._type_at = trio.current_time() + chat.typing_interval
            if self._services.watchers.blocked(self._session.id) is not None:
                continue  # nobody works on an answer before somebody has done something
            try:
                with trio.fail_after(TYPING_LIMIT):
                    await chat.channel.typing(chat.address)
                self._typing_failures = 0
            except Exception as error:
                self._typing_failures += 1
                log.info("typing_failed", reason=_words(error))
                if isinstance(error, PermanentFailure):
                    self._typing_failures = FAILURES
                if isinstance(error, TransientFailure):
                    now, asked = trio.current_time(), error.retry_after
                    self._pauses.asked(chat.conversation, now, asked)
                    self._type_at = max(self._type_at, now + pause_asked_for(asked))

    async def _show(self, chat: _Chat, drafting: Drafting) -> None:
        """Show what is new, as often as it may be shown."""
        while not drafting.over:
            await self._news.wait()
            self._news = trio.Event()
            drafting.say(self._reply.beginning(drafting.enough))
            while (due := drafting.due_at) is not None:
                await trio.sleep_until(due)
                if self.draft is None and not drafting.visible and await self._owes(chat):
                    drafting.later(trio.current_time() + max(LOOK_AGAIN, chat.draft_interval))
                    continue
                drafting.say(self._reply.beginning(drafting.enough))
                text = drafting.take(trio.current_time())
                if text is not None:
                    await self._send(chat, drafting, text)
            await trio.sleep(LOOK_AGAIN)

    async def _owes(self, chat: _Chat) -> bool:
        """Whether the chat has yet to get what it is owed: a draft would stand above that, and its
        answer with it (O3). What comes once there is a draft, comes below it.
        """
        try:
            return await self._services.store.outbox_owes(chat.address)
        except StoreError as error:
            log.info("draft_waits", reason=str(error))
            return True

    async def _send(self, chat: _Chat, drafting: Drafting, text: str) -> None:
        """Send one, and wait for it unless the final message does not."""
        self._landed = trio.Event()
        try:
            request = self._start(partial(self._request, chat, drafting, text), "draft")
        except ActorStopped:
            drafting.refused()
            self._landed.set()
            return
        try:
            await request.wait()
        except trio.Cancelled:
            self._too_late = self.draft is None and chat.channel.capabilities.delete
            if not self._too_late:
                request.cancel()
            raise

    async def _request(self, chat: _Chat, drafting: Drafting, text: str) -> None:
        known = self.draft.platform_message_id if self.draft is not None else None
        try:
            with trio.fail_after(DRAFT_LIMIT):
                made = await chat.channel.draft(chat.address, text, known)
            drafting.arrived()
            self._seen.set()
            await self._keep(chat, made)
        except TransientFailure as error:
            now = trio.current_time()
            drafting.failed(now, error.retry_after)
            self._pauses.asked(chat.conversation, now, error.retry_after)
            log.info("draft_failed", reason=_words(error))
        except PermanentFailure as error:
            drafting.refused()
            log.info("draft_refused", reason=_words(error))
        except Exception as error:
            drafting.unknown(trio.current_time())
            log.info("draft_in_doubt", reason=_words(error))
        finally:
            self._landed.set()

    async def _keep(self, chat: _Chat, made: object) -> None:
        """Write down which message it is, so that a later try goes on with it."""
        if not isinstance(made, str) or not made:
            return  # it is no message, and goes by itself
        draft = Draft(chat.address, storable(made))
        if self._too_late:
            await withdraw(self._services, draft)
        if self._too_late or draft == self.draft:
            return
        self.draft = draft
        request = SaveDraft(self._turn_id, self._session.id, self._session.fence, draft)
        try:
            await until_written(lambda: self._services.store.save_draft(request))
        except StoreError as error:
            log.warning("draft_not_written", reason=str(error))


async def withdraw_left_over(services: Services, channel: str, account: str) -> None:
    """Remove what an earlier instance was to remove from an account's chats, one by one (R6)."""
    try:
        for turn_id, draft in await services.store.drafts_left_over(channel, account):
            await _withdraw_left_over(services, turn_id, draft)
    except StoreError as error:
        log.info("draft_not_withdrawn", reason=_words(error))


async def _withdraw_left_over(services: Services, turn_id: str, draft: Draft) -> None:
    if await withdraw(services, draft):
        try:
            await services.store.draft_gone(turn_id)
        except StoreError as error:
            log.info("draft_withdrawn_again_later", reason=_words(error))


async def withdraw(services: Services, draft: Draft) -> bool:
    """Remove a draft, where the network can; what fails is tried a few times more and logged (R6).

    Takes a minute at worst, and longer where the network asks for it: in a task of its own. When
    that is cancelled, as the session sleeps, the draft may stay.

    Returns:
        Whether there is nothing left to try.
    """
    address, pauses = draft.reply_to, services.pauses
    channel = services.channels.get((address.channel, address.account))
    if channel is None or not channel.capabilities.delete:
        return False
    for pause in WITHDRAW_AGAIN:
        again_at = trio.current_time() + pause
        await trio.sleep_until(max(again_at, pauses.until(address.conversation)))
        try:
            with trio.fail_after(WITHDRAW_LIMIT):
                await channel.withdraw(address, draft.platform_message_id)
        except Exception as error:
            log.info("draft_not_withdrawn", reason=_words(error))
            if isinstance(error, PermanentFailure):
                return True
            if isinstance(error, TransientFailure):
                now, asked = trio.current_time(), error.retry_after
                pauses.asked(address.conversation, now, asked)
        else:
            return True
    return False


async def withdraw_of(services: Services, rows: Sequence[InboundRow]) -> None:
    """Remove what chats still show of answers to messages that get none any more: of a turn that
    was cut off, whose messages do not wait either.
    """
    tried = {row.turn_id: row for row in rows if row.turn_id is not None and row.reply_to}
    try:
        for turn_id, row in tried.items():
            status = await services.store.message_status(row.id)
            draft = status.turn.draft if status is not None and status.turn is not None else None
            waiting = await services.store.pending_messages(row.session_id) if draft else ()
            if draft is None or any(other.turn_id == turn_id for other in waiting):
                continue
            await withdraw(services, draft)
    except StoreError as error:
        log.info("draft_not_withdrawn", reason=_words(error))


class _Chat:
    """Where a turn's answer goes, and what is shown there: what the network can, and the settings
    of the channel allow. A turn keeps those it began with.
    """

    def __init__(self, services: Services, channel: Channel, address: ReplyAddress) -> None:
        self.channel = channel
        self.address = address
        self.conversation = address.conversation
        able = channel.capabilities
        chosen = services.settings.channels.get(address.channel, ChannelSettings())
        interval = chosen.draft_interval
        self.draft_interval = able.draft_interval if interval is None else interval
        self._text_limit = services.text_limit(address.channel, address.account)
        self.types = able.typing and chosen.typing
        self.typing_interval = max(SHORTEST_TYPING, able.typing_interval)
        self.drafts = able.drafts and chosen.drafts

    @classmethod
    def of(cls, services: Services, address: ReplyAddress | None) -> _Chat | None:
        """None for a pull channel, and for one that is not configured."""
        if address is None:
            return None
        channel = services.channels.get((address.channel, address.account))
        return None if channel is None else cls(services, channel, address)

    def drafting(self, *, exists: bool, not_before: float) -> Drafting:
        limit, interval = self._text_limit, self.draft_interval
        return Drafting(*limit, interval, exists=exists, not_before=not_before)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
