"""What ``doctor`` says of the files of messages: their folder, and what they take."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from actors.library import free_space_floor
from runtime.cli.findings import Finding
from runtime.cli.words import amount, command_line, number_of
from runtime.settings import Settings
from runtime.storage.folders import folder
from runtime.storage.lock import is_held
from runtime.storage.media_errors import MediaUnsafe, not_for_media
from runtime.storage.media_scan import foreign_name

_FOLDER = "media folder"


def media_root(settings: Settings) -> Path:
    """Where the files are."""
    return settings.media.root or settings.storage.data_dir / "media"


def media_folder(settings: Settings, *, running: bool) -> Finding:
    """The folder as the runtime would find it. Looks, and changes nothing.

    Args:
        settings: say where it is.
        running: whether a runtime works on the data directory.
    """
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
