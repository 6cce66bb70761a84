"""Files and commands that agents ask for."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.agents.acp.terminals import MOST_OUTPUT, MOST_TERMINALS, Output
from runtime.ports.agent import AgentHandle
from tests.agents.conftest import HOSTILE, Stage, run_turn, said

Calls = list[tuple[str, dict[str, Any]]]


async def answers(handle: AgentHandle, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """What the agent is answered when it calls these, one after the other."""
    found: list[Any] = json.loads(said(await run_turn(handle, json.dumps(calls))))
    return found


def read(path: Path | str, **more: int) -> tuple[str, dict[str, Any]]:
    return "fs/read_text_file", {"path": str(path), **more}


def write(path: Path | str, content: str) -> tuple[str, dict[str, Any]]:
    return "fs/write_text_file", {"path": str(path), "content": content}


async def test_files_and_commands_are_off_unless_enabled(stage: Stage) -> None:
    calls = [read("x"), write("x", "y"), create("ls"), ("terminal/output", {"terminalId": "t"})]
    async with stage.open(HOSTILE, "calls") as handle:
        refused = await answers(handle, *calls, ("elicitation/create", {}))
    assert {each["code"] for each in refused} == {-32601}
    assert 'set files = "read" in [agents.tested]' in refused[0]["message"]
    assert 'set files = "write" in [agents.tested]' in refused[1]["message"]
    assert "set terminals = true in [agents.tested]" in refused[2]["message"]
    async with stage.open(HOSTILE, "calls", files="read") as handle:
        missing, refused_write = await answers(handle, read("x"), write("x", "y"))
    assert missing["code"] == -32002
    assert refused_write["code"] == -32601


async def test_files_are_read_and_written_in_the_folder_of_the_session(stage: Stage) -> None:
    # G10
    path = stage.folder / "inner" / "notes"
    secret = stage.folder.parent / "secret"
    await trio.Path(secret).write_text("secret", encoding="utf-8")
    async with stage.open(HOSTILE, "calls", files="write") as handle:
        await trio.Path(stage.folder / "link").symlink_to(secret)
        written, whole, line, outside, linked, bad = await answers(
            handle,
            write(path, "one\ntwo\n"),
            read(path),
            read(path, line=2, limit=1),
            read(secret),
            read(stage.folder / "link"),
            ("fs/read_text_file", {"path": 5}),
        )
    assert written == {}
    assert await trio.Path(path).read_text(encoding="utf-8") == "one\ntwo\n"
    assert (whole, line) == ({"content": "one\ntwo\n"}, {"content": "two\n"})
    assert str(secret) in outside["message"]
    assert "not inside" in outside["message"]
    assert "symbolic link" in linked["message"]
    assert {each["code"] for each in (outside, linked, bad)} == {-32602}


async def test_another_session_has_no_files_here(stage: Stage) -> None:
    async with stage.open(HOSTILE, "calls", files="read") as handle:
        await trio.Path(stage.folder / "x").write_text("x", encoding="utf-8")
        (refused,) = await answers(
            handle, ("fs/read_text_file", {"sessionId": "other", "path": "x"})
        )
    assert refused["data"]["path"] == "$.sessionId"


# -- commands -------------------------------------------------------------------------------------


def create(command: str, *args: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "terminal/create", {"command": command, "args": list(args), **more}


def of(number: int, method: str) -> tuple[str, dict[str, Any]]:
    return f"terminal/{method}", {"terminalId": f"terminal-{number}"}


def ended(number: int) -> Calls:
    return [of(number, "wait_for_exit"), of(number, "output"), of(number, "release")]


async def test_a_command_runs_to_its_end(stage: Stage) -> None:
    line = 'echo out; echo err >&2; cat; echo "$EXTRA$SECRET" $PWD; exit 3'
    env = [{"name": "EXTRA", "value": "more"}]
    async with stage.open(HOSTILE, "calls", terminals=True, env={"SECRET": "key"}) as handle:
        created, exit_, output, released, gone = await answers(
            handle, create(line, env=env), *ended(1), of(1, "output")
        )
        assert created == {"terminalId": "terminal-1"}
        assert exit_ == {"exitCode": 3, "signal": None}
        text = f"out\nerr\nmore {stage.folder}\n"
        assert output == {"output": text, "truncated": False, "exitStatus": exit_}
        assert released == {}
        assert gone["code"] == -32002
        _, _, printed, _ = await answers(handle, create("printf", "%s|", "a b", "$c"), *ended(2))
        assert printed["output"] == "a b|$c|"


async def test_a_command_that_is_killed_can_still_be_read(stage: Stage) -> None:
    async with stage.open(HOSTILE, "calls", terminals=True) as handle:
        answered = await answers(handle, create("sleep", "600"), of(1, "kill"), *ended(1))
    assert answered[2] == {"exitCode": None, "signal": "SIGTERM"}
    assert answered[3]["exitStatus"] == answered[2]
    assert stage.processes.live == 0


async def test_commands_end_with_the_conversation(stage: Stage) -> None:
    # P5
    async with stage.open(HOSTILE, "calls", terminals=True) as handle:
        await answers(handle, create("sleep", "600"), create("sleep 600 & sleep 600"))
        assert stage.processes.live == 3
    assert stage.processes.live == 0


async def test_commands_are_limited_in_number_place_and_output(stage: Stage) -> None:
    async with stage.open(HOSTILE, "calls", terminals=True) as handle:
        outside, missing = await answers(
            handle, create("ls", cwd=str(stage.folder.parent)), create("ls", cwd="nowhere")
        )
        assert "inside" in outside["message"]
        assert missing["code"] == -32002
        _, _, output, _ = await answers(
            handle, create("printf", "aäöü", outputByteLimit=5), *ended(1)
        )
        assert output["output"] == "öü"
        assert output["truncated"]
        created = await answers(handle, *[create("true")] * (MOST_TERMINALS + 1))
        assert [sorted(each) for each in created[:-1]] == [["terminalId"]] * MOST_TERMINALS
        assert "release some" in created[-1]["message"]


@pytest.mark.parametrize(
    "written, limit, text",
    [
        (b"abc", 3, "abc"),
        (b"abcd", 3, "bcd"),
        ("aü".encode(), 2, "ü"),
        ("aü".encode(), 1, ""),
        ("a😀".encode(), 3, ""),
        (b"a\xff\xff", 3, "�"),
        (b"abc", 0, ""),
    ],
)
def test_the_end_of_the_output_is_kept(written: bytes, limit: int, text: str) -> None:
    output = Output(limit)
    for byte in written:
        output.add(bytes([byte]))
    assert output.text(complete=True) == text
    assert output.truncated == (written.decode("utf-8", "replace") != text)


def test_half_a_character_waits_for_its_other_half() -> None:
    output = Output(MOST_OUTPUT)
    output.add("aü".encode()[:-1])
    assert output.text(complete=False) == "a"
    output.add("ü".encode()[-1:])
    assert output.text(complete=False) == "aü"
