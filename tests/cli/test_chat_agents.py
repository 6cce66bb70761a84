"""``chat`` with agents that are processes: permission, settings, commands, tools, workspaces."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT, CommandLine, Served, start
from .keyboard import Terminal

SCRIPTS = ROOT / "tests" / "agents" / "scripts"


def agent(name: str, script: str, *arguments: str) -> str:
    command = json.dumps([sys.executable, str(SCRIPTS / script), *arguments])
    return f"[agents.{name}]\nkind = 'acp'\ncommand = {command}\n"


AGENTS = (
    "[routing]\ndefault_agent = 'asking'\n"
    + agent("asking", "sdk_agent.py")
    + agent("offering", "hostile_agent.py", "offers")
    + agent("updating", "hostile_agent.py", "updates")
    + agent("placed", "hostile_agent.py", "environment")
)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One runtime with agents on the published package, and of the other kind."""
    served = start(tmp_path_factory.mktemp("agents") / "data", toml=AGENTS)
    yield served
    assert served.stop().code == 0


# P1, G5, T6
def test_a_person_answers_with_a_number(agents: Served) -> None:
    place = agents.data_dir, "--thoughts"
    with Terminal(*place) as asked, Terminal(*place) as other:
        for terminal in (asked, other):
            terminal.wait_for("Session main, agent asking")
        asked.press("hello\r")
        asked.wait_for("in mode ask", "[ ] remove it", "· Remove it")
        for terminal in (asked, other):
            terminal.wait_for("The agent asks for permission: Remove it", "1. Allow", "2. Reject")
        asked.press("meanwhile\r")
        asked.wait_for("1 message waiting")
        asked.press("1\r")
        asked.wait_for("Your answer: Allow")
        asked.wait_for("✓ Remove it", "hello: go")
        other.wait_for("somebody else chose: Allow")
        other.wait_for("The agent asks for permission: Remove it", "2. Reject")
        other.press("reject\r")
        other.wait_for("Your answer: Reject", "meanwhile: stay")
        asked.wait_for("somebody else chose: Reject", "meanwhile: stay")
        asked.press("again\r")
        asked.wait_for("2. Reject")
        other.wait_for("2. Reject")
        other.press("\x03")
        other.wait_for("Cancelling; Ctrl-C again leaves.", "(nobody has chosen)")
        asked.wait_for("(nobody has chosen)", "Cancelled.")
        for terminal in (asked, other):
            terminal.press("\x04")
            assert terminal.wait_for_end() == 0


# P1
def test_a_script_does_not_wait_for_a_person(agents: Served, cli: CommandLine) -> None:
    def chat(*arguments: str) -> tuple[str, list[str]]:
        place = ("--session", "script", "--data-dir", agents.data_dir)
        said = cli("chat", *place, *arguments, typed="hello")
        assert said.code == 0
        return said.out, said.err.splitlines()

    work = ["Plan:", "  [ ] remove it", "· Remove it", "The agent asks for permission: Remove it"]
    for arguments, chosen, answer in (
        ((), "stay", "Answered: Reject (--permissions deny)"),
        (("--permissions", "allow"), "go", "Answered: Allow (--permissions allow)"),
    ):
        assert chat(*arguments) == (f"hello: {chosen}\n", [*work, answer, "✓ Remove it"])


# G2, T6, S36
def test_settings_and_commands_of_the_agent(agents: Served, cli: CommandLine) -> None:
    typed = (
        *("/model", "hi", "/model", "/model LARGE", "/fast on", "/set fast on", "/mode code"),
        *("/review it", "/runtime status", "/help", "/set model huge"),
    )
    place = ("--session", "s", "--agent", "offering", "--data-dir", agents.data_dir)
    said = cli("chat", *place, typed="\n".join(typed))
    assert said.code == 1
    assert said.out == "hi\n/review it\n"
    before, _, after = said.err.partition("/new ")
    assert before.splitlines() == [
        "error: the agent offers no model to choose",
        "hint: if it has not been started yet, say something to it first",
        *("Model: Small", "* small                Small", "  large                Large"),
        "Model: Large",
        "error: there is no command /fast",
        "hint: /help lists them; // begins a text with a slash",
        "Fast: on",
        "Mode: Code",
        "session s, agent offering",
        "queue mode collect, nothing runs, 0 messages waiting",
        "Model: Large, Fast: on, Mode: Code",
    ]
    assert "/review         Looks at it again\n" in after
    assert after.endswith("error: Model cannot be 'huge'\nhint: choose one of: small, large\n")


# G2
def test_words_are_completed_and_commands_are_known_at_once(agents: Served) -> None:
    place = ("--session", "completing", "--agent", "offering")
    with Terminal(agents.data_dir, *place) as terminal:
        terminal.wait_for("Session completing, agent offering")
        terminal.say("hi")
        terminal.wait_for("hi\r\n")
        for begun, rest in (
            *(("/rev", "iew"), ("/set f", "ast"), ("/queue int", "errupt")),
            ("/runtime rec", "onnect"),
        ):
            terminal.press(f"{begun}\t")
            terminal.wait_for(rest)
            terminal.press("\x03")
        terminal.press("\x04")
        assert terminal.wait_for_end() == 0


# R2, T6
def test_tools_and_pictures_beside_an_answer(agents: Served, cli: CommandLine) -> None:
    diff = {"type": "diff", "path": "a.py", "oldText": "1\n2\n", "newText": "1\n3\n4\n"}
    image = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
    updates = [
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "One."}},
        {"sessionUpdate": "tool_call", "toolCallId": "c", "title": "Edit", "status": "pending"},
        {
            "sessionUpdate": "tool_call_update",
            "toolCallId": "c",
            "status": "completed",
            "content": [diff],
        },
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "Two."}},
        {"sessionUpdate": "agent_message_chunk", "content": image},
    ]
    place = ("--session", "u", "--agent", "updating", "--data-dir", agents.data_dir)
    said = cli("chat", *place, typed=json.dumps(updates))
    assert said.out == "One.\n\nTwo.\n\n[image: image/png]\n"
    assert said.err == "· Edit\n✓ Edit — a.py +2 -1\n"


# G10
def test_a_workspace_is_asked_for(agents: Served, cli: CommandLine, tmp_path: Path) -> None:
    def chat(key: str, folder: str, *place: str | Path) -> tuple[str, str]:
        names = ("--session", key, "--agent", "placed", "--workspace", folder)
        said = cli("chat", *names, *place, typed="where")
        assert said.code == 0
        return json.loads(said.out)["cwd"], said.err

    (tmp_path / "work").mkdir()
    here = ("--data-dir", agents.data_dir)
    assert chat("p1", "work", *here) == (str(tmp_path / "work"), "")
    where, told = chat("p2", "nowhere", *here)
    assert Path(where).is_relative_to(agents.data_dir)
    assert told.startswith(f"The agent does not work in {tmp_path / 'nowhere'} but in a folder of")
    where, told = chat("p3", "work", "--url", agents.endpoint.url)
    assert Path(where).is_relative_to(agents.data_dir)
    assert "`gateway.workspace_roots`" in told
