"""What an agent does beside answering, in lines: tool calls, plans, thoughts. No I/O.

A tool call has a line when it begins and one when it has ended; a plan is shown whole at first, and
then the steps that have changed. What was shown is not shown again after a lost connection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from runtime.cli.words import shortened
from runtime.sessions.content import AgentBlock, plain_text
from runtime.sessions.numbers import number_of
from runtime.sessions.updates import (
    AgentThoughtChunk,
    Plan,
    PlanEntry,
    SessionUpdate,
    ToolCall,
    ToolCallUpdate,
)

_REMEMBERED_TOOLS = 1_000
_SHOWN_LOCATIONS = 3
_LINE = 100
_ENDS = {"completed": "✓", "failed": "✗"}
_STEPS = {"pending": "[ ]", "in_progress": "[>]", "completed": "[x]"}


class _Tool(msgspec.Struct):
    title: str
    status: str | None = None
    content: list[Any] | None = None
    raw_output: Any = None

    @property
    def ended(self) -> bool:
        return self.status in _ENDS


class Work:
    """The lines of one session.

    Args:
        thoughts: whether the agent's reasoning is shown.
    """

    def __init__(self, *, thoughts: bool = False) -> None:
        self._thoughts = thoughts
        self._thought = ""
        self._tools: dict[tuple[str, str], _Tool] = {}
        self._plan: tuple[str, tuple[PlanEntry, ...]] = ("", ())

    def lines(self, turn_id: str, update: SessionUpdate) -> Iterator[str]:
        """What there is to show of an update that is no piece of the answer."""
        if isinstance(update, AgentThoughtChunk):
            yield from self._think(plain_text((update.content,)))
            return
        yield from self.rest_of_thought()
        match update:
            case ToolCall() if (turn_id, update.tool_call_id) not in self._tools:
                yield from self._begin(turn_id, update)
            case ToolCallUpdate():
                yield from self._go_on(turn_id, update)
            case Plan():
                yield from self._planned(turn_id, update.entries)

    def rest_of_thought(self) -> Iterator[str]:
        """The last line of a thought, which is over."""
        if self._thought.strip():
            yield f"  {self._thought.strip()}"
        self._thought = ""

    def title_of(self, turn_id: str, tool_call_id: str) -> str | None:
        """What a tool call is named that has begun."""
        tool = self._tools.get((turn_id, tool_call_id))
        return None if tool is None else tool.title

    def _think(self, text: str) -> Iterator[str]:
        if self._thoughts:
            *lines, self._thought = (self._thought + text).split("\n")
            yield from (f"  {line.strip()}" for line in lines if line.strip())

    def _begin(self, turn_id: str, call: ToolCall) -> Iterator[str]:
        tool = _Tool(shortened(call.title, _LINE) or "a tool")
        self._tools[turn_id, call.tool_call_id] = tool
        if len(self._tools) > _REMEMBERED_TOOLS:
            self._tools.pop(next(iter(self._tools)))
        if call.status not in _ENDS:
            yield _joined(f"· {tool.title}", described(call, tool.title))
        yield from self._change(tool, call)

    def _go_on(self, turn_id: str, update: ToolCallUpdate) -> Iterator[str]:
        tool = self._tools.get((turn_id, update.tool_call_id))
        if tool is None or tool.ended:
            return
        title = shortened(update.title or tool.title, _LINE)
        if title != tool.title:
            tool.title = title
            if update.status not in _ENDS:
                yield _joined(f"· {title}", described(update, title))
        yield from self._change(tool, update)

    def _change(self, tool: _Tool, call: ToolCall | ToolCallUpdate) -> Iterator[str]:
        tool.status = call.status or tool.status
        tool.content = call.content if call.content is not None else tool.content
        tool.raw_output = call.raw_output if call.raw_output is not None else tool.raw_output
        if tool.ended:
            done = _result(tool.content, tool.raw_output)
            yield _joined(f"{_ENDS[tool.status or '']} {tool.title}", done)
            tool.content = tool.raw_output = None

    def _planned(self, turn_id: str, entries: tuple[PlanEntry, ...]) -> Iterator[str]:
        turn, known = self._plan
        self._plan = (turn_id, entries)
        if turn != turn_id:
            yield "Plan:"
            known = ()
        for entry in entries:
            if entry not in known:
                yield f"  {_STEPS.get(entry.status, '[ ]')} {shortened(entry.content, _LINE)}"


def described(call: Any, title: str) -> str:
    """What a tool call works on, as far as its title does not say it.

    Args:
        call: with ``locations`` and ``raw_input`` of the protocol.
        title: its title.
    """
    command = _command(call.raw_input)
    parts = [f"$ {command}"] if command and command not in title else []
    parts += [place for place in _places(call.locations) if place.partition(":")[0] not in title]
    return ", ".join(parts)


def changes(content: Any) -> Iterator[str]:
    """The changes of files that a tool call makes, a phrase for each file."""
    for each in content if isinstance(content, list) else ():
        if isinstance(each, dict) and each.get("type") == "diff":
            path, *texts = (each.get(name) or "" for name in ("path", "oldText", "newText"))
            if path and all(isinstance(each, str) for each in (path, *texts)):
                # As sets of lines: quick for any file, and a moved line is no change.
                before, after = (Counter(text.splitlines()) for text in texts)
                more, less = (after - before).total(), (before - after).total()
                yield f"{shortened(path, _LINE)} +{more} -{less}"


def sized(block: AgentBlock) -> str:
    """What is no text, in words with its size; text as it is."""
    words = plain_text((block,))
    data = getattr(block, "data", None) or getattr(getattr(block, "resource", None), "blob", None)
    return f"{words[:-1]}, {_size(len(data) * 3 // 4)}]" if data else words


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"


def _result(content: Any, raw_output: Any) -> str:
    """What came of a tool call."""
    parts = list(changes(content))
    texts = [
        each["content"]["text"]
        for each in (content if isinstance(content, list) else ())
        if isinstance(each, dict)
        and isinstance(each.get("content"), dict)
        and isinstance(each["content"].get("text"), str)
    ]
    if not parts and not texts:
        texts += _output(raw_output)
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    if lines:
        more = f" (and {number_of(len(lines) - 1, 'line')} more)" if len(lines) > 1 else ""
        parts.append(f"{shortened(lines[0], _LINE)}{more}")
    return ", ".join(parts)


def _output(raw_output: Any) -> Iterator[str]:
    """The text in what a tool returned, in the forms that are usual."""
    if isinstance(raw_output, str):
        yield raw_output
    elif isinstance(raw_output, dict):
        usual = (raw_output.get(name) for name in ("output", "stdout", "stderr", "error"))
        yield from (text for text in usual if isinstance(text, str))


def _command(raw_input: Any) -> str:
    given = raw_input.get("command") if isinstance(raw_input, dict) else None
    if isinstance(given, list):
        given = " ".join(map(str, given))
    return shortened(given, _LINE) if isinstance(given, str) else ""


def _places(locations: Any) -> list[str]:
    found = [
        f"{each['path']}:{each['line']}" if isinstance(each.get("line"), int) else each["path"]
        for each in (locations if isinstance(locations, list) else ())
        if isinstance(each, dict) and isinstance(each.get("path"), str)
    ]
    more = len(found) - _SHOWN_LOCATIONS
    return [*found[:_SHOWN_LOCATIONS], *([f"{more} more"] if more > 0 else [])]


def _joined(head: str, rest: str) -> str:
    return f"{head} — {rest}" if rest else head
