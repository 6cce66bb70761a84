"""When a draft is shown, and what of the answer (R3)."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.sessions.drafting import FAILURES, LONGEST_PAUSE, PAUSES_KEPT, Drafting, Pauses
from runtime.sessions.split import Counting


def drafting(limit: int = 40, interval: float = 1.0, *, exists: bool = False) -> Drafting:
    return Drafting(limit, "characters", interval, exists=exists)


def sent(drafts: Drafting, text: str, now: float) -> str | None:
    """What is sent of a snapshot."""
    drafts.say(text)
    return drafts.take(now)


@pytest.mark.parametrize(
    "text,shown",
    [
        ("Hello", "Hello"),
        ("Hello  \n", "Hello"),
        ("", None),
        ("  \n", None),
        ("NO_RE", None),
        ("NO_REPLY", None),
        ("NO_REPLY needed", "NO_REPLY needed"),
        ("Hello\nNO", "Hello"),
        ("```\nx", "```\nx\n```"),
        ("```\nx\n```", "```\nx\n```"),
        ("word " * 20, "word word word word word word word word"),
        ("a" * 100, "a" * 40),
        ("one\n\n" + "b" * 39, "one"),
    ],
)
def test_what_is_shown(text: str, shown: str | None) -> None:  # R3 R6
    assert sent(drafting(), text, 0.0) == shown


def test_the_first_is_due_at_once() -> None:  # R3
    drafts = drafting()
    drafts.say("a")
    assert drafts.due_at == -math.inf
    assert not drafts.over


def test_one_is_in_flight_and_the_newest_waits() -> None:  # R3
    drafts = drafting()
    assert sent(drafts, "a", 10.0) == "a"
    assert sent(drafts, "a b", 20.0) is None
    assert sent(drafts, "a b c", 30.0) is None
    assert not drafts.visible
    drafts.arrived()
    assert drafts.due_at == 11.0
    assert drafts.take(30.0) == "a b c"


def test_two_begin_an_interval_apart() -> None:  # R3
    drafts = drafting(interval=2.5)
    assert sent(drafts, "a", 10.0) == "a"
    drafts.arrived()
    assert sent(drafts, "b", 12.4) is None
    assert drafts.due_at == 12.5
    assert drafts.take(12.5) == "b"


def test_what_is_shown_already_is_not_sent_again() -> None:  # R3
    drafts = drafting()
    assert sent(drafts, "a" * 50, 0.0) == "a" * 40
    drafts.arrived()
    for text in ("a" * 50, "a" * 60, "a" * 40 + "\nNO_REPLY"):
        drafts.say(text)
        assert drafts.due_at is None


@pytest.mark.parametrize(
    "asked,due",
    [
        (None, 11.0),
        (0.2, 11.0),
        (5.0, 15.5),
        (0.0, 11.0),
        (-3.0, 11.0),
        (math.nan, 11.0),
        (math.inf, 11.0),
        (1e9, 10.5 + LONGEST_PAUSE),
    ],
)
def test_what_the_network_asks_for_is_honoured(asked: float | None, due: float) -> None:  # R3
    drafts = drafting()
    assert sent(drafts, "a", 10.0) == "a"
    drafts.failed(10.5, asked)
    assert drafts.due_at == due
    drafts.say("a b")
    assert drafts.take(due) == "a b"


def test_after_some_failures_in_a_row_there_are_none() -> None:  # R3
    drafts = drafting()
    for number in range(FAILURES - 1):
        assert sent(drafts, "a", 10.0 * number) == "a"
        drafts.failed(10.0 * number)
    assert sent(drafts, "a", 100.0) == "a"
    drafts.arrived()  # a success in between: it begins anew
    for number in range(FAILURES):
        assert not drafts.over
        assert sent(drafts, f"b {number}", 200.0 + 10 * number) == f"b {number}"
        drafts.failed(200.0 + 10 * number)
    assert drafts.over
    assert sent(drafts, "c", 900.0) is None


def test_a_refusal_is_the_end() -> None:  # R3
    drafts = drafting()
    assert sent(drafts, "a", 0.0) == "a"
    drafts.refused()
    assert drafts.over
    assert sent(drafts, "b", 10.0) is None


@pytest.mark.parametrize("exists", [False, True])
def test_an_unknown_outcome_makes_no_second_message(exists: bool) -> None:  # R3
    drafts = drafting(exists=exists)
    assert sent(drafts, "a", 0.0) == "a"
    drafts.unknown(0.5)
    assert drafts.over is not exists
    assert sent(drafts, "a", 10.0) == ("a" if exists else None)


def test_once_it_is_there_an_unknown_outcome_is_harmless() -> None:  # R3
    drafts = drafting()
    assert sent(drafts, "a", 0.0) == "a"
    drafts.arrived()
    assert sent(drafts, "b", 1.0) == "b"
    drafts.unknown(1.5)
    assert sent(drafts, "b", 2.0) == "b"


def test_when_the_final_message_comes_what_waits_is_dropped() -> None:  # R3
    drafts = drafting()
    assert sent(drafts, "a", 0.0) == "a"
    drafts.say("b")
    drafts.close()
    drafts.arrived()
    assert drafts.visible
    assert drafts.due_at is None
    assert sent(drafts, "c", 10.0) is None


class Requests(RuleBasedStateMachine):
    """Anything may happen at any time; the rules of R3 hold for what was sent."""

    @initialize(interval=st.floats(0.0, 5.0))
    def begin(self, interval: float) -> None:
        self.now = 0.0
        self.interval = interval
        self.drafts = drafting(interval=interval)
        self.text = ""
        self.begun: list[float] = []
        self.in_flight: str | None = None
        self.shown: str | None = None
        self.wait_until = 0.0
        self.in_a_row = 0

    @rule(seconds=st.floats(0.0, 3.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(more=st.sampled_from(["a", " b", "\n", "NO_REPLY", "NO", "```\n", "x" * 30]))
    def the_agent_says(self, more: str) -> None:
        self.text += more
        self.drafts.say(self.text)

    @rule()
    def take(self) -> None:
        due = self.drafts.due_at
        taken = self.drafts.take(self.now)
        assert (taken is not None) == (due is not None and due <= self.now)
        if taken is None:
            return
        assert self.in_flight is None
        assert self.in_a_row < FAILURES
        assert taken.strip()
        assert taken != self.shown
        assert len(taken) <= 40
        assert self.now >= self.wait_until
        assert not self.begun or self.now - self.begun[-1] >= self.interval - 1e-9
        self.begun.append(self.now)
        self.in_flight = taken

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def it_arrives(self) -> None:
        self.drafts.arrived()
        self.shown, self.in_flight, self.in_a_row = self.in_flight, None, 0

    @precondition(lambda self: self.in_flight is not None)
    @rule(asked=st.none() | st.floats(0.0, 10.0))
    def it_fails(self, asked: float | None) -> None:
        self.drafts.failed(self.now, asked)
        self.in_flight = None
        self.in_a_row += 1
        self.wait_until = max(self.wait_until, self.now + (asked or 0.0))

    @rule(seconds=st.floats(0.0, 10.0))
    def it_has_to_wait(self, seconds: float) -> None:
        self.drafts.later(self.now + seconds)
        self.wait_until = max(self.wait_until, self.now + seconds)

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def nobody_knows(self) -> None:
        self.drafts.unknown(self.now)
        self.in_flight = None
        self.in_a_row = self.in_a_row + 1 if self.shown is not None else FAILURES

    @invariant()
    def it_is_visible_once_shown(self) -> None:
        if hasattr(self, "drafts"):
            assert self.drafts.visible == (self.shown is not None)
            assert self.drafts.over == (self.in_a_row >= FAILURES)


TestRequests = Requests.TestCase


@pytest.mark.parametrize("counting,shown", [("characters", 40), ("utf16", 20), ("bytes", 10)])
def test_a_draft_fits_as_the_network_counts(counting: Counting, shown: int) -> None:  # R3 R5
    drafts = Drafting(40, counting, 1.0)
    assert sent(drafts, "\U0001f600" * 90, 0.0) == "\U0001f600" * shown
    drafts.arrived()
    code = "```\n" + "\U0001f600" * 8
    assert sent(Drafting(44, counting, 1.0), code, 0.0) == f"{code}\n```"


# R3
def test_what_a_network_asked_for_is_remembered_for_its_conversation() -> None:
    pauses = Pauses()
    assert pauses.until("a") == -math.inf
    pauses.asked("a", 100.0, 30.0)
    pauses.asked("a", 110.0, 5.0)  # the longer one holds
    pauses.asked("b", 100.0, None)
    pauses.asked("b", 100.0, -1.0)
    assert (pauses.until("a"), pauses.until("b")) == (130.0, -math.inf)
    pauses.asked("a", 120.0, 20.0)
    assert pauses.until("a") == 140.0
    pauses.asked("c", 0.0, 1e9)
    assert pauses.until("c") == LONGEST_PAUSE
    late = Drafting(100, "characters", 1.0, not_before=pauses.until("a"))
    late.say("hello")
    assert late.take(139.0) is None
    assert late.take(140.0) == "hello"


def test_pauses_that_are_over_are_forgotten() -> None:  # R3
    pauses = Pauses()
    for number in range(3 * PAUSES_KEPT):
        pauses.asked(str(number), float(number), 10.0)
    assert len(pauses._until) <= PAUSES_KEPT
    assert pauses.until(str(3 * PAUSES_KEPT - 1)) == 3 * PAUSES_KEPT + 9


def test_pauses_that_last_are_not_looked_through_for_each_one() -> None:  # R3 D2
    pauses = Pauses()
    looks, before = 0, pauses._until
    for number in range(8 * PAUSES_KEPT):
        pauses.asked(str(number), 0.0, 10.0)
        looks, before = looks + (pauses._until is not before), pauses._until
    assert looks <= 4
    assert pauses.until("0") == 10.0
    for number in range(8 * PAUSES_KEPT + 1):
        pauses.asked(f"later {number}", 20.0 + number, 1.0)
    assert len(pauses._until) <= 2 * PAUSES_KEPT
