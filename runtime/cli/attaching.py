"""Files that a person puts beside the next message. What reads the disk here is for threads."""

from __future__ import annotations

import base64
import mimetypes
import os
import shlex
import stat
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from runtime.cli.errors import CommandError
from runtime.cli.saying import Attachment
from runtime.cli.words import amount

OTHER_TYPE = "application/octet-stream"

ROOM_FOR_WORDS = 64 * 1024
"""Bytes of a message that are left for what is said with the files."""

MOST_NAMES = 10_000
"""Names in a folder that are looked at to complete one."""

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def read_attachment(typed: str, room: int, largest: int | None = None) -> Attachment:
    """Read a file that is to be sent.

    Args:
        typed: its path, as a person types or pastes it.
        room: bytes of a message that are left for it.
        largest: bytes of a file that are taken; None when that is not known.

    Raises:
        CommandError: there is no such file, it cannot be read, it is empty, or too large.
    """
    path = _meant(typed)
    try:
        data = _read(path, room, largest)
    except FileNotFoundError:
        raise CommandError(f"there is no file {path}") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    if not data:
        raise CommandError(f"{path} is empty")
    mime_type = mimetypes.guess_type(path.name)[0] or OTHER_TYPE
    encoded = base64.b64encode(data).decode()
    uri = f"attachment:{quote(path.name)}"  # for its name; where it is here is nobody's business
    return Attachment(path.name, mime_type, len(data), _block(encoded, mime_type, uri))


def _block(data: str, mime_type: str, uri: str) -> dict[str, object]:
    """A file as the protocol has it. A sound that is an audio block would have no name there."""
    if mime_type.startswith("image/"):
        return {"type": "image", "data": data, "mimeType": mime_type, "uri": uri}
    return {"type": "resource", "resource": {"uri": uri, "blob": data, "mimeType": mime_type}}


def _meant(typed: str) -> Path:
    """The path as it is; else as a shell would read it, which quotes what a person drops on it."""
    path = Path(typed).expanduser()
    try:
        words = shlex.split(typed)
    except ValueError:
        return path
    return path if path.exists() or len(words) != 1 else Path(words[0]).expanduser()


def _read(path: Path, room: int, taken: int | None) -> bytes:
    if path.is_dir():
        raise CommandError(f"{path} is a folder", "attach its files one by one, or an archive")
    fits = max(0, (room - ROOM_FOR_WORDS) // 4 * 3)  # in base64
    largest = fits if taken is None else min(fits, taken)
    descriptor = os.open(path, _READ)  # a pipe that nobody writes to does not hold it up
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CommandError(f"{path} is no regular file")
        data = file.read(largest + 1)
    if len(data) > largest:
        size = amount(max(status.st_size, len(data)))
        if largest == taken:
            what = f"a file of up to {amount(largest)} is taken"
            hint = "media.max_file_bytes of the runtime limits a file, as it was when you came"
        else:
            what = f"one message has room for {amount(largest)}"
            hint = "gateway.max_frame_bytes of the runtime limits a message, with all its files"
        raise CommandError(f"{path} is too large: it has {size}, and {what}", hint)
    return data


def completed_paths(typed: str) -> list[str]:
    """What an unfinished path can become; folders end with a slash."""
    head, slash, start = typed.rpartition("/")
    try:
        with os.scandir(Path(f"{head}{slash}" or ".").expanduser()) as entries:
            found = [
                f"{head}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
                for entry in islice(entries, MOST_NAMES)
                if entry.name.casefold().startswith(start.casefold())
            ]
    except (OSError, RuntimeError):  # no such folder, or no such home
        return []
    hidden = start.startswith(".")
    return [path for path in found if hidden or not path.removeprefix(head + slash).startswith(".")]
