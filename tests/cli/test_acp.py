"""``acp``: an editor and its agent, over pipes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.endpoint import read
from runtime.protocol.extensions import UNAVAILABLE
from tests.e2e.stage import House
from tests.gateway.client import connected, said

from .conftest import PATIENCE, CommandLine, Served, environment
from .editor import editor

TWO_AGENTS = """
[agents.echo]
kind = 'echo'
[agents.loud]
kind = 'echo'
prefix = 'LOUD '
"""


# D3, G1, G2, G3
async def test_it_is_a_runtime_when_none_is_there(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with editor(data_dir) as person:
        endpoint = read(data_dir)
        assert endpoint is not None
        assert endpoint.pid == person.process.pid
        session_id = await person.new_session()
        answer = await person.call("session/prompt", said(session_id, "hello there"))
        assert answer["stopReason"] == "end_turn"
        assert person.text() == "hello there"
        assert len(person.updates("agent_message_chunk")) > 1
        # Others find it there, as they find any other runtime.
        async with editor(data_dir) as other, connected(endpoint.url) as client:
            listed = await other.call("session/list")
            assert [each["sessionId"] for each in listed["sessions"]] == [session_id]
            assert await client.call("session/list") == listed
            assert await other.leave() == 0
        assert await person.leave() == 0
        assert "Traceback" not in person.log
    assert read(data_dir) is None


# D3, G11
async def test_leaving_a_runtime_cancels_nothing(house: House) -> None:
    process = await house.serve("[agents.echo]\nkind = 'echo'\npace = '100ms'\n")
    async with editor(house.data_dir) as person:
        session_id = await person.new_session()
        words = said(session_id, "one two three", messageId="once")
        await person.request("session/prompt", words)
        await person.until("session/update", sessionUpdate="agent_message_chunk")
        assert await person.leave() == 0
    async with connected(process.url) as client:
        answer = await client.call("session/prompt", words)
        assert (answer["stopReason"], answer["_meta"]["runtime"]["duplicate"]) == ("end_turn", True)
        assert answer["_meta"]["runtime"]["text"] == "one two three"


# S45
async def test_when_the_editor_leaves_what_runs_may_finish(tmp_path: Path) -> None:
    (tmp_path / "runtime.toml").write_text("[agents.echo]\nkind = 'echo'\npace = '100ms'\n")
    async with editor(tmp_path / "data") as person:
        session_id = await person.new_session()
        prompt = await person.request("session/prompt", said(session_id, "one two three"))
        await person.until("session/update", sessionUpdate="agent_message_chunk")
        assert await person.leave() == 0
        assert (await person.answer(prompt))["result"]["stopReason"] == "end_turn"


# S45, G9
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it(tmp_path: Path, number: signal.Signals) -> None:
    async with editor(tmp_path / "data") as person:
        person.process.send_signal(number)
        assert await person.ended() == 0
    assert read(tmp_path / "data") is None


# G7
async def test_garbage_is_answered_and_survived(tmp_path: Path) -> None:
    (tmp_path / "runtime.toml").write_text("[gateway]\nmax_frame_bytes = 65536\n")
    config = str(tmp_path / "runtime.toml")
    async with editor(tmp_path / "data", "--config", config) as person:
        for line, code in (
            (b"garbage", -32700),
            (b"\xff\xfe", -32700),
            (b"[1]", -32600),
            (b'"words"', -32600),
            (b'{"jsonrpc": "1.0", "id": 1, "method": "x"}', -32600),
            (b"[" * 5_000, -32700),
            (b"x" * 70_000, -32600),
            (b"x" * 300_000, -32600),
        ):
            await person.write(b"\n \r\n" + line + b"\n")
            answer = await person.receive()
            assert answer["error"]["code"] == code, (line[:20], answer)
        assert (await person.error("no/such/method"))["code"] == -32601
        # Unicode has more ends of lines than this protocol.
        session_id = await person.new_session()
        block = '{"type": "text", "text": "one\u2028two\u0085three"}'
        params = f'{{"sessionId": "{session_id}", "prompt": [{block}]}}'
        frame = f'{{"jsonrpc": "2.0", "id": "a", "method": "session/prompt", "params": {params}}}'
        await person.write(frame.encode() + b"\r\n")
        assert (await person.answer("a"))["result"]["stopReason"] == "end_turn"  # type: ignore[arg-type]
        assert person.text() == "one\u2028two\u0085three"


# G7
async def test_a_message_too_long_for_the_runtime_is_refused_alone(house: House) -> None:
    await house.serve("[gateway]\nmax_frame_bytes = 65536\n")
    async with editor(house.data_dir, RUNTIME_GATEWAY__MAX_FRAME_BYTES="1000000") as person:
        session_id = await person.new_session()
        answer = await person.error("session/prompt", said(session_id, "x" * 100_000))
        assert answer["code"] in (-32600, UNAVAILABLE)
        answer = await person.call("session/prompt", said(session_id, "short"))
        assert answer["stopReason"] == "end_turn"


# G2
async def test_a_default_agent_for_new_sessions(tmp_path: Path) -> None:
    (tmp_path / "runtime.toml").write_text(TWO_AGENTS)
    config = str(tmp_path / "runtime.toml")
    async with editor(tmp_path / "data", "--config", config, "--agent", "loud") as person:
        session_id = await person.new_session()
        await person.call("session/prompt", said(session_id, "hello"))
        assert person.text() == "LOUD hello"
        session_id = await person.new_session(agent="echo")
        await person.call("session/prompt", said(session_id, "!"))
        assert person.text() == "LOUD hello!"


# D3
def test_what_keeps_it_from_starting_is_said_once(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[gateway]\nprot = 1\n")
    (tmp_path / "file").write_text("")
    for arguments, message in (
        (("--config", "wrong.toml"), "gateway.prot"),
        (("--data-dir", "file"), "is not a directory"),
        (("--url", "ws://127.0.0.1:1/acp"), "nothing listens at"),
    ):
        said_last = cli("acp", *arguments)
        assert said_last.code == 1
        assert said_last.out == ""
        error = said_last.err[said_last.err.index("error: ") :]
        assert message in error
        assert "Traceback" not in said_last.err


def test_nobody_reads_what_it_says(served: Served, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "acp", "--data-dir", str(served.data_dir)],
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write(b"garbage\n")
    process.stdin.flush()
    process.stdout = None
    code = process.wait(PATIENCE)
    _, err = process.communicate(timeout=PATIENCE)
    assert code == 141
    assert b"Traceback" not in err
    assert b"error" not in err


def test_a_person_at_a_terminal_is_told_what_it_is_for(served: Served, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "acp", "--data-dir", str(served.data_dir)],
        env=environment(tmp_path),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}\n')
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["error"]["code"] == -32602
    assert os.get_blocking(theirs)
    os.write(ours, b"\x04")
    _, err = process.communicate(timeout=PATIENCE)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert "To talk to an agent" in err
