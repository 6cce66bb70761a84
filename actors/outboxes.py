"""Where the outboxes of agents are, and which of them somebody should look into (R7, M5)."""

from __future__ import annotations

from pathlib import Path

from runtime.storage.attachments import OUTBOX, Outbox
from runtime.storage.outbox_scan import OutboxScan, scan_outboxes
from runtime.storage.transcript import session_folder


class Outboxes:
    """The outboxes of all sessions.

    Args:
        data_dir: the data directory; None where there is none, and then no outboxes.
    """

    def __init__(self, data_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self._used: dict[str, str] = {}

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

    def used(self, agent_id: str, session_id: str) -> bool:
        """Something may be new in an outbox; whether it is the first that is not looked into."""
        if self._data_dir is None:
            return False
        first = not self._used
        self._used[session_id] = agent_id
        return first

    def take_used(self, limit: int) -> dict[str, Outbox]:
        """Those to look into, by the id of the session; each is given once."""
        taken: dict[str, Outbox] = {}
        while self._used and len(taken) < limit:
            session_id, agent_id = self._used.popitem()
            outbox = self.of(agent_id, session_id)
            if outbox is not None:
                taken[session_id] = outbox
        return taken
