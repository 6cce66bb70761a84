"""Which pieces of text make an answer, whatever happens to the connection."""

import pytest

from runtime.cli.answers import Answers
from runtime.cli.errors import CommandError
from runtime.cli.screen import PipeScreen, Screen, printable
from runtime.protocol.extensions import PromptMark, UpdateMark
from runtime.sessions.content import TextBlock
from runtime.sessions.updates import AgentMessageChunk, ToolCall, UserMessageChunk


class Paper(Screen):
    """Writes down what is shown."""

    def __init__(self) -> None:
        self.lines = [""]

    def say(self, text: str) -> None:
        self.lines[-1] += text

    def end_answer(self, *, own: bool) -> None:
        if self.lines[-1]:
            self.lines[-1] += "." if own else "…"
            self.lines.append("")

    def note(self, text: str) -> None:
        self.end_answer(own=False)
        self.lines[-1:] = [f"({text})", ""]

    def error(self, error: CommandError) -> None:
        self.note(f"error: {error}")

    def state(self, text: str) -> None:
        raise AssertionError

    @property
    def shown(self) -> list[str]:
        return [line for line in self.lines if line]


class Scene:
    """Answers on paper."""

    def __init__(self) -> None:
        self.paper = Paper()
        self.answers = Answers(self.paper)

    def hear(self, turn_id: str, text: str) -> None:
        chunk = AgentMessageChunk(TextBlock(text))
        self.answers.update(chunk, UpdateMark(turn_id=turn_id), ())

    def answered(self, turn_id: str, text: str | None = None, stop: str = "end_turn") -> None:
        mark = PromptMark("m", 1, duplicate=text is not None, turn_id=turn_id, text=text)
        self.answers.answered(mark, stop)


@pytest.fixture
def scene() -> Scene:
    return Scene()


# G3
def test_pieces_make_an_answer(scene: Scene) -> None:
    scene.hear("t1", "good ")
    scene.hear("t1", "morning")
    scene.answered("t1")
    scene.hear("t2", "bye")
    scene.answered("t2", stop="max_tokens")
    assert scene.paper.shown == ["good morning.", "bye.", "(The agent stopped early: max_tokens.)"]


# Q2, G11
def test_merged_messages_have_one_answer(scene: Scene) -> None:
    scene.hear("t1", "both")
    scene.answered("t1")
    scene.answered("t1", text="both")
    assert scene.paper.shown == ["both."]


# G5
def test_what_a_broken_connection_swallowed_comes_at_the_end(scene: Scene) -> None:
    scene.hear("t1", "one two ")
    scene.answers.connection_lost()
    scene.hear("t1", "four ")
    scene.answered("t1", text="one two three four")
    assert scene.paper.shown == ["one two three four."]


# G5
def test_a_turn_that_was_joined_late_is_shown_whole(scene: Scene) -> None:
    scene.answers.connection_lost()
    scene.answers.joined("t1")
    scene.hear("t1", "middle and end")
    scene.answered("t1", text="beginning, middle and end")
    scene.hear("t2", "next")
    scene.answered("t2")
    assert scene.paper.shown == ["beginning, middle and end.", "next."]


# T5
def test_a_turn_that_is_run_again_begins_again(scene: Scene) -> None:
    scene.hear("t1", "one tw")
    scene.answers.connection_lost()
    scene.hear("t2", "one two")
    scene.answered("t2", text="one two")
    assert scene.paper.shown == ["one tw…", "one two."]


def test_an_answer_that_came_while_away_is_shown(scene: Scene) -> None:
    scene.answers.connection_lost()
    scene.answered("t1", text="done meanwhile")
    assert scene.paper.shown == ["done meanwhile."]


def test_an_answer_other_than_its_pieces_is_shown_as_well(scene: Scene) -> None:
    scene.hear("t1", "draft")
    scene.answered("t1", text="final")
    assert scene.paper.lines[0] == "draft\nfinal."


# G5
def test_others_talk_as_well(scene: Scene) -> None:
    theirs = UserMessageChunk(TextBlock("and me?"))
    scene.hear("t1", "to them")
    scene.answers.update(theirs, UpdateMark(turn_id="t2", message_id="theirs"), ("mine",))
    scene.answers.update(theirs, UpdateMark(turn_id="t2", message_id="mine"), ("mine",))
    scene.hear("t2", "to you")
    scene.answered("t3")
    assert scene.paper.shown == ["to them…", "(Somebody else: and me?)", "to you…"]


def test_tools_and_notices_are_notes(scene: Scene) -> None:
    notice = AgentMessageChunk(TextBlock("one message was dropped"))
    scene.answers.update(ToolCall("c1", "Reading"), UpdateMark(turn_id="t1"), ())
    scene.answers.update(notice, UpdateMark(turn_id="t1", notice=True), ())
    assert scene.paper.shown == ["(· Reading)", "(one message was dropped)"]


def test_a_failure_of_merged_messages_is_said_once(scene: Scene) -> None:
    for _ in range(2):
        scene.hear("t1", "half")
        scene.answers.failed(CommandError("the agent is gone"))
    scene.answered("t2", text="again")
    scene.answers.failed(CommandError("the agent is gone"))
    failure = "(error: the agent is gone)"
    assert scene.paper.shown == ["half.", failure, "again.", failure]


def test_a_cancelled_turn_keeps_what_it_said(scene: Scene) -> None:
    scene.hear("t1", "half")
    scene.answered("t1", stop="cancelled")
    assert scene.paper.shown == ["half.", "(Cancelled.)"]


def test_a_pipe_gets_answers_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PipeScreen()
    screen.say("for somebody else")
    screen.end_answer(own=False)
    screen.say("for ")
    screen.note("by the way")
    screen.say("me\x1b[0m")
    screen.end_answer(own=True)
    screen.end_answer(own=True)
    screen.error(CommandError("wrong", "do right"))
    assert capsys.readouterr() == (
        "for me\x1b[0m\n",
        "by the way\nerror: wrong\nhint: do right\n",
    )


def test_a_terminal_is_not_steered_by_an_agent() -> None:
    assert printable("a\x1b[2Jb\x07\r\x9b1m\tc\nd é") == "a[2Jb1m\tc\nd é"
