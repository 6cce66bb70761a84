"""Opening: what is refused, and that nothing is changed then (D3, D4, S23)."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from runtime.sessions.ids import wall_clock_ms
from runtime.storage.errors import (
    DataDirectoryError,
    InstanceLocked,
    NewerDatabase,
    StoreCannotOpen,
    UnreadableDatabase,
)
from runtime.storage.lock import InstanceLock
from runtime.storage.migrations import bundled
from runtime.storage.opening import APPLICATION_ID, open_directory
from runtime.storage.sqlite import open_sqlite
from tests.storage.stage import SPEC, Clock, admit, message


def contents(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Everything below a directory: mode, time and content of each file."""
    found = {}
    for path in sorted(directory.rglob("*")):
        state = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(directory))] = (state.st_mode, state.st_mtime_ns, digest)
    return found


def loosen(data_dir: Path) -> None:
    for path in (data_dir, *data_dir.iterdir()):
        path.chmod(0o755)


async def make(data_dir: Path) -> None:
    """A database as a clean stop leaves it."""
    async with open_sqlite(data_dir, wall_clock_ms) as store:
        await admit(store, message())


async def refused(data_dir: Path, error: type[Exception], words: str) -> str:
    """That a directory is refused and nothing in it changes; what is said."""
    before = contents(data_dir)
    with pytest.raises(error, match=words) as caught:
        async with open_sqlite(data_dir, wall_clock_ms):
            pass
    assert contents(data_dir) == before
    return str(caught.value)


# -- what opens ------------------------------------------------------------------------------------


async def test_a_new_directory_is_private(clock: Clock, tmp_path: Path) -> None:  # D3
    data_dir = tmp_path / "deep" / "data"
    async with open_sqlite(data_dir, clock) as store:
        await admit(store, message())
        modes = {name: mode & 0o777 for name, (mode, _, _) in contents(data_dir).items()}
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    files = ("lock", "runtime.db", "runtime.db-wal", "runtime.db-shm")
    assert modes == dict.fromkeys(files, 0o600)
    assert list(contents(data_dir)) == ["lock", "runtime.db"]


async def test_looser_modes_are_tightened(tmp_path: Path) -> None:  # D3
    await make(tmp_path)
    data_dir = tmp_path / "data"
    await make(data_dir)
    loosen(data_dir)
    await make(data_dir)
    modes = {name: stat.S_IMODE(mode) for name, (mode, _, _) in contents(tmp_path).items()}
    assert modes["data"] == 0o700
    assert modes["data/runtime.db"] == 0o600


async def test_what_was_stored_is_there_again(clock: Clock, tmp_path: Path) -> None:  # D1
    async with open_sqlite(tmp_path, clock) as store:
        admitted = await admit(store, message())
    async with open_sqlite(tmp_path, clock) as store:
        status = await store.message_status(admitted.message.id)
        assert status is not None
        assert status.message == admitted.message


@pytest.mark.parametrize("marked", [False, True])
async def test_a_first_start_that_was_killed_is_begun_again(  # D4
    tmp_path: Path, marked: bool
) -> None:
    if marked:
        connection = apsw.Connection(str(tmp_path / "runtime.db"))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("journal_mode", "wal")
        connection.close()
    else:
        (tmp_path / "runtime.db").touch()
    await make(tmp_path)


# -- what is refused -------------------------------------------------------------------------------


async def test_a_second_runtime_is_refused(tmp_path: Path) -> None:  # D3
    async with open_sqlite(tmp_path, wall_clock_ms) as store:
        said = await refused(tmp_path, InstanceLocked, f"process {os.getpid()}")
        assert "--data-dir" in said
        await admit(store, message())
    await make(tmp_path)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:  # D3
    program = (
        "import sys, pathlib, time\n"
        "from runtime.storage.lock import InstanceLock\n"
        "lock = InstanceLock.take(pathlib.Path(sys.argv[1]))\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InstanceLocked, match=f"process {process.pid}"):
            InstanceLock.take(tmp_path / "lock")
        process.kill()
    InstanceLock.take(tmp_path / "lock").release()


def test_a_lock_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:  # D3
    first = InstanceLock.take(tmp_path / "lock")
    first.release(remove=True)
    second = InstanceLock.take(tmp_path / "lock")
    assert second.created
    with pytest.raises(InstanceLocked):
        InstanceLock.take(tmp_path / "lock")
    second.release()
    assert not InstanceLock.take(tmp_path / "lock").created


async def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:  # D4
    await make(tmp_path)
    connection = apsw.Connection(str(tmp_path / "runtime.db"))
    connection.pragma("user_version", 99)
    connection.close()
    (tmp_path / "lock").unlink()
    said = await refused(tmp_path, NewerDatabase, "schema 99")
    assert "runtime.db" in said


async def test_a_newer_version_only_in_the_log_is_not_touched(tmp_path: Path) -> None:  # D4
    killed, copy = tmp_path / "killed", tmp_path / "copy"
    await make(killed)
    connection = apsw.Connection(str(killed / "runtime.db"))
    connection.pragma("user_version", 99)
    copy.mkdir(mode=0o700)
    for name in ("runtime.db", "runtime.db-wal"):
        shutil.copy2(killed / name, copy / name)
    connection.close()
    await refused(copy, NewerDatabase, "schema 99")


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"x", b"SQLite format 3\x00short"]
)
async def test_what_is_no_database_is_kept(tmp_path: Path, content: bytes) -> None:  # S23
    (tmp_path / "runtime.db").write_bytes(content)
    said = await refused(tmp_path, UnreadableDatabase, "not an SQLite database")
    assert str(tmp_path / "runtime.db") in said
    assert "python -m runtime doctor" in said


async def test_a_damaged_database_is_kept(tmp_path: Path) -> None:  # S23
    await make(tmp_path)
    (tmp_path / "lock").unlink()
    database = tmp_path / "runtime.db"
    damaged = bytearray(database.read_bytes())
    damaged[100:4096] = os.urandom(3996)
    database.write_bytes(damaged)
    said = await refused(tmp_path, UnreadableDatabase, "malformed")
    assert "python -m runtime doctor" in said


@pytest.mark.parametrize("application, version", [(0, 3), (77, 0), (0, 0)])
async def test_a_database_of_another_program_is_kept(  # S23
    tmp_path: Path, application: int, version: int
) -> None:
    connection = apsw.Connection(str(tmp_path / "runtime.db"))
    connection.execute("CREATE TABLE theirs (a)")
    connection.pragma("application_id", application)
    connection.pragma("user_version", version)
    connection.close()
    await refused(tmp_path, UnreadableDatabase, "another program")


async def test_a_log_without_its_database_is_kept(tmp_path: Path) -> None:  # S23
    (tmp_path / "runtime.db-wal").write_bytes(b"x" * 5000)
    await refused(tmp_path, UnreadableDatabase, "write-ahead log is there")


async def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:  # D3
    target = tmp_path / "file"
    target.write_text("mine")
    with pytest.raises(DataDirectoryError, match="not a directory"):
        async with open_sqlite(target, wall_clock_ms):
            pass
    with pytest.raises(DataDirectoryError, match="--data-dir"):
        async with open_sqlite(target / "below", wall_clock_ms):
            pass
    assert target.read_text() == "mine"


async def test_a_link_in_place_of_the_database_or_lock_is_refused(tmp_path: Path) -> None:  # D3
    outside = tmp_path / "outside"
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "runtime.db").symlink_to(outside)
    await refused(data_dir, StoreCannotOpen, "--data-dir")
    (data_dir / "runtime.db").unlink()
    (data_dir / "lock").symlink_to(outside)
    await refused(data_dir, StoreCannotOpen, "--data-dir")
    assert not outside.exists()


def test_a_directory_that_was_refused_and_new_is_gone(tmp_path: Path) -> None:  # D3
    broken = bundled()[:1]
    bad = [type(broken[0])(1, "bad", "CREATE TABLE a (b); SELECT nonsense FROM nowhere;")]
    with pytest.raises(apsw.SQLError):
        open_directory(tmp_path / "data", bad)
    assert list(tmp_path.iterdir()) == []


async def test_the_list_of_sessions_survives_a_restart(tmp_path: Path) -> None:  # J4
    async with open_sqlite(tmp_path, wall_clock_ms) as store:
        made, _ = await store.resolve(SPEC)
    async with open_sqlite(tmp_path, wall_clock_ms) as store:
        assert (await store.sessions()).sessions == (made,)
