"""A full disk, and a disk that refuses: typed errors, and going on by itself (D1, D4)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.sessions.ids import wall_clock_ms
from runtime.storage.errors import DataDirectoryError, DiskFull
from runtime.storage.requests import NewInbound
from runtime.storage.sqlite import SqliteStore, open_sqlite
from tests.storage.stage import SPEC, admit, message


class SmallDisk:
    """A file system of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data_dir = root / "data"
        self._filler = root / "filler"

    def fill(self, leave: int = 0) -> None:
        """Take all space but so many bytes."""
        with self._filler.open("ab") as file:
            size = 64 * 1024
            while size >= 512:
                space = os.statvfs(self.root)
                if space.f_bavail * space.f_frsize - size < leave:
                    size //= 2
                    continue
                try:
                    file.write(b"x" * size)
                    file.flush()
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()


def mounted(target: Path, *options: str) -> None:
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", ",".join(("mode=755", *options)), "tmpfs", str(target)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.decode().strip()}")


def unmount(root: Path) -> None:
    subprocess.run(["umount", str(root)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    root = tmp_path / "disk"
    root.mkdir()
    mounted(root, "size=3m")
    yield SmallDisk(root)
    unmount(root)


async def fill_up(store: SqliteStore, session_id: str) -> list[NewInbound]:
    """Admit messages until the disk is full; those that were accepted."""
    accepted: list[NewInbound] = []
    while True:
        new = message(session_id, "x" * 20_000)
        try:
            await store.admit([new])
        except DiskFull:
            return accepted
        accepted.append(new)


async def test_a_full_disk_is_told_and_got_over(small_disk: SmallDisk) -> None:  # D1
    async with open_sqlite(small_disk.data_dir, wall_clock_ms) as store:
        session, _ = await store.resolve(SPEC)
        small_disk.fill(leave=400_000)
        accepted = await fill_up(store, session.id)
        assert accepted
        health = store.health()
        assert not health.ready
        assert "free some space" in str(health.problem)
        with pytest.raises(DiskFull, match="free some space"):
            await admit(store, message(session.id, "y" * 20_000))
        assert (await store.session(session.id)) is not None
        small_disk.free()
        after = await admit(store, message(session.id))
        assert store.health().ready
        assert store.health().problem is None
    async with open_sqlite(small_disk.data_dir, wall_clock_ms) as store:
        for new in accepted:
            status = await store.message_status(new.id)
            assert status is not None
            assert status.message.content == new.content
        assert after.message.seq == len(accepted) + 1


async def test_a_small_write_fits_beside_a_large_one_that_does_not(  # D1
    small_disk: SmallDisk,
) -> None:
    async with open_sqlite(small_disk.data_dir, wall_clock_ms) as store:
        session, _ = await store.resolve(SPEC)
        small_disk.fill(leave=600_000)
        with pytest.raises(DiskFull):
            await admit(store, message(session.id, "x" * 900_000))
        assert (await admit(store, message(session.id))).message.seq == 1
        assert store.health().ready


@pytest.mark.parametrize("leave", [0, 8_192, 65_536, 200_000])
async def test_a_first_start_on_a_full_disk_leaves_nothing(  # D4
    small_disk: SmallDisk, leave: int
) -> None:
    small_disk.fill(leave)
    before = sorted(small_disk.root.rglob("*"))
    with pytest.raises(DiskFull, match="free some space"):
        async with open_sqlite(small_disk.data_dir, wall_clock_ms):
            pass
    assert sorted(small_disk.root.rglob("*")) == before
    small_disk.free()
    async with open_sqlite(small_disk.data_dir, wall_clock_ms) as store:
        await admit(store, message())


async def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:  # D3
    root = tmp_path / "disk"
    root.mkdir()
    mounted(root, "size=3m", "ro")
    try:
        for data_dir in (root, root / "new"):
            with pytest.raises(DataDirectoryError, match="--data-dir"):
                async with open_sqlite(data_dir, wall_clock_ms):
                    pass
    finally:
        unmount(root)


PROGRAM = """
import sys, trio
from contextlib import AsyncExitStack
from pathlib import Path
from runtime.sessions.ids import IdSource, wall_clock_ms
from runtime.sessions.content import text_content
from runtime.sessions.rows import SessionSpec
from runtime.storage.errors import StoreError, StoreUnavailable
from runtime.storage.requests import NewInbound
from runtime.storage.sqlite import open_sqlite

ids = IdSource()

async def open_at_last(stack):
    for _ in range(100):
        try:
            return await stack.enter_async_context(open_sqlite(Path(sys.argv[1]), wall_clock_ms))
        except StoreError:
            pass
    raise SystemExit("it never opened")

async def main():
    async with AsyncExitStack() as stack:
        store = await open_at_last(stack)
        failed = 0
        async def sender(number):
            nonlocal failed
            sent = 0
            while sent < 40 or failed < 5:
                sent += 1
                new = NewInbound(ids.new(), SessionSpec("echo", str(number)), text_content("x"))
                try:
                    await store.admit([new])
                except StoreUnavailable:
                    failed += 1
                else:
                    print(new.id, flush=True)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(sender, number)
        print("failed", failed, file=sys.stderr)

trio.run(main)
"""


def run_with_faults(point: str, data_dir: Path) -> list[str]:
    """Run the program while a system call fails now and then; the ids that were accepted."""
    fiu_run = shutil.which("fiu-run")
    if fiu_run is None:
        pytest.skip("fiu-run is not installed")
    faults = f"enable_random name={point},probability=0.1"
    done = subprocess.run(
        [fiu_run, "-x", "-c", faults, sys.executable, "-c", PROGRAM, str(data_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-1]) > 0
    return done.stdout.split()


@pytest.mark.parametrize("point", ["posix/io/sync/fdatasync", "posix/io/rw/pwrite"])
async def test_a_disk_that_refuses_now_and_then(tmp_path: Path, point: str) -> None:  # D1
    async with open_sqlite(tmp_path, wall_clock_ms):
        pass
    accepted = run_with_faults(point, tmp_path)
    assert accepted
    async with open_sqlite(tmp_path, wall_clock_ms) as store:
        for message_id in accepted:
            assert await store.message_status(message_id) is not None
