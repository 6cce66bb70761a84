"""``queue status | clear``, and the queue from within ``chat`` (Q5, G4)."""

import json
from pathlib import Path

import pytest

from .conftest import CommandLine, Served, Start
from .talker import BUSY, chatting, say, wait_for_turn


# Q5, H3
@pytest.mark.parametrize("how", ["running", "stopped", "killed"])
def test_what_waits_is_shown_and_withdrawn(
    serve: Start, cli: CommandLine, tmp_path: Path, how: str
) -> None:
    served = serve(tmp_path / "data", toml=f"[sessions]\nshutdown_grace = '0s'\n{BUSY}")
    where = ("--data-dir", served.data_dir)
    with chatting(served.data_dir) as talker:
        say(talker, "never answered\n")
        wait_for_turn(cli, served.data_dir)
        if how == "stopped":
            assert served.stop().code == 0
        elif how == "killed":
            served.process.kill()
            served.process.wait()
        status = json.loads(cli("queue", "status", "main", "--json", *where).out)
        assert status["mode"] == "collect"
        assert (status["running"] is None, status["waiting"]) == (
            (False, 0) if how == "running" else (True, 1)
        )
        said = cli("queue", "status", "main", *where).out
        assert said.startswith(f"collect, {0 if how == 'running' else 1} message")
        assert cli("queue", "clear", "main", *where).out == "1 message withdrawn\n"
        assert json.loads(cli("queue", "clear", "main", "--json", *where).out) == {"cleared": 0}
        assert json.loads(cli("queue", "status", "main", "--json", *where).out)["waiting"] == 0
    nobody = cli("queue", "clear", "nobody", *where)
    assert nobody.code == 1
    assert nobody.err.startswith("error: there is no session")


# Q3, Q5
def test_the_queue_is_set_in_a_chat(served: Served, cli: CommandLine) -> None:
    def chat(typed: str) -> str:
        said = cli("chat", "--session", "queueing", "--data-dir", served.data_dir, typed=typed)
        assert (said.code, said.out) == (1 if "error" in said.err else 0, "")
        return said.err

    said = chat("/queue followup debounce:2s cap:25 drop:old")
    assert said.startswith("The queue of this session: followup debounce:2s cap:25 drop:old.")
    assert chat("/queue") == "queue mode followup, nothing runs, 0 messages waiting\n"
    assert chat("/queue cap:many").startswith("error: 'many' is no cap; write one as in cap:25\n")
    assert chat("/queue default").startswith("This session has no queue settings of its own")
    assert chat("/queue status") == "queue mode collect, nothing runs, 0 messages waiting\n"
    assert chat("/queue clear") == "0 messages withdrawn\n"


# S40
@pytest.mark.parametrize("word", ["/new", "/reset", "/runtime new"])
def test_a_new_conversation_may_begin_with_a_message(
    served: Served, cli: CommandLine, word: str
) -> None:
    place = ("--session", word.replace("/", "").replace(" ", "-"), "--data-dir", served.data_dir)
    assert cli("chat", *place, typed="before").out == "before\n"
    said = cli("chat", *place, typed=f"{word} hello there")
    assert (said.code, said.out) == (0, "hello there\n")
    assert said.err == "A new conversation begins.\n"
    assert cli("chat", *place, typed=word).err == "A new conversation begins.\n"
