"""Code blocks in quotes and lists, and a parser of Markdown as the judge of what is code (R5)."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from runtime.sessions.split import Counting, beginning, split
from tests.sessions.test_split import COUNTINGS, size


# R5: never inside a code fence without closing and reopening it.
@pytest.mark.parametrize(
    "text, parts",
    [
        pytest.param(
            "Do:\n\n- ```py\n  a = 1\n  ```\n\nThen this is prose and no code.",
            ("Do:\n\n- ```py\n  a = 1\n  ```", "Then this is prose and no code."),
            id="a fence behind the marker of a list",
        ),
        pytest.param(
            "1. ```\n   a = 1111111111111111\n   b = 2222222222222222\n   ```",
            (
                "1. ```\n   a = 1111111111111111\n   ```",
                "   ```\n   b = 2222222222222222\n   ```",
            ),
            id="the marker is not repeated",
        ),
        pytest.param(
            "> ```py\n> a = 111111111111\n> b = 222222222222\n> ```\nDone.",
            ("> ```py\n> a = 111111111111\n> ```", "> ```py\n> b = 222222222222\n> ```\nDone."),
            id="a fence in a quote",
        ),
        pytest.param(
            "> ```\n> aaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbb\n> ```",
            ("> ```\n> aaaaaaaaaaaaaaaaaaa\n> ```", "> ```\n> bbbbbbbbbbbbbbbbbbbbb\n> ```"),
            id="the rest of a line is in the quote too",
        ),
        pytest.param(
            "- ```\n  " + "a" * 30 + " " + "b" * 30 + "\n  ```",
            ("- ```\n  " + "a" * 30 + "\n  ```", "  ```\n  " + "b" * 30 + "\n  ```"),
            id="the rest of a line is in the list too",
        ),
        pytest.param(
            "> ```\n> aaaaa\n\nThis is prose behind the quote, and is no code.",
            ("> ```\n> aaaaa", "This is prose behind the quote, and is no code."),
            id="a block in a quote ends with the quote",
        ),
        pytest.param(
            "> ```\n> a\n> ```\n> ~~~\n> " + "b" * 41 + "\n\nProse.",
            (
                "> ```\n> a\n> ```",
                "> ~~~\n> " + "b" * 34 + "\n> ~~~",
                "> ~~~\n> " + "b" * 7 + "\n\nProse.",
            ),
            id="each block in a quote is one",
        ),
        pytest.param(
            "> ```\n> left open\n\nprose\n\n```py\n" + "c = 1\n" * 8 + "```\n" + "`" * 9 + "\nend",
            (
                "> ```\n> left open\n\nprose",
                "```py\n" + "c = 1\n" * 6 + "```",
                "```py\n" + "c = 1\n" * 2 + "```\n" + "`" * 9 + "\nend",
            ),
            id="what follows a quote that was left open has blocks of its own",
        ),
        pytest.param(
            "`" * 9 + "\n```py\n" + "c = 1\n" * 8 + "```",
            ("`" * 9 + "\n```py\n" + "c = 1\n" * 4 + "```", "```py\n" + "c = 1\n" * 4 + "```"),
            id="a fence that is text hides no other",
        ),
        pytest.param(
            "```md\n    ```\n    a a a\n    ```\nstill code, and so on, and more\n```\nend",
            (
                "```md\n    ```\n    a a a\n    ```\n```",
                "```md\nstill code, and so on, and more\n```\nend",
            ),
            id="a fence that is indented by four more is code",
        ),
        pytest.param(
            "```md\n- ```\n> ```\nstill code, and so on, and more\n```\nend",
            (
                "```md\n- ```\n> ```\n```",
                "```md\nstill code, and so on, and more\n```\nend",
            ),
            id="a marker does not close a block",
        ),
        pytest.param(
            "word " * 9 + "- ```bbbbb c",
            ("word " * 7 + "word", "word - ```bbbbb c"),
            id="no cut makes a fence of text",
        ),
    ],
)
def test_code_blocks_in_containers(text: str, parts: tuple[str, ...]) -> None:
    assert split(text, 48) == parts


# R3 R5
@pytest.mark.parametrize(
    "text, shown",
    [
        ("- ```py\n  x = 1", "- ```py\n  x = 1\n  ```"),
        ("> ```py\n> x = 1", "> ```py\n> x = 1\n> ```"),
        ("> ```py\n> x = 1\n\nso", "> ```py\n> x = 1\n\nso"),
        ("1. > ```\n   > x", "1. > ```\n   > x\n   > ```"),
    ],
)
def test_the_beginning_of_a_text_in_the_making(text: str, shown: str) -> None:
    assert beginning(text, 80) == shown


COMMONMARK = MarkdownIt("commonmark")
WORDS = st.integers(1, 12)


def code_in(text: str) -> set[str]:
    """The words of a text that are code."""
    tokens = COMMONMARK.parse(text)
    kinds = ("fence", "code_block")
    words = {word for each in tokens if each.type in kinds for word in each.content.split()}
    return {word for word in words if word.startswith("w")}


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Prose and code blocks in lists, quotes and neither; each word is there once."""
    numbers = count()

    def words() -> str:
        return " ".join(f"w{next(numbers)}" for _ in range(draw(WORDS)))

    def block(first: str, others: str) -> str:
        fence = draw(st.sampled_from(["```", "~~~", "````"]))
        lines = [words() for _ in range(draw(st.integers(1, 8)))]
        lines += draw(st.lists(st.sampled_from(["    ```", "- ```", ""]), max_size=2))
        lines = draw(st.permutations(lines))
        info = draw(st.sampled_from(["", "py", "python title=x"]))
        return "\n".join(
            [f"{first}{fence}{info}", *(others + line for line in lines), others + fence]
        )

    def piece() -> str:
        match draw(st.integers(0, 5)):
            case 0:
                return block("", "")
            case 1:
                return block("- ", "  ")
            case 2:
                return block("10. ", "    ")
            case 3:
                return block("> ", "> ")
            case 4:
                return f"- {words()}\n\n{block('  ', '  ')}"
            case _:
                return words()

    text = "\n\n".join(piece() for _ in range(draw(st.integers(1, 5))))
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


# R5
@given(documents(), st.integers(80, 200), st.sampled_from(COUNTINGS))
def test_what_is_code_stays_code_and_nothing_else_becomes_it(
    text: str, limit: int, counting: Counting
) -> None:
    parts = split(text, limit, counting)
    assert all(size(part, counting) <= limit for part in parts)
    assert set().union(*map(code_in, parts)) == code_in(text)
