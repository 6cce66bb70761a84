"""Room under the cap and on the disk for bytes that are about to be written (M3, M5, M7)."""

from __future__ import annotations

import trio

from actors.library import Library, MediaRefused
from runtime.sessions.reservation import Reservation

MOST_ATTEMPTS = 5
"""How often room is made for the next bytes, when others take it in between."""

ROOM_LIMIT = 60.0
"""Seconds for all of that: the janitor may wait for the disk."""

NO_ROOM = (
    "There is no room for this file: all files together may take {cap}, and those that wait for an"
    " agent are not removed. Send it again when there are answers."
)
NO_SPACE = "There is not enough free space on the disk for this file. Send it again later."


async def make_room(
    library: Library, room: Reservation, needed: int, *, exactly: int | None = None
) -> None:
    """Count bytes as taken, once there is room for them.

    Args:
        library: keeps the files.
        room: counts them.
        needed: how many; a little more are counted where that costs nothing.
        exactly: how many are counted, if that is known.

    Raises:
        MediaRefused: there is no room.
    """
    cap = library.settings.max_media_bytes
    if room.size + needed > cap:
        raise MediaRefused(f"The file is too large: all files together may take {in_words(cap)}.")
    lack = 0
    with trio.move_on_after(ROOM_LIMIT):
        for attempt in range(MOST_ATTEMPTS + 1):
            free = await _free(library)
            step = room.step(needed, cap, free) if exactly is None else exactly
            lack = max(0, step - free) if free is not None else 0
            if not lack and library.ledger.total + step <= cap:
                room.add(step)
                return
            if attempt < MOST_ATTEMPTS:
                await library.cleaner.make_room(step, lack)
    raise MediaRefused(NO_SPACE if lack else NO_ROOM.format(cap=in_words(cap)), for_now=True)


async def _free(library: Library) -> int | None:
    """Bytes of the disk that may still be counted above the floor; None for any number."""
    space = await library.space()
    if space is None:
        return None
    return space.free - library.floor(space) - library.ledger.incoming.to_come


def in_words(size: int) -> str:
    """Bytes, for people."""
    return f"{size / 1024**2:.4g} MiB" if size >= 1024**2 else f"{size / 1024:.4g} KiB"
