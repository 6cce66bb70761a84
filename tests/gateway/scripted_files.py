"""What a scripted front says about files."""

from __future__ import annotations

import trio

from runtime.ports.front import Front, MediaSwept, MediaUsage, SessionMedia


class ScriptedFiles(Front):
    """The part of a front that is about files; there are always the same."""

    def media_usage(self) -> MediaUsage:
        return MediaUsage("media", 100, 2, 30, 10, 20, 5, 0)

    async def largest_media(self) -> tuple[SessionMedia, ...]:
        await trio.lowlevel.checkpoint()
        return (SessionMedia("s1", 2, 30),)

    async def sweep_media(self) -> MediaSwept:
        await trio.lowlevel.checkpoint()
        return MediaSwept(1, 20, 0)
