import pytest

from runtime.sessions.permissions import PermissionPolicy, answer_in_words, decided, question
from runtime.sessions.updates import PermissionOption, PermissionRequest, ToolCallUpdate

ALWAYS = PermissionOption("a2", "Always", "allow_always")
ONCE = PermissionOption("a1", "Allow", "allow_once")
NEVER = PermissionOption("r2", "Never", "reject_always")
REFUSE = PermissionOption("r1", "Refuse", "reject_once")
ALL = (ALWAYS, ONCE, NEVER, REFUSE)


@pytest.mark.parametrize(
    "policy, options, expected",
    [
        ("ask", ALL, None),
        ("allow", ALL, "a1"),
        ("allow", (ALWAYS, REFUSE), "a2"),
        ("allow", (NEVER, REFUSE), None),
        ("deny", ALL, "r1"),
        ("deny", (ALWAYS, NEVER), "r2"),
        ("deny", (ALWAYS, ONCE), None),
        ("allow", (), None),
    ],
)
def test_a_policy_takes_the_narrowest_option(
    policy: PermissionPolicy, options: tuple[PermissionOption, ...], expected: str | None
) -> None:
    # T6
    assert decided(policy, options) == expected


def test_a_chat_is_asked_with_numbers() -> None:
    # T6
    asked = PermissionRequest("q", ToolCallUpdate("t", title="rm -r x"), (ONCE, REFUSE))
    assert question(asked).splitlines() == [
        "The agent asks for permission: rm -r x",
        "1. Allow",
        "2. Refuse",
        "Answer with the number.",
    ]


@pytest.mark.parametrize(
    "said, meant",
    [
        ("1", "a2"),
        (" 2. ", "a1"),
        ("4", "r1"),
        ("allow", "a1"),
        ("REFUSE", "r1"),
        ("0", None),
        ("5", None),
        ("99999999999999999999", None),
        ("\u0661", None),
        ("1 please", None),
        ("", None),
        ("-1", None),
    ],
)
def test_a_number_or_a_name_and_nothing_else_is_an_answer(said: str, meant: str | None) -> None:
    # D10
    assert answer_in_words(said, ALL) == meant


def test_a_name_that_two_options_have_is_no_answer() -> None:
    # D10
    same = (
        PermissionOption("x", "Yes", "allow_once"),
        PermissionOption("y", "yes", "allow_always"),
    )
    assert answer_in_words("yes", same) is None
