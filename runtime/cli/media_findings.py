"""What ``doctor`` says of the files of messages: their folder, and what they take."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

from actors.disk import Threads
from actors.library import free_space_floor
from runtime.cli.connect import connect
from runtime.cli.errors import CommandError
from runtime.cli.findings import Finding
from runtime.cli.words import amount, command_line
from runtime.endpoint import Endpoint
from runtime.protocol.media import MediaUsageResult
from runtime.sessions.numbers import number_of
from runtime.settings import Settings
from runtime.storage.folders import folder
from runtime.storage.lock import is_held
from runtime.storage.media_errors import MediaUnsafe, NoAnswer, not_for_media
from runtime.storage.media_scan import foreign_name

ANSWER_LIMIT = 5.0
"""Seconds in which the disk has to answer."""

_FOLDER = "media folder"
_DISK = "media disk"
_LOOK_AT_DISK = "look at it and at the system's log: until it answers files are refused"


def media_root(settings: Settings) -> Path:
    """Where the files are."""
    return settings.media.root or settings.storage.data_dir / "media"


async def media_folder(settings: Settings, *, running: bool) -> Finding:
    """The folder as the runtime would find it. Looks, for `ANSWER_LIMIT`, and changes nothing.

    Args:
        settings: say where it is.
        running: whether a runtime works on the data directory.
    """
    look = partial(_folder_as_it_is, settings, running=running)
    try:
        return await Threads()(look, abandon=True, limit=ANSWER_LIMIT)
    except NoAnswer:
        text = f"{media_root(settings)}: the disk does not answer"
        return Finding(_FOLDER, "problem", text, _LOOK_AT_DISK)


async def media_disk(endpoint: Endpoint) -> list[Finding]:
    """What a running runtime waits for in vain; nothing when it does not."""
    try:
        async with connect(endpoint) as client:
            usage = await client.call("_runtime/media/usage", {}, MediaUsageResult)
    except CommandError as error:
        return [Finding(_DISK, "warning", f"not known: {error}", "look at the runtime's log")]
    if not usage.stuck:
        return []
    text = f"does not answer: {number_of(usage.stuck, 'thread')} of the runtime wait for it in vain"
    return [Finding(_DISK, "problem", text, _LOOK_AT_DISK)]


def _folder_as_it_is(settings: Settings, *, running: bool) -> Finding:
    root = media_root(settings)
    try:
        with folder(str(root), root, private=False) as descriptor:
            status, disk = os.fstat(descriptor), os.fstatvfs(descriptor)
            foreign = foreign_name(descriptor) if status.st_mode & 0o077 else None
    except FileNotFoundError:
        return Finding(_FOLDER, "ok", f"{root} will be made at the start")
    except MediaUnsafe as error:
        what, _, hint = str(error).partition(". ")
        return Finding(_FOLDER, "problem", what, hint)
    except OSError as error:
        hint = "let the user that starts the runtime in, or set media.root to another folder"
        return Finding(_FOLDER, "problem", f"{root}: {error.strerror}", hint)
    if status.st_uid != os.geteuid():
        hint = "start the runtime as that user, or set media.root to another folder"
        text = f"{root} belongs to another user (number {status.st_uid})"
        return Finding(_FOLDER, "problem", text, hint)
    if not running and is_held(root):
        hint = "stop it, or set media.root to another folder"
        return Finding(_FOLDER, "problem", f"another runtime works on {root}", hint)
    if foreign is not None:
        what, _, hint = not_for_media(root, foreign).partition(". ")
        return Finding(_FOLDER, "problem", what, hint)
    if status.st_mode & 0o077:
        text = f"{root} is open to other users (mode {stat.S_IMODE(status.st_mode):o})"
        return Finding(_FOLDER, "warning", text, "it is closed to them at the next start")
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    floor = free_space_floor(settings.media, total)
    text = f"{root}; {amount(free)} free, {amount(floor)} are left free"
    if free < floor:
        hint = "free some space, or set media.free_space_floor: until then no file is taken"
        return Finding(_FOLDER, "warning", text, hint)
    return Finding(_FOLDER, "ok", text)


def media_usage(settings: Settings, files: int, size: int) -> Finding:
    """What the files take, and what they may take together."""
    cap = settings.media.max_media_bytes
    text = f"{number_of(files, 'file')}, {amount(size)} of at most {amount(cap)}"
    if size > cap:
        hint = f"`{command_line('media', 'sweep')}` removes those that were used longest ago"
        return Finding("media", "warning", text, hint)
    return Finding("media", "ok", text)
