"""Long answers in parts that a channel takes (R5).

A part ends at the last paragraph break that fits, else at the last newline, else at the last space,
else where the limit is. A blank line inside a code block is no paragraph break. Where a part ends
inside a code block, the block is closed there and opened again, with its info string, in the next
part; both count towards the limit. What is left out between two parts is whitespace and nothing
else, and no part is blank.

Code blocks are the fenced ones of CommonMark 0.31, section 4.5, in quotes and lists too, with any
indentation, since a fence in a list is indented. What is indented by four more than the fence is
code. A block in a quote ends with the quote, and is opened again as one in a quote. A fence that
would fill much of a part is ordinary text, and an info string that would is not repeated. A hard
cut leaves in one piece what a reader sees as one character: a letter with its marks, a joined
emoji, a flag (Unicode Standard Annex #29, simplified).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

Counting: TypeAlias = Literal["characters", "utf16", "bytes"]

MINIMUM_LIMIT = 24
"""The smallest limit: below it the fences of a code block would leave too little room for code."""

_LONGEST_CLUSTER = 32
_ENCODINGS = {"utf16": "utf-16-le", "bytes": "utf-8"}
_CONTAINERS = r"(?:[ \t]*(?:>|(?:[-*+]|[0-9]{1,9}[.)])[ \t])){0,8}[ \t]*"
_FENCE_LINE = re.compile(rf"^({_CONTAINERS})(`{{3,}}|~{{3,}})(.*)$", re.MULTILINE)
_FENCE_START = re.compile(rf"{_CONTAINERS}(?:`{{3}}|~{{3}})")
_MARKER = re.compile(r"[^>\s]")
_QUOTE_ENDS = re.compile(r"^(?![ \t]*>)", re.MULTILINE)
_BLANK_OR_QUOTE = " \t\r\n>"
_INDENTED_CODE = 4
_BLANK_LINES = re.compile(r"(?:[ \t\r]*\n)*")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_WHITESPACE = re.compile(r"\s*")
_SPACES = re.compile(r"[ \t]*")


def split(text: str, limit: int, counting: Counting = "characters") -> tuple[str, ...]:
    """Split a text into parts within a limit; none for a blank text.

    Args:
        text: the text, in Markdown or plain.
        limit: the longest that a part may be.
        counting: in what: ``characters`` (code points), ``utf16`` (code units), ``bytes`` (UTF-8).

    Raises:
        ValueError: the limit is below `MINIMUM_LIMIT`, or the counting is unknown.
    """
    if limit < MINIMUM_LIMIT:
        raise ValueError(f"a limit of {limit} is too small: at least {MINIMUM_LIMIT} is needed")
    if counting != "characters" and counting not in _ENCODINGS:
        raise ValueError(f"unknown counting {counting!r}: characters, utf16 or bytes is possible")
    if not text.strip():
        return ()
    measure = _Measure(counting)
    if measure.fitting(text, 0, limit) == len(text):
        return (text,)
    return tuple(_Splitter(text, limit, measure).parts())


def beginning(text: str, limit: int, counting: Counting = "characters") -> str:
    """What of a text in the making fits into one part; a code block that is still open is closed.

    Blank for a blank text. Takes and raises what `split` does.
    """
    parts = split(text, limit, counting)
    if len(parts) != 1:
        return parts[0] if parts else ""
    block = _Splitter(text, limit, _Measure(counting)).open_at_end()
    return parts[0] if block is None else split(text + block.closing, limit, counting)[0]


class _Measure:
    """How a channel counts."""

    def __init__(self, counting: Counting) -> None:
        self._encoding = _ENCODINGS.get(counting)
        self._width = 2 if counting == "utf16" else 1

    def size(self, text: str) -> int:
        """The length of a text."""
        if self._encoding is None:
            return len(text)
        return len(text.encode(self._encoding, "surrogatepass")) // self._width

    def fitting(self, text: str, start: int, room: int) -> int:
        """Where the longest piece from ``start`` ends that is within ``room``."""
        piece = text[start : start + room]
        if self._encoding is None:
            return start + len(piece)
        data = piece.encode(self._encoding, "surrogatepass")
        end = room * self._width
        if len(data) <= end:
            return start + len(piece)
        while self._is_inside_character(data, end):
            end -= self._width
        return start + len(data[:end].decode(self._encoding, "surrogatepass"))

    def _is_inside_character(self, data: bytes, index: int) -> bool:
        if self._width == 1:
            return data[index] & 0xC0 == 0x80
        return data[index + 1] & 0xFC == 0xDC and data[index - 1] & 0xFC == 0xD8


class _CodeBlock(msgspec.Struct, frozen=True):
    """A fenced code block in the text.

    Args:
        start: where the opening line begins.
        body: where the line after it begins.
        end: where the closing line begins; the end of the text when there is none.
        after: behind the closing fence.
        opening: the line that opens it again.
        closing: what closes it early.
        before: what its lines begin with in a quote or a list; a line that is cut does again.
    """

    start: int
    body: int
    end: int
    after: int
    opening: str
    closing: str
    before: str


class _Cut(msgspec.Struct, frozen=True):
    """The end of a part and the start of the next; what is between them is left out."""

    end: int
    resume: int
    block: _CodeBlock | None


class _Splitter:
    def __init__(self, text: str, limit: int, measure: _Measure) -> None:
        self._text = text
        self._limit = limit
        self._measure = measure
        self._blocks = list(self._code_blocks())
        self._starts = [block.start for block in self._blocks]

    def parts(self) -> Iterator[str]:
        text = self._text
        position, block = _end_of(_BLANK_LINES, text, 0), None
        while position < len(text):
            opening = "" if block is None else f"{block.opening}\n"
            if block is not None and text[position - 1] != "\n":
                opening += block.before
            room = self._limit - self._measure.size(opening)
            if self._measure.fitting(text, position, room) == len(text):
                if text[position:].strip():
                    yield opening + text[position:]
                return
            cut = self._cut(position, room)
            part = text[position : cut.end]
            block = cut.block
            if part.strip():
                yield opening + (part.rstrip() if block is None else part + block.closing)
            position = cut.resume
            if block is not None and _end_of(_WHITESPACE, text, position) >= block.end:
                position, block = _end_of(_BLANK_LINES, text, block.after), None

    def open_at_end(self) -> _CodeBlock | None:
        """The code block that nothing closes."""
        return self._block_at(len(self._text))

    def _code_blocks(self) -> Iterator[_CodeBlock]:
        opener: re.Match[str] | None = None
        whole = limit = len(self._text)
        quote_ends = 0
        for line in _FENCE_LINE.finditer(self._text):
            before, fence, info = line.groups()
            if len(before) + len(fence) > self._limit // 8:
                continue
            if opener is not None and line.start() > limit:
                yield self._code_block(opener, limit, limit)
                opener = None
            if opener is None:
                if fence[0] == "~" or "`" not in info:
                    opener, limit = line, whole
                    if ">" in before:
                        if line.end() >= quote_ends:
                            quote_ends = self._end_of_quote(line.end())
                        limit = quote_ends
            elif fence.startswith(opener[2]) and not info.strip() and _closes(before, opener[1]):
                yield self._code_block(opener, line.start(), line.end(2))
                opener = None
        if opener is not None:
            yield self._code_block(opener, limit, limit + 1 if limit == whole else limit)

    def _end_of_quote(self, place: int) -> int:
        """Where the quote ends in which a line ends at ``place``."""
        end = _QUOTE_ENDS.search(self._text, place + 1)
        return len(self._text) if end is None else end.start() - 1

    def _code_block(self, opener: re.Match[str], end: int, after: int) -> _CodeBlock:
        before = _MARKER.sub(" ", opener[1])
        fence = before + opener[2]
        opening = (fence + opener[3]).rstrip()
        if self._measure.size(opening) >= self._limit // 4:
            opening = fence
        return _CodeBlock(
            opener.start(), opener.end() + 1, end, after, opening, f"\n{fence}", before
        )

    def _block_at(self, place: int) -> _CodeBlock | None:
        """The code block that is open where the text before ``place`` ends."""
        index = bisect_left(self._starts, place) - 1
        block = self._blocks[index] if index >= 0 else None
        return block if block is not None and place < block.after else None

    def _cut(self, position: int, room: int) -> _Cut:
        """The best cut of what begins at ``position``, with room for the fence that it needs."""
        end = self._measure.fitting(self._text, position, room)
        while True:
            cut = (
                self._paragraph_cut(position, end)
                or self._line_cut(position, end)
                or self._space_cut(position, end)
                or self._hard_cut(position, end)
            )
            closing = 0 if cut.block is None else self._measure.size(cut.block.closing)
            fitting = self._measure.fitting(self._text, position, room - closing)
            if cut.end <= fitting:
                return cut
            end = fitting

    def _paragraph_cut(self, position: int, end: int) -> _Cut | None:
        newline = self._text.rfind("\n", position + 1, end + 1)
        while newline >= 0:
            block = self._block_at(newline)
            if block is None and _BLANK_LINE.match(self._text, newline):
                return _Cut(newline, _end_of(_BLANK_LINES, self._text, newline), None)
            before = newline if block is None else max(block.start, position + 1)
            newline = self._text.rfind("\n", position + 1, before)
        return None

    def _line_cut(self, position: int, end: int) -> _Cut | None:
        newline = self._text.rfind("\n", position + 1, end + 1)
        block = self._block_at(newline) if newline >= 0 else None
        if block is not None and newline < block.body:
            newline, block = block.start - 1, None  # a fence opens no block before its first line
        if newline <= position:
            return None
        if block is not None:
            return _Cut(newline, newline + 1, block)
        return _Cut(newline, _end_of(_BLANK_LINES, self._text, newline), None)

    def _space_cut(self, position: int, end: int) -> _Cut | None:
        text, start = self._text, self._first_place(position)
        space = max(text.rfind(" ", start, end + 1), text.rfind("\t", start, end + 1))
        while space > start and text[start:space].strip(_BLANK_OR_QUOTE):
            block = self._block_at(space)
            resume = space + 1 if block is not None else _end_of(_SPACES, text, space)
            if not _FENCE_START.match(text, resume):
                return _Cut(space, resume, block)
            space = max(text.rfind(" ", start, space), text.rfind("\t", start, space))
        return None

    def _hard_cut(self, position: int, end: int) -> _Cut:
        first = min(self._first_place(position) + 1, end)
        place = end
        while place > first and _FENCE_START.match(self._text, place):
            place -= 1
        place = _before_cluster(self._text, place if place > first else end, first)
        return _Cut(place, place, self._block_at(place))

    def _first_place(self, position: int) -> int:
        """Behind the fence that a part begins with, if it does."""
        block = self._block_at(position + 1)
        return block.body if block is not None and block.start == position else position


def _closes(before: str, opened_behind: str) -> bool:
    """Whether a fence behind one text closes a block whose fence is behind another."""
    if _MARKER.search(before) or before.count(">") != opened_behind.count(">"):
        return False
    return len(before.expandtabs(4)) < len(opened_behind.expandtabs(4)) + _INDENTED_CODE


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where what a pattern matches at ``start`` ends; the pattern matches nothing at least."""
    match = pattern.match(text, start)
    return start if match is None else match.end()


def _before_cluster(text: str, place: int, first: int) -> int:
    """The nearest place at or before ``place`` that divides no visible character, if it is near."""
    for nearest in range(place, max(first, place - _LONGEST_CLUSTER) - 1, -1):
        if not _is_one_character(text, nearest):
            return nearest
    return place


def _is_one_character(text: str, place: int) -> bool:
    """Whether the characters around ``place`` are seen as one: rules GB3, GB9, GB9a, GB11, GB12."""
    before, after = text[place - 1], text[place]
    if unicodedata.category(after) in {"Mn", "Mc", "Me"} or after in "\u200c\u200d":
        return True
    if before == "\u200d" or "\U0001f3fb" <= after <= "\U0001f3ff" or before + after == "\r\n":
        return True
    if not (_is_regional(before) and _is_regional(after)):
        return False
    start = place
    while start > 0 and place - start <= _LONGEST_CLUSTER and _is_regional(text[start - 1]):
        start -= 1
    return (place - start) % 2 == 1


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
