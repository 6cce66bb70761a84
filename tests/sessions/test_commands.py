import pytest

from runtime.sessions.commands import Command, Typed, command_in
from runtime.sessions.content import FileBlock, ResourceLink, TextBlock, text_content
from runtime.sessions.principals import Role


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
        ("/queue", Command.QUEUE),
        ("/queue STATUS", Command.QUEUE),
        ("/runtime queue clear", Command.CLEAR),
        ("/queue default", Command.DEFAULT),
        ("/queue reset", Command.DEFAULT),
        ("/queued", None),
        ("/queue" + " x" * 100, None),
        ("/new", Command.RESET),
        (" /RESET\n", Command.RESET),
        ("/runtime new", Command.RESET),
        ("/newer", None),
        ("say /new", None),
    ],
)
def test_what_is_a_command(text: str, command: Command | None) -> None:
    # S36 S40 Q5
    found = command_in(text_content(text))
    assert found == (None if command is None else Typed(command))


@pytest.mark.parametrize(
    "text, words",
    [
        ("/queue collect", ("collect",)),
        ("/queue Steer+Backlog debounce:2s  CAP:25 drop:old",
         ("steer+backlog", "debounce:2s", "cap:25", "drop:old")),
        ("/queue nonsense", ("nonsense",)),
        ("/queue clear now", ("clear", "now")),
    ],
)  # fmt: skip
def test_what_is_to_be_set_is_in_its_words(text: str, words: tuple[str, ...]) -> None:
    # Q5
    assert command_in(text_content(text)) == Typed(Command.CONFIGURE, words)


@pytest.mark.parametrize(
    "text, first",
    [
        ("/new hello  there", "hello  there"),
        ("/new\nHello\nthere", "Hello\nthere"),
        ("/Reset /new", "/new"),
        ("/runtime new hello", "hello"),
        ("/new " + "long " * 1_000, "long " * 999 + "long"),
    ],
)
def test_what_follows_is_the_first_message_of_the_new_conversation(text: str, first: str) -> None:
    # S40
    assert command_in(text_content(text)) == Typed(Command.RESET, first=(TextBlock(first),))


def test_the_first_message_may_have_files() -> None:
    # S40
    file = FileBlock(0, "image")
    assert command_in((TextBlock("/new"), file)) == Typed(Command.RESET, first=(file,))
    found = command_in((TextBlock("/new look"), file))
    assert found == Typed(Command.RESET, first=(TextBlock("look"), file))


@pytest.mark.parametrize(
    "text, triggers, found",
    [
        ("/new", (), None),
        ("/runtime new", (), Typed(Command.RESET)),
        ("Restart!", ("restart!",), Typed(Command.RESET)),
        ("/new", ("restart!",), None),
    ],
)
def test_what_begins_a_new_conversation_can_be_set(
    text: str, triggers: tuple[str, ...], found: Typed | None
) -> None:
    # S40
    assert command_in(text_content(text), triggers=triggers) == found


@pytest.mark.parametrize("name", ["status", "queue", "new"])
def test_the_agents_command_of_that_name_wins(name: str) -> None:
    # S36
    assert command_in(text_content(f"/{name}"), taken={name}) is None
    assert command_in(text_content(f"/{name} all"), taken={name}) is None
    assert command_in(text_content(f"/runtime {name}"), taken={name}) is not None


def test_a_message_with_more_than_text_is_no_command() -> None:
    # S36
    link = ResourceLink(name="a", uri="file:///a")
    assert command_in((TextBlock("/stop"), link)) is None
    assert command_in((link,)) is None
    assert command_in(()) is None


def test_what_takes_away_from_others_is_for_admins() -> None:
    # S36
    for_admins = {command for command in Command if command.role is Role.ADMIN}
    expected = {Command.CLEAR, Command.CONFIGURE, Command.DEFAULT, Command.RESET}
    assert for_admins == expected
