from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.silence import NO_REPLY, presentable, suppresses, visible_text

SILENT = [
    "NO_REPLY",
    "  NO_REPLY\t",
    "\n\nNO_REPLY\n\n",
    "NO_REPLY\r\n",
    "NO_REPLY.",
    "NO_REPLY!?",
    "NO_REPLY …",
    "NO_REPLY。",
    "NO_REPLY`",
    "NO_REPLY -",
    "I have read it.\nNO_REPLY",
    "I have read it.\n\n  NO_REPLY.  \n",
    "NO_REPLY\nNO_REPLY",
]
AUDIBLE = [
    "Hello",
    "NO_REPLY is what I would say",
    "I say NO_REPLY",
    "so: NO_REPLY",
    "NO_REPLY, thanks",
    "NO_REPLY. Thanks",
    "NO_REPLY\nWell, one thing.",
    "NO_REPLY_",
    "NO_REPLYING",
    "NO_REPLY2",
    "NO_REPLYé",
    "xNO_REPLY",
    "_NO_REPLY",
    ".NO_REPLY",
    "no_reply",
    "No_Reply",
    "NO REPLY",
    "NO_REPL",
    "NO_REPLY NO_REPLY",
    "NO_REPLY 🙂",
]


@pytest.mark.parametrize("text", SILENT)
def test_what_suppresses(text: str) -> None:  # R6
    assert suppresses(text)
    assert visible_text(text) is None


@pytest.mark.parametrize("text", AUDIBLE)
def test_what_is_text(text: str) -> None:  # R6
    assert not suppresses(text)
    assert visible_text(text) == text


@pytest.mark.parametrize("text", ["", " ", "\n\t\n"])
def test_a_blank_answer_is_not_delivered(text: str) -> None:  # R6
    assert not suppresses(text)
    assert visible_text(text) is None


@given(st.text())
def test_without_the_word_nothing_is_suppressed(text: str) -> None:  # R6
    if NO_REPLY not in text:
        assert not suppresses(text)


@given(st.text(), st.text(".!?… ", max_size=3))
def test_alone_on_the_last_line_it_always_suppresses(before: str, punctuation: str) -> None:  # R6
    assert suppresses(f"{before}\n{NO_REPLY}{punctuation}")


@pytest.mark.parametrize("text", SILENT)
@pytest.mark.parametrize("before", ["", "  ", "\n\n"])
def test_nothing_of_a_word_alone_is_ever_shown(before: str, text: str) -> None:  # R6
    whole = before + text
    if [line for line in whole.split("\n") if NO_REPLY not in line and line.strip()]:
        return
    for length in range(len(whole) + 1):
        assert presentable(whole[:length]) == ""


@pytest.mark.parametrize(
    "text,shown",
    [
        ("", ""),
        (" \n ", ""),
        ("N", ""),
        ("  NO_", ""),
        ("NO_REPLY", ""),
        ("NO_REPLY!", ""),
        ("NO_REPLY\n", ""),
        ("NO_REPLY\n\nNO", ""),
        ("No", "No"),
        ("NO ", "NO"),
        ("NO_REPLYI", "NO_REPLYI"),
        ("NO_REPLY _", "NO_REPLY _"),
        ("NO_REPLY. Thanks", "NO_REPLY. Thanks"),
        ("NO_REPLY\nWell", "NO_REPLY\nWell"),
        ("N\n", "N"),
        ("Hi", "Hi"),
        ("Hi\n", "Hi"),
        ("Hi\n\nN", "Hi"),
        ("Hi\n\n  NO_REPL", "Hi"),
        ("Hi\nNO_REPLY.", "Hi"),
        ("Hi\nNO_REPLY\n\nNO_REPLY", "Hi"),
        ("Hi\nNO_REPLY\nN", "Hi"),
        ("Hi\nNO_REPLY me", "Hi\nNO_REPLY me"),
        ("Hi N", "Hi N"),
        ("Hi NO_REPLY", "Hi NO_REPLY"),
        ("  Hi  ", "  Hi"),
    ],
)
def test_what_is_shown_of_an_answer_in_the_making(text: str, shown: str) -> None:  # R6
    assert presentable(text) == shown


WORDS = st.lists(st.sampled_from(["NO_REPLY", "NO_", "N", "\n", " ", ".", "_", "a", "é"])).map(
    "".join
)


@given(WORDS, WORDS)
def test_what_was_shown_stays(text: str, more: str) -> None:  # R6
    shown = presentable(text)
    assert text.startswith(shown)
    assert not suppresses(shown)
    assert presentable(text + more).startswith(shown)


@given(st.text() | WORDS)
def test_an_answer_that_is_complete_is_held_back_by_one_line_at_most(text: str) -> None:  # R6
    if not suppresses(text) and not text.endswith(tuple("NO_REPLY")):
        assert presentable(text) == text.rstrip()


def slowly_presentable(text: str) -> str:
    """The definition, word by word: it looks at all of the text again for each line at its end."""
    before, _, line = text.rpartition("\n")
    if NO_REPLY.startswith(line.lstrip()):
        text = before
    while suppresses(text):
        text = text.rstrip().rpartition("\n")[0]
    return text.rstrip()


LINES = st.lists(
    st.sampled_from(
        [NO_REPLY, f" {NO_REPLY}. ", "NO_", "", " \t", "\r", "Hi", "\x1c", "NO_REPLY, a"]
    )
).map("\n".join)


@given(st.text() | WORDS | LINES)
def test_one_walk_shows_what_the_definition_says(text: str) -> None:  # R6
    assert presentable(text) == slowly_presentable(text)


class Looked(str):
    """Counts how much of the text is looked at."""

    looked = 0

    def split(self, *args: Any) -> list[str]:
        Looked.looked += len(self)
        return super().split(*args)

    def rstrip(self, *args: Any) -> str:
        Looked.looked += len(self)
        return Looked(super().rstrip(*args))

    def rpartition(self, separator: str) -> tuple[str, str, str]:
        Looked.looked += len(self)
        before, found, after = super().rpartition(separator)
        return Looked(before), found, Looked(after)


def test_a_word_said_over_and_over_is_looked_at_once() -> None:  # R6 D2
    text = Looked(f"{NO_REPLY}\n" * 1_000)
    assert presentable(text) == ""
    assert 0 < Looked.looked <= 4 * len(text)
