"""What the agent is given: the messages of a turn after the runtime's own lines (Q2, Q4, S31, T5
d).

One message is passed as it is. Several get a header and a number each, separated by ``---``.
Before them come, where there is something to say, in this order: that an earlier run was cut off,
a line for each message dropped for the cap, and what was said without waking the agent. Text next
to text becomes one block; other blocks keep their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.sessions.content import Content, ContentBlock, TextBlock, plain_text
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
CONTEXT = "[Said in this conversation without asking for an answer:]"


def build_prompt(
    rows: Sequence[InboundRow],
    *,
    overflow: Sequence[InboundRow] = (),
    context: Sequence[InboundRow] = (),
    interrupted: bool = False,
    cap: int = 20,
) -> Content:
    """The content of a prompt.

    Args:
        rows: the messages of the turn, in order.
        overflow: messages that were dropped for the cap and whose line is owed, in order.
        context: messages that woke nobody, in order.
        interrupted: an earlier run of these messages was cut off by the runtime.
        cap: the most lines there may be for dropped messages; the newest are shown.
    """
    preamble = _preamble(overflow, context, interrupted=interrupted, cap=cap)
    if len(rows) == 1 and not preamble:
        return rows[0].content
    prompt = _Blocks()
    prompt.text("\n\n".join(preamble))
    if len(rows) == 1:
        prompt.content(rows[0].content, before="\n\n")
        return prompt.finish()
    if rows:
        prompt.text(QUEUED.format(count=len(rows)), before="\n\n")
    for number, row in enumerate(rows, 1):
        prompt.text(f"---\n{number}.", before="\n\n")
        prompt.content(row.content, before="\n")
    return prompt.finish()


def merged_content(rows: Iterable[InboundRow]) -> Content:
    """What people said in these messages, block after block, and nothing else."""
    return tuple(block for row in rows for block in row.content)


def summary_line(row: InboundRow) -> str:
    """One line of at most `LINE_LIMIT` characters that says what a message was about."""
    line = " ".join(f"- {_spoken(row)}".split())
    return line if len(line) <= LINE_LIMIT else line[: LINE_LIMIT - 1].rstrip() + "…"


def _preamble(
    overflow: Sequence[InboundRow], context: Sequence[InboundRow], *, interrupted: bool, cap: int
) -> list[str]:
    paragraphs = [INTERRUPTED] if interrupted else []
    if overflow:
        shown = overflow[-cap:] if cap > 0 else ()
        lines = [_dropped_header(len(overflow), len(shown)), *map(summary_line, shown)]
        paragraphs.append("\n".join(lines))
    if context:
        paragraphs.append("\n".join([CONTEXT, *map(_spoken, context)]))
    return paragraphs


def _dropped_header(count: int, shown: int) -> str:
    if shown < count:
        return DROPPED_NEWEST.format(count=count, shown=shown)
    return DROPPED_ONE if count == 1 else DROPPED.format(count=count)


def _spoken(row: InboundRow) -> str:
    text = plain_text(row.content)
    return text if row.sender is None else f"{row.sender.name or row.sender.id}: {text}"


class _Blocks:
    """Content in the making: text that follows text is joined to it."""

    def __init__(self) -> None:
        self._finished: list[ContentBlock] = []
        self._text: list[str] = []

    def text(self, text: str, *, before: str = "") -> None:
        """Append text, ``before`` being what separates it from text directly before it."""
        if text:
            self._text += (before, text) if self._text else (text,)

    def content(self, content: Content, *, before: str) -> None:
        """Append the blocks of a message; its text blocks stand on lines of their own."""
        for block in content:
            if isinstance(block, TextBlock):
                self.text(block.text, before=before)
            else:
                self._close()
                self._finished.append(block)
            before = "\n"

    def finish(self) -> Content:
        self._close()
        return tuple(self._finished)

    def _close(self) -> None:
        if self._text:
            self._finished.append(TextBlock("".join(self._text)))
            self._text = []
