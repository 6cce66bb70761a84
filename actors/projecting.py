"""The transcript file of a session, kept in step with its rows (J2)."""

from __future__ import annotations

from collections.abc import Sequence

from actors.services import Services
from runtime.log import get_logger
from runtime.sessions.rows import JournalEntry, SessionRow
from runtime.storage.errors import StoreError

log = get_logger(__name__)


async def verify(services: Services, row: SessionRow) -> None:
    """Mend the transcript file if need be; the rows are the truth, so a failure is logged."""
    try:
        await services.transcripts.verify(row)
    except (OSError, StoreError) as error:
        log.warning("transcript_behind", reason=str(error))


async def project(
    services: Services, row: SessionRow, epoch: int, committed: Sequence[JournalEntry] = ()
) -> None:
    """Append what a turn has written to the transcript file (J2). ``committed``: its lines."""
    try:
        await services.transcripts.project(row, epoch, committed)
    except (OSError, StoreError) as error:
        log.warning("transcript_behind", reason=str(error))
