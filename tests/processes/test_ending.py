"""A child never outlives its block, and neither does anything that it started (P1, P5)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from runtime.processes import ExitStatus, Processes, family, process
from runtime.processes.scan import see
from tests.processes.conftest import DEADLINE, Program, gone, lives, number

SLEEP = """
if sys.argv[1] == "own session":
    os.setsid()
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] == "daemon":
    os.setsid()
    if os.fork():
        os._exit(0)
if sys.argv[1] == "nameless daemon":
    os.setsid()
    if sys.argv[2:] != ["again"]:
        again = [sys.executable, "-I", "-S", *sys.orig_argv[3:], "again"]
        os.execve(sys.executable, again, {})
os.write(1, b"%d\\n" % os.getpid())
time.sleep(120)
"""
"""Says its id, and stays."""

PARENT = """
if os.fork() == 0:
""" + "".join(f"    {line}\n" for line in SLEEP.splitlines() if line)
"""Starts one that stays, and ends when its input does."""

READ = "sys.stdin.read()\n"


@pytest.fixture
def short_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """For children that do not end with their input anyway."""
    monkeypatch.setattr(process, "CLOSE_GRACE", 0.05)


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """For children that end on SIGKILL only."""
    monkeypatch.setattr(process, "CLOSE_GRACE", 0.05)
    monkeypatch.setattr(family, "TERMINATE_GRACE", 0.3)


def assert_reaped(pid: int) -> None:
    """It is not even a zombie."""
    seen = see(pid)
    assert seen is None or seen.parent != os.getpid()


async def test_a_child_has_a_session_and_a_group_of_its_own(
    processes: Processes, program: Program
) -> None:
    # P1
    spec = program("os.write(1, b'%d %d\\n' % (os.getpgid(0), os.getsid(0))); " + READ)
    async with processes.run(spec) as child:
        assert await child.read_record() == b"%d %d" % (child.pid, child.pid)
        assert processes.live == 1
    assert processes.live == 0


async def test_one_that_ends_with_its_input_is_sent_no_signal(
    processes: Processes, program: Program
) -> None:
    # P5
    async with processes.run(program(READ + "sys.exit(3)")) as child:
        assert processes.live == 1
    assert child.exit_status == ExitStatus(code=3)
    assert not child.ended_by_us
    assert_reaped(child.pid)


@pytest.mark.usefixtures("short_close")
async def test_one_that_does_not_gets_sigterm(processes: Processes, program: Program) -> None:
    # P3, P5
    async with processes.run(program(SLEEP, "")) as child:
        await number(child)
    assert child.exit_status == ExitStatus(signal=signal.SIGTERM)
    assert child.ended_by_us
    assert "SIGTERM" in child.describe_exit()
    assert_reaped(child.pid)


@pytest.mark.usefixtures("short_grace")
async def test_one_that_ignores_sigterm_gets_sigkill(
    processes: Processes, program: Program
) -> None:
    # P3, P5
    async with processes.run(program(SLEEP, "stubborn")) as child:
        await number(child)
    assert child.exit_status == ExitStatus(signal=signal.SIGKILL)
    assert child.ended_by_us
    assert_reaped(child.pid)


async def test_a_crash_is_told_from_our_signals(processes: Processes, program: Program) -> None:
    # P3
    async with processes.run(program("os.kill(os.getpid(), signal.SIGTERM)")) as child:
        with trio.fail_after(DEADLINE):
            await child.wait()
    assert child.exit_status == ExitStatus(signal=signal.SIGTERM)
    assert not child.ended_by_us


@pytest.mark.usefixtures("short_close")
async def test_sigterm_comes_once(processes: Processes, program: Program, tmp_path: Path) -> None:
    # P5
    log = tmp_path / "log"
    spec = program(
        """
        def leave(*_):
            os.write(2, b"T")
            time.sleep(0.3)
            os._exit(0)
        signal.signal(signal.SIGTERM, leave)
        os.write(1, b"1\\n")
        while True:
            time.sleep(120)
        """,
        log=log,
    )
    async with processes.run(spec) as child:
        await number(child)
    assert log.read_bytes() == b"T"


@pytest.mark.parametrize("kind", ["", "own session", "daemon", "nameless daemon"])
async def test_what_it_started_ends_with_it(
    processes: Processes, program: Program, kind: str
) -> None:
    # P5
    async with processes.run(program(PARENT + READ, kind)) as child:
        grandchild = await number(child)
        assert lives(grandchild)
    assert not lives(grandchild)
    assert not child.ended_by_us


@pytest.mark.parametrize("kind", ["", "own session", "daemon"])
async def test_what_a_crashed_child_started_ends_too(
    processes: Processes, program: Program, kind: str
) -> None:
    # P5
    async with processes.run(program(PARENT + "os._exit(1)", kind)) as child:
        grandchild = await number(child)
        with trio.fail_after(DEADLINE):
            assert (await child.wait()).code == 1
        assert lives(grandchild)
    assert not lives(grandchild)


@pytest.mark.usefixtures("short_grace")
async def test_a_stubborn_grandchild_gets_sigkill(processes: Processes, program: Program) -> None:
    # P5
    async with processes.run(program(PARENT + READ, "stubborn")) as child:
        grandchild = await number(child)
    assert not lives(grandchild)


@pytest.mark.usefixtures("short_close")
async def test_other_children_are_left_alone(processes: Processes, program: Program) -> None:
    # P5
    async with processes.run(program(SLEEP, "")) as other:
        await number(other)
        async with processes.run(program(SLEEP, "")) as child:
            await number(child)
        assert other.exit_status is None
        assert lives(other.pid)


@pytest.mark.usefixtures("short_close")
async def test_an_error_in_the_block_comes_out_as_it_is(
    processes: Processes, program: Program
) -> None:
    # P5
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the block is what is tested
        async with processes.run(program(SLEEP, "")) as child:
            await number(child)
            raise KeyError("mine")
    assert_reaped(child.pid)


@pytest.mark.usefixtures("short_close")
async def test_an_error_is_not_lost_to_a_cancellation(
    processes: Processes, program: Program
) -> None:
    # P5
    with trio.CancelScope() as scope, pytest.raises(KeyError, match="mine"):  # noqa: PT012
        async with processes.run(program(SLEEP, "")) as child:
            await number(child)
            scope.cancel()
            raise KeyError("mine")
    assert_reaped(child.pid)


async def test_the_end_is_shielded(processes: Processes, program: Program) -> None:
    # P5
    with trio.CancelScope() as scope:
        async with processes.run(program(PARENT + READ, "daemon")) as child:
            grandchild = await number(child)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert child.exit_status == ExitStatus(code=0)
    assert_reaped(child.pid)
    assert not lives(grandchild)


async def test_what_it_says_last_does_not_keep_it(processes: Processes, program: Program) -> None:
    # P5
    async with processes.run(program(READ + "os.write(1, b'x' * 1_000_000)")) as child:
        pass
    assert child.exit_status == ExitStatus(code=0)


async def test_without_descriptors_of_processes_a_thread_waits(
    processes: Processes, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    # P5
    monkeypatch.delattr(os, "pidfd_open")
    async with processes.run(program(PARENT + READ, "own session")) as child:
        grandchild = await number(child)
    assert child.exit_status == ExitStatus(code=0)
    monkeypatch.undo()
    assert not lives(grandchild)
    assert_reaped(child.pid)


async def test_without_a_process_table_the_group_ends(
    processes: Processes, program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # P5
    monkeypatch.setattr("runtime.processes.scan.PROC", tmp_path / "none")
    async with processes.run(program(PARENT + "time.sleep(120)", "")) as child:
        grandchild = await number(child)
    assert child.exit_status == ExitStatus(signal=signal.SIGTERM)
    await gone(grandchild)


async def test_a_host_that_waits_for_all_children_gets_in_nobodys_way(
    processes: Processes, program: Program
) -> None:
    # P5
    async with processes.run(program(SLEEP, "")) as child:
        await number(child)
        os.kill(child.pid, signal.SIGKILL)
        await trio.to_thread.run_sync(os.waitpid, child.pid, 0)
        with trio.fail_after(DEADLINE):
            assert await child.wait() in (ExitStatus(), ExitStatus(signal=signal.SIGKILL))
