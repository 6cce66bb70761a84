"""Files on their way from an agent's outbox to a chat (R7, A3, A4).

A file is found when a turn ends, and owed from then on. It is opened when it is its turn: whoever
changed it meanwhile has withdrawn it. When the chat has it, the janitor removes it, and whether
that succeeds is no matter of the delivery.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import trio

from actors.disk import Disk
from actors.services import Services
from runtime.log import get_logger
from runtime.ports.channel import Channel, OutboundFile, PermanentFailure, TransientFailure
from runtime.sessions.filenames import mime_type_of
from runtime.sessions.media import OutboxFile
from runtime.sessions.outgoing import Outgoing, next_ones, refusal, sort_out
from runtime.sessions.rows import OutboundRow, OutboundState, ReplyAddress, SessionRow
from runtime.storage.attachments import Outbox
from runtime.storage.errors import StoreError
from runtime.storage.media_errors import FileChanged, MediaError, MediaUnsafe, NoAnswer, UnsafeName

LOOK_LIMIT = 5.0
"""Seconds for a look into an outbox at the end of a turn, which waits for it."""

PAGE = 500
"""How many files are held and asked about at a stretch."""

READ_LIMIT = 10.0
"""Seconds for a piece of a file that a chat is sent; less than the network gets for all of it."""

T = TypeVar("T")

log = get_logger(__name__)


class FileGone(PermanentFailure):
    """The file is not there any more, or not as it was found: the agent took it back."""


@asynccontextmanager
async def looked_into(
    services: Services, session: SessionRow, address: ReplyAddress | None
) -> AsyncIterator[Outgoing]:
    """What an outbox holds for a chat, when a turn has ended; it stays for as long as the block, in
    which it is written down that it is owed (M5). Nothing for nobody.

    The end of a turn is not lost for it: whatever goes wrong, or takes too long, the files stay,
    and the next turn finds them.
    """
    channel = None if address is None else services.channels.get((address.channel, address.account))
    if channel is None:
        yield Outgoing()
        return
    outbox = services.library.outboxes.of(session.agent_id, session.id)
    if outbox is None:
        yield Outgoing()
        return
    outgoing, held = Outgoing(), _Held(services, session.id)
    deadline = trio.current_time() + LOOK_LIMIT
    try:
        with trio.CancelScope(shield=True, deadline=deadline) as limit:
            try:
                found = await services.sending(outbox.files, abandon=True)
                outgoing = await held.sorted_out(found, channel.capabilities.max_upload_bytes)
            except (MediaError, StoreError) as error:
                log.warning("outbox_not_read", session=session.id, reason=str(error))
            except Exception:
                log.exception("outbox_not_read", session=session.id)
        if limit.cancelled_caught:
            log.warning("outbox_not_read", session=session.id, reason=f"more than {LOOK_LIMIT:g} s")
        yield outgoing
    finally:
        held.let_go()


class _Held:
    """The files of a session that were found, and may be owed soon."""

    def __init__(self, services: Services, session_id: str) -> None:
        self._services = services
        self._session_id = session_id
        self._token = services.ids.new()
        self._files: list[OutboxFile] = []

    async def sorted_out(self, found: Sequence[OutboxFile], max_bytes: int) -> Outgoing:
        """What follows from what was found, of which only that is held which something follows for
        now. Each file is held while it is asked what has become of it, a page of them at a time.
        """
        ledger, now = self._services.library.ledger, self._services.now()
        known: dict[OutboxFile, OutboundState] = {}
        waiting = 0
        for start in range(0, len(found), PAGE):
            page = [
                file
                for file in found[start : start + PAGE]
                if ledger.hold(self._token, self._session_id, file, now)
            ]
            self._files += page
            known |= await self._services.store.outbox_files(self._session_id, page)
            some, more = next_ones(self._files, known)
            waiting += more
            self._let_go(set(self._files) - set(some))
            self._files = some
        outgoing = sort_out(self._files, known, max_bytes, waiting)
        for file in outgoing.leftover:  # it has arrived, which a crash had come in between with
            ledger.disown(self._session_id, file)
        return outgoing

    def let_go(self) -> None:
        """What is written down by now stays for that."""
        self._let_go(self._files)

    def _let_go(self, files: Iterable[OutboxFile]) -> None:
        for file in files:
            self._services.library.ledger.unstage(self._token, self._session_id, file.key)


class Uploads:
    """The files of one channel account."""

    def __init__(self, services: Services, channel: Channel) -> None:
        self._services = services
        self._channel = channel

    @asynccontextmanager
    async def opened(self, row: OutboundRow, file: OutboxFile) -> AsyncIterator[OutboundFile]:
        """A file, open for as long as the block.

        Raises:
            FileGone: it is not as it was found.
            PermanentFailure: the chat does not take it any more.
            TransientFailure: the disk refuses.
        """
        able = self._channel.capabilities
        reason = refusal(file, able.max_upload_bytes)
        if reason is not None:
            raise PermanentFailure(reason)
        opened = _Opened(self._services.sending, await self._outbox(row), file)
        try:
            await opened.open()
        except (FileChanged, MediaUnsafe, UnsafeName) as error:
            raise FileGone(str(error)) from error
        except MediaError as error:
            raise TransientFailure(str(error)) from error
        mime_type = mime_type_of(file.name)
        try:
            yield OutboundFile(
                row.reply_to,
                file.name,
                mime_type,
                file.size,
                inline=able.inline_images and mime_type.startswith("image/"),
                read=opened.read,
            )
        finally:
            await opened.close()

    async def _outbox(self, row: OutboundRow) -> Outbox:
        session = await self._services.store.session(row.session_id)
        outboxes = self._services.library.outboxes
        outbox = None if session is None else outboxes.of(session.agent_id, session.id)
        if outbox is None:
            raise FileGone("the session has no folder")
        return outbox


class _Opened:
    """A file that is open for reading.

    Whoever waits for work on it in vain leaves the file to the thread, which closes it when it
    comes back (`actors.disk`).
    """

    def __init__(self, disk: Disk, outbox: Outbox, file: OutboxFile) -> None:
        self._disk = disk
        self._outbox = outbox
        self._file = file
        self._descriptor: int | None = None
        self._is_threads = False

    async def open(self) -> None:
        """Open it. Raises MediaError."""
        await self._work(self._open)

    async def read(self, offset: int, count: int) -> bytes:
        """Bytes of it. Raises TransientFailure: the disk does not answer."""
        if self._descriptor is None or self._is_threads:
            raise TransientFailure("the file is not open")
        try:
            return await self._work(partial(os.pread, self._descriptor, count, offset))
        except NoAnswer as error:
            raise TransientFailure(str(error)) from error

    async def close(self) -> None:
        """Nothing of it is read any more."""
        if not self._is_threads:
            with suppress(NoAnswer):  # which is logged; the thread goes on with it
                await self._work(self._close)

    async def _work(self, work: Callable[[], T]) -> T:
        # Nobody who is cancelled goes before it has ended: it is not closed while it is read.
        try:
            return await self._disk(work, limit=READ_LIMIT, after=self._close)
        except NoAnswer:
            self._is_threads = True
            raise

    def _open(self) -> None:
        self._descriptor = self._outbox.open(self._file)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
