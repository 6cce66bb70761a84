import pytest

from runtime.sessions.commands import Command, command_in
from runtime.sessions.content import ResourceLink, TextBlock, text_content


@pytest.mark.parametrize(
    "text, command",
    [
        ("/reconnect", Command.RECONNECT),
        ("  /Reconnect \n", Command.RECONNECT),
        ("/runtime reconnect", Command.RECONNECT),
        ("/runtime  STATUS", Command.STATUS),
        ("/stop", Command.STOP),
        ("/reconnect now", None),
        ("please /reconnect", None),
        ("/", None),
        ("/runtime", None),
        ("/runtime nothing", None),
        ("//stop", None),
        ("/ stop", Command.STOP),
        ("reconnect", None),
        ("", None),
        ("/stop" + " " * 200, None),
    ],
)
def test_a_command_is_the_whole_message(text: str, command: Command | None) -> None:
    # S36
    assert command_in(text_content(text)) is command


def test_the_agents_command_of_that_name_wins() -> None:
    # S36
    assert command_in(text_content("/status"), taken={"status"}) is None
    assert command_in(text_content("/runtime status"), taken={"status"}) is Command.STATUS


def test_a_message_with_more_than_text_is_no_command() -> None:
    # S36
    link = ResourceLink(name="a", uri="file:///a")
    assert command_in((TextBlock("/stop"), link)) is None
    assert command_in((link,)) is None
    assert command_in(()) is None
