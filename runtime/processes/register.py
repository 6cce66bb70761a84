"""What a later run has to know about the children of this one, and who is left of an earlier one.

The folder holds the name of the family (``family.json``) and one record per child that runs. Both
tell about processes, which die with the machine: nothing is forced to the disk. A record that could
not be written is made up for by the marker, and the other way round.

Nothing here is for the loop.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from pathlib import Path

import msgspec

from runtime.processes.family import Family
from runtime.processes.folders import make_private, write_private
from runtime.processes.scan import boot_id

log = logging.getLogger("runtime.processes")

_FAMILY_FILE = "family.json"
_RECORDS = "child-*.json"


class FamilyName(msgspec.Struct, frozen=True):
    """The name that all markers of a folder begin with.

    A copy of a data directory is another one, and must not end the processes of its original: the
    name counts only in the folder for which it was made.

    Args:
        name: random.
        device: where the folder is, as stat(2) says it.
        inode: which folder it is.
    """

    name: str
    device: int
    inode: int


class ChildRecord(msgspec.Struct, frozen=True):
    """A child that runs, or ran when its runtime was killed.

    Args:
        pid: its process id.
        group: its process group.
        started: its start time, in clock ticks since boot; see `runtime.processes.scan.Seen`.
        boot: the boot that this belongs to.
        marker: the value of `runtime.processes.environment.MARKER`.
    """

    pid: int
    group: int
    started: int
    boot: str
    marker: str


class Register:
    """The records of the children of one run.

    Args:
        folder: where they are kept; None to keep none.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._boot = boot_id()
        self._run = secrets.token_hex(4)
        self._serial = 0
        self._name = secrets.token_hex(16) if folder is None else _family_name(folder)

    def new_marker(self) -> str:
        """A marker for one more child: family, run, number."""
        self._serial += 1
        return f"{self._name}/{self._run}/{self._serial}"

    def add(self, pid: int, started: int, marker: str) -> None:
        """Write down that a child runs. If that fails, the marker alone has to do."""
        record = ChildRecord(pid, pid, started, self._boot, marker)
        path = self._path(marker)
        if path is None:
            return
        try:
            write_private(path, msgspec.json.encode(record))
        except OSError as error:
            log.warning("cannot write down that process %d runs: %s", pid, error)

    def remove(self, marker: str) -> None:
        """Nothing is left of the child."""
        path = self._path(marker)
        if path is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, marker: str) -> Path | None:
        if self._folder is None:
            return None
        _, run, number = marker.split("/")
        return self._folder / f"child-{run}-{number}.json"

    def earlier(self) -> Family:
        """Everything that earlier runs of this folder left behind.

        Only to be called while this run has no children.
        """
        leaders = {
            record.group: record.started
            for _, record in self._records()
            if record is not None and self._boot and record.boot == self._boot
        }
        return Family(lambda marker: marker.startswith(f"{self._name}/"), leaders)

    def forget_earlier(self) -> None:
        """Remove the records of earlier runs: nothing is left of them."""
        for path, _ in self._records():
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _records(self) -> list[tuple[Path, ChildRecord | None]]:
        if self._folder is None:
            return []
        return [(path, self._read(path)) for path in sorted(self._folder.glob(_RECORDS))]

    def _read(self, path: Path) -> ChildRecord | None:
        try:
            record = msgspec.json.decode(path.read_bytes(), type=ChildRecord)
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("a record of a process cannot be read: %s: %s", path, error)
            return None
        return record if record.marker.startswith(f"{self._name}/") else None


def _family_name(folder: Path) -> str:
    make_private(folder)
    path = folder / _FAMILY_FILE
    here = folder.stat()
    with suppress(FileNotFoundError, msgspec.MsgspecError):
        family = msgspec.json.decode(path.read_bytes(), type=FamilyName)
        if (family.device, family.inode) == (here.st_dev, here.st_ino):
            return family.name
    family = FamilyName(secrets.token_hex(16), here.st_dev, here.st_ino)
    write_private(path, msgspec.json.encode(family))
    return family.name
