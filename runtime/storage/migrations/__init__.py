"""Numbered migrations: how a database gets from one schema to the next (D4).

A migration is a file ``NNNN_name.sql`` in this folder. Numbers count from 1 without gaps, and the
number of the newest one applied is the database's ``user_version``. Each is applied in a
transaction of its own together with that number, so that a process killed at any moment leaves the
database at one version or the next, never between, and the next start goes on from there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import apsw
import msgspec

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(msgspec.Struct, frozen=True):
    """One step from schema ``number - 1`` to schema ``number``."""

    number: int
    name: str
    sql: str


def bundled() -> tuple[Migration, ...]:
    """The migrations that belong to this version of the runtime, in order.

    Raises:
        ValueError: The files do not count from 1 without gaps.
    """
    found = []
    for file in resources.files(__name__).iterdir():
        match = _FILE.fullmatch(file.name)
        if match is not None:
            number, name = int(match[1]), match[2]
            found.append(Migration(number, name, file.read_text(encoding="utf-8")))
    ordered = tuple(sorted(found, key=lambda migration: migration.number))
    if [migration.number for migration in ordered] != list(range(1, len(ordered) + 1)):
        raise ValueError("the migrations do not count from 1 without gaps")
    return ordered


def schema_version(connection: apsw.Connection) -> int:
    """The number of the newest migration applied to a database; 0 for an empty one."""
    version: int = connection.pragma("user_version")
    return version


def migrate(
    connection: apsw.Connection, migrations: Sequence[Migration], database: Path | None
) -> Path | None:
    """Bring a database to the newest schema.

    Args:
        connection: Open for writing, outside of any transaction.
        migrations: All of them, in order.
        database: The file, to be copied before an existing database is changed; None for one in
            memory.

    Returns:
        The copy that was made, ``<database>.before-<n>``; None when nothing had to be copied.

    Raises:
        apsw.Error: A step failed; the steps before it stay applied, itself left nothing.
    """
    current = schema_version(connection)
    missing = [migration for migration in migrations if migration.number > current]
    backup = None
    if missing and current > 0 and database is not None:
        backup = database.with_name(f"{database.name}.before-{missing[0].number}")
        _copy(connection, backup)
    for migration in missing:
        with connection:
            for _ in connection.execute(migration.sql):
                pass
            connection.pragma("user_version", migration.number)
    return backup


def _copy(connection: apsw.Connection, target: Path) -> None:
    """Copy a database, durably and under its final name only when the copy is whole."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        copy = apsw.Connection(str(unfinished))
        try:
            with copy.backup("main", connection, "main") as backup:
                while not backup.done:
                    backup.step(1000)
        finally:
            copy.close()
        _sync(unfinished)
        unfinished.replace(target)
        _sync(target.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
