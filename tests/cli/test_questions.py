"""Who is asked when the agent wants permission, and what counts as an answer."""

from typing import Any

import msgspec
import pytest

from runtime.cli.client import Request
from runtime.cli.questions import Asking, Questions
from runtime.protocol.extensions import PermissionAnsweredEvent

from .paper import Paper

OPTIONS = [
    {"optionId": "always", "name": "Always allow", "kind": "allow_always"},
    {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
NUMBERED = "  1. Always allow\n  2. Allow\n  3. Reject"
ENDING = "Answer with the number or the name; Ctrl-C cancels the turn."


class Desk:
    """Questions on paper; turns whose id begins with ``my`` are this person's."""

    def __init__(self, asking: Asking) -> None:
        self.paper = Paper()
        self.replies: list[tuple[int | str, str | None]] = []
        self.questions = Questions(
            self.paper,
            asking,
            lambda turn_id: turn_id.startswith("my"),
            lambda _turn_id, tool: {"t1": "Known title"}.get(tool),
            lambda identity, option_id: self.replies.append((identity, option_id)),
        )

    def ask(self, identity: int, turn_id: str = "my1", **tool_call: Any) -> None:
        params = {
            "sessionId": "s",
            "toolCall": {"toolCallId": "t0", **tool_call},
            "options": OPTIONS,
            "_meta": {"runtime": {"turnId": turn_id, "requestId": f"q{identity}"}},
        }
        self.questions.heard(Request(identity, msgspec.Raw(msgspec.json.encode(params))))
        self.questions.put()

    def settle(self, identity: int, option_id: str | None, turn_id: str = "my1") -> None:
        self.questions.withdraw(identity)
        self.questions.settled(PermissionAnsweredEvent(turn_id, f"q{identity}", option_id))
        self.questions.put()

    @property
    def said(self) -> str:
        return "\n".join(line.removeprefix("(").removesuffix(")") for line in self.paper.shown)


@pytest.fixture
def desk() -> Desk:
    return Desk(Asking("ask", dialog=True))


# P6, G2
def test_a_person_is_asked_with_numbers(desk: Desk) -> None:
    desk.ask(
        7,
        "theirs",
        title="Run it",
        kind="execute",
        rawInput={"command": ["rm", "-r", "build"]},
        locations=[{"path": "build", "line": 3}],
    )
    asked = "The agent asks for permission: Run it"
    assert desk.said == f"{asked}\n  execute, $ rm -r build, build:3\n{NUMBERED}\n{ENDING}"
    assert not desk.questions.answer("no idea")
    assert not desk.questions.answer("4")
    assert desk.questions.answer(" 2 ")
    assert desk.replies == [(7, "yes")]
    assert desk.questions.current is None
    assert not desk.questions.answer("2")
    before = desk.said
    desk.settle(7, "yes", "theirs")
    assert desk.said == before


def test_a_name_is_an_answer_and_a_diff_is_counted(desk: Desk) -> None:
    diff = {"type": "diff", "path": "a.py", "oldText": "1\n2\n", "newText": "1\n3\n4\n"}
    desk.ask(1, toolCallId="t1", content=[diff], kind="other")
    assert "permission: Known title\n  a.py +2 -1\n  1." in desk.said
    assert desk.questions.answer("REJECT")
    assert desk.replies == [(1, "no")]


def test_one_question_at_a_time(desk: Desk) -> None:
    desk.ask(1, title="First")
    desk.ask(2, title="Second")
    assert "Second" not in desk.said
    assert desk.questions.answer("1")
    assert "Second" in desk.said
    assert desk.questions.answer("3")
    assert desk.replies == [(1, "always"), (2, "no")]


# G5
def test_somebody_else_answers_first(desk: Desk) -> None:
    desk.ask(1, title="First")
    desk.ask(2, title="Second")
    desk.settle(1, "yes")
    assert "No longer asked: First (somebody else chose: Allow)\nThe agent asks" in desk.said
    desk.settle(2, None)
    assert desk.said.endswith("No longer asked: Second (nobody has chosen)")
    assert desk.replies == []


# G5
def test_an_answer_that_comes_too_late_is_said_to(desk: Desk) -> None:
    desk.ask(1, title="First")
    assert desk.questions.answer("2")
    desk.settle(1, "no")
    assert desk.said.endswith(
        "Your answer: Allow\nNo longer asked: First (somebody else chose: Reject)"
    )


# G5, G12
def test_what_is_open_is_asked_again_on_the_next_connection(desk: Desk) -> None:
    desk.ask(1, title="First")
    for _ in range(2):
        desk.questions.connection_lost()
    assert not desk.questions.answer("what?")
    assert desk.questions.answer("2")
    assert desk.said.endswith("There is no connection just now: what is open is asked again then.")
    assert desk.replies == []
    desk.ask(9, title="First")
    assert desk.said.count("permission: First") == 2
    assert desk.questions.answer("2")
    assert desk.replies == [(9, "yes")]


@pytest.mark.parametrize(
    "policy, option, name", [("allow", "yes", "Allow"), ("deny", "no", "Reject")]
)
def test_a_script_has_decided_beforehand(policy: Any, option: str, name: str) -> None:
    desk = Desk(Asking(policy))
    desk.ask(1, title="Mine")
    desk.ask(2, "theirs", title="Not mine")
    assert desk.replies == [(1, option)]
    assert desk.said == (
        f"The agent asks for permission: Mine\nAnswered: {name} (--permissions {policy})"
    )
    desk.settle(1, option)
    assert "No longer" not in desk.said


def test_a_script_may_leave_it_to_others() -> None:
    desk = Desk(Asking("ask"))
    desk.ask(1, title="Mine")
    assert not desk.questions.answer("1")
    desk.settle(1, "yes")
    assert desk.replies == []
    assert desk.said.splitlines() == [
        "The agent asks for permission: Mine; waiting for an answer from whoever else watches",
        "No longer asked: Mine (somebody else chose: Allow)",
    ]


# G7
def test_a_question_that_is_not_understood_is_refused(desk: Desk) -> None:
    with pytest.raises(msgspec.DecodeError):
        desk.questions.heard(Request(1, msgspec.Raw(b'{"options": 3}')))
