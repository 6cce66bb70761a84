"""Starting: reasons why not, and nothing left when it is cancelled (P1, P2)."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from contextvars import ContextVar
from pathlib import Path

import pytest
import trio

from runtime.processes import Processes, ProcessGone, ProcessSpec, open_processes
from runtime.processes.scan import take_snapshot
from tests.e2e.stage import until
from tests.processes.conftest import DEADLINE, Program, number

READ = "sys.stdin.read()"


class Errand:
    """What a task was about."""


errand: ContextVar[Errand] = ContextVar("errand")


def script(path: Path, text: str, mode: int = 0o700) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def refused(processes: Processes, *command: str, cwd: Path) -> str:
    with pytest.raises(ProcessGone) as caught:
        async with processes.run(ProcessSpec(command, cwd)):
            pass
    assert processes.live == 0
    return str(caught.value)


async def test_reasons(processes: Processes, tmp_path: Path) -> None:
    # P2
    text = await refused(processes, "no-such-program", cwd=tmp_path)
    assert "not found on PATH" in text
    text = await refused(processes, "./no-such-program", cwd=tmp_path)
    assert f"there is no file {tmp_path / 'no-such-program'}" in text
    plain = script(tmp_path / "plain", "", 0o600)
    assert "chmod +x" in await refused(processes, plain, cwd=tmp_path)
    broken = script(tmp_path / "broken", "#!/no/such/interpreter\n")
    assert "interpreter" in await refused(processes, broken, cwd=tmp_path)
    garbage = script(tmp_path / "garbage", "\0\0\0\0")
    assert "no program for this machine" in await refused(processes, garbage, cwd=tmp_path)
    text = await refused(processes, "true", cwd=Path(plain) / "x")
    assert f"its folder {plain}/x cannot be made" in text
    assert "null" in await refused(processes, "true", "\0", cwd=tmp_path)
    assert "too long" in await refused(processes, "true", "x" * 200_000, cwd=tmp_path)


async def test_its_folder_is_made(processes: Processes, tmp_path: Path) -> None:
    # P1
    cwd = tmp_path / "a" / "b"
    async with processes.run(ProcessSpec(("pwd",), cwd)) as child:
        assert await child.read_record() == str(cwd).encode()
    assert cwd.stat().st_mode & 0o777 == 0o700


async def test_the_program_is_looked_for_on_the_childs_path(
    processes: Processes, tmp_path: Path
) -> None:
    # P1
    script(tmp_path / "tool", "#!/bin/sh\necho found\n")
    spec = ProcessSpec(("tool",), tmp_path, env={"PATH": str(tmp_path)})
    async with processes.run(spec) as child:
        assert await child.read_record() == b"found"


async def test_an_early_exit_tells_why(processes: Processes, program: Program) -> None:
    # P2
    async with processes.run(program("sys.exit('there is no key')")) as child:
        with trio.fail_after(DEADLINE):
            assert await child.read_record() is None
            await child.wait()
    assert child.describe_exit().endswith("ended with exit code 1; it said:\nthere is no key")


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_cancelled_at_any_moment_nothing_is_left(folder: Path, program: Program) -> None:
    # P1, P5
    before = descriptors()

    async def start_and_stay(processes: Processes) -> None:
        async with processes.run(program(READ)):
            await trio.sleep_forever()

    async with open_processes(folder) as processes:
        inside = descriptors()
        for step in range(30):
            with trio.move_on_after(step * 0.001):
                await start_and_stay(processes)
        assert processes.live == 0
    ours = [s for s in take_snapshot().values() if s.parent == os.getpid() and s.marker]
    assert ours == []
    assert inside <= descriptors() + 1
    assert descriptors() <= before
    assert files(folder) == ["family.json"]


async def test_many_at_once(processes: Processes, program: Program) -> None:
    # P1
    spec = program("os.write(1, b'%d\\n' % os.getpid()); " + READ)
    pids = []

    async def one() -> None:
        async with processes.run(spec) as child:
            pids.append(await number(child) == child.pid)

    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(one)
    assert pids == [True] * 12


def spawners() -> int:
    return sum(thread.name == "process-spawner" for thread in threading.enumerate())


async def test_one_thread_starts_all_children_and_ends(folder: Path, program: Program) -> None:
    # P5
    async with open_processes(folder) as processes:
        assert spawners() == 0
        for _ in range(2):
            async with processes.run(program("")):
                assert spawners() == 1
        assert spawners() == 1
    assert spawners() == 0
    with pytest.raises(ProcessGone, match="the runtime is ending"):
        async with processes.run(program("")):
            pass


# P6: the thread that starts processes waits for the next one without the last one's task
async def test_nothing_keeps_a_task_that_had_a_process(
    processes: Processes, program: Program
) -> None:
    kept: list[weakref.ref[Errand]] = []

    async def run() -> None:
        about = Errand()
        errand.set(about)
        kept.append(weakref.ref(about))
        async with processes.run(program("")) as child:
            await child.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
    await until(lambda: gc.collect() is not None and kept[0]() is None)
