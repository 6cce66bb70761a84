"""Answers of agents whose lines end in CR LF."""

import pytest

from runtime.sessions.updates import MessageSnapshot, Result, ToolCall
from tests.sessions.test_relay import fed, say


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\r\nb", "a\r\nb"),
        ("a\r\n\r\nb", "a\r\n\r\nb"),
        ("a\r\n\r\n\r\nb", "a\n\nb"),
        ("a\n\r\n\nb\r\n\r\n\r\n\r\n", "a\n\nb\n\n"),
        ("a\r\r\rb", "a\r\r\rb"),
    ],
)
def test_runs_of_newlines(text: str, expected: str) -> None:  # R2
    assert fed(say(text), Result()).text == expected
    assert fed(*map(say, text), Result()).text == expected


def test_a_repetition_is_one_whatever_its_runs_of_newlines_became() -> None:  # R1, R2
    reply = fed(say("a\r\n\r\n\r\nb"), ToolCall("1", "ls"), say("c"))
    assert reply.text == "a\n\nb\n\nc"
    assert reply.feed(MessageSnapshot("a\r\n\r\n\r\nb\r\n\r\n\r\nc")) == ()
    assert reply.feed(Result(text="a\n\nb\n\nc, d")) == (say(", d"),)
