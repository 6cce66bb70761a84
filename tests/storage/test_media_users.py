"""Other users of the machine: what they made before us, and what we may not read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.storage.media_errors import MediaUnsafe
from runtime.storage.media_tree import MediaTree
from tests.storage.media_stage import (
    NOBODY,
    OTHER,
    SESSION,
    SOMEBODY,
    as_nobody,
    mode,
    picture,
    prepared,
    put,
    shared_directory,
)


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_directory() as directory:
        yield directory


def folder(root: Path) -> None:
    root.mkdir(mode=0o777)
    root.chmod(0o777)


def private_folder(root: Path) -> None:
    root.mkdir(mode=0o700)


def link(root: Path) -> None:
    target = root.with_name("target")
    target.mkdir()
    root.symlink_to(target)


def file(root: Path) -> None:
    root.touch()


def pipe(root: Path) -> None:
    os.mkfifo(root)


SQUATTERS = [folder, private_folder, link, file, pipe]
PREPARE = """
import sys
from pathlib import Path
from runtime.storage.media_errors import MediaUnsafe
from runtime.storage.media_tree import MediaTree
drop()
try:
    MediaTree(Path(sys.argv[1])).prepare()
except MediaUnsafe as error:
    print(error)
"""


@pytest.mark.parametrize("squat", SQUATTERS)
def test_what_another_user_made_first_is_refused(  # M2
    shared: Path, squat: Callable[[Path], None]
) -> None:
    root = shared / "media"
    squat(root)
    os.chown(root, SOMEBODY, SOMEBODY, follow_symlinks=False)
    before = picture(shared)
    tree = MediaTree(root)
    with pytest.raises(MediaUnsafe, match="move it elsewhere, or choose another folder"):
        tree.prepare()
    with pytest.raises(MediaUnsafe):
        tree.create("session", limit=100)
    said = as_nobody(PREPARE, str(root))
    assert said.startswith(f"{root} ")
    assert "move it elsewhere, or choose another folder" in said
    assert picture(shared) == before


def test_a_root_on_a_shared_directory_is_closed_to_others(shared: Path) -> None:  # M1 M2
    with prepared(shared / "media") as tree:
        path = put(tree, "session", "file")
        assert (mode(tree.root), mode(path.parent), mode(path)) == (0o700, 0o700, 0o600)
        program = """
import os, sys
drop()
for path in sys.argv[1:]:
    try:
        os.rename(path, path + ".mine")
    except OSError as error:
        print(type(error).__name__)
"""
        said = as_nobody(program, str(tree.root), str(path.parent), str(path))
        assert said.split() == ["PermissionError"] * 3


def test_the_folder_of_a_session_that_another_user_owns(shared: Path) -> None:  # M2
    with prepared(shared / "media") as tree:
        path = put(tree, SESSION, "file")
        put(tree, OTHER, "file")
        os.chown(path.parent, NOBODY, NOBODY)
        for operation in (tree.remove, tree.open, tree.stat):
            with pytest.raises(MediaUnsafe, match="belongs to another user"):
                operation(SESSION, "file")
        with pytest.raises(MediaUnsafe, match="belongs to another user"):
            tree.remove_session(SESSION)
        scan = tree.scan()
        assert [found.session for found in scan.files] == [OTHER]
        assert "belongs to another user" in scan.problems[0]
        assert path.exists()


UNREADABLE = """
import json, os, sys
from pathlib import Path
from runtime.storage.attachments import Outbox
from runtime.storage.media_errors import MediaFailed
from runtime.storage.media_tree import MediaTree
drop()
root = Path(sys.argv[1])
tree = MediaTree(root)
tree.prepare()

def put(session, file):
    with tree.create(session, limit=100) as partial:
        partial.write(b"data")
        partial.finish(file)

def refusal(operation, *arguments, **named):
    try:
        operation(*arguments, **named)
    except MediaFailed as error:
        return str(error)

for session in ("good", "unreadable", "unwritable"):
    put(session, "file")
    put(session, "second")
(root / "unreadable").chmod(0o000)
(root / "unwritable").chmod(0o500)
scan = tree.scan()
said = {
    "files": sorted(f"{found.session}/{found.file}" for found in scan.files),
    "problems": scan.problems,
    "refusals": [
        refusal(tree.remove, "unreadable", "file"),
        refusal(tree.remove, "unwritable", "file"),
        refusal(tree.remove_session, "unreadable"),
        refusal(tree.create, "unreadable", limit=1),
        refusal(tree.create, "unwritable", limit=1),
        refusal(tree.read, "unreadable", "file", limit=100),
    ],
    "good": tree.remove("good", "file"),
}
removed = tree.remove_session("unwritable")
said["removed"] = [removed.count, removed.failed, removed.problems]
outbox = root / "good"
(outbox / "a").mkdir()
(outbox / "a" / "file").touch()
(outbox / "a").chmod(0o000)
said["outbox"] = [found.path for found in Outbox(outbox).files()]
for path in (root / "unreadable", root / "unwritable", outbox / "a"):
    path.chmod(0o700)
print(json.dumps(said))
"""


def test_a_folder_that_cannot_be_read_stops_nothing_else(shared: Path) -> None:  # M6
    root = shared / "media"
    said: dict[str, Any] = json.loads(as_nobody(UNREADABLE, str(root)))
    assert said["files"] == ["good/file", "good/second", "unwritable/file", "unwritable/second"]
    (problem,) = said["problems"]
    assert problem.startswith(f"{root / 'unreadable'}: ")
    assert all("permissions" in refusal for refusal in said["refusals"])
    assert said["good"]
    count, failed, problems = said["removed"]
    assert (count, failed) == (0, 3)
    assert problems[0].startswith(f"{root / 'unwritable'}/")
    assert said["outbox"] == ["second"]  # A3
    assert sorted(path.name for path in (root / "unreadable").iterdir()) == ["file", "second"]
