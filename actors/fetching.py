"""Fetches the files that messages refer to, while they wait: from chat networks, and from the web
what links of clients lead to (Q7, M3, N3, H5).

A message is accepted with a reference to each of its files; fetching them holds its place in the
queue, and nobody else's. What becomes of each is written into the message's row, which the queue is
then given anew. A file that was being fetched when the runtime died is fetched again, since its row
says that it is still on its way. A voice note whose sound came with its message becomes text here
in the same way (A1).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from functools import partial

import msgspec
import trio

from actors import links
from actors.enclosed import held
from actors.library import MediaRefused, Staged
from actors.outbox import Due
from actors.persistence import until_written
from actors.queue import Arrived, Fetched, QueueMessage
from actors.receiving import receive
from actors.services import Services
from actors.transcribing import transcribed
from runtime.kernel import ActorRef, ActorStopped, Helper
from runtime.log import get_logger
from runtime.ports.channel import Attachment, Channel, PermanentFailure, TransientFailure
from runtime.sessions.addresses import address_below
from runtime.sessions.content import storable
from runtime.sessions.drafting import pause_asked_for
from runtime.sessions.events import Notice
from runtime.sessions.media import MediaItem, not_taken
from runtime.sessions.rows import InboundRow, InboundState, ReplyAddress
from runtime.storage.media_requests import Attach

AT_ONCE = 4
"""How many files of one session are fetched at the same time: less than its chat network has room
for, so that others find some.
"""

ATTEMPTS = 3
"""How often a file is asked for."""

PAUSES = (1.0, 5.0)
"""Seconds between the attempts, when the network does not ask for more."""

LONGEST_PROBLEM = 300
"""Characters."""


class NotFetched(Exception):
    """A file is not to be had; the text says why, for people."""


class _Source(msgspec.Struct, frozen=True):
    """Where a file comes from.

    Args:
        place: how many are fetched from there at once is counted by it.
        begin: the bytes, from the first one on; once per attempt.
        limit: the largest that is taken from there, in bytes.
        too_slow: what is said when the time is over.
        failed: what is said of a failure of which nobody should know more.
    """

    place: tuple[str, str]
    begin: Callable[[], AsyncGenerator[bytes, None]]
    limit: int
    too_slow: str
    failed: str


log = get_logger(__name__)


class Fetching:
    """The downloads of one session.

    Args:
        services: the runtime's parts.
        session_id: the session.
        queue: is told when a file has come.
        outbox: is told when a sender is owed a word.
        start: starts a task of the session's actor: a function and its arguments.
    """

    def __init__(
        self,
        services: Services,
        session_id: str,
        queue: ActorRef[QueueMessage],
        outbox: ActorRef[Due],
        start: Callable[..., Helper],
    ) -> None:
        self._services = services
        self._library = services.library
        self._id = session_id
        self._queue = queue
        self._outbox = outbox
        self._start = start
        self._places = trio.CapacityLimiter(AT_ONCE)
        self._ear = trio.CapacityLimiter(1)
        self._under_way: dict[str, trio.CancelScope] = {}

    def begin(self, row: InboundRow) -> None:
        """Fetch the files of a message, unless that is under way."""
        if row.fetching and row.id not in self._under_way:
            scope = self._under_way[row.id] = trio.CancelScope()
            self._start(self._fetch, row, scope, name="fetch")

    def end(self, rows: Iterable[InboundRow]) -> None:
        """These messages wait no more: what is on its way for them is given up, with its room (H2).

        A file that a message has is the store's affair.
        """
        for row in rows:
            scope = self._under_way.pop(row.id, None)
            if scope is not None:
                scope.cancel()

    async def _fetch(self, row: InboundRow, scope: trio.CancelScope) -> None:
        """Fetch what is missing of a message, one file after the other, for as long as it waits."""
        try:
            with scope:
                # One may hear of a message when it is withdrawn already, or has its files.
                now = await self._as_it_is(row)
                for index, item in enumerate(now.media if now is not None else ()):
                    if item.fetching and not await self._fetch_one(row, index, item):
                        break
        finally:
            if self._under_way.get(row.id) is scope:
                del self._under_way[row.id]

    async def _fetch_one(self, row: InboundRow, index: int, item: MediaItem) -> bool:
        """Fetch one file and write down what became of it; whether its message still waits."""
        staged: Staged | None = None
        try:
            try:
                staged = await self._fetched(row, item)
                async with self._ear:  # one voice note at a time: others have some, too
                    settled = await transcribed(self._services, self._id, staged.item)
            except NotFetched as error:
                # Cut off while the disk did not answer: it is fetched again after the next start.
                await trio.lowlevel.checkpoint_if_cancelled()
                log.warning("media_not_fetched", message_id=row.id, reason=str(error))
                problem = storable(str(error))[:LONGEST_PROBLEM]
                settled = msgspec.structs.replace(item, problem=problem, reference=None, file=None)
            blob = staged.blob if staged is not None else None
            request = Attach(row.id, index, settled, blob)
            attached = await until_written(lambda: self._services.store.attach(request))
        finally:
            if staged is not None:
                self._library.unstage(staged)
        if attached is None:
            return await self._as_it_is(row) is not None
        await self._tell(Fetched(attached))
        address, words = attached.reply_to, not_taken(attached.media)
        if words is not None and address is not None:
            self._outbox.tell(Due(address.channel, address.account))
        elif words is not None:  # nobody can be written to
            self._services.watchers.publish(self._id, Notice("not_taken", words))
        return True

    async def _as_it_is(self, row: InboundRow) -> InboundRow | None:
        """The message as it is now; None when it does not wait: mostly it was withdrawn.

        The queue may have heard of it after that, and would hold a place for it for ever.
        """
        status = await until_written(lambda: self._services.store.message_status(row.id))
        now = status.message if status is not None else None
        if now is None or now.state is not InboundState.PENDING:
            await self._tell(Arrived(dropped=(row,)))
            return None
        if now.media != row.media:
            await self._tell(Fetched(now))
        return now

    async def _tell(self, news: Fetched | Arrived) -> None:
        try:
            await self._queue.send(news)
        except ActorStopped:
            log.debug("fetched_for_nobody")  # the next incarnation reads the rows

    async def _fetched(self, row: InboundRow, item: MediaItem) -> Staged:
        """The file, on disk. A place that is slow keeps up only its own files, and a session
        with many of them no other one. What came with its message is there already (A1).
        """
        if item.file is not None:
            staged = held(self._library, self._id, item)
            if staged is None:
                raise NotFetched("it is not there any more")
            return staged
        services, address = self._services, row.reply_to
        source = self._on_the_web(item) if address is None else self._in_chat(address, item)
        # First the session's own place: it has no more than those in the line of its network.
        async with self._places, services.fetching[source.place]:
            try:
                with trio.fail_after(services.settings.media.fetch_timeout):
                    return await self._received(source, item)
            except trio.TooSlowError:
                raise NotFetched(source.too_slow) from None

    def _in_chat(self, address: ReplyAddress, item: MediaItem) -> _Source:
        place = address.channel, address.account
        channel = self._services.channels.get(place)
        if channel is None or item.reference is None:
            raise NotFetched("its chat network is not connected any more")
        return _Source(
            place,
            partial(
                _bytes_of,
                channel,
                Attachment(item.reference, item.kind, item.name, item.mime_type, item.size),
            ),
            channel.capabilities.max_download_bytes,
            too_slow="the network took too long",
            failed="its chat network failed",
        )

    def _on_the_web(self, item: MediaItem) -> _Source:
        """What is allowed is asked anew: it may have changed since the message came."""
        address = address_below(item.reference or "", self._services.settings.media.fetch_links)
        if address is None:
            raise NotFetched("nothing is fetched from there any more")
        limit = self._services.settings.media.max_file_bytes
        return _Source(
            ("", address.origin),
            partial(
                links.fetched,
                address.url,
                lambda: self._services.settings.media.fetch_links,
                limit,
                self._library.disk,
            ),
            limit,
            too_slow="the server took too long",
            failed="it could not be fetched",
        )

    async def _received(self, source: _Source, item: MediaItem) -> Staged:
        reason = ""
        for attempt in range(ATTEMPTS):
            pause = PAUSES[min(attempt, len(PAUSES) - 1)]
            try:
                return await receive(
                    self._library, self._id, source.begin(), item, limit=source.limit
                )
            except (MediaRefused, PermanentFailure) as error:
                raise NotFetched(str(error)) from error
            except TransientFailure as error:
                reason = str(error)
                pause = max(pause, pause_asked_for(error.retry_after))
            except Exception:  # what it says is not for people: there may be a secret in it
                log.exception("source_raised", place=source.place)
                reason = source.failed
            if attempt < ATTEMPTS - 1:
                await trio.sleep(pause)
        raise NotFetched(reason)


async def _bytes_of(channel: Channel, attachment: Attachment) -> AsyncGenerator[bytes, None]:
    async with aclosing(channel.fetch(attachment)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            yield chunk
