"""What a running turn has said so far, kept about once a second (T3)."""

from __future__ import annotations

import msgspec
import trio

from actors.persistence import until_written
from actors.services import Services
from runtime.sessions.relay import Reply
from runtime.sessions.rows import SessionRow
from runtime.storage.requests import TurnProgress

EVERY = 1.0  # T3


class Progress:
    """Saves what a turn says while it runs, so that a kill at hour two leaves it."""

    def __init__(self, services: Services, session: SessionRow, turn_id: str, reply: Reply) -> None:
        self._services = services
        self._session = session
        self._turn_id = turn_id
        self._reply = reply
        self._first_event_at: int | None = None
        self._unsaved = trio.Event()
        self._saved = 0

    def note(self, first_event_at: int | None) -> None:
        """The turn has said something more."""
        self._first_event_at = first_event_at
        self._unsaved.set()

    async def save_forever(self) -> None:
        """Save what is new, about once a second."""
        while True:
            await self._unsaved.wait()
            await trio.sleep(EVERY)
            self._unsaved = trio.Event()
            text, updates = self._reply.take_unsaved()
            progress = TurnProgress(
                turn_id=self._turn_id,
                session_id=self._session.id,
                fence=self._session.fence,
                n=self._saved,
                text=text,
                data=[msgspec.to_builtins(update) for update in updates] or None,
                first_event_at=self._first_event_at,
            )
            await until_written(lambda: self._services.store.save_progress(progress))  # noqa: B023
            self._saved += 1
