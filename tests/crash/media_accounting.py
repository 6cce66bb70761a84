"""Holds the files that came with messages against the rows, and both against the turns. Pure.

A file belongs to whoever has it: to messages that wait, or to the conversation since an agent began
to answer one of them. It is there as long as it belongs to anybody, and not longer. (The crowd
stays far below the cap, so nothing is ever evicted.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.crash.evidence import Blob, Evidence, Row

WAITS = frozenset({"held", "pending", "claimed"})
READ = frozenset({"done", "failed"})

TOLD_TWICE = "twice"
"""The agent that is told of what waits and is asked it afterwards: what waits is a copy then, which
has no files (H8).
"""


def media(evidence: Evidence) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """What is wrong, about which file, and the records of it."""
    began = {turn.id for turn in evidence.turns if turn.began}
    heard = {each for turn in evidence.turns if turn.began for each in turn.message_ids}
    blobs = {(blob.session_id, blob.file): blob for blob in evidence.blobs}
    rows: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in evidence.rows:
        for file in row.files:
            rows[row.session_id, file].append(row)
    for place in blobs.keys() | rows.keys() | evidence.on_disk.keys():
        size = evidence.on_disk.get(place)
        copied = evidence.sessions.get(place[0]) == TOLD_TWICE
        for what in _wrong(blobs.get(place), rows[place], size, began, heard, copied=copied):
            yield what, f"file {'/'.join(place)}", (blobs.get(place), *rows[place])


def _wrong(
    blob: Blob | None,
    rows: list[Row],
    size: int | None,
    began: set[str],
    heard: set[str],
    *,
    copied: bool,
) -> Iterator[str]:
    wanted = any(row.state in WAITS or (row.state in READ and row.turn_id in began) for row in rows)
    if blob is None:
        if size is not None:
            yield "it is on disk, and has no row"
        if wanted:
            yield "a message that waits or was read refers to it, and it has no row"
        return
    if blob.evicted:
        yield "it was evicted, although there was room"
    if size is None:
        yield "it has a row, and is not on disk"
    elif size != blob.size:
        yield f"it has {size} bytes, and should have {blob.size}"
    if not rows and not copied:
        yield "no message refers to it"
    if not wanted and not blob.handed_over:
        yield "it belongs to nobody, and is there all the same"
    if blob.handed_over and not copied and not any(row.id in heard for row in rows):
        yield "it was handed over, and no agent has begun to answer a message with it"
    if not blob.handed_over and any(row.state in READ and row.turn_id in began for row in rows):
        yield "an agent has begun to answer a message with it, and it was not handed over"
