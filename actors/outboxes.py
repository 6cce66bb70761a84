"""Where the inboxes and outboxes of agents are, and which of them are in use (R7, M5)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from runtime.storage.attachments import OUTBOX, Outbox
from runtime.storage.inbox import INBOX, Inbox, InboxScan, scan_inboxes
from runtime.storage.outbox_scan import OutboxScan, scan_outboxes
from runtime.storage.transcript import session_folder


class Outboxes:
    """The outboxes of all sessions.

    Args:
        data_dir: the data directory; None where there is none, and then no outboxes.
    """

    def __init__(self, data_dir: Path | None = None) -> None:
        self._data_dir = None if data_dir is None else data_dir.absolute()
        self._used: dict[str, str | None] = {}

    def of(self, agent_id: str, session_id: str) -> Outbox | None:
        """The outbox of a session, which need not be there."""
        if self._data_dir is None:
            return None
        return Outbox(session_folder(self._data_dir, agent_id, session_id) / OUTBOX)

    def scan(self) -> OutboxScan:
        """What is in all of them; belongs into a thread. Raises MediaError."""
        if self._data_dir is None:
            return OutboxScan([], [], 0)
        return scan_outboxes(self._data_dir / "sessions")

    def used(self, session_id: str, agent_id: str | None = None) -> bool:
        """Something may be new in an outbox, or it has to go; whether it is the first of which that
        is said since they were looked into. Without its agent the store has to be asked.
        """
        if self._data_dir is None:
            return False
        first = not self._used
        self._used[session_id] = agent_id or self._used.get(session_id)
        return first

    def take_used(self, limit: int) -> dict[str, str | None]:
        """Those to look into, by the id of the session, with that of the agent; each is given
        once.
        """
        return {
            session_id: self._used.pop(session_id) for session_id in [*islice(self._used, limit)]
        }


class Inboxes:
    """The inboxes of all sessions.

    Args:
        data_dir: the data directory; None where there is none, and then no inboxes.
    """

    def __init__(self, data_dir: Path | None = None) -> None:
        self._data_dir = None if data_dir is None else data_dir.absolute()
        self._used: dict[str, Inbox] = {}

    def of(self, agent_id: str, session_id: str) -> Inbox | None:
        """The inbox of a session, which need not be there."""
        if self._data_dir is None:
            return None
        return Inbox(session_folder(self._data_dir, agent_id, session_id) / INBOX)

    def scan(self) -> InboxScan:
        """What is in all of them; belongs into a thread. Raises MediaError."""
        if self._data_dir is None:
            return InboxScan({}, {}, [])
        return scan_inboxes(self._data_dir / "sessions")

    def used(self, session_id: str, inbox: Inbox) -> None:
        """There may be a file in it."""
        self._used[session_id] = inbox

    def forget(self, session_id: str) -> None:
        """There is no file of its session any more."""
        self._used.pop(session_id, None)

    def among(self, session_ids: Iterable[str]) -> dict[str, Inbox]:
        """Those of some sessions, as far as there may be a file in them."""
        return {each: self._used[each] for each in session_ids if each in self._used}
