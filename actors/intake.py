"""What a client says, made into what a row has: bytes, long texts of resources and files that a
link leads to go to the library, what is on the web is fetched later if it may be, words stay (G3,
M3, Q7).
"""

from __future__ import annotations

import binascii
import mimetypes
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from actors.library import Library, MediaRefused, Staged
from actors.receiving import receive
from actors.room import in_words
from runtime.ports.front import BadRequest, Unavailable
from runtime.sessions import encoded
from runtime.sessions.addresses import address_below
from runtime.sessions.content import (
    AgentResource,
    AudioBlock,
    EmbeddedResource,
    FileBlock,
    ImageBlock,
    LocalFile,
    ResourceContents,
    ResourceLink,
    SaidBlock,
    StoredBlock,
    StoredContent,
    TextBlock,
    TextResource,
)
from runtime.sessions.filenames import UNKNOWN_TYPE, mime_type_of
from runtime.sessions.media import Media, MediaItem, MediaKind, to_be_heard
from runtime.storage.linked import LinkedFile
from runtime.storage.media_errors import MediaUnsafe, NoAnswer

MOST_FILES = 100
"""How many files one message may bring; further links to files stay links."""

MOST_LOOKED_AT = 1_000
"""How many blocks of a message are looked at for links to the web that may be fetched."""

LONGEST_TEXT = 64 * 1024
"""Bytes, as UTF-8, of a resource's text that stays in its message; a longer one becomes a file. It
would be in the row, in the transcript, in the memory of everybody who watches, and in the agent's
context, whether the agent wants to read all of it or not.
"""

CHUNK = 1024 * 1024
LONGEST_NAME = 255

T = TypeVar("T")


class Intake:
    """Takes in one message; an async context manager that lets go of its files in the end, unless
    somebody else has taken them over, who does.

    Args:
        library: keeps the files.
        session_id: the session; it exists.
        works_in: where its agent works, if that is known: a link to a file in there leads to what
            the agent is to work on, and stays one.
        hears: voice notes become text, for which they wait with their message (H5).
    """

    def __init__(
        self,
        library: Library,
        session_id: str,
        works_in: Path | None = None,
        *,
        hears: bool = False,
    ) -> None:
        self._library = library
        self._session_id = session_id
        self._works_in = works_in
        self._hears = hears
        self._staged: tuple[Staged, ...] | None = ()
        self._media: list[MediaItem] = []

    async def __aenter__(self) -> Intake:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for staged in self.taken_over() or ():
            self._library.unstage(staged)

    @property
    def has_files(self) -> bool:
        """Whether there is a file in what was taken in, or is to be fetched."""
        return bool(self._media)

    @property
    def media(self) -> Media:
        """The files of the message, in order; some may have to be fetched."""
        return tuple(self._media)

    def taken_over(self) -> tuple[Staged, ...] | None:
        """The files that are staged; from now on the caller lets go of them. None when that was
        done: then they may be gone.
        """
        staged, self._staged = self._staged, None
        return staged

    async def take(self, said: Sequence[SaidBlock]) -> StoredContent:
        """The content as the message's row has it; its files are staged, in order.

        Raises:
            BadRequest: a block is not acceptable; it is named.
            Unavailable: there is no room for a file now.
        """
        texts = await self._long_texts(said)
        room = MOST_FILES - sum(map(_has_bytes, said)) - len(texts)
        if room < 0:
            problem = f"a message brings at most {MOST_FILES} files: send the others with the next"
            raise BadRequest(problem, "$.prompt")
        sizes = [*map(size_of, said), *map(len, texts.values())]
        self._check_together(sizes)
        left = self._library.settings.max_media_bytes - sum(sizes)
        blocks: list[StoredBlock] = []
        for index, block in enumerate(said):
            path = f"$.prompt[{index}]"
            match block:
                case TextBlock():
                    blocks.append(block)
                case ResourceLink():
                    look = room and index < MOST_LOOKED_AT
                    later = self._to_fetch(block) if look else None
                    room -= later is not None
                    blocks.append(block if later is None else self._place_of(later))
                case AgentResource() | EmbeddedResource() if text := _text_in(block):
                    content = texts.pop(index, None)
                    if content is None:
                        blocks.append(EmbeddedResource(text))
                    else:
                        blocks.append(await self._keep_text(content, text, path))
                case LocalFile():
                    kept = await self._keep_linked(block, left) if room else block.link
                    if isinstance(kept, FileBlock):
                        room, left = room - 1, left - (self._staged or ())[-1].blob.size
                    blocks.append(kept)
                case AgentResource() | EmbeddedResource() | ImageBlock() | AudioBlock():
                    blocks.append(await self._keep_block(block, path))
        return tuple(blocks)

    def _check_together(self, sizes: Sequence[int]) -> None:
        """Files that cannot all be kept at once: nothing is removed for them, and to wait does not
        help (M5). One that is too large by itself is named later.
        """
        settings = self._library.settings
        cap, limit = settings.max_media_bytes, settings.max_file_bytes
        if max(sizes, default=0) <= min(cap, limit) and sum(sizes) > cap:
            raise BadRequest(
                f"the files of one message are too large together: all that are kept may take"
                f" {in_words(cap)}. Send fewer, or smaller ones",
                "$.prompt",
            )

    async def _keep_block(
        self, block: AgentResource | EmbeddedResource | ImageBlock | AudioBlock, path: str
    ) -> FileBlock:
        """The file that is in a block."""
        match block:
            case ImageBlock():
                name = _named(block.uri) if block.uri is not None else None
                item = MediaItem(MediaKind.IMAGE, name, block.mime_type)
                return await self._keep(block.data, item, f"{path}.data")
            case AudioBlock():
                kind = MediaKind.VOICE if block.is_voice else MediaKind.AUDIO
                item = MediaItem(kind, None, block.mime_type)
                return await self._keep(block.data, item, f"{path}.data")
            case AgentResource(resource=ResourceContents(uri, blob=str() as data, mime_type=said)):
                item = MediaItem(kind_of(said), _named(uri), said)
                return await self._keep(data, item, f"{path}.resource.blob")
        raise BadRequest("it has neither text nor blob", f"{path}.resource")

    async def _keep(self, data: str, item: MediaItem, path: str) -> FileBlock:
        content = await self._in_thread(partial(_decoded, data))
        if content is None:
            raise BadRequest("expected base64", path)
        if not content:
            raise BadRequest("there are no bytes in it", path)
        return await self._keep_bytes(content, item, path)

    async def _keep_text(self, content: bytes, text: TextResource, path: str) -> FileBlock:
        """The text of a resource as a file, which says of what it is a copy."""
        item = MediaItem(
            MediaKind.FILE, _named(text.uri), text.mime_type or "text/plain", source=text.uri
        )
        return await self._keep_bytes(content, item, f"{path}.resource.text")

    async def _keep_bytes(self, content: bytes, item: MediaItem, path: str) -> FileBlock:
        item = msgspec.structs.replace(item, size=len(content))
        try:
            return await self._receive(pieces(content), item)
        except MediaRefused as error:
            raise BadRequest(str(error), path) from None

    async def _long_texts(self, said: Sequence[SaidBlock]) -> dict[int, bytes]:
        """The texts that become files, by the numbers of their blocks; where no files are kept
        they all stay in the message.
        """
        if self._library.tree is None:
            return {}
        return {
            index: await self._in_thread(partial(text.text.encode, "utf-8", "surrogatepass"))
            for index, block in enumerate(said)
            if (text := _text_in(block)) and _is_long(text.text)
        }

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await self._library.disk(work)
        except NoAnswer as error:
            raise Unavailable(f"nothing was accepted: {error}") from None

    async def _keep_linked(self, block: LocalFile, left: int) -> FileBlock | ResourceLink:
        """The file that a link leads to as it is now; the link when there is none to be kept, or it
        does not fit with the others of its message: then nothing is removed for it (M5).
        """
        file = LinkedFile(block.path)
        disk = self._library.disk
        try:
            if self._works_in is not None:
                place = await disk(self._works_in.resolve, abandon=True)
                if block.path.is_relative_to(place):
                    return block.link
            size = await disk(file.open, abandon=True, after=file.close)
            item = await disk(partial(_linked, block, size), abandon=True, after=file.close)
        except (OSError, MediaUnsafe, NoAnswer):
            return block.link
        try:
            # Without a size there is nothing to keep, or it shows only as the file is read.
            if not size or size > left:
                return block.link
            return await self._receive(self._pieces_of(file), item)
        except (OSError, MediaRefused):  # it is too large, or cannot be read
            return block.link
        finally:
            with suppress(NoAnswer):
                await disk(file.close)

    async def _pieces_of(self, file: LinkedFile) -> AsyncGenerator[bytes, None]:
        while chunk := await self._library.disk(
            partial(file.read, CHUNK), abandon=True, after=file.close
        ):
            yield chunk

    async def _receive(self, source: AsyncGenerator[bytes, None], item: MediaItem) -> FileBlock:
        """Take in a file. Raises Unavailable, and MediaRefused when to wait does not help."""
        try:
            staged = await receive(self._library, self._session_id, source, item)
        except MediaRefused as error:
            if error.for_now:
                raise Unavailable(f"nothing was accepted: {error}") from None
            raise
        self._staged = (*(self._staged or ()), staged)
        return self._place_of(to_be_heard(staged.item) if self._hears else staged.item)

    def _to_fetch(self, link: ResourceLink) -> MediaItem | None:
        """What a link to the web leads to, before anybody has asked for it; None for one that stays
        a link. How large it is says the server: what a link says of that is for people.
        """
        prefixes = self._library.settings.fetch_links
        if not prefixes or self._library.tree is None:
            return None
        address = address_below(link.uri, prefixes)
        if address is None:
            return None
        name = (link.name.strip() or address.name)[:LONGEST_NAME] or None
        guess = mime_type_of(address.name)
        mime_type = link.mime_type or (guess if guess != UNKNOWN_TYPE else None)
        kind = kind_of(mime_type)
        return MediaItem(kind, name, mime_type, reference=address.url, source=link.uri)

    def _place_of(self, item: MediaItem) -> FileBlock:
        """The next file of the message, in the place of its block."""
        self._media.append(item)
        return FileBlock(len(self._media) - 1, item.kind, item.name, item.mime_type)


def kind_of(mime_type: str | None) -> MediaKind:
    """What sort of file a type says it is."""
    match (mime_type or "").partition("/")[0].strip().lower():
        case "image":
            return MediaKind.IMAGE
        case "audio":
            return MediaKind.AUDIO
        case "video":
            return MediaKind.VIDEO
    return MediaKind.FILE


async def pieces(content: bytes) -> AsyncGenerator[bytes, None]:
    """Bytes that are here already, as they would come."""
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]


def _linked(block: LocalFile, size: int) -> MediaItem:
    """What a link says of its file, with what its name says. For a thread: kinds are in a file."""
    link = block.link
    mime_type = link.mime_type or mimetypes.guess_type(block.path.name)[0]
    name = (link.name or block.path.name)[:LONGEST_NAME]
    return MediaItem(kind_of(mime_type), name, mime_type, size, source=link.uri)


def brings_files(block: SaidBlock) -> bool:
    """Whether there is a file in a block, or behind it."""
    text = _text_in(block)
    long = text is not None and _is_long(text.text)
    return isinstance(block, LocalFile) or _has_bytes(block) or long


def _has_bytes(block: SaidBlock) -> bool:
    return _base64_in(block) is not None


def _text_in(block: SaidBlock) -> TextResource | None:
    """The resource of a block that has its text."""
    match block:
        case EmbeddedResource(resource=text):
            return text
        case AgentResource(resource=resource) if resource.blob is None:
            words = resource.text
            return None if words is None else TextResource(resource.uri, words, resource.mime_type)
        case _:
            return None


def _is_long(text: str) -> bool:
    """Whether a text becomes a file: looked at only as far as that takes."""
    most = LONGEST_TEXT
    return len(text) > most or (
        len(text) * 4 > most and len(text.encode("utf-8", "surrogatepass")) > most
    )


def size_of(block: SaidBlock) -> int:
    """Bytes of the file in a block, if its base64 is any; 0 when there is none in base64."""
    return encoded.size_of(_base64_in(block) or "")


def _base64_in(block: SaidBlock) -> str | None:
    match block:
        case ImageBlock(data=data) | AudioBlock(data=data):
            return data
        case AgentResource(resource=resource):
            return resource.blob
        case _:
            return None


def _decoded(data: str) -> bytes | None:
    """The bytes of base64; None when it is none. For a thread: it may be long."""
    try:
        return b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _named(uri: str) -> str | None:
    """What an address calls its file: for people only."""
    try:
        name = PurePosixPath(unquote(urlsplit(uri).path)).name
    except ValueError:
        return None
    return name[:LONGEST_NAME] or None


def texts_of(content: Sequence[SaidBlock]) -> Iterator[str]:
    """Every text that a client chose, in some content."""
    for block in content:
        match block:
            case (
                EmbeddedResource(resource=part)
                | AgentResource(resource=part)
                | LocalFile(link=part)
            ):
                pass
            case part:
                pass
        yield from (value for value in msgspec.structs.astuple(part) if isinstance(value, str))
