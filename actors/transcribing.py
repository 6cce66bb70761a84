"""Voice notes become text before their message runs (H5).

The text takes the place of the file: the agent is given the words, and the file goes when the
message has come to its end, whichever (see `runtime.sessions.media.kept_files`). Without a
transcriber, or when it fails, the file is handed over like any other.
"""

from __future__ import annotations

import msgspec
import trio

from actors.services import Services
from actors.transcribers import MOST_TEXT
from runtime.log import get_logger
from runtime.ports.transcriber import Transcriber, TranscriptionFailed
from runtime.sessions.content import storable
from runtime.sessions.media import MediaItem, MediaKind

LONGEST_WAIT = 600.0
"""Seconds for which a voice note waits while others become text; its message waits with it."""

LONGEST_REASON = 500

log = get_logger(__name__)


async def transcribed(services: Services, session_id: str, item: MediaItem) -> MediaItem:
    """An item of a message that does not run yet, with its words if it is a voice note.

    Takes `LONGEST_WAIT` and ``media.transcriber.timeout`` at most, and what the transcriber needs
    to end, which is about 6 s for a command. Cancelled, nothing is left of it. What the transcriber
    raises is logged and counted, and leaves the item as it was.

    Args:
        services: the runtime's parts.
        session_id: the session.
        item: its file is on disk, and somebody holds a lease on it.
    """
    transcriber = services.transcriber
    if (
        transcriber is None
        or item.kind is not MediaKind.VOICE
        or item.file is None
        or item.transcript is not None
    ):
        return item
    outcomes = services.metrics.transcriptions
    try:
        text = await _text_of(services, transcriber, session_id, item.file, item.mime_type)
    except TranscriptionFailed as error:
        reason = str(error)[:LONGEST_REASON]
        log.warning("transcription_failed", session=session_id, reason=reason)
    except Exception:
        log.exception("transcriber_raised", session=session_id)
    else:
        outcomes.labels(outcome="done").inc()
        return msgspec.structs.replace(item, transcript=text)
    outcomes.labels(outcome="failed").inc()
    return item


async def _text_of(
    services: Services, transcriber: Transcriber, session_id: str, file: str, mime_type: str | None
) -> str:
    turn = services.transcribing
    try:
        with trio.fail_after(LONGEST_WAIT):
            await turn.acquire()
    except trio.TooSlowError:
        raise TranscriptionFailed("too many voice notes were waiting before it") from None
    limit = services.settings.media.transcriber.timeout
    try:
        with trio.fail_after(limit):
            said = await transcriber.transcribe(services.library.path(session_id, file), mime_type)
    except trio.TooSlowError:
        raise TranscriptionFailed(f"there was no text after {limit:g} s") from None
    finally:
        turn.release()
    text = storable(said).strip()
    if not text:
        raise TranscriptionFailed("the text is empty")
    if len(text) > MOST_TEXT:
        raise TranscriptionFailed(f"the text has more than {MOST_TEXT} characters")
    return text
