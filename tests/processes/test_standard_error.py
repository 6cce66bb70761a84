"""Standard error is read whatever happens, and kept within bounds (P1)."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest
import trio

from runtime.processes import Processes
from runtime.processes.stderr import LOG_BYTES, TAIL_BYTES
from tests.processes.conftest import DEADLINE, Program

FLOOD = """
for number in range(120_000):
    os.write(2, b"line %06d of a flood of standard error\\n" % number)
"""


async def test_a_flood_never_blocks_and_its_end_is_kept(
    processes: Processes, program: Program, tmp_path: Path
) -> None:
    # P1
    log = tmp_path / "logs" / "agent.log"
    async with processes.run(program(FLOOD, log=log)) as child:
        with trio.fail_after(DEADLINE):
            assert (await child.wait()).code == 0
        assert child.stderr_tail().endswith("line 119999 of a flood of standard error")
        assert len(child.stderr_tail()) <= TAIL_BYTES
    older = log.with_name("agent.log.1")
    assert sorted(log.parent.iterdir()) == [log, older]
    assert log.stat().st_size <= LOG_BYTES
    assert older.stat().st_size == LOG_BYTES
    kept = (older.read_bytes() + log.read_bytes()).splitlines()[1:]
    assert kept[-1] == b"line 119999 of a flood of standard error"
    numbers = [int(line.split()[1]) for line in kept]
    assert numbers == list(range(numbers[0], 120_000))


async def test_nothing_is_lost_at_the_exit(
    processes: Processes, program: Program, tmp_path: Path
) -> None:
    # P1
    log = tmp_path / "agent.log"
    spec = program("os.write(2, b'x' * 60_000 + b' the end'); os._exit(7)", log=log)
    for run in range(1, 4):
        async with processes.run(spec):
            pass
        assert log.stat().st_size == run * 60_008
    assert log.read_bytes().endswith(b" the end")


async def test_logs_are_private(processes: Processes, program: Program, tmp_path: Path) -> None:
    # P1
    log = tmp_path / "deep" / "logs" / "agent.log"
    async with processes.run(program("os.write(2, b'secret')", log=log)):
        pass
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(log.parent.parent.stat().st_mode) == 0o700


async def test_a_log_that_cannot_be_written_does_no_harm(
    processes: Processes, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    # P1
    spec = program(FLOOD, log=Path("/dev/full"))
    with caplog.at_level(logging.WARNING, "runtime.processes"):
        async with processes.run(spec) as child:
            with trio.fail_after(DEADLINE):
                assert (await child.wait()).code == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text


async def test_a_log_that_is_a_link_is_not_followed(
    processes: Processes, program: Program, tmp_path: Path
) -> None:
    # P1
    target = tmp_path / "target"
    target.write_text("mine")
    log = tmp_path / "agent.log"
    log.symlink_to(target)
    async with processes.run(program("os.write(2, b'x')", log=log)):
        pass
    assert target.read_text() == "mine"


async def test_standard_error_held_open_by_a_descendant(
    processes: Processes, program: Program, tmp_path: Path
) -> None:
    # P1, P5
    spec = program(
        """
        if os.fork() == 0:
            time.sleep(120)
        os.write(2, b"last words")
        """,
        log=tmp_path / "agent.log",
    )
    async with processes.run(spec) as child:
        with trio.fail_after(DEADLINE):
            assert (await child.wait()).code == 0
        assert child.describe_exit().endswith("last words")
    assert (tmp_path / "agent.log").read_bytes() == b"last words"
