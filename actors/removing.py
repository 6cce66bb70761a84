"""Removing files, for the janitor, which is told by the index what may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.library import folder_name
from runtime.sessions.ledger import Blob
from runtime.storage.attachments import Outbox
from runtime.storage.media_errors import MediaError
from runtime.storage.media_tree import MediaTree


def remove_all(
    tree: MediaTree, outboxes: Mapping[str, Outbox], blobs: Sequence[Blob]
) -> list[bool | str]:
    """Remove files; belongs into a thread.

    Args:
        tree: the media folders.
        outboxes: those of the sessions whose files in outboxes are to go.
        blobs: the files.

    Returns:
        For each: True when it is gone; False when it was not there any more as it was found in an
        outbox, and what is there now was not touched; or why it could not be removed (M6).
    """
    outcomes: list[bool | str] = []
    for blob in blobs:
        try:
            outcomes.append(_remove(tree, outboxes, blob))
        except MediaError as error:
            outcomes.append(str(error))
    return outcomes


def _remove(tree: MediaTree, outboxes: Mapping[str, Outbox], blob: Blob) -> bool | str:
    if blob.outgoing is None:
        tree.remove(folder_name(blob.session_id), blob.file)
        return True
    outbox = outboxes.get(blob.session_id)
    if outbox is None:
        return f"The outbox of the session {blob.session_id} is not known."
    return outbox.remove(blob.outgoing)
