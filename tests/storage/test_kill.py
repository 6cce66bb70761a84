"""SIGKILL at any moment: what was accepted is there, once (D1, D5, D7, Q8)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from runtime.sessions.ids import wall_clock_ms
from runtime.sessions.rows import InboundState
from runtime.storage.sqlite import open_sqlite
from tests.storage.stage import OWNER, POLICY

PROGRAM = """
import sys, trio
from pathlib import Path
from runtime.sessions.content import text_content
from runtime.sessions.ids import IdSource, wall_clock_ms
from runtime.sessions.rows import *
from runtime.storage.requests import *
from runtime.storage.sqlite import open_sqlite

ids = IdSource()
owner = Owner(ids.new(), "one")

async def converse(store, number):
    spec = SessionSpec("echo", str(number))
    session, _ = await store.resolve(spec)
    awake = await store.wake(session.id, owner, InterruptedPolicy())
    fence, epoch = awake.session.fence, awake.session.epoch
    waiting = [row.id for row in awake.pending]
    while True:
        key = MessageKey("test", "bot", str(number), ids.new())
        new = NewInbound(ids.new(), session.id, text_content("x" * 500), key=key)
        await store.admit([new])
        print("accepted", new.id, flush=True)
        waiting.append(new.id)
        turn_id = ids.new()
        await store.begin_turn(
            BeginTurn(turn_id, session.id, epoch, fence, owner, tuple(waiting))
        )
        await store.save_progress(TurnProgress(turn_id, session.id, fence, 0, "so far"))
        done = tuple(Settlement(each, InboundState.DONE) for each in waiting)
        lines = tuple(NewEntry(each, "user", "x") for each in waiting)
        answer = NewEntry(turn_id, "assistant", "y" * 500)
        await store.end_turn(
            EndTurn(
                turn_id, session.id, epoch, fence, TurnState.DONE,
                messages=done, journal=(*lines, answer),
            )
        )
        print("answered", *waiting, flush=True)
        waiting = []

async def main():
    async with open_sqlite(Path(sys.argv[1]), wall_clock_ms) as store:
        await store.recover(owner.instance, InterruptedPolicy())
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(converse, store, number)

trio.run(main)
"""


def run_until_killed(data_dir: Path, lines: int) -> list[list[str]]:
    """Run the program, kill it after so many lines; the whole lines that it wrote."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data_dir)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        heard += process.stdout.readlines()
    return [line.split() for line in heard if line.endswith("\n")]


@pytest.mark.crash
async def test_nothing_accepted_is_lost_or_doubled(tmp_path: Path) -> None:
    # D1, D5, D7, D8, J1, Q8
    accepted: list[str] = []
    answered: list[str] = []
    for lines in (1, 40, 301, 900):
        for what, *ids in run_until_killed(tmp_path, lines):
            (accepted if what == "accepted" else answered).extend(ids)
    assert len(set(accepted)) == len(accepted) > 500
    assert len(set(answered)) == len(answered)
    async with open_sqlite(tmp_path, wall_clock_ms) as store:
        await store.recover("afterwards", POLICY)
        states = {}
        for message_id in {*accepted, *answered}:
            status = await store.message_status(message_id)
            assert status is not None
            states[message_id] = status.message.state
        assert {states[message_id] for message_id in answered} == {InboundState.DONE}
        assert set(states.values()) <= {InboundState.DONE, InboundState.PENDING}
        for session in (await store.sessions(limit=100)).sessions:
            awake = await store.wake(session.id, OWNER, POLICY)
            pending = [row.seq for row in awake.pending]
            assert pending == sorted(pending)
            lines_there = await store.journal(session.id, limit=1_000)
            assert [line.seq for line in lines_there] == list(range(1, len(lines_there) + 1))
            assert len({line.id for line in lines_there}) == len(lines_there)
    check = apsw.Connection(str(tmp_path / "runtime.db"))
    assert check.pragma("integrity_check") == "ok"
    assert check.execute("PRAGMA foreign_key_check").fetchall() == []
