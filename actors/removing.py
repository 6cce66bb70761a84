"""Removing files, for the janitor, which is told by the index what may go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from actors.inboxes import remove_from
from actors.library import folder_name
from runtime.log import get_logger
from runtime.sessions.ledger import Blob
from runtime.storage.attachments import Outbox
from runtime.storage.inbox import Inbox
from runtime.storage.media_errors import MediaError
from runtime.storage.media_tree import MediaTree

log = get_logger(__name__)


def remove_all(
    tree: MediaTree,
    outboxes: Mapping[str, Outbox],
    inboxes: Mapping[str, Inbox],
    blobs: Sequence[Blob],
) -> list[bool | str]:
    """Remove files; belongs into a thread.

    Args:
        tree: the media folders.
        outboxes: those of the sessions whose files in outboxes are to go.
        inboxes: those in which there may be something of the files.
        blobs: the files.

    Returns:
        For each: True when it is gone; False when it was not there any more as it was found in an
        outbox, and what is there now was not touched; or why it could not be removed (M6).
    """
    outcomes: list[bool | str] = []
    for blob in blobs:
        try:
            outcomes.append(_remove(tree, outboxes, inboxes, blob))
        except MediaError as error:
            outcomes.append(str(error))
    remove_empty(tree, {blob.session_id for blob in blobs if blob.outgoing is None})
    return outcomes


def remove_empty(tree: MediaTree, session_ids: Iterable[str]) -> None:
    """Remove folders in which nothing is left; belongs into a thread.

    A session that goes on has its folder made again; one that was closed while a file of it came
    leaves none (S43).
    """
    for session_id in session_ids:
        try:
            tree.remove_empty(folder_name(session_id))
        except MediaError as error:
            log.warning("media_problem", reason=str(error))


def _remove(
    tree: MediaTree,
    outboxes: Mapping[str, Outbox],
    inboxes: Mapping[str, Inbox],
    blob: Blob,
) -> bool | str:
    if blob.outgoing is None:
        remove_from(inboxes, blob.session_id, blob.file)
        tree.remove(folder_name(blob.session_id), blob.file)
        return True
    outbox = outboxes.get(blob.session_id)
    if outbox is None:
        return f"The outbox of the session {blob.session_id} is not known."
    return outbox.remove(blob.outgoing)
