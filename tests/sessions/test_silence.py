import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sessions.silence import NO_REPLY, suppresses, visible_text

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
