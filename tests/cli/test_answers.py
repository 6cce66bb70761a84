"""Which pieces of text make an answer, whatever happens to the connection."""

import pytest

from runtime.cli.answers import Answers
from runtime.cli.errors import CommandError
from runtime.cli.screen import PipeScreen, printable
from runtime.protocol.extensions import (
    EpochStartedEvent,
    JournalEvent,
    MessageAcceptedEvent,
    MessageSteeredEvent,
    NoticeEvent,
    PromptMark,
    SessionMark,
    SnapshotEvent,
    TurnEndedEvent,
    TurnSnapshot,
    TurnStartedEvent,
    TurnUpdateEvent,
)
from runtime.sessions.content import ImageBlock, ResourceLink, TextBlock
from runtime.sessions.rows import TurnError
from runtime.sessions.updates import (
    AgentMessageChunk,
    AgentThoughtChunk,
    Plan,
    PlanEntry,
    SessionUpdate,
    ToolCall,
    ToolCallUpdate,
)

from .paper import Paper


def chunk(text: str) -> AgentMessageChunk:
    return AgentMessageChunk(TextBlock(text))


class Scene:
    """A session on paper; messages whose id begins with ``my`` are this person's."""

    def __init__(self, recall: int = 0, *, thoughts: bool = False) -> None:
        self.paper = Paper()
        self.answers = Answers(self.paper, recall, thoughts=thoughts)

    def accept(self, message_id: str, text: str) -> None:
        if message_id.startswith("my"):
            self.answers.sending(f"client-{message_id}", text)
        self.answers.take(MessageAcceptedEvent(message_id, 1, (TextBlock(text),)))

    def start(self, turn_id: str, *message_ids: str, prompt: str = "merged") -> None:
        self.answers.take(TurnStartedEvent(turn_id, 1, message_ids, (TextBlock(prompt),)))

    def hear(self, turn_id: str, *updates: str | SessionUpdate) -> None:
        for update in updates:
            told = chunk(update) if isinstance(update, str) else update
            self.answers.take(TurnUpdateEvent(turn_id, told))

    def end(
        self,
        turn_id: str,
        text: str | None,
        *,
        seq: int = 0,
        state: str = "done",
        stop: str = "end_turn",
        error: TurnError | None = None,
    ) -> None:
        event = TurnEndedEvent(turn_id, 1, (), "done", state, stop, text, error, journal_seq=seq)
        self.answers.take(event)

    def line(self, seq: int, role: str, text: str, turn_id: str = "t", name: str = "") -> None:
        line = JournalEvent(seq, 0, name or f"line-{seq}", role, text, 1, turn_id)
        self.answers.take(line)

    def running(self, turn_id: str, message_id: str, *updates: str | SessionUpdate) -> None:
        told = tuple(chunk(each) if isinstance(each, str) else each for each in updates)
        turn = TurnSnapshot(turn_id, 1, (message_id,), (TextBlock("the question"),), told)
        self.answers.take(SnapshotEvent(1, 0, turn))


@pytest.fixture
def scene() -> Scene:
    return Scene()


# G3
def test_pieces_make_an_answer(scene: Scene) -> None:
    scene.accept("my1", "hello")
    scene.start("t1", "my1")
    scene.hear("t1", "good ", "morning")
    scene.end("t1", "good morning", seq=2)
    scene.accept("my2", "go")
    scene.start("t2", "my2")
    scene.hear("t2", "bye")
    scene.end("t2", "bye", seq=4, stop="max_tokens")
    assert scene.paper.shown == ["good morning.", "bye.", "(The agent stopped early: max_tokens.)"]
    assert scene.answers.after == 4


# Q2, G11
def test_merged_messages_have_one_answer(scene: Scene) -> None:
    scene.accept("my1", "one")
    scene.accept("my2", "two")
    scene.start("t1", "my1", "my2")
    scene.end("t1", "both")
    for _ in range(2):
        scene.answers.answered(PromptMark("m", 1, turn_id="t1", text="both"), "end_turn")
    assert scene.paper.shown == ["both."]


# Q3, G5
def test_what_others_say_to_the_running_turn_is_shown(scene: Scene) -> None:
    scene.accept("my1", "one")
    scene.start("t1", "my1")
    scene.hear("t1", "so ")
    scene.accept("o2", "two")
    scene.answers.take(MessageSteeredEvent("t1", "o2", (TextBlock("two"),)))
    scene.accept("my3", "three")
    scene.answers.take(MessageSteeredEvent("t1", "my3", (TextBlock("three"),)))
    scene.hear("t1", "far")
    scene.end("t1", "so far")
    scene.answers.answered(PromptMark("m", 1, turn_id="t1", text="so far"), "end_turn")
    assert scene.paper.shown == ["so…", "(Somebody else: two)", " far."]


# Q3
def test_a_turn_of_others_that_takes_ones_words_in_is_ones_own(scene: Scene) -> None:
    scene.accept("o1", "one")
    scene.start("t1", "o1")
    assert not scene.answers.is_own("t1")
    scene.accept("my2", "two")
    scene.answers.take(MessageSteeredEvent("t1", "my2", (TextBlock("two"),)))
    assert scene.answers.is_own("t1")


# G5, G12
def test_a_turn_goes_on_after_a_lost_connection(scene: Scene) -> None:
    scene.accept("my1", "count")
    scene.start("t1", "my1")
    scene.hear("t1", ToolCall("c1", "Counting"), "one ", "two ")
    scene.answers.connection_lost()
    scene.running("t1", "my1", ToolCall("c1", "Counting"), "one two three ")
    scene.hear("t1", "four")
    scene.end("t1", "one two three four")
    assert scene.paper.shown == ["(· Counting)", "one two three four."]


# G5, G12, T5
def test_answers_missed_come_whole_and_in_order(scene: Scene) -> None:
    scene.accept("my1", "first")
    scene.start("t1", "my1")
    scene.hear("t1", "A1 bra")
    scene.answers.connection_lost()
    scene.answers.sent("client-my2", "my2")
    scene.line(1, "user", "first", "t2", "my1")
    scene.line(2, "assistant", "A1 bravo", "t2")
    scene.line(3, "user", "theirs", "t3")
    scene.line(4, "assistant", "to them", "t3")
    scene.running("t4", "my2", "sec")
    scene.hear("t4", "ond")
    scene.end("t4", "second", seq=6)
    scene.answers.answered(PromptMark("my1", 1, True, "t2", "A1 bravo"), "end_turn")
    assert scene.paper.shown == [
        *("A1 bra…", "A1 bravo.", "(Somebody else: theirs)", "to them…", "second."),
    ]


# T5
def test_what_an_interrupted_turn_had_said_is_no_answer(scene: Scene) -> None:
    scene.accept("my1", "first")
    scene.start("t1", "my1")
    scene.hear("t1", "A1 bravo ", "charlie")
    scene.answers.connection_lost()
    half = {"interrupted": True}
    scene.answers.take(JournalEvent(2, 0, "l", "assistant", "A1 bravo", 1, "t1", half))
    scene.running("t2", "my1", "A1 ")
    scene.end("t2", "A1 bravo charlie")
    assert scene.paper.shown == ["A1 bravo charlie…", "A1 bravo charlie."]


# G5, G12
def test_lines_that_were_shown_live_are_not_shown_again(scene: Scene) -> None:
    scene.accept("theirs", "hi")
    scene.start("t1", "theirs")
    scene.hear("t1", "one ")
    scene.answers.connection_lost()
    scene.line(1, "user", "hi", "t1", "theirs")
    scene.line(2, "assistant", "one two", "t1")
    scene.end("t1", "one two", seq=2)
    assert scene.paper.shown == ["(Somebody else: hi)", "one two…"]


def test_an_answer_that_the_stream_does_not_have_is_shown(scene: Scene) -> None:
    scene.answers.answered(PromptMark("m", 1, True, "t1", "done meanwhile"), "end_turn")
    assert scene.paper.shown == ["done meanwhile."]


def test_an_answer_other_than_its_pieces_is_shown_as_well(scene: Scene) -> None:
    scene.hear("t1", "draft")
    scene.end("t1", "final")
    assert scene.paper.lines[0] == "draft\nfinal…"


# G5
def test_others_talk_as_well(scene: Scene) -> None:
    scene.accept("theirs", "and me?")
    scene.accept("my1", "and me?")
    scene.start("t1", "my1")
    scene.end("t1", "to you")
    scene.start("t2", "theirs")
    scene.end("t2", "to them")
    scene.start("t3", "before I came", prompt="early")
    assert scene.paper.shown == [
        *("to you.", "(Somebody else: and me?)", "to them…", "(Somebody else: early)"),
    ]


# T5
def test_a_turn_that_is_tried_again_begins_again(scene: Scene) -> None:
    scene.hear("t1", "half")
    scene.end("t1", None, state="pending")
    scene.start("t2", "my1")
    scene.hear("t2", "whole")
    scene.end("t2", "whole")
    assert scene.paper.shown[-1] == "whole…"
    assert scene.paper.shown[0] == "half…"


def test_the_past_is_recalled_in_short() -> None:
    scene = Scene(recall=2)
    scene.answers.begin(SessionMark("main", "echo", 1, "r", 9, 0))
    assert scene.answers.after == 7
    scene.line(8, "user", "hello")
    scene.line(9, "assistant", "good\n" * 200)
    scene.line(10, "assistant", "new")
    first, second, third = scene.paper.shown
    assert (first, third) == ("(user: hello)", "new…")
    assert second.startswith("(agent: good good ")
    assert second.endswith("…)")


def test_a_failure_of_merged_messages_is_said_once(scene: Scene) -> None:
    for turn_id in ("t1", "t2"):
        scene.accept(f"my-{turn_id}", "hello")
        scene.start(turn_id, f"my-{turn_id}")
        scene.hear(turn_id, "half")
        scene.end(turn_id, None, state="failed", error=TurnError("gone", "the agent is gone"))
        for _ in range(2):
            scene.answers.failed(CommandError("the agent is gone"))
    failure = "(error: the agent is gone)"
    assert scene.paper.shown == ["half.", failure, "half.", failure]


# R2
def test_blocks_are_set_apart_as_in_the_answer_that_is_kept(scene: Scene) -> None:
    scene.accept("my1", "go")
    scene.start("t1", "my1")
    picture = AgentMessageChunk(ImageBlock("A" * 4_096, "image/png"))
    scene.hear("t1", "One. ", AgentThoughtChunk(TextBlock("hm")), "Two.", picture)
    scene.end("t1", "One.\n\nTwo.\n\n[image: image/png]")
    assert scene.paper.shown == ["One.\n\nTwo.\n\n[image: image/png, 3 KiB]."]


# R1, R2
def test_blanks_make_no_other_answer(scene: Scene) -> None:
    for number, whole in enumerate(("ab\n\ncd ef", "a b c"), start=1):
        scene.hear(f"t{number}", "ab", "cd ")
        scene.end(f"t{number}", whole)
    assert scene.paper.shown == ["abcd ef…", "abcd…"]


# G5, T6
def test_work_that_was_shown_is_not_shown_again(scene: Scene) -> None:
    begun, done = ToolCall("c1", "Dig"), ToolCallUpdate("c1", status="completed")
    plans = [Plan((PlanEntry("dig", status=status),)) for status in ("pending", "completed")]
    thought = AgentThoughtChunk(TextBlock("hm\n"))
    scene.accept("my1", "go")
    scene.start("t1", "my1")
    scene.hear("t1", thought, plans[0], begun, "One.", plans[1])
    scene.answers.connection_lost()
    scene.running("t1", "my1", thought, plans[0], begun, "One.", plans[1], done, "Two.")
    scene.end("t1", "One.\n\nTwo.")
    assert scene.paper.shown == [
        *("(Plan:)", "(  [ ] dig)", "(· Dig)", "One.…", "(  [x] dig)", "(✓ Dig)", "\n\nTwo.."),
    ]


def test_thoughts_are_shown_beside_the_answer() -> None:
    scene = Scene(thoughts=True)
    scene.hear("t1", AgentThoughtChunk(TextBlock("one\ntwo")), "Yes.")
    scene.hear("t1", AgentThoughtChunk(TextBlock("three")))
    scene.end("t1", "Yes.")
    assert scene.paper.shown == ["(  one)", "(  two)", "Yes.…", "(  three)"]


# P3, P4
def test_notices_are_no_part_of_an_answer(scene: Scene) -> None:
    why = "The agent could not be started: no such file."
    scene.answers.take(NoticeEvent("answer", ""))
    for _ in range(2):
        scene.answers.take(NoticeEvent("agent_blocked", why))
    for _ in range(2):
        scene.answers.kept(CommandError(f"{why} The message is kept, and runs after /reconnect"))
    kept = "(error: The message is kept, and runs after /reconnect)"
    assert scene.paper.shown == [f"({why})", kept]
    scene.answers.sending("client-2", "again")
    scene.answers.take(NoticeEvent("agent_blocked", why))
    scene.answers.kept(CommandError(f"{why} The message is kept, and runs after /reconnect"))
    scene.answers.sending("client-3", "and again")
    scene.answers.kept(CommandError("It is blocked. The message is kept"))
    assert scene.paper.shown[2:] == [
        f"({why})",
        kept,
        "(error: It is blocked. The message is kept)",
    ]


# G3 G5
def test_words_with_files_are_known_as_own(scene: Scene) -> None:
    link = ResourceLink("cat.png", "attachment:my1/0")
    other = ResourceLink("page", "https://example.org")
    scene.answers.sending("client-1", "look")
    scene.answers.take(MessageAcceptedEvent("my1", 1, (TextBlock("look"), link)))
    scene.answers.take(MessageAcceptedEvent("theirs", 2, (TextBlock("look"), other, link)))
    scene.start("t1", "my1", "theirs")
    scene.hear("t1", "seen")
    scene.end("t1", "seen")
    theirs = "(Somebody else: look\npage (https://example.org)\ncat.png (attachment:my1/0))"
    assert scene.paper.shown == [theirs, "seen."]


# G11
def test_a_cancelled_turn_keeps_what_it_said(scene: Scene) -> None:
    scene.accept("my1", "go")
    scene.start("t1", "my1")
    scene.hear("t1", "half")
    scene.end("t1", None, stop="cancelled", state="dropped")
    scene.answers.answered(PromptMark("my1", 1, turn_id="t1"), "cancelled")
    assert scene.paper.shown == ["half.", "(Cancelled.)"]


def test_how_the_turns_of_others_end_is_told(scene: Scene) -> None:
    # T2 G6
    scene.start("t1", "theirs-1", prompt="a")
    scene.hear("t1", "half")
    scene.end("t1", "half", stop="cancelled")
    scene.start("t2", "theirs-2", prompt="b")
    scene.hear("t2", "some")
    scene.end("t2", "some", state="failed", error=TurnError("gone", "the agent vanished"))
    scene.answers.take(EpochStartedEvent(2))
    assert scene.paper.shown == [
        "(Somebody else: a)",
        "half…",
        "(Cancelled.)",
        "(Somebody else: b)",
        "some…",
        "(It failed: the agent vanished)",
        "(A new conversation begins.)",
    ]


def test_a_pipe_gets_answers_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PipeScreen()
    screen.say("for somebody else")
    screen.end_answer(own=False)
    screen.say("for ")
    screen.note("by the way")
    screen.say("me\x1b[0m")
    screen.end_answer(own=True)
    screen.say("as it was said")
    screen.end_answer(own=True, text="as it is kept")
    screen.end_answer(own=True)
    screen.error(CommandError("wrong", "do right"))
    assert capsys.readouterr() == (
        "for me\x1b[0m\nas it is kept\n",
        "by the way\nerror: wrong\nhint: do right\n",
    )


def test_a_terminal_is_not_steered_by_an_agent() -> None:
    assert printable("a\x1b[2Jb\x07\r\x9b1m\tc\nd é") == "a[2Jb1m\tc\nd é"
