import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.split import MINIMUM_LIMIT, Counting, beginning, split

COUNTINGS: tuple[Counting, ...] = ("characters", "utf16", "bytes")
FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)


def size(text: str, counting: Counting) -> int:
    if counting == "characters":
        return len(text)
    if counting == "utf16":
        return len(text.encode("utf-16-le")) // 2
    return len(text.encode())


def unclosed_fence(text: str) -> str | None:
    fence: str | None = None
    for line in FENCE.finditer(text):
        if fence is None:
            fence = line[1]
        elif line[1].startswith(fence) and not line[2].strip():
            fence = None
    return fence


def words(text: str) -> str:
    """All that is neither whitespace nor a line with a fence."""
    return "".join(FENCE.sub("", text).split())


# R5: paragraph, newline, space, then hard.
@pytest.mark.parametrize(
    "text, parts",
    [
        ("", ()),
        (" \n\t\n", ()),
        ("short", ("short",)),
        ("  kept as it is \n", ("  kept as it is \n",)),
        ("a" * 32, ("a" * 32,)),
        (
            "one two\n\nthree four\nfive six seven eight",
            ("one two", "three four\nfive six seven eight"),
        ),
        ("one two\n \nthree four\nfive six seven", ("one two", "three four\nfive six seven")),
        (
            "one two\nthree four\nfive six seven eight",
            ("one two\nthree four", "five six seven eight"),
        ),
        ("one two three four five six seven eight", ("one two three four five six", "seven eight")),
        ("a" * 40, ("a" * 32, "a" * 8)),
        ("a" * 32 + " " + "b", ("a" * 32, "b")),
        ("a" * 20 + "\t \tb" + "c" * 20, ("a" * 20, "b" + "c" * 20)),
        ("a" * 32 + "\tb", ("a" * 32, "b")),
        ("a" * 32 + "\n" + "b", ("a" * 32, "b")),
        ("a" * 32 + "\n\n" + "b", ("a" * 32, "b")),
        ("a" * 30 + "  \n \n\n  b" + "c" * 9, ("a" * 30, "  b" + "c" * 9)),
        ("\n\n\n" + "a" * 30 + "\n\nb", ("a" * 30, "b")),
        ("a" * 32 + "\n" * 50, ("a" * 32,)),
        (" " * 40 + "a" * 3, (" " * 8 + "aaa",)),
        ("one\r\n\r\ntwo" + "o" * 24, ("one", "two" + "o" * 24)),
    ],
)
def test_where_a_text_is_cut(text: str, parts: tuple[str, ...]) -> None:
    assert split(text, 32) == parts


# R5: never inside a code fence without closing and reopening it.
def test_a_code_block_is_closed_and_opened_again_with_its_info_string() -> None:
    code = "\n".join(f"line({number})" for number in range(8))
    text = f"Look:\n\n```python title=x\n{code}\n```\nDone."
    assert split(text, 72) == (
        "Look:",
        "```python title=x\nline(0)\nline(1)\nline(2)\nline(3)\nline(4)\nline(5)\n```",
        "```python title=x\nline(6)\nline(7)\n```\nDone.",
    )


# R5
@pytest.mark.parametrize(
    "text, parts",
    [
        pytest.param(
            "```\n" + "a" * 40 + "\n```",
            ("```\n" + "a" * 24 + "\n```", "```\n" + "a" * 16 + "\n```"),
            id="a line longer than a part",
        ),
        pytest.param(
            "~~~\n" + "a" * 20 + "\n  bb\n\n  cc\n~~~\nend",
            ("~~~\n" + "a" * 20 + "\n~~~", "~~~\n  bb\n\n  cc\n~~~\nend"),
            id="indentation and blank lines are code",
        ),
        pytest.param(
            "```\n" + "a" * 24 + "\n```\n\nend",
            ("```\n" + "a" * 24 + "\n```", "end"),
            id="a block that just fits is closed by its own fence",
        ),
        pytest.param(
            "```\n" + "a" * 24 + "\n\n\n```\nend",
            ("```\n" + "a" * 24 + "\n```", "end"),
            id="no block is opened again for its blank rest",
        ),
        pytest.param(
            "```\n" + "a" * 24 + "   b\n```",
            ("```\n" + "a" * 24 + "\n```", "```\n  b\n```"),
            id="one space is left out of code",
        ),
        pytest.param(
            "```py title\n" + "a" * 40 + "\n```",
            ("```py title\n" + "a" * 16 + "\n```", "```\n" + "a" * 24 + "\n```"),
            id="an info string is not cut",
        ),
        pytest.param(
            "```code``` " + "word " * 4 + "wordy",
            ("```code``` word word word word", "wordy"),
            id="inline code at the start of a line opens no block",
        ),
        pytest.param(
            "before it\n```\n" + "a" * 20 + "\n```",
            ("before it", "```\n" + "a" * 20 + "\n```"),
            id="a block begins with its first line",
        ),
        pytest.param(
            "````\n```\n" + "a" * 16 + "\n```\nbbbb\n````",
            ("````\n```\n" + "a" * 16 + "\n````", "````\n```\nbbbb\n````"),
            id="a shorter fence inside is code",
        ),
        pytest.param(
            "1. x\n\t```\n\t" + "a" * 12 + "\n\t" + "b" * 12 + "\n\t```",
            ("1. x\n\t```\n\t" + "a" * 12 + "\n\t```", "\t```\n\t" + "b" * 12 + "\n\t```"),
            id="a fence in a list keeps its indentation",
        ),
        pytest.param(
            "```\n" + "a" * 20 + "\n" + "b" * 20,
            ("```\n" + "a" * 20 + "\n```", "```\n" + "b" * 20),
            id="a block that the agent left open stays open at the end",
        ),
        pytest.param(
            "```" + "i" * 20 + "\n" + "a" * 20 + "\n```",
            ("```" + "i" * 20 + "\naaaa\n```", "```\n" + "a" * 16 + "\n```"),
            id="an info string that fills a part is not repeated",
        ),
        pytest.param(
            "`" * 40 + "\n" + "a b",
            ("`" * 32, "`" * 8 + "\na b"),
            id="a fence that fills a part is text",
        ),
        pytest.param(
            "word " * 5 + "inline ```code``` is text",
            ("word word word word word", "inline ```code``` is text"),
            id="inline code opens no block",
        ),
        pytest.param(
            "a" * 20 + " ```\nb",
            ("a" * 20 + " ```\nb",),
            id="no fence in the middle of a line",
        ),
        pytest.param(
            "word " * 4 + "aaaaaaaa ```b c",
            ("word word word word", "aaaaaaaa ```b c"),
            id="no cut makes a fence of text",
        ),
        pytest.param(
            "a" * 32 + "```b",
            ("a" * 31, "a```b"),
            id="no hard cut makes a fence of text",
        ),
    ],
)
def test_code_blocks(text: str, parts: tuple[str, ...]) -> None:
    assert split(text, 32) == parts


# R5: the limit counts what the channel counts.
@pytest.mark.parametrize(
    "counting, lengths",
    [("characters", (32, 8)), ("utf16", (16, 16, 8)), ("bytes", (8, 8, 8, 8, 8))],
)
def test_counting(counting: Counting, lengths: tuple[int, ...]) -> None:
    parts = split("\U0001f600" * 40, 32, counting)
    assert tuple(map(len, parts)) == lengths


def test_an_even_number_of_flags_halves_makes_whole_flags() -> None:  # R5
    for before in range(8):
        text = "x" * before + "\U0001f1e9\U0001f1ea" * 10 + "y" * 20
        for part in split(text, 32):
            flags = part.count("\U0001f1e9")
            assert flags == part.count("\U0001f1ea")


@pytest.mark.parametrize("counting", COUNTINGS)
def test_no_cut_inside_a_character(counting: Counting) -> None:  # R5
    text = "a" + "\U0001f600\u00e9" * 60
    parts = split(text, 33, counting)
    assert "".join(parts) == text
    assert all(size(part, counting) <= 33 for part in parts)


# R5: what is seen as one character stays in one piece.
@pytest.mark.parametrize(
    "cluster",
    [
        "e\u0301",
        "\U0001f44d\U0001f3fd",
        "\u2764\ufe0f",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f1e9\U0001f1ea",
        "\U0001f1e6\U0001f1ff",
        "\u0915\u093e",
        "o\u20dd",
        "\U0001f44d\U0001f3fb",
        "\U0001f44d\U0001f3ff",
        "\u0644\u200c",
    ],
    ids=[
        *("accent", "skin tone", "variation", "family", "flag", "flag of A and Z", "vowel sign"),
        *("in a circle", "lightest", "darkest", "not joined"),
    ],
)
def test_a_hard_cut_leaves_a_cluster_whole(cluster: str) -> None:
    text = "a" + cluster * 40
    parts = split(text, 32)
    assert "".join(parts) == text
    assert all(part.removeprefix("a").replace(cluster, "") == "" for part in parts)


def test_a_cluster_without_end_is_cut_anyway() -> None:  # R5
    text = "a" + "\u0301" * 100
    assert "".join(split(text, 32)) == text


def test_a_limit_that_leaves_no_room_is_refused() -> None:  # R5
    assert split("a" * 40, MINIMUM_LIMIT)
    with pytest.raises(ValueError, match="at least 24"):
        split("a" * 40, MINIMUM_LIMIT - 1)
    with pytest.raises(ValueError, match="unknown counting"):
        split("a" * 40, 100, "words")  # type: ignore[arg-type]


LINES = st.one_of(
    st.text("ab \t\u0301\U0001f600\u00e9", max_size=60),
    st.text("abc", min_size=1, max_size=12).map(lambda word: f"{word} " * 8),
    st.just(""),
)
TEXTS = st.lists(LINES, max_size=30).map("\n".join)
BLOCKS = st.builds(
    lambda fence, info, body: f"{fence}{info}\n{body}\n{fence}",
    st.sampled_from(["```", "~~~", "````", "  ```"]),
    st.sampled_from(["", "py", "python title=x", "i" * 30]),
    TEXTS,
)
DOCUMENTS = st.lists(st.one_of(TEXTS, BLOCKS), max_size=6).map("\n".join)
LIMITS = st.integers(MINIMUM_LIMIT, 200)


# R5
@given(st.one_of(DOCUMENTS, st.text()), LIMITS, st.sampled_from(COUNTINGS))
def test_each_part_fits_and_is_not_blank(text: str, limit: int, counting: Counting) -> None:
    for part in split(text, limit, counting):
        assert size(part, counting) <= limit
        assert part.strip()


# R5
@given(
    st.one_of(TEXTS, st.text().filter(lambda text: "```" not in text and "~~~" not in text)), LIMITS
)
def test_nothing_is_lost_but_whitespace(text: str, limit: int) -> None:
    place = 0
    for part in split(text, limit):
        start = text.index(part, place)
        assert not text[place:start].strip()
        place = start + len(part)
    assert not text[place:].strip()


# R5
@given(DOCUMENTS, st.integers(80, 400), st.sampled_from(COUNTINGS))
def test_code_blocks_are_closed_in_each_part_and_lose_nothing(
    text: str, limit: int, counting: Counting
) -> None:
    parts = split(text, limit, counting)
    assert [unclosed_fence(part) for part in parts] == [None] * len(parts)
    assert words("\n".join(parts)) == words(text)


@given(DOCUMENTS, LIMITS)
def test_parts_are_not_split_again(text: str, limit: int) -> None:  # R5
    for part in split(text, limit):
        assert split(part, limit) == (part,)


def test_the_cost_follows_the_length() -> None:  # R5
    text = "```py\n" + "x = 1\n" * 100_000 + "```\n" + "word " * 100_000
    parts = split(text, 4_000, "utf16")
    assert words("\n".join(parts)) == words(text)
    assert len(parts) < 1.1 * len(text) / 4_000


# R3 R5
@pytest.mark.parametrize(
    "text, shown",
    [
        ("", ""),
        (" \n ", ""),
        ("short", "short"),
        ("one two three four five six seven eight", "one two three four five six"),
        ("```py\nx = 1", "```py\nx = 1\n```"),
        ("```py\nx = 1\n```", "```py\nx = 1\n```"),
        ("```py", "```py\n```"),
        ("so\n~~~\na", "so\n~~~\na\n~~~"),
        ("```py\nx = 1\ny = 22\nz = 333333", "```py\nx = 1\ny = 22\n```"),
        ("```\n" + "a" * 40, "```\n" + "a" * 24 + "\n```"),
    ],
)
def test_the_beginning_of_a_text_in_the_making(text: str, shown: str) -> None:
    assert beginning(text, 32) == shown


# R3 R5
@given(DOCUMENTS, st.integers(80, 400), st.sampled_from(COUNTINGS))
def test_a_beginning_fits_and_its_code_blocks_are_closed(
    text: str, limit: int, counting: Counting
) -> None:
    shown = beginning(text, limit, counting)
    assert size(shown, counting) <= limit
    assert unclosed_fence(shown) is None
    assert bool(shown) == bool(text.strip())
    parts = split(text, limit, counting)
    if len(parts) > 1:
        assert shown == parts[0]
