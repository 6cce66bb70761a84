"""Numbered migrations: from every version, with a backup, killed at any step (D4)."""

from __future__ import annotations

import stat
from pathlib import Path

import apsw
import pytest

from runtime.storage.migrations import Migration, bundled, migrate, schema_version
from runtime.storage.sqlite import open_sqlite
from tests.storage.stage import Clock, admit, message

NEXT = len(bundled()) + 1
EXTRA = (
    Migration(NEXT, "colours", "CREATE TABLE colours (name TEXT NOT NULL) STRICT;"),
    Migration(
        NEXT + 1,
        "fill",
        "INSERT INTO colours VALUES ('red'); ALTER TABLE colours ADD COLUMN hex TEXT;",
    ),
    Migration(NEXT + 2, "green", "INSERT INTO colours VALUES ('green', '#0f0');"),
)
ALL = (*bundled(), *EXTRA)


def schema(connection: apsw.Connection) -> list[tuple[str, str]]:
    found = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    return [(str(row[0]), str(row[1])) for row in found]


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def newest() -> list[tuple[str, str]]:
    connection = apsw.Connection(":memory:")
    migrate(connection, ALL, None)
    return schema(connection)


def test_the_bundled_ones_count_from_one() -> None:  # D4
    assert [migration.number for migration in bundled()] == list(range(1, len(bundled()) + 1))


@pytest.mark.parametrize("version", range(len(ALL) + 1))
def test_from_every_older_version(tmp_path: Path, version: int) -> None:  # D4
    database = tmp_path / "runtime.db"
    connection = apsw.Connection(str(database))
    migrate(connection, ALL[:version], database)
    before = schema(connection)
    backup = migrate(connection, ALL, database)
    assert schema_version(connection) == len(ALL)
    assert schema(connection) == newest()
    assert connection.execute("SELECT name, hex FROM colours").fetchall() == [
        ("red", None),
        ("green", "#0f0"),
    ]
    if version in (0, len(ALL)):
        assert backup is None
        return
    assert backup == tmp_path / f"runtime.db.before-{version + 1}"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    copy = apsw.Connection(str(backup), flags=apsw.SQLITE_OPEN_READONLY)
    assert (schema_version(copy), schema(copy)) == (version, before)
    assert copy.pragma("integrity_check") == "ok"


def test_a_step_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:  # D4
    database = tmp_path / "runtime.db"
    connection = apsw.Connection(str(database))
    broken = Migration(
        NEXT + 1, "broken", "INSERT INTO colours VALUES ('red'); SELECT * FROM nowhere;"
    )
    with pytest.raises(apsw.SQLError, match="nowhere"):
        migrate(connection, (*ALL[:NEXT], broken), database)
    assert schema_version(connection) == NEXT
    assert connection.execute("SELECT count(*) FROM colours").get == 0
    migrate(connection, ALL, database)
    assert schema(connection) == newest()


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("steps", range(1, len(EXTRA) + 1))
def test_killed_between_two_steps_it_goes_on_from_there(tmp_path: Path, steps: int) -> None:  # D4
    database = tmp_path / "runtime.db"
    connection = apsw.Connection(str(database))
    migrate(connection, bundled(), database)
    kill_in = ALL[len(bundled()) + steps - 1]

    def die(_: object, sql: str, __: object) -> bool:
        if "user_version" in sql and sql.endswith(f"({kill_in.number})"):
            raise Killed
        return True

    connection.exec_trace = die
    with pytest.raises(Killed):
        migrate(connection, ALL, database)
    connection.close()
    again = apsw.Connection(str(database))
    assert schema_version(again) == len(bundled()) + steps - 1
    migrate(again, ALL, database)
    assert schema(again) == newest()


async def test_a_store_is_migrated_when_it_opens(clock: Clock, tmp_path: Path) -> None:  # D4
    async with open_sqlite(tmp_path, clock) as store:
        admitted = await admit(store, message())
    async with open_sqlite(tmp_path, clock, migrations=ALL) as store:
        assert store.info.schema_version == len(ALL)
        status = await store.message_status(admitted.message.id)
        assert status is not None
    backup = tmp_path / f"runtime.db.before-{NEXT}"
    assert names_in(tmp_path) == sorted(("lock", "runtime.db", backup.name))
    header = (tmp_path / "runtime.db").read_bytes()[60:64]
    assert int.from_bytes(header, "big") == len(ALL)
