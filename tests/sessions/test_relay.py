import re
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.content import (
    MEDIA_LIMIT,
    AgentBlock,
    AgentResource,
    AudioBlock,
    ImageBlock,
    ResourceContents,
    ResourceLink,
    TextBlock,
)
from runtime.sessions.relay import CUT_MARK, Reply
from runtime.sessions.rows import TurnError
from runtime.sessions.updates import (
    AgentEvent,
    AgentMessageChunk,
    AgentThoughtChunk,
    AvailableCommands,
    CurrentMode,
    MessageSnapshot,
    Plan,
    PlanEntry,
    Result,
    SessionUpdate,
    ToolCall,
    ToolCallUpdate,
    UserMessageChunk,
)


def say(text: str) -> AgentMessageChunk:
    return AgentMessageChunk(TextBlock(text))


def think(text: str) -> AgentThoughtChunk:
    return AgentThoughtChunk(TextBlock(text))


TOOL = ToolCall("1", "ls")
PROGRESS = ToolCallUpdate("1", status="completed")
PLAN = Plan((PlanEntry("look"),))
LINK = AgentMessageChunk(ResourceLink("a", "file:a"))
IMAGE = AgentMessageChunk(ImageBlock("aGk=", "image/png"))
END = Result()
SNAPSHOT = MessageSnapshot


def fed(*events: AgentEvent, **limits: int) -> Reply:
    reply = Reply(**limits)
    for event in events:
        reply.feed(event)
    return reply


# R1: deltas accumulate, snapshots repeat.
@pytest.mark.parametrize(
    "events, text",
    [
        ([], ""),
        ([say("Hel"), say("lo"), say("")], "Hello"),
        ([say("a"), say(" "), say("b"), say("\n"), say("c")], "a b\nc"),
        ([say("Hello"), SNAPSHOT("Hello")], "Hello"),
        ([say("Hel"), SNAPSHOT("Hel"), say("lo"), SNAPSHOT("Hello")], "Hello"),
        ([say("Hello"), SNAPSHOT("Hel")], "Hello"),
        ([say("Hel"), SNAPSHOT("Hello")], "Hello"),
        ([SNAPSHOT("Hel"), SNAPSHOT("Hello"), SNAPSHOT("Hello")], "Hello"),
        ([say("\n Hello \n"), SNAPSHOT("Hello")], "\n Hello"),
        ([say("Hello"), SNAPSHOT("\n Hello \n")], "Hello"),
        ([say("a"), SNAPSHOT(""), SNAPSHOT(" ")], "a"),
        ([say("One."), TOOL, SNAPSHOT("One."), say("Two."), SNAPSHOT("Two.")], "One.\n\nTwo."),
        ([say("One."), TOOL, say("Two"), SNAPSHOT("Two.")], "One.\n\nTwo."),
        ([say("One."), TOOL, say("\n Two."), SNAPSHOT("Two.")], "One.\n\n Two."),
        ([say("One."), TOOL, say("Tw"), say("o."), SNAPSHOT("Two")], "One.\n\nTwo."),
        ([say("One."), TOOL, say("Two."), SNAPSHOT("One.Two.")], "One.\n\nTwo."),
        ([say("One."), TOOL, say("Two."), SNAPSHOT("One.\n\nTwo.")], "One.\n\nTwo."),
        ([say("One."), TOOL, say("Two."), SNAPSHOT("One.Two. End")], "One.\n\nTwo. End"),
        ([say("One."), TOOL, say("Two."), SNAPSHOT("One.\n\nTwo. End")], "One.\n\nTwo. End"),
        ([SNAPSHOT("One."), TOOL, SNAPSHOT("Two.")], "One.\n\nTwo."),
        ([SNAPSHOT("One."), SNAPSHOT("Two.")], "One.\n\nTwo."),
        ([SNAPSHOT("Yes, it is."), TOOL, SNAPSHOT("Yes")], "Yes, it is.\n\nYes"),
        ([say("a\n\n\n\nb"), SNAPSHOT("a\n\n\n\nb")], "a\n\nb"),
    ],
)
def test_deltas_and_snapshots(events: list[AgentEvent], text: str) -> None:
    reply = fed(*events)
    assert reply.text == text
    assert reply.result is None


# R1: results.
@pytest.mark.parametrize(
    "events, result, text",
    [
        ([], Result(), ""),
        ([], Result(text="All of it."), "All of it."),
        ([], Result(text=" as it is\n"), " as it is\n"),
        ([TOOL, PLAN], Result(text="All of it."), "All of it."),
        ([say(" \n")], Result(text="All of it."), " \nAll of it."),
        ([say("Hello")], Result(text="Hello"), "Hello"),
        ([say("Hello")], Result(text="Something else"), "Hello"),
        ([say("Hello")], Result(text="Hello, all"), "Hello, all"),
        ([say("One."), TOOL, say("Two.")], Result(text="Two."), "One.\n\nTwo."),
        ([say("Hello \n")], Result(), "Hello \n"),
        ([say("Hello"), TOOL, say(" \n")], Result(), "Hello"),
        ([], Result(error=TurnError("x", "No.")), "No."),
        ([say("Half of")], Result(error=TurnError("x", "No.\n\n\n\n")), "No.\n\n\n\n"),
        ([say("Half of")], Result(text="All", error=TurnError("x", "No.")), "No."),
    ],
)
def test_results(events: list[AgentEvent], result: Result, text: str) -> None:
    reply = fed(*events, result)
    assert reply.text == text
    assert reply.result is result


def test_nothing_is_taken_in_after_the_result() -> None:  # R1, T3
    reply = fed(say("a"), END)
    before = (reply.text, reply.updates, reply.result)
    for event in (say("b"), SNAPSHOT("ab"), TOOL, Result(text="c")):
        assert reply.feed(event) == ()
    assert (reply.text, reply.updates, reply.result) == before


# R2: one blank line, never more, wherever the newlines are and however the text is cut up.
@pytest.mark.parametrize("between", [TOOL, PLAN, think("hm"), UserMessageChunk(TextBlock("x"))])
@pytest.mark.parametrize("before", ["", " ", "\n", "\n\n", "\n\n\n\n", " \n \n"])
@pytest.mark.parametrize("after", ["", "\n", "\n\n", " \n\n\n"])
@pytest.mark.parametrize("apart", [True, False])
def test_one_blank_line_between_blocks(
    between: SessionUpdate, before: str, after: str, apart: bool
) -> None:
    first = [say("One."), say(before)] if apart else [say("One." + before)]
    second = [say(after), say("Two.")] if apart else [say(after + "Two.")]
    assert fed(*first, between, *second).text == "One.\n\nTwo."
    assert fed(*first, between, between, say("\n"), between, *second, END).text == "One.\n\nTwo."


@pytest.mark.parametrize("between", [PROGRESS, AvailableCommands([]), CurrentMode("x")])
def test_what_is_no_block_does_not_part_a_sentence(between: SessionUpdate) -> None:  # R2, T6
    assert fed(say("Hel"), between, say("lo")).text == "Hello"


def test_no_blank_line_before_the_first_block_or_after_the_last() -> None:  # R2
    assert fed(TOOL, say("One."), TOOL, END).text == "One."


def test_indentation_after_a_block_is_kept() -> None:  # R2
    assert fed(say("One."), TOOL, say("\n    code")).text == "One.\n\n    code"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\nb", "a\nb"),
        ("a\n\nb", "a\n\nb"),
        ("a\n\n\nb", "a\n\nb"),
        ("a" + "\n" * 50 + "b\n\n\nc", "a\n\nb\n\nc"),
        ("\n\n\na", "\n\na"),
        ("a\n\n\n", "a\n\n"),
        ("a\n \n\nb", "a\n \n\nb"),
    ],
)
def test_runs_of_newlines(text: str, expected: str) -> None:  # R2
    assert fed(say(text), END).text == expected
    assert fed(*map(say, text), END).text == expected


TEXTS = st.text("ab \n", max_size=12)


@given(st.lists(TEXTS, max_size=12))
def test_the_text_does_not_depend_on_where_it_is_cut_up(pieces: list[str]) -> None:  # R1, R2
    text = "".join(pieces)
    assert fed(*map(say, pieces), END).text == re.sub(r"\n{3,}", "\n\n", text)


@given(st.lists(TEXTS, max_size=8))
def test_snapshots_after_each_delta_change_nothing(pieces: list[str]) -> None:  # R1
    reply, said = Reply(), ""
    for piece in pieces:
        said += piece
        reply.feed(say(piece))
        assert reply.feed(SNAPSHOT(said)) == ()
    assert reply.text == fed(*map(say, pieces)).text


@given(st.lists(TEXTS, max_size=8))
def test_growing_snapshots_are_the_text(pieces: list[str]) -> None:  # R1
    said = "start"
    reply = fed(SNAPSHOT(said))
    for piece in pieces:
        said += piece
        reply.feed(SNAPSHOT(said))
    reply.feed(Result(text=said))
    assert reply.text.rstrip() == re.sub(r"\n{3,}", "\n\n", said).rstrip()


# R1: what is shown to those who watch is what a late one reads.
def test_what_a_snapshot_adds_is_shown() -> None:
    reply = fed(say("Hel"))
    assert reply.feed(SNAPSHOT("Hello")) == (say("lo"),)
    assert reply.feed(SNAPSHOT("Hello")) == ()
    assert reply.feed(Result(text="Hello!")) == (say("!"),)
    assert fed().feed(Result(text="Hello")) == (say("Hello"),)
    assert reply.updates == (say("Hello!"),)


@pytest.mark.parametrize("event", [TOOL, PROGRESS, PLAN, LINK, think("x"), CurrentMode("x")])
def test_other_updates_are_shown_as_they_are(event: SessionUpdate) -> None:  # R1
    assert Reply().feed(event) == (event,)


def test_an_error_is_not_shown_as_text() -> None:  # R1
    reply = fed(say("Half"))
    assert reply.feed(Result(error=TurnError("x", "No."))) == ()
    assert reply.updates == (say("Half"),)


# R2, G3: an answer has words for what is no text, for those who read only text.
@pytest.mark.parametrize(
    "block, words",
    [
        (ResourceLink("a", "file:a"), "a (file:a)"),
        (ImageBlock("aGk=", "image/png"), "[image: image/png]"),
        (AudioBlock("aGk=", "audio/wav"), "[audio: audio/wav]"),
        (AgentResource(ResourceContents("file:a", blob="aGk=")), "[resource: file:a]"),
        (AgentResource(ResourceContents("file:a", text="hi")), "[resource: file:a]\nhi"),
    ],
)
def test_what_is_no_text_has_words(block: AgentBlock, words: str) -> None:
    reply = fed(say("One. "), AgentMessageChunk(block), say("Two."), END)
    assert reply.text == f"One.\n\n{words}\n\nTwo."
    assert reply.updates == (say("One. "), AgentMessageChunk(block), say("Two."))
    assert (
        fed(AgentMessageChunk(block), AgentMessageChunk(block), END).text == f"{words}\n\n{words}"
    )
    assert fed(AgentThoughtChunk(block), END).text == ""
    # They do not stand in the way of a repetition.
    assert fed(say("One."), AgentMessageChunk(block), Result(text="One.")).text.count("One.") == 1
    long = fed(say("x" * 90), AgentMessageChunk(block), text_limit=90 + len(CUT_MARK))
    assert long.text == "x" * 90 + CUT_MARK


# T3, J1: whoever watches sees an image whole; what is kept of a large one is that it was there.
@pytest.mark.parametrize("kind", [AgentMessageChunk, AgentThoughtChunk])
def test_large_data_is_shown_and_not_kept(
    kind: type[AgentMessageChunk] | type[AgentThoughtChunk],
) -> None:
    for data, kept in (("x" * MEDIA_LIMIT, True), ("x" * (MEDIA_LIMIT + 1), False)):
        for block, words in (
            (ImageBlock(data, "image/png"), "[image: image/png]"),
            (AudioBlock(data, "audio/wav"), "[audio: audio/wav]"),
            (AgentResource(ResourceContents("file:a", blob=data)), "[resource: file:a]"),
        ):
            chunk, reply = kind(block), fed(say("One."))
            assert reply.feed(chunk) == (chunk,)
            reply.feed(say("Two."))
            instead = kind(TextBlock(f"{words} (too large to be kept)"))
            assert reply.updates == (say("One."), chunk if kept else instead, say("Two."))


EVENTS = st.one_of(
    st.builds(say, TEXTS),
    st.builds(think, TEXTS),
    st.builds(SNAPSHOT, TEXTS),
    st.sampled_from([TOOL, PROGRESS, PLAN, LINK, IMAGE]),
)


def joined(updates: list[SessionUpdate]) -> list[Any]:
    """Updates with chunks of one kind that follow each other joined."""
    result: list[list[Any]] = []
    for update in updates:
        chunk = getattr(update, "content", None)
        if not isinstance(chunk, TextBlock):
            result.append([update])
        elif result and result[-1][0] is type(update):
            result[-1][1] += chunk.text
        elif chunk.text:
            result.append([type(update), chunk.text])
    return result


# T3: progress is saved in pieces, each once, and together they are the whole.
@given(st.lists(EVENTS, max_size=20), st.sets(st.integers(0, 20)), st.none() | TEXTS)
def test_progress(events: list[AgentEvent], saves: set[int], last: str | None) -> None:
    reply, text, updates = Reply(), "", list[SessionUpdate]()
    shown = list[SessionUpdate]()
    for number, event in enumerate([*events, Result(text=last)]):
        shown += reply.feed(event)
        if number in saves:
            piece, more = reply.take_unsaved()
            text += piece
            updates += more
    piece, more = reply.take_unsaved()
    assert text + piece == reply.text
    assert joined([*updates, *more]) == joined(list(reply.updates)) == joined(shown)
    assert reply.take_unsaved() == ("", ())
    assert reply.omitted == 0


def test_chunks_are_joined_and_the_rest_is_in_order() -> None:  # T3
    reply = fed(
        say("a"), say("b"), think("c"), think("d"), TOOL, PROGRESS, say("e"), LINK, say("f")
    )
    assert reply.updates == (
        say("ab"),
        think("cd"),
        TOOL,
        PROGRESS,
        say("e"),
        LINK,
        say("f"),
    )


def test_announcements_are_not_of_the_turn() -> None:  # T6
    commands = AvailableCommands([])
    reply = Reply()
    assert reply.feed(commands) == (commands,)
    assert reply.updates == ()


# T3: nothing is unbounded.
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_long_answer_is_cut_visibly(size: int) -> None:
    reply = Reply(text_limit=200)
    for _ in range(1_000 // size):
        assert reply.feed(say("x" * size)) == (say("x" * size),)
    assert reply.feed(SNAPSHOT("x" * 2_000)) == ()
    assert reply.feed(Result(text="x" * 3_000)) == ()
    assert reply.text == "x" * (200 - len(CUT_MARK)) + CUT_MARK
    assert reply.updates == (say(reply.text),)
    assert reply.take_unsaved() == (reply.text, reply.updates)


def test_an_answer_that_fits_is_not_cut() -> None:  # T3
    text = "x" * (200 - len(CUT_MARK))
    assert fed(say(text), END, text_limit=200).text == text


def test_blank_lines_count_towards_the_limit() -> None:  # R2, T3
    reply = Reply(text_limit=200)
    for _ in range(100):
        reply.feed(say("x"))
        reply.feed(TOOL)
    assert len(reply.text) <= 200
    assert reply.text.endswith(CUT_MARK)


def test_updates_without_room_are_counted() -> None:  # T3
    large = ToolCallUpdate("1", raw_output="x" * 500)
    reply = fed(TOOL, large, large, large, PROGRESS, say("text"), updates_limit=1_500)
    assert reply.updates == (TOOL, large, large, PROGRESS, say("text"))
    assert reply.omitted == 1


def test_thoughts_count_as_what_they_are_when_joined() -> None:  # T3
    limit = len(msgspec.json.encode(think("\u00e9\n" * 100)))
    reply = Reply(updates_limit=limit)
    for _ in range(101):
        reply.feed(think("\u00e9"))
        reply.feed(think("\n"))
    assert reply.updates == (think("\u00e9\n" * 100),)
    assert reply.omitted == 2


@given(st.lists(EVENTS, max_size=40), st.integers(0, 600))
def test_the_record_keeps_its_limit(events: list[AgentEvent], limit: int) -> None:  # T3
    reply = fed(*events, updates_limit=limit)
    others = [update for update in reply.updates if not joined_text(update)]
    assert sum(len(msgspec.json.encode(update)) for update in others) <= limit


def joined_text(update: SessionUpdate) -> bool:
    return isinstance(update, AgentMessageChunk) and isinstance(update.content, TextBlock)


# What cannot be written does not come between an agent and its answer.
def test_what_cannot_be_written_is_replaced_or_omitted() -> None:  # D7
    reply = Reply()
    assert reply.feed(say("a\ud800b")) == (say("a\ufffdb"),)
    assert reply.feed(ToolCallUpdate("1", raw_output=object())) == ()
    assert reply.feed(ToolCallUpdate("1", title="\ud800")) == ()
    assert reply.feed(think("\udfff")) == ()
    assert reply.text == "a\ufffdb"
    assert reply.updates == (say("a\ufffdb"),)
    assert reply.omitted == 3


def test_the_cost_of_a_delta_does_not_grow_with_the_answer() -> None:  # R1
    """100 000 deltas and a save now and then: only a growing buffer may copy what is there."""
    reply = Reply()
    piece = say("0123456789 word word word word ")
    for _ in range(50_000):
        reply.feed(piece)
    reply.take_unsaved()
    copies = 0
    tracemalloc.start()
    try:
        for number in range(50_000):
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            reply.feed(piece)
            if number % 100 == 0:
                reply.take_unsaved()
            copies += tracemalloc.get_traced_memory()[1] - held > 500_000
    finally:
        tracemalloc.stop()
    assert copies < 50
    assert len(reply.text) == 100_000 * 31 - 1
    assert len(reply.updates) == 1
