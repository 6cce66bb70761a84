"""What the tests of files in the store share: messages with files, and who hears what became."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from runtime.sessions.content import FileBlock, TextBlock
from runtime.sessions.media import (
    Claimed,
    Ended,
    HandedOver,
    Leased,
    MediaChange,
    MediaItem,
    NewBlob,
)
from runtime.sessions.rows import SessionSpec
from runtime.storage.requests import NewInbound
from runtime.storage.sqlite import SqliteStore
from tests.storage.stage import SPEC, Actor, admit, message


class Feed:
    """Hears what became of files, in the order of the commits."""

    def __init__(self, store: SqliteStore) -> None:
        self._heard: list[MediaChange] = []
        store.listen(self._hear)

    def take(self) -> list[MediaChange]:
        """What was heard since the last time."""
        heard, self._heard = self._heard, []
        return heard

    def brief(self) -> list[tuple[str, str]]:
        """The same in short: what, and of which message or session."""
        return [
            (type(change).__name__.lower(), change.message_id)
            if isinstance(change, Leased | Claimed | HandedOver | Ended)
            else (type(change).__name__.lower(), change.session_id)
            for change in self.take()
        ]

    def _hear(self, changes: Sequence[MediaChange]) -> None:
        self._heard += changes


def new_blob(file: str, size: int = 10) -> NewBlob:
    """A file that is on disk and has no row yet."""
    return NewBlob(file, f"hash of {file}", size, "image/png", f"{file}.png")


def with_files(*names: str, session: str | SessionSpec = SPEC, **fields: Any) -> NewInbound:
    """A message with new files."""
    content = (TextBlock("see"), *(FileBlock(number) for number in range(len(names))))
    return msgspec.structs.replace(
        message(session, **fields),
        content=content,
        media=tuple(MediaItem(file=name, name=f"{name}.png", size=10) for name in names),
        blobs=tuple(map(new_blob, names)),
    )


async def running(store: SqliteStore, *new: NewInbound) -> tuple[Actor, tuple[str, ...], str]:
    """A session with a turn that has these messages: its actor, the messages, the turn."""
    rows = [(await admit(store, each)).message for each in new]
    actor = await Actor.wake(store, rows[0].session_id)
    turn_id = await actor.begin(*rows)
    return actor, tuple(row.id for row in rows), turn_id
