"""Wakes sessions that have something due and sleep: after a start, a retry's delay, a lost word
(D8).

Sweep    look now
"""

from __future__ import annotations

from actors.services import Services
from actors.sessions import Wake
from runtime.kernel import Actor, ActorRef, Message
from runtime.log import get_logger
from runtime.storage.errors import StoreError

SWEEP_EVERY = 5.0
"""Seconds between two looks. What is due for a live session is timed by its own queue."""

PAGE = 500

log = get_logger(__name__)


class Sweep(Message, frozen=True):
    """Look now."""


class Scheduler(Actor[Sweep]):
    """Looks for rows whose time has come."""

    def __init__(self, services: Services, sessions: ActorRef[Wake]) -> None:
        self._services = services
        self._sessions = sessions

    async def on_start(self) -> None:
        self.ref.tell(Sweep())
        self.every(SWEEP_EVERY, Sweep())

    async def on_message(self, message: Sweep) -> object:
        after: str | None = None
        try:
            while True:
                found = await self._services.store.sessions_with_due_messages(PAGE, after=after)
                for session_id in found:
                    await self._sessions.send(Wake(session_id))
                if len(found) < PAGE:
                    return None
                after = found[-1]
        except StoreError as error:
            log.warning("sweep_failed", reason=str(error))
            return None
