"""What outlives a killed runtime ends at the next start, and nothing else does (P5)."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from runtime.processes import ProcessSpec, family, open_processes
from runtime.processes.environment import MARKER
from runtime.processes.register import ChildRecord, FamilyName
from runtime.processes.scan import boot_id, see
from tests.processes.conftest import DEADLINE, gone, lives

pytestmark = pytest.mark.crash


async def killed_runtime(folder: Path, kind: str) -> int:
    """Run a runtime and kill it: the child is gone then, the grandchild is not."""
    command = [sys.executable, "-m", "tests.processes.killed", str(folder), kind]
    runtime = await trio.to_thread.run_sync(
        lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    )
    with runtime:
        assert runtime.stdout is not None
        with trio.fail_after(DEADLINE):
            await trio.to_thread.run_sync(runtime.stdout.readline)
            line = await trio.to_thread.run_sync(runtime.stdout.readline)
        child, grandchild = map(int, line.split())
        assert lives(child)
        runtime.kill()
    await gone(child)  # by the signal that the kernel sends when the parent dies
    assert lives(grandchild)
    return grandchild


@asynccontextmanager
async def bystander(**variables: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process that is nobody's business, in a session of its own."""
    process = await trio.to_thread.run_sync(
        lambda: subprocess.Popen(
            ["sleep", "120"], env={**os.environ, **variables}, start_new_session=True
        )
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def write_record(folder: Path, **fields: int | str) -> None:
    """A record as an earlier run would have left it."""
    name = msgspec.json.decode((folder / "family.json").read_bytes(), type=FamilyName).name
    record = {"boot": boot_id(), "marker": f"{name}/0/1", **fields}
    (folder / "child-0-1.json").write_bytes(
        msgspec.json.encode(msgspec.convert(record, ChildRecord))
    )


def records(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("child-*"))


async def reaped(folder: Path | None) -> int:
    async with open_processes(folder) as processes:
        return processes.reaped


@pytest.mark.parametrize("kind", ["group", "own session"])
async def test_grandchildren_end_at_the_next_start(
    folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    # P5
    grandchild = await killed_runtime(folder, kind)
    assert len(records(folder)) == 1
    with caplog.at_level(logging.WARNING, "runtime.processes"):
        assert await reaped(folder) == 1
    assert not lives(grandchild)
    assert records(folder) == []
    assert "ended at the start: 1" in caplog.text
    assert await reaped(folder) == 0


async def test_stubborn_ones_get_sigkill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # P5
    monkeypatch.setattr(family, "TERMINATE_GRACE", 0.2)
    grandchild = await killed_runtime(folder, "stubborn")
    assert await reaped(folder) == 1
    assert not lives(grandchild)


async def test_another_runtime_touches_nothing(folder: Path, tmp_path: Path) -> None:
    # P5
    grandchild = await killed_runtime(folder, "own session")
    assert await reaped(tmp_path / "other") == 0
    assert await reaped(None) == 0
    assert lives(grandchild)
    assert await reaped(folder) == 1


async def test_a_copy_of_a_data_directory_is_another_one(folder: Path, tmp_path: Path) -> None:
    # P5
    grandchild = await killed_runtime(folder, "own session")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert await reaped(copy) == 0
    assert lives(grandchild)
    assert records(copy) == []
    assert await reaped(folder) == 1


async def test_a_leader_is_ended_by_its_record_alone(folder: Path) -> None:
    # P5
    await reaped(folder)
    async with bystander() as process:
        seen = see(process.pid)
        assert seen is not None
        write_record(folder, pid=seen.pid, group=seen.pid, started=seen.started)
        assert await reaped(folder) == 1
        assert not lives(process.pid)


@pytest.mark.parametrize("wrong", ["started", "boot"])
async def test_a_process_with_a_number_that_was_used_before_is_left_alone(
    folder: Path, wrong: str
) -> None:
    # P5
    await reaped(folder)
    async with bystander() as process:
        seen = see(process.pid)
        assert seen is not None
        right = {"pid": seen.pid, "group": seen.pid, "started": seen.started}
        other: dict[str, int | str] = {"started": seen.started - 1, "boot": "another"}
        write_record(folder, **{**right, wrong: other[wrong]})
        assert await reaped(folder) == 0
        assert lives(process.pid)
        assert records(folder) == []


async def test_a_record_that_cannot_be_read_does_no_harm(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # P5
    await reaped(folder)
    (folder / "child-0-1.json").write_bytes(b"{")
    with caplog.at_level(logging.WARNING, "runtime.processes"):
        assert await reaped(folder) == 0
    assert "cannot be read" in caplog.text
    assert records(folder) == []


async def test_a_runtime_that_its_own_agent_started_does_not_end_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # P5
    await reaped(folder)
    name = msgspec.json.decode((folder / "family.json").read_bytes(), type=FamilyName).name
    monkeypatch.setenv(MARKER, f"{name}/0/1")
    command = (
        "import sys, trio; from pathlib import Path; from tests.processes.test_leftovers import"
        " reaped; print(trio.run(reaped, Path(sys.argv[1])))"
    )
    result = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-c", command, str(folder)], capture_output=True, text=True
        )
    )
    assert result.stdout == "0\n", result.stderr


async def test_the_marker_of_a_bystander_does_not_count_when_it_is_anothers(
    folder: Path,
) -> None:
    # P5
    await reaped(folder)
    async with bystander(**{MARKER: "ffff/0/1"}) as process:
        assert await reaped(folder) == 0
        assert lives(process.pid)


async def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    # P5
    spec = ProcessSpec(("true",), tmp_path)
    async with open_processes(None) as processes, processes.run(spec) as child:
        await child.wait()
    assert list(os.scandir(tmp_path)) == []


async def test_a_folder_that_cannot_be_written_to_later_does_no_harm(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # P5
    async with open_processes(folder) as processes:
        await trio.to_thread.run_sync(shutil.rmtree, folder)
        with caplog.at_level(logging.WARNING, "runtime.processes"):
            async with processes.run(ProcessSpec(("cat",), tmp_path)) as child:
                await child.write(b"fine")
                assert await child.read_record() == b"fine"
    assert "cannot write down" in caplog.text
