"""What the agent is given: the messages of a turn after the runtime's own lines (Q2, Q4, S31, T5
d).

One message is passed as it is. Several that were collected get a header and a number each,
separated by ``---``; several that came in one go are joined by blank lines.
Before them come, where there is something to say, in this order: that an earlier run was cut off,
which files are gone (M9), a line for each message dropped for the cap, and what was said without
waking the agent. Text next to text becomes one block; other blocks keep their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from runtime.sessions.content import (
    Content,
    FileBlock,
    StoredBlock,
    StoredContent,
    TextBlock,
    plain_text,
    shown,
)
from runtime.sessions.media import Media
from runtime.sessions.numbers import number_of
from runtime.sessions.rows import InboundRow

LINE_LIMIT = 160
"""Characters of the line that a dropped message leaves (Q4)."""

INTERRUPTED = (
    "[An earlier run on this prompt was cut off when the runtime stopped. What it did until then"
    " may have had effects: check before you repeat anything.]"
)
QUEUED = "[{count} messages were queued while the agent was busy.]"
DROPPED = "[{count} earlier messages were dropped because the queue was full. In short:]"
DROPPED_ONE = "[An earlier message was dropped because the queue was full. In short:]"
DROPPED_NEWEST = (
    "[{count} earlier messages were dropped because the queue was full."
    " The newest {shown} in short:]"
)
AT_LEAST = "[At least {messages} dropped because the queue was full. The newest in short:]"
EVICTED = (
    "[These files of this conversation were removed to make room, and cannot be read any more:]"
)
CONTEXT = "[Said in this conversation without asking for an answer:]"


def build_prompt(
    rows: Sequence[InboundRow],
    *,
    overflow: Sequence[InboundRow] = (),
    more: bool = False,
    context: Sequence[InboundRow] = (),
    interrupted: bool = False,
    collected: bool = True,
    cap: int = 20,
    evicted: Sequence[str] = (),
) -> StoredContent:
    """The content of a prompt. Its files count through `prompt_media` of the same messages.

    Args:
        rows: the messages of the turn, in order.
        overflow: messages that were dropped for the cap and whose line is owed, in order.
        more: others may have been dropped before them.
        context: messages that woke nobody, in order.
        interrupted: an earlier run of these messages was cut off by the runtime.
        collected: several messages were collected while the agent was busy, which is said; else
            they came in one go and read as one (Q1).
        cap: the most lines there may be for dropped messages; the newest are shown.
        evicted: names of files that the agent may still refer to and that are gone (M9).
    """
    preamble = _preamble(overflow, context, evicted, interrupted=interrupted, cap=cap, more=more)
    if len(rows) == 1 and not preamble:
        return rows[0].content
    prompt = _Blocks()
    prompt.text("\n\n".join(preamble))
    for row in context:
        prompt.files(row)
    if len(rows) == 1 or not collected:
        for row in rows:
            prompt.message(row, before="\n\n")
        return prompt.finish()
    if rows:
        prompt.text(QUEUED.format(count=len(rows)), before="\n\n")
    for number, row in enumerate(rows, 1):
        prompt.text(f"---\n{number}.", before="\n\n")
        prompt.message(row, before="\n")
    return prompt.finish()


def prompt_media(rows: Iterable[InboundRow], context: Iterable[InboundRow] = ()) -> Media:
    """The files that the `FileBlock`s of `build_prompt` count through."""
    return tuple(item for row in (*context, *rows) for item in row.media)


def merged_content(rows: Iterable[InboundRow]) -> Content:
    """What people said in these messages, block after block, and nothing else."""
    return tuple(block for row in rows for block in shown(row.content, row.id))


def summary_line(row: InboundRow) -> str:
    """One line of at most `LINE_LIMIT` characters that says what a message was about."""
    line = " ".join(f"- {_spoken(heard(row))}".split())
    return line if len(line) <= LINE_LIMIT else line[: LINE_LIMIT - 1].rstrip() + "…"


def _preamble(
    overflow: Sequence[InboundRow],
    context: Sequence[InboundRow],
    evicted: Sequence[str],
    *,
    interrupted: bool,
    cap: int,
    more: bool,
) -> list[str]:
    paragraphs = [INTERRUPTED] if interrupted else []
    if evicted:
        paragraphs.append("\n".join([EVICTED, *(f"- {name}" for name in evicted)]))
    if overflow:
        shown = overflow[-cap:] if cap > 0 else ()
        lines = [_dropped_header(len(overflow), len(shown), more), *map(summary_line, shown)]
        paragraphs.append("\n".join(lines))
    if context:
        paragraphs.append("\n".join([CONTEXT, *map(_spoken, context)]))
    return paragraphs


def _dropped_header(count: int, shown: int, more: bool) -> str:
    if more:
        be = "was" if count == 1 else "were"
        return AT_LEAST.format(messages=f"{number_of(count, 'earlier message')} {be}")
    if shown < count:
        return DROPPED_NEWEST.format(count=count, shown=shown)
    return DROPPED_ONE if count == 1 else DROPPED.format(count=count)


def _spoken(row: InboundRow) -> str:
    text = plain_text(row.content)
    return text if row.sender is None else f"{row.sender.name or row.sender.id}: {text}"


def heard(row: InboundRow) -> InboundRow:
    """A message with its voice notes as the text that they were made (H5)."""
    words = {
        index: TextBlock(item.transcript)
        for index, item in enumerate(row.media)
        if item.transcript is not None
    }
    content = tuple(
        words.get(block.index, block) if isinstance(block, FileBlock) else block
        for block in row.content
    )
    return msgspec.structs.replace(row, content=content)


class _Blocks:
    """Content in the making: text that follows text is joined to it; files count through."""

    def __init__(self) -> None:
        self._finished: list[StoredBlock] = []
        self._text: list[str] = []
        self._files = 0

    def text(self, text: str, *, before: str = "") -> None:
        """Append text, ``before`` being what separates it from text directly before it."""
        if text:
            self._text += (before, text) if self._text else (text,)

    def message(self, row: InboundRow, *, before: str) -> None:
        """Append the blocks of a message; its text blocks stand on lines of their own."""
        for block in row.content:
            if isinstance(block, TextBlock):
                self.text(block.text, before=before)
            else:
                self._append(block)
            before = "\n"
        self._files += len(row.media)

    def files(self, row: InboundRow) -> None:
        """Append only the files of a message."""
        for block in row.content:
            if isinstance(block, FileBlock):
                self._append(block)
        self._files += len(row.media)

    def finish(self) -> StoredContent:
        self._close()
        return tuple(self._finished)

    def _append(self, block: StoredBlock) -> None:
        self._close()
        if isinstance(block, FileBlock):
            block = msgspec.structs.replace(block, index=self._files + block.index)
        self._finished.append(block)

    def _close(self) -> None:
        if self._text:
            self._finished.append(TextBlock("".join(self._text)))
            self._text = []
