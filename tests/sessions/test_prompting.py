from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.content import (
    Content,
    ContentBlock,
    FileBlock,
    ResourceLink,
    StoredContent,
    TextBlock,
    plain_text,
    text_content,
)
from runtime.sessions.media import MediaItem, MediaKind
from runtime.sessions.prompting import (
    INTERRUPTED,
    LINE_LIMIT,
    build_prompt,
    merged_content,
    summary_line,
)
from runtime.sessions.rows import InboundRow, Sender
from tests.sessions.rows import inbound

LINK = ResourceLink("plan.md", "file:plan.md")
ANN = Sender("u1", "Ann")


def mixed(seq: int, *blocks: ContentBlock) -> InboundRow:
    return inbound(seq, content=blocks)


def text_of(content: StoredContent) -> str:
    (block,) = content
    assert isinstance(block, TextBlock)
    return block.text


# Q2: one message is passed as it is.
@pytest.mark.parametrize(
    "content", [text_content("hello"), text_content(""), (LINK, TextBlock("a"), TextBlock("b")), ()]
)
def test_one_message_is_passed_as_it_is(content: Content) -> None:
    assert build_prompt([inbound(1, content=content)]) is content


def test_several_get_a_header_and_a_number_each() -> None:  # Q2
    prompt = build_prompt([inbound(1, "one\nmore"), inbound(2, "two"), inbound(3, "three")])
    assert text_of(prompt) == (
        "[3 messages were queued while the agent was busy.]\n\n"
        "---\n1.\none\nmore\n\n"
        "---\n2.\ntwo\n\n"
        "---\n3.\nthree"
    )


def test_other_blocks_keep_their_place() -> None:  # Q2
    rows = [mixed(1, TextBlock("see"), LINK, TextBlock("and"), TextBlock("say")), mixed(2, LINK)]
    assert build_prompt(rows) == (
        TextBlock("[2 messages were queued while the agent was busy.]\n\n---\n1.\nsee"),
        LINK,
        TextBlock("and\nsay\n\n---\n2."),
        LINK,
    )


# T5 d: a line to the agent that the earlier run was cut off.
def test_an_interrupted_run_is_mentioned_before_the_message() -> None:
    assert text_of(build_prompt([inbound(1, "go on")], interrupted=True)) == (
        f"{INTERRUPTED}\n\ngo on"
    )
    two = mixed(1, TextBlock("a"), TextBlock("b"))
    assert text_of(build_prompt([two], interrupted=True)) == f"{INTERRUPTED}\n\na\nb"
    assert build_prompt([mixed(1, LINK)], interrupted=True) == (TextBlock(INTERRUPTED), LINK)


# Q4: a line for each dropped message.
def test_dropped_messages_leave_a_line_each() -> None:
    dropped = [inbound(1, "first", sender=ANN), inbound(2, "second\n\nparagraph")]
    assert text_of(build_prompt([inbound(3, "now")], overflow=dropped)) == (
        "[2 earlier messages were dropped because the queue was full. In short:]\n"
        "- Ann: first\n"
        "- second paragraph\n\n"
        "now"
    )
    assert text_of(build_prompt([inbound(3, "now")], overflow=dropped[:1])) == (
        "[An earlier message was dropped because the queue was full. In short:]\n"
        "- Ann: first\n\n"
        "now"
    )


@pytest.mark.parametrize(
    "count, messages", [(1, "1 earlier message was"), (2, "2 earlier messages were")]
)
def test_where_more_may_have_gone_nothing_else_is_said(count: int, messages: str) -> None:  # Q4
    dropped = [inbound(seq, f"old {seq}") for seq in range(count)]
    lines = text_of(build_prompt([inbound(9, "now")], overflow=dropped, more=True)).split("\n")
    assert lines[0] == (
        f"[At least {messages} dropped because the queue was full. The newest in short:]"
    )
    assert len(lines) == count + 3


@pytest.mark.parametrize("cap", [0, 1, 3])
def test_the_newest_lines_are_shown_and_all_are_counted(cap: int) -> None:  # Q4
    dropped = [inbound(seq, f"old {seq}") for seq in range(5)]
    lines = text_of(build_prompt([inbound(9, "now")], overflow=dropped, cap=cap)).split("\n")
    assert lines[0].startswith("[5 earlier messages were dropped because the queue was full.")
    assert f"The newest {cap} in short" in lines[0]
    assert lines[1:] == [*(f"- old {seq}" for seq in range(5 - cap, 5)), "", "now"]


@pytest.mark.parametrize("length", [1, LINE_LIMIT - 2, LINE_LIMIT - 1, LINE_LIMIT, 10_000])
def test_a_line_has_a_limit(length: int) -> None:  # Q4
    line = summary_line(inbound(1, "x" * length))
    assert len(line) == min(length + 2, LINE_LIMIT)
    assert line.endswith("…") is (length + 2 > LINE_LIMIT)


@given(st.text())
def test_a_line_is_one_line(text: str) -> None:  # Q4
    line = summary_line(inbound(1, content=text_content(text)))
    assert len(line) <= LINE_LIMIT
    assert len(line.splitlines()) == 1


def test_a_line_has_the_words_of_a_voice_note() -> None:  # Q4 H5
    media = (
        MediaItem(MediaKind.IMAGE, "cat.png", file="a.png"),
        MediaItem(MediaKind.VOICE, file="b.ogg", transcript="buy\nmilk"),
        MediaItem(MediaKind.VOICE, "c.ogg", file="c.ogg"),
    )
    places = (FileBlock(0, "image", "cat.png"), FileBlock(1, "voice"), FileBlock(2, "voice", "c"))
    row = inbound(1, content=(TextBlock("see"), *places), media=media)
    assert summary_line(row) == "- see [image: cat.png] buy milk [voice: c]"


# S31: context.
def test_context_stands_before_the_message() -> None:
    context = [inbound(1, "lunch?", sender=ANN), inbound(2, "yes", sender=Sender("u2"))]
    assert text_of(build_prompt([inbound(3, "@agent where?")], context=context)) == (
        "[Said in this conversation without asking for an answer:]\n"
        "Ann: lunch?\n"
        "u2: yes\n\n"
        "@agent where?"
    )


def test_everything_at_once_has_an_order() -> None:  # Q2, Q4, S31, T5
    prompt = text_of(
        build_prompt(
            [inbound(3, "three"), inbound(4, "four")],
            overflow=[inbound(1, "one")],
            context=[inbound(2, "two")],
            interrupted=True,
        )
    )
    assert prompt == (
        f"{INTERRUPTED}\n\n"
        "[An earlier message was dropped because the queue was full. In short:]\n- one\n\n"
        "[Said in this conversation without asking for an answer:]\ntwo\n\n"
        "[2 messages were queued while the agent was busy.]\n\n"
        "---\n1.\nthree\n\n---\n2.\nfour"
    )


def test_a_turn_of_context_alone_says_what_there_is() -> None:  # S31
    assert "two" in text_of(build_prompt([], context=[inbound(2, "two")]))
    assert build_prompt([]) == ()


def test_what_people_said_is_merged_without_our_lines() -> None:  # Q2
    rows = [mixed(1, TextBlock("a"), LINK), mixed(2, TextBlock("b"))]
    assert merged_content(rows) == (TextBlock("a"), LINK, TextBlock("b"))
    assert merged_content(rows[1:]) == rows[1].content


BLOCKS = st.lists(
    st.one_of(st.builds(TextBlock, st.text("ab\n-", max_size=8)), st.just(LINK)), max_size=4
).map(tuple)


@given(st.lists(BLOCKS, min_size=2, max_size=5), st.booleans())
def test_nothing_that_was_said_is_missing(contents: list[Content], interrupted: bool) -> None:  # Q2
    rows = [inbound(seq, content=content) for seq, content in enumerate(contents)]
    prompt = build_prompt(rows, interrupted=interrupted)
    assert prompt.count(LINK) == sum(content.count(LINK) for content in contents)
    said, place = plain_text(prompt), 0
    for block in merged_content(rows):
        text = plain_text([block])
        place = said.index(text, place) + len(text)
    assert not any(
        isinstance(one, TextBlock) and isinstance(other, TextBlock)
        for one, other in pairwise(prompt)
    )


def test_what_came_in_one_go_reads_as_one() -> None:  # Q1
    rows = [inbound(1, "one\nmore"), mixed(2, LINK), inbound(3, "three")]
    assert build_prompt(rows, collected=False) == (TextBlock("one\nmore"), LINK, TextBlock("three"))
    assert text_of(build_prompt(rows[::2], collected=False)) == "one\nmore\n\nthree"
