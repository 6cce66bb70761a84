"""Files of messages in rows and prompts: places, links for people, which are handed over (H5)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.content import (
    Content,
    FileBlock,
    ResourceLink,
    StoredContent,
    TextBlock,
    plain_text,
    shown,
)
from runtime.sessions.media import (
    HERE,
    LONGEST_NOTICE,
    Media,
    MediaItem,
    MediaKind,
    files,
    kept_files,
    not_taken,
)
from runtime.sessions.prompting import (
    CONTEXT,
    EVICTED,
    build_prompt,
    merged_content,
    prompt_media,
    summary_line,
)
from runtime.sessions.rows import InboundRow
from tests.sessions.rows import inbound

CAT = FileBlock(0, "image", "cat.png", "image/png")


def item(file: str | None = "f", **fields: str) -> MediaItem:
    return msgspec.structs.replace(MediaItem(file=file), **fields)


def with_files(seq: int, *names: str, text: str = "see") -> InboundRow:
    """A message that says something and brings these files."""
    content = (
        TextBlock(text),
        *(FileBlock(number, name=name) for number, name in enumerate(names)),
    )
    media = tuple(MediaItem(file=name, name=name) for name in names)
    return inbound(seq, content=content, media=media)


# -- items -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media_item, fetching",
    [
        (MediaItem(reference="r"), True),
        (MediaItem(reference=HERE, file="f"), True),
        (MediaItem(file="f"), False),
        (MediaItem(problem="too large"), False),
        (MediaItem(file="f", problem="odd"), False),
    ],
)
def test_what_is_still_on_its_way(media_item: MediaItem, fetching: bool) -> None:  # Q7
    assert media_item.fetching is fetching
    assert inbound(1, media=(item(), media_item)).fetching is fetching


def test_a_message_without_files_is_complete() -> None:  # Q7
    assert inbound(1).fetching is False


def test_all_but_the_files_of_one_turn_are_handed_over() -> None:  # H1, H5
    media = (item("a"), item(None), item("voice", transcript="hello"), item("b", problem="odd"))
    assert kept_files(media) == ("a", "b")
    assert files(media) == ("a", "voice", "b")
    assert kept_files((item("v", transcript=""),)) == ()
    assert files(()) == kept_files(()) == ()


COMING = MediaItem(reference="r")
GONE = MediaItem(name="a.png", problem="it is gone")
LARGE = MediaItem(MediaKind.VOICE, problem="it is too large")


@pytest.mark.parametrize(
    "media, told",
    [
        ((), None),
        ((item(),), None),
        ((COMING,), None),
        ((GONE, COMING), None),
        ((COMING, GONE), None),
        ((GONE,), "Not taken:\na.png: it is gone"),
        ((LARGE, item(), GONE), "Not taken:\nvoice: it is too large\na.png: it is gone"),
        ((MediaItem(name=" x:\n y ", problem="p"),), "Not taken:\nx: y: p"),
    ],
)
def test_what_was_not_taken_is_said_when_it_is_known_of_all(
    media: Media, told: str | None
) -> None:  # Q4
    assert not_taken(media) == told


@given(sizes=st.lists(st.integers(1, 1_200), min_size=1, max_size=100))
def test_what_was_not_taken_is_said_in_few_words(sizes: list[int]) -> None:  # Q4 M5
    told = not_taken(tuple(MediaItem(name=f"{n}", problem="p" * z) for n, z in enumerate(sizes)))
    assert told is not None
    assert len(told) <= LONGEST_NOTICE
    head, *lines = told.split("\n")
    assert head == "Not taken:"
    named = [line for line in lines if ": p" in line]
    assert [line.split(":")[0] for line in named] == [str(n) for n in range(len(named))]
    if named != lines:
        assert lines[-1] == f"and {len(sizes) - len(named)} more"
    else:
        assert len(named) == len(sizes)


def test_the_kinds_are_those_of_the_rows() -> None:  # Q7
    assert {kind.value for kind in MediaKind} == {"image", "audio", "voice", "video", "file"}
    rows = msgspec.json.encode((item("f", name="n"), MediaItem(MediaKind.VOICE, problem="p")))
    assert msgspec.json.decode(rows, type=Media) == msgspec.json.decode(
        b'[{"file": "f", "name": "n"}, {"kind": "voice", "problem": "p"}]', type=Media
    )


# -- what people see -------------------------------------------------------------------------------


def test_a_file_is_shown_as_a_link_that_leads_nowhere() -> None:  # G3
    content: StoredContent = (TextBlock("see"), CAT, FileBlock(3, "voice"))
    assert shown(content, "m1") == (
        TextBlock("see"),
        ResourceLink("cat.png", "attachment:m1/0", mime_type="image/png"),
        ResourceLink("voice", "attachment:m1/3"),
    )


def test_what_has_no_file_is_shown_as_it_is() -> None:
    content: Content = (TextBlock("a"), ResourceLink("n", "file:n"))
    assert shown(content, "m") == content


@pytest.mark.parametrize(
    "block, words",
    [
        (CAT, "[image: cat.png]"),
        (FileBlock(0, "audio", None, "audio/ogg"), "[audio: audio/ogg]"),
        (FileBlock(0), "[file: no name]"),
    ],
)
def test_a_file_in_words(block: FileBlock, words: str) -> None:  # Q4, S31
    assert plain_text((TextBlock("see"), block)) == f"see\n{words}"
    assert summary_line(inbound(1, content=(block,))) == f"- {words}"


def test_what_people_said_together_names_each_message() -> None:  # Q2
    assert merged_content([with_files(1, "a"), with_files(2, "b")]) == (
        TextBlock("see"),
        ResourceLink("a", "attachment:m1/0"),
        TextBlock("see"),
        ResourceLink("b", "attachment:m2/0"),
    )


# -- prompts ---------------------------------------------------------------------------------------


def places(prompt: StoredContent) -> list[int]:
    return [block.index for block in prompt if isinstance(block, FileBlock)]


def test_one_message_keeps_its_places() -> None:  # Q2
    row = with_files(1, "a", "b")
    assert build_prompt([row]) is row.content
    assert prompt_media([row]) == row.media


def test_files_of_several_messages_count_through() -> None:  # M10, Q2
    rows = [with_files(1, "a", "b"), with_files(2), with_files(3, "c")]
    prompt = build_prompt(rows)
    assert places(prompt) == [0, 1, 2]
    assert [each.file for each in prompt_media(rows)] == ["a", "b", "c"]
    assert prompt[1:3] == (FileBlock(0, name="a"), FileBlock(1, name="b"))


def test_files_of_context_come_first_and_its_words_before_them() -> None:  # S31
    context, rows = [with_files(1, "a", text="lunch?")], [with_files(2, "b", text="now")]
    prompt = build_prompt(rows, context=context)
    assert prompt == (
        TextBlock(f"{CONTEXT}\nlunch?\n[file: a]"),
        FileBlock(0, name="a"),
        TextBlock("now"),
        FileBlock(1, name="b"),
    )
    assert [each.file for each in prompt_media(rows, context)] == ["a", "b"]


def test_places_may_be_in_any_order_and_be_missing() -> None:
    media = tuple(item(name) for name in "abc")
    first = inbound(1, content=(FileBlock(2), FileBlock(0)), media=media)
    rows = [first, with_files(2, "d")]
    prompt = build_prompt(rows)
    assert [prompt_media(rows)[place].file for place in places(prompt)] == ["c", "a", "d"]


MESSAGES = st.lists(st.lists(st.text("abc", min_size=1, max_size=3), max_size=3), max_size=4)


@given(MESSAGES, MESSAGES, st.booleans())
def test_each_place_leads_to_the_file_that_it_names(
    said: list[list[str]], heard: list[list[str]], interrupted: bool
) -> None:  # M10
    rows = [with_files(number, *names) for number, names in enumerate(said)]
    context = [with_files(10 + number, *names) for number, names in enumerate(heard)]
    prompt = build_prompt(rows, context=context, interrupted=interrupted)
    media = prompt_media(rows, context)
    found = [block for block in prompt if isinstance(block, FileBlock)]
    assert [media[block.index].file for block in found] == [block.name for block in found]
    assert [block.name for block in found] == [name for names in heard + said for name in names]


def test_what_is_gone_is_said_before_the_message() -> None:  # M9
    (block,) = build_prompt([inbound(1, "go on")], evicted=["a.png", "b.png"], interrupted=True)
    assert isinstance(block, TextBlock)
    first, second, third = block.text.split("\n\n")
    assert first.startswith("[An earlier run")
    assert second == f"{EVICTED}\n- a.png\n- b.png"
    assert third == "go on"


def test_what_is_gone_is_said_before_what_was_dropped() -> None:  # M9, Q4
    dropped = [inbound(1, "first"), inbound(2, "second")]
    (block,) = build_prompt([inbound(3, "now")], evicted=["a"], overflow=dropped)
    assert isinstance(block, TextBlock)
    assert block.text.index("- a\n") < block.text.index("- first") < block.text.index("now")
