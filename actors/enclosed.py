"""Files whose bytes came with their message go to the library before the row is committed (A1).

What is wrong with a file is written into its place in the row, in words, and the rest of the
message goes on: nobody could deliver it better.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from types import TracebackType

import trio
from msgspec import structs

from actors.arrivals import Arrival
from actors.library import Library, MediaRefused, Staged
from actors.receiving import NO_ANSWER, receive
from actors.services import Services
from runtime.log import get_logger
from runtime.sessions.encoded import is_base64, piece_of, pieces_of
from runtime.sessions.media import MediaItem, NewBlob, to_be_heard
from runtime.sessions.rows import MessageKey, SessionSpec
from runtime.storage.media_errors import NoAnswer
from runtime.storage.requests import NewInbound

KEEPING_LIMIT = 30.0
"""Seconds for all files of one delivery; what is not kept by then is refused. Whoever delivers
waits for as long as that, and what was begun may take the disk's own limit on top.
"""

DAMAGED = "it has arrived damaged"
TOO_SLOW = "It took too long to keep this file. Send it again later."
CAME_BEFORE = "it came before"

log = get_logger(__name__)


class Enclosed:
    """Takes in the files of one delivery; a context manager that lets go of them in the end: by
    then the rows refer to them, or nobody does.

    Args:
        services: the runtime's parts.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._library = services.library
        self._staged: list[Staged] = []
        self._sessions: dict[tuple[str, str], str] = {}
        self._deadline = trio.current_time() + KEEPING_LIMIT

    def __enter__(self) -> Enclosed:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for staged in self._staged:
            self._library.unstage(staged)

    async def take(self, arrivals: Sequence[Arrival]) -> tuple[NewInbound, ...]:
        """The rows, in order, with what became of their files. A row with files is for one session,
        which is made where there was none: when that one is closed before the row is admitted,
        all of this has to be done again.

        Raises:
            StoreUnavailable: the disk of the rows refuses.
        """
        keys = [each.row.key for each in arrivals if each.brings_bytes and each.row.key is not None]
        known = await self._services.store.known_messages(keys) if keys else frozenset()
        return tuple([await self._taken(each, known) for each in arrivals])

    async def _taken(self, arrival: Arrival, known: frozenset[MessageKey]) -> NewInbound:
        row = arrival.row
        if not arrival.brings_bytes:
            return row
        if row.key in known:  # nothing goes to make room for what is here, or was
            return structs.replace(row, media=tuple(map(_left_out, row.media, arrival.data)))
        limit = self._services.download_limit(*_account_of(row))
        session_id = await self._session_of(arrival.session)
        media = list(row.media)
        blobs: list[NewBlob] = []
        for index, (item, data) in enumerate(zip(row.media, arrival.data, strict=True)):
            if data is None:
                continue
            try:
                staged = await self._received(session_id, item, data, limit)
            except MediaRefused as error:
                log.warning("media_not_kept", message_id=row.id, reason=str(error))
                media[index] = structs.replace(item, problem=str(error))
            else:
                self._staged.append(staged)
                media[index] = self._waiting(staged.item)
                blobs.append(staged.blob)
        return structs.replace(row, session=session_id, media=tuple(media), blobs=tuple(blobs))

    async def _session_of(self, spec: SessionSpec) -> str:
        """Files are received for sessions that exist."""
        identity = (spec.agent_id, spec.key)
        if identity not in self._sessions:
            session, _ = await self._services.store.resolve(spec)
            self._sessions[identity] = session.id
        return self._sessions[identity]

    async def _received(self, session_id: str, item: MediaItem, data: str, limit: int) -> Staged:
        """The file, on disk. Raises MediaRefused."""
        if trio.current_time() >= self._deadline:
            raise MediaRefused(TOO_SLOW, for_now=True)
        disk = self._library.disk
        try:
            with trio.fail_at(self._deadline):
                # All of it before its first byte is kept: others may go to make room for it.
                if not await disk(partial(is_base64, data)):
                    raise MediaRefused(DAMAGED)
                source = _bytes_in(self._library, data)
                return await receive(self._library, session_id, source, item, limit=limit)
        except NoAnswer:
            raise MediaRefused(NO_ANSWER, for_now=True) from None
        except trio.TooSlowError:
            raise MediaRefused(TOO_SLOW, for_now=True) from None

    def _waiting(self, item: MediaItem) -> MediaItem:
        """A voice note waits for its words in its row, and holds up nobody's acceptance (H5)."""
        return item if self._services.transcriber is None else to_be_heard(item)


def held(library: Library, session_id: str, item: MediaItem) -> Staged | None:
    """A file that its message has already, staged for as long as there is work on it; None when it
    is gone.
    """
    blob = None if item.file is None else library.ledger.blob(session_id, item.file)
    token = library.ids.new()
    if blob is None or not library.ledger.keep(token, session_id, blob.file):
        return None
    row = NewBlob(blob.file, blob.hash, blob.size, item.mime_type, item.name)
    return Staged(token, session_id, structs.replace(item, reference=None), row)


def _left_out(item: MediaItem, data: str | None) -> MediaItem:
    return item if data is None else structs.replace(item, problem=CAME_BEFORE)


def _account_of(row: NewInbound) -> tuple[str, str]:
    address = row.reply_to
    return ("", "") if address is None else (address.channel, address.account)


async def _bytes_in(library: Library, data: str) -> AsyncGenerator[bytes, None]:
    for start in pieces_of(data):
        yield await library.disk(partial(piece_of, data, start))
