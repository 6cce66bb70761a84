"""What the echo agent says of files that it was given, so that a person sees whether they arrive.

Only files in the session's own media folder, or in its inbox, are looked at: a link that a person
wrote leads wherever it pleases.
"""

from __future__ import annotations

import base64
import os
import stat
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from actors.disk import Disk
from runtime.sessions.content import (
    AudioBlock,
    ImageBlock,
    PromptBlock,
    PromptContent,
    ResourceLink,
    plain_text,
)
from runtime.storage.inbox import INBOX
from runtime.storage.media_errors import NoAnswer

MOST_READ = 256 * 1024 * 1024
"""Bytes that are read of one file."""

_CHUNK = 1024 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


async def echoed(content: PromptContent, files: Path | None, disk: Disk) -> str:
    """A prompt as readable text, each file on a line with its name, type and size, and whether it
    can be read and has that size.

    Args:
        content: the prompt.
        files: the folder with the session's files, if there is one; or its inbox, in which each has
            a folder of its own.
        disk: where they are read.

    Cancelling leaves a file unread; the thread ends by itself.
    """
    return "\n".join([await _words(block, files, disk) for block in content])


async def _words(block: PromptBlock, files: Path | None, disk: Disk) -> str:
    match block:
        case ResourceLink() if files is not None and (path := _file_in(files, block.uri)):
            read = partial(_read, path, block.size)
            try:
                found = await disk(read, abandon=True)
            except NoAnswer:
                found = "cannot be read (the disk does not answer)"
            return f"[file: {block.name}, {block.mime_type or 'of no type'}, {found}: {block.uri}]"
        case ImageBlock(data=data, mime_type=mime_type):
            return f"[image block: {mime_type}, {_bytes_in(data)}]"
        case AudioBlock(data=data, mime_type=mime_type):
            return f"[audio block: {mime_type}, {_bytes_in(data)}]"
        case _:
            return plain_text((block,))


def _file_in(folder: Path, uri: str) -> Path | None:
    """The file of an address, when it is where the runtime puts files."""
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    holder = path.parent.parent if folder.name == INBOX else path.parent
    ours = parts.scheme == "file" and holder == folder.absolute()
    return path if ours and path.name and ".." not in path.parts else None


def _read(path: Path, announced: int | None) -> str:
    """What comes of reading a file, in a thread."""
    said = f"{announced} bytes" if announced is not None else "of unknown size"
    try:
        descriptor = os.open(path, _READ)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return f"{said}, cannot be read (no regular file)"
            size = 0
            while size < MOST_READ and (chunk := os.read(descriptor, _CHUNK)):
                size += len(chunk)
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{said}, cannot be read ({error.strerror})"
    if announced is None:
        return f"{size} bytes, readable"
    return f"{said}, readable" if size == announced else f"{said}, but {size} can be read"


def _bytes_in(data: str) -> str:
    try:
        return f"{len(base64.b64decode(data, validate=True))} bytes"
    except ValueError:
        return "not base64"
