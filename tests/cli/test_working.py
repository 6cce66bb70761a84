"""The lines for tool calls, plans and thoughts."""

from typing import Any

import pytest

from runtime.cli.working import Work, sized
from runtime.sessions.content import (
    AgentResource,
    AudioBlock,
    ImageBlock,
    ResourceContents,
    TextBlock,
)
from runtime.sessions.updates import (
    AgentThoughtChunk,
    Plan,
    PlanEntry,
    SessionUpdate,
    ToolCall,
    ToolCallUpdate,
)


def lines(work: Work, *updates: SessionUpdate) -> list[str]:
    return [line for update in updates for line in work.lines("t1", update)]


def text(said: str) -> dict[str, Any]:
    return {"type": "content", "content": {"type": "text", "text": said}}


DIFF = {"type": "diff", "path": "a.py", "oldText": "1\n2\n2\n", "newText": "2\n1\n2\n3\n"}


# T6
def test_a_tool_call_has_a_line_at_its_begin_and_one_at_its_end() -> None:
    places = [{"path": f"f{number}.py", "line": number} for number in range(1, 6)]
    begun = ToolCall("c", "Edit f2.py", kind="edit", status="pending", locations=places)
    going = ToolCallUpdate("c", status="in_progress")
    done = ToolCallUpdate("c", status="completed", content=[DIFF, text("Fine.\nReally.\n")])
    shown = [
        "· Edit f2.py — f1.py:1, f3.py:3, 2 more",
        "✓ Edit f2.py — a.py +1 -0, Fine. (and 1 line more)",
    ]
    work = Work()
    assert lines(work, begun, going, done) == shown
    assert lines(work, begun, going, done) == []


@pytest.mark.parametrize(
    "output, shown",
    [
        ("no such file\n", "✗ Run — no such file"),
        ({"stdout": "a\nb\nc", "exit_code": 1}, "✗ Run — a (and 2 lines more)"),
        ({"exit_code": 1}, "✗ Run"),
        (None, "✗ Run"),
    ],
)
def test_what_a_tool_said_is_shown_in_short(output: Any, shown: str) -> None:
    run = ToolCall("c", "Run", raw_input={"command": "make all"})
    failed = ToolCallUpdate("c", status="failed", raw_output=output)
    assert lines(Work(), run, failed) == ["· Run — $ make all", shown]


def test_a_better_title_is_shown() -> None:
    named = ToolCallUpdate("c", title="make", raw_input={"command": "make"})
    assert lines(Work(), ToolCall("c", "Terminal"), named) == ["· Terminal", "· make"]


def test_odd_content_harms_nobody() -> None:
    odd: list[Any] = [
        5,
        {"type": "diff"},
        {"type": "diff", "oldText": 3},
        {"content": "x"},
        text(""),
    ]
    call = ToolCall("c", "", status="completed", content=odd, locations=[7, {"path": 1}])
    assert lines(Work(), call) == ["✓ a tool"]
    assert lines(Work(), ToolCallUpdate("never begun", status="completed")) == []


# T6
def test_of_a_plan_the_changes_are_shown() -> None:
    first = Plan((PlanEntry("dig"), PlanEntry("build")))
    second = Plan((PlanEntry("dig", status="completed"), PlanEntry("build", status="in_progress")))
    work = Work()
    assert lines(work, first, first, second) == [
        *("Plan:", "  [ ] dig", "  [ ] build", "  [x] dig", "  [>] build"),
    ]


def test_thoughts_are_shown_to_those_who_wish() -> None:
    thoughts = [AgentThoughtChunk(TextBlock(piece)) for piece in ("One ", "line.\nAnd ", "half")]
    call = ToolCall("c", "Dig")
    assert lines(Work(), *thoughts, call) == ["· Dig"]
    assert lines(Work(thoughts=True), *thoughts, call) == ["  One line.", "  And half", "· Dig"]


def test_what_is_no_text_has_its_size() -> None:
    assert sized(ImageBlock("A" * 4_096, "image/png")) == "[image: image/png, 3 KiB]"
    assert sized(AudioBlock("AAAA", "audio/ogg")) == "[audio: audio/ogg, 3 bytes]"
    blob = ResourceContents("file:///a", blob="A" * 8_000_000)
    assert sized(AgentResource(blob)) == "[resource: file:///a, 5 MiB]"
    assert sized(TextBlock("[as it is]")) == "[as it is]"
