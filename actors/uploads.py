"""Files on their way from an agent's outbox to a chat (R7, A3, A4).

A file is found when a turn ends, and owed from then on. It is opened when it is its turn: whoever
changed it meanwhile has withdrawn it. When the chat has it, it is removed; when that fails, the
next look into the outbox removes it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from actors.services import OUTBOX, Services
from runtime.log import get_logger
from runtime.ports.channel import Channel, OutboundFile, PermanentFailure, TransientFailure
from runtime.sessions.filenames import mime_type_of
from runtime.sessions.media import OutboxFile
from runtime.sessions.outgoing import Outgoing, refusal, sort_out
from runtime.sessions.rows import OutboundRow, ReplyAddress, SessionRow
from runtime.storage.attachments import Outbox
from runtime.storage.errors import StoreError
from runtime.storage.media_errors import FileChanged, MediaError, MediaUnsafe, UnsafeName

LOOK_LIMIT = 5.0
"""Seconds for a look into an outbox at the end of a turn, which waits for it."""

log = get_logger(__name__)


class FileGone(PermanentFailure):
    """The file is not there any more, or not as it was found: the agent took it back."""


async def look(services: Services, session: SessionRow, address: ReplyAddress) -> Outgoing:
    """What an outbox holds for a chat, when a turn has ended.

    The end of a turn is not lost for it: whatever goes wrong, or takes too long, the files stay,
    and the next turn finds them. The same goes for those that are not removed.
    """
    channel = services.channels.get((address.channel, address.account))
    folder = services.folder_of(session.agent_id, session.id)
    if folder is None or channel is None:
        return Outgoing()
    outgoing, max_bytes = Outgoing(), channel.capabilities.max_upload_bytes
    deadline = trio.current_time() + LOOK_LIMIT
    with trio.CancelScope(shield=True, deadline=deadline) as limit:
        try:
            outgoing = await _sorted_out(services, session.id, Outbox(folder / OUTBOX), max_bytes)
        except (MediaError, StoreError) as error:
            log.warning("outbox_not_read", session=session.id, reason=str(error))
        except Exception:
            log.exception("outbox_not_read", session=session.id)
    if limit.cancelled_caught:
        log.warning("outbox_not_read", session=session.id, reason=f"more than {LOOK_LIMIT:g} s")
    return outgoing


async def _sorted_out(
    services: Services, session_id: str, outbox: Outbox, max_bytes: int
) -> Outgoing:
    found = await trio.to_thread.run_sync(outbox.files, abandon_on_cancel=True)
    if not found:
        return Outgoing()
    known = await services.store.outbox_files(session_id, found)
    outgoing = sort_out(found, known, max_bytes)
    for file in outgoing.leftover:
        await _remove(outbox, file)
    return outgoing


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
        outbox = await self._outbox(row)
        try:
            descriptor = await trio.to_thread.run_sync(outbox.open, file)
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
                read=partial(_read, descriptor),
            )
        finally:
            with trio.CancelScope(shield=True):  # a read ends soon, and then it can be closed
                await trio.to_thread.run_sync(os.close, descriptor)

    async def clear(self, row: OutboundRow, file: OutboxFile) -> None:
        """Remove what was delivered. That it fails says nothing about the delivery (A4)."""
        try:
            await _remove(await self._outbox(row), file)
        except (FileGone, StoreError) as error:
            log.warning("file_not_removed", outbound=row.id, reason=str(error))

    async def _outbox(self, row: OutboundRow) -> Outbox:
        session = await self._services.store.session(row.session_id)
        folder = None if session is None else self._services.folder_of(session.agent_id, session.id)
        if folder is None:
            raise FileGone("the session has no folder")
        return Outbox(folder / OUTBOX)


async def _remove(outbox: Outbox, file: OutboxFile) -> None:
    try:
        await trio.to_thread.run_sync(outbox.remove, file)
    except MediaError as error:
        log.warning("file_not_removed", file=file.path, reason=str(error))


async def _read(descriptor: int, offset: int, count: int) -> bytes:
    return await trio.to_thread.run_sync(os.pread, descriptor, count, offset)
