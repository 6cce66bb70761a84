"""What people type for a setting, and what an agent may offer."""

import pytest

from runtime.cli.choices import Choices, listed, values_of
from runtime.cli.errors import CommandError

MODEL = {
    "id": "model",
    "name": "Model",
    "type": "select",
    "category": "model",
    "currentValue": "m-1",
    "options": [
        {"group": "a", "name": "A", "options": [{"value": "m-1", "name": "Small"}]},
        {"value": "m-2", "name": "Large"},
        {"value": "m-3", "name": "Twin"},
        {"value": "m-4", "name": "Twin"},
        "nonsense",
    ],
}
FAST = {"id": "fast", "name": "Fast", "type": "boolean", "currentValue": False}


@pytest.fixture
def choices() -> Choices:
    choices = Choices()
    choices.attached([MODEL, FAST, {"id": "odd"}, 5])
    return choices


# G2
@pytest.mark.parametrize(
    "typed, value", [("m-2", "m-2"), ("LARGE", "m-2"), ("M-1", "m-1"), ("small", "m-1")]
)
def test_a_value_is_meant_by_its_name_or_itself(choices: Choices, typed: str, value: str) -> None:
    assert choices.of_category("model").meant_by(typed) == value


def test_what_is_no_value_says_which_there_are(choices: Choices) -> None:
    for typed in ("twin", "huge"):
        with pytest.raises(CommandError, match="Model cannot be") as caught:
            choices.find("MODEL").meant_by(typed)
        assert caught.value.hint == "choose one of: m-1, m-2, m-3, m-4"
    with pytest.raises(CommandError, match="fast is on or off"):
        choices.find("fast").meant_by("perhaps")
    with pytest.raises(CommandError, match="no setting 'slow'"):
        choices.find("slow")
    with pytest.raises(CommandError, match="no mode to choose"):
        choices.of_category("mode")


# G2
def test_some_settings_are_on_or_off(choices: Choices) -> None:
    fast = choices.find("fast")
    assert [fast.meant_by(typed) for typed in ("on", "OFF", "true", "no")] == [
        *(True, False, True, False),
    ]


def test_settings_are_listed_with_their_values(choices: Choices) -> None:
    assert listed(choices.settings).splitlines() == [
        "model          Small   (m-1, m-2, m-3, m-4)",
        "fast           off",
    ]
    assert values_of(choices.find("model")).splitlines()[:3] == [
        "Model: Small",
        "* m-1                  Small",
        "  m-2                  Large",
    ]


# T6
def test_what_is_announced_counts_at_once(choices: Choices) -> None:
    choices.take({"sessionUpdate": "agent_message_chunk", "content": {}})
    choices.take({"sessionUpdate": "config_option_update", "configOptions": [FAST]})
    review = {"name": "review", "description": "Looks", "input": {"hint": "what"}}
    update = {"sessionUpdate": "available_commands_update", "availableCommands": [review, {}]}
    choices.take(update)
    assert [each.id for each in choices.settings] == ["fast"]
    assert choices.offers("Review")
    assert not choices.offers("look")


# G12
def test_an_announcement_is_newer_than_the_answer_before_it(choices: Choices) -> None:
    choices.forget()
    assert not choices.settings
    choices.take({"sessionUpdate": "config_option_update", "configOptions": [FAST]})
    choices.attached([MODEL])
    assert [each.id for each in choices.settings] == ["fast"]
