from typing import Any

import pytest

from actors.agents.acp.offers import MOST_COMMANDS, MOST_OPTIONS, OfferBook
from runtime.ports.agent import AgentRefused
from runtime.protocol.acp_agent import Mode, Modes
from runtime.sessions.updates import AvailableCommands, ConfigOptions, CurrentMode

MODES = Modes("plan", (Mode("plan", "Plan", "Only thinks"), Mode("code", "Code")))


def option(identity: str, value: Any = "small", **more: Any) -> dict[str, Any]:
    sizes = [{"value": each, "name": each} for each in ("small", "large")]
    made = {"id": identity, "name": identity, "type": "select", "currentValue": value}
    return {**made, "options": sizes, **more}


def test_modes_of_the_older_form_are_a_setting() -> None:
    book = OfferBook()
    book.opened([option("model")], MODES)
    model, mode = book.current.config_options
    assert model["id"] == "model"
    assert (mode["id"], mode["category"], mode["type"]) == ("mode", "mode", "select")
    assert mode["currentValue"] == "plan"
    assert mode["options"][0] == {"value": "plan", "name": "Plan", "description": "Only thinks"}
    assert book.has_old_mode("mode")
    assert not book.has_old_mode("model")


def test_a_setting_of_the_agent_itself_takes_the_place_of_modes() -> None:
    book = OfferBook()
    book.opened([option("style", category="mode")], MODES)
    assert [each["id"] for each in book.current.config_options] == ["style"]
    assert not book.has_old_mode("mode")


def test_offers_follow_what_is_announced() -> None:
    book = OfferBook()
    book.opened([option("model")], MODES)
    announced = book.take(CurrentMode("code"))
    assert announced[0] == CurrentMode("code")
    assert isinstance(announced[1], ConfigOptions)
    assert announced[1].config_options[1]["currentValue"] == "code"
    (changed,) = book.take(ConfigOptions([option("model", "large")]))
    assert isinstance(changed, ConfigOptions)
    assert [each["currentValue"] for each in changed.config_options] == ["large", "code"]
    book.take(AvailableCommands([{"name": "review"}, {"label": "no command"}, 5]))
    assert book.current.commands == ({"name": "review"},)


def test_what_is_offered_is_bounded() -> None:
    book = OfferBook()
    book.set_options([option(f"o{number}") for number in range(1_000)])
    book.take(AvailableCommands([{"name": f"c{number}"} for number in range(1_000)]))
    assert len(book.current.config_options) == MOST_OPTIONS
    assert len(book.current.commands) == MOST_COMMANDS
    book.set_options([option("huge", description="x" * 100_000), option("small")])
    assert [each["id"] for each in book.current.config_options] == ["small"]


@pytest.mark.parametrize(
    "identity, value, code",
    [
        ("nothing", "small", "no_such_option"),
        ("model", "medium", "no_such_value"),
        ("model", True, "no_such_value"),
        ("fast", "true", "no_such_value"),
        ("mode", "fly", "no_such_value"),
    ],
)
def test_only_what_is_offered_can_be_chosen(identity: str, value: str | bool, code: str) -> None:
    book = OfferBook()
    fast = {"id": "fast", "name": "Fast", "type": "boolean", "currentValue": False}
    groups = [{"group": "g", "name": "G", "options": option("model")["options"]}]
    book.opened([option("model", options=groups), fast], MODES)
    for known, good in (("model", "large"), ("fast", True), ("mode", "code")):
        assert book.checked(known, good)["id"] == known
    with pytest.raises(AgentRefused) as raised:
        book.checked(identity, value)
    assert raised.value.code == code
