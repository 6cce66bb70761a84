"""What is put into an inbox is the file itself, or a copy, and goes with it (M5, A2)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.storage.inbox import Inbox, inbox_name, scan_inboxes
from runtime.storage.media_errors import MediaFailed, MediaUnsafe, NoSuchFile, UnsafeName
from runtime.storage.media_tree import MediaTree
from tests.storage.media_stage import (
    MEMORY,
    NOBODY,
    OTHER,
    SESSION,
    as_nobody,
    mode,
    picture,
    prepared,
    put,
    shared_directory,
)

ID = "01a222e4-0000-7000-8000-000000000001"
FILE = f"{ID}.png"


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[MediaTree]:
    with prepared(tmp_path / "media") as it:
        yield it


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "sessions" / "agent" / SESSION / "inbox")


def test_it_is_the_same_file(tree: MediaTree, inbox: Inbox) -> None:  # M5 M1
    original = put(tree, SESSION, FILE, b"bytes")
    assert inbox.link(tree, SESSION, FILE, "cat.png")
    here = inbox.path(FILE, "cat.png")
    assert here.samefile(original)
    assert here.relative_to(here.parents[2]) == Path("inbox", ID, "cat.png")
    assert [mode(each) for each in (*here.parents[:5], here)] == [0o700] * 5 + [0o600]
    assert inbox.copies(FILE) == 0


def test_once_more_changes_nothing(tree: MediaTree, inbox: Inbox) -> None:
    put(tree, SESSION, FILE)
    for _ in range(2):
        assert inbox.link(tree, SESSION, FILE, "cat.png")
    assert inbox.link(tree, SESSION, FILE, "the same.png")
    assert sorted(each.name for each in inbox.path(FILE, "x").parent.iterdir()) == [
        "cat.png",
        "the same.png",
    ]


def test_what_has_its_name_makes_way(tree: MediaTree, inbox: Inbox) -> None:
    original = put(tree, SESSION, FILE, b"bytes")
    inbox.link(tree, SESSION, FILE, "cat.png")
    here = inbox.path(FILE, "cat.png")
    here.unlink()
    here.write_bytes(b"the agent's")
    assert inbox.link(tree, SESSION, FILE, "cat.png")
    assert here.samefile(original)
    assert here.read_bytes() == b"bytes"


def test_a_copy_takes_bytes(tree: MediaTree, inbox: Inbox) -> None:  # M5
    original = put(tree, SESSION, FILE, b"bytes")
    inbox.copy(tree, SESSION, FILE, "cat.png")
    inbox.copy(tree, SESSION, FILE, "cat.png")
    here = inbox.path(FILE, "cat.png")
    assert here.read_bytes() == b"bytes"
    assert not here.samefile(original)
    assert mode(here) == 0o600
    assert [each.name for each in here.parent.iterdir()] == ["cat.png"]
    assert inbox.copies(FILE) == 5


def test_on_another_file_system_there_is_no_link(tmp_path: Path) -> None:
    if not os.access(MEMORY, os.W_OK) or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as elsewhere,
        prepared(Path(elsewhere) / "media") as tree,
    ):
        inbox = Inbox(tmp_path / "inbox")
        put(tree, SESSION, FILE)
        assert not inbox.link(tree, SESSION, FILE, "cat.png")
        assert list(inbox.path(FILE, "x").parent.iterdir()) == []


def test_it_goes_under_all_names_and_the_original_stays(tree: MediaTree, inbox: Inbox) -> None:
    original = put(tree, SESSION, FILE)
    other = put(tree, SESSION, f"{OTHER}.png")
    inbox.link(tree, SESSION, FILE, "cat.png")
    inbox.link(tree, SESSION, FILE, "the same.png")
    inbox.copy(tree, SESSION, FILE, "a copy.png")
    inbox.link(tree, SESSION, other.name, "cat.png")
    inbox.remove(FILE)
    inbox.remove(FILE)
    assert not inbox.path(FILE, "x").parent.exists()
    assert inbox.path(other.name, "cat.png").samefile(other)
    assert original.exists()


def test_one_name_goes_and_the_others_stay(tree: MediaTree, inbox: Inbox) -> None:
    put(tree, SESSION, FILE)
    inbox.link(tree, SESSION, FILE, "cat.png")
    inbox.copy(tree, SESSION, FILE, "a copy.png")
    for _ in range(2):
        inbox.drop(FILE, "a copy.png")
    assert [each.name for each in inbox.path(FILE, "x").parent.iterdir()] == ["cat.png"]


def test_what_is_not_there_is_gone_already(inbox: Inbox) -> None:
    inbox.remove(FILE)
    inbox.drop(FILE, "cat.png")
    assert inbox.copies(FILE) == 0


def test_a_file_that_is_not_there_is_none(tree: MediaTree, inbox: Inbox) -> None:
    for put_there in (inbox.link, inbox.copy):
        with pytest.raises(NoSuchFile):
            put_there(tree, SESSION, FILE, "cat.png")
    put(tree, SESSION, f"{OTHER}.png")
    for put_there in (inbox.link, inbox.copy):
        with pytest.raises(NoSuchFile):
            put_there(tree, SESSION, FILE, "cat.png")


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "a\\b", "a\0"])
def test_no_name_leads_elsewhere(tree: MediaTree, inbox: Inbox, name: str) -> None:  # A2
    put(tree, SESSION, FILE)
    for put_there in (inbox.link, inbox.copy):
        with pytest.raises(UnsafeName):
            put_there(tree, SESSION, FILE, name)
    with pytest.raises(UnsafeName):
        inbox.remove(name)


@pytest.mark.parametrize(
    "name, called",
    [
        ("cat.png", "cat.png"),
        ("Ein Bild.png", "Ein Bild.png"),
        (None, FILE),
        ("", FILE),
        ("../../x", FILE),
        (".bashrc", FILE),
        ("x" * 300, FILE),
    ],
)
def test_it_is_called_what_its_sender_called_it_if_that_is_safe(  # A2
    name: str | None, called: str
) -> None:
    assert inbox_name(name, FILE) == called


@pytest.mark.parametrize("where", ["inbox", "folder", "session"])
def test_no_link_leads_elsewhere(  # M2
    tree: MediaTree, inbox: Inbox, tmp_path: Path, where: str
) -> None:
    put(tree, SESSION, FILE)
    inbox.link(tree, SESSION, FILE, "cat.png")
    victim = tmp_path / "victim"
    (victim / "inbox" / ID).mkdir(parents=True)
    (victim / ID).mkdir()
    for each in (victim / "inbox" / ID, victim / ID, victim):
        (each / "cat.png").write_bytes(b"precious")
    folder = inbox.path(FILE, "x").parent
    place = {"folder": folder, "inbox": folder.parent, "session": folder.parents[1]}[where]
    place.rename(tmp_path / "aside")
    place.symlink_to(victim)
    before = picture(victim)
    for work in (
        lambda: inbox.link(tree, SESSION, FILE, "cat.png"),
        lambda: inbox.copy(tree, SESSION, FILE, "cat.png"),
        lambda: inbox.remove(FILE),
        lambda: inbox.drop(FILE, "cat.png"),
        lambda: inbox.copies(FILE),
    ):
        with pytest.raises(MediaUnsafe):
            work()
    assert scan_inboxes(tmp_path / "sessions").copies == {}
    assert picture(victim) == before


def test_a_link_in_the_place_of_a_file_is_not_given_away(  # M2
    tree: MediaTree, inbox: Inbox, tmp_path: Path
) -> None:
    original = put(tree, SESSION, FILE)
    (tmp_path / "secret").write_bytes(b"secret")
    original.unlink()
    original.symlink_to(tmp_path / "secret")
    for put_there in (inbox.link, inbox.copy):
        with pytest.raises(MediaUnsafe):
            put_there(tree, SESSION, FILE, "cat.png")
    assert list(inbox.path(FILE, "x").parent.parent.rglob("*.png")) == []


def test_what_an_agent_has_in_there_stays(tree: MediaTree, inbox: Inbox) -> None:
    put(tree, SESSION, FILE)
    inbox.link(tree, SESSION, FILE, "cat.png")
    folder = inbox.path(FILE, "x").parent
    (folder / "unpacked").mkdir()
    (folder / "unpacked" / "a.txt").write_text("a")
    (folder.parent / "notes.txt").write_text("n")
    inbox.remove(FILE)
    assert [each.name for each in folder.iterdir()] == ["unpacked"]
    assert (folder.parent / "notes.txt").exists()


def test_a_folder_that_was_closed_to_us_goes_too(tmp_path: Path) -> None:  # M5 M6
    program = """
import sys
from pathlib import Path
from runtime.storage.inbox import Inbox
drop()
folder = Path(sys.argv[1])
folder.chmod(0o500)
Inbox(folder.parent).remove(folder.name)
print(folder.exists())
"""
    with shared_directory() as shared, prepared(tmp_path / "media") as tree:
        put(tree, SESSION, FILE)
        inbox = Inbox(shared / "session" / "inbox")
        inbox.copy(tree, SESSION, FILE, "cat.png")
        here = inbox.path(FILE, "cat.png")
        for each in (here, *here.parents[:3]):
            os.chown(each, NOBODY, NOBODY)
        assert as_nobody(program, str(here.parent)) == "False\n"


def test_a_file_that_stays_is_no_success(  # M6
    tree: MediaTree, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError("as scripted")

    put(tree, SESSION, FILE)
    inbox.link(tree, SESSION, FILE, "cat.png")
    with monkeypatch.context() as patch:
        patch.setattr("runtime.storage.media_scan.os.unlink", refused)
        with pytest.raises(MediaFailed, match="as scripted"):
            inbox.remove(FILE)
    assert inbox.path(FILE, "cat.png").exists()
    inbox.remove(FILE)
    assert not inbox.path(FILE, "cat.png").parent.exists()


def test_a_scan_finds_all_that_is_ours(tree: MediaTree, inbox: Inbox, tmp_path: Path) -> None:  # M8
    put(tree, SESSION, FILE, b"bytes")
    put(tree, OTHER, FILE, b"other bytes")
    inbox.link(tree, SESSION, FILE, "cat.png")
    second = Inbox(tmp_path / "sessions" / "another" / OTHER / "inbox")
    second.copy(tree, OTHER, FILE, "cat.png")
    (inbox.path(FILE, "x").parents[1] / "the agent's own").mkdir()
    (tmp_path / "sessions" / "agent" / "no session" / "inbox" / ID).mkdir(parents=True)
    empty = Inbox(tmp_path / "sessions" / "agent" / ID / "inbox")
    put(tree, ID, FILE)
    empty.link(tree, ID, FILE, "cat.png")
    empty.remove(FILE)
    scan = scan_inboxes(tmp_path / "sessions")
    assert scan.copies == {(SESSION, ID): 0, (OTHER, ID): 11}
    assert scan.problems == []
    assert sorted(scan.inboxes) == sorted((SESSION, OTHER))
    scan.inboxes[OTHER].remove(FILE)
    assert second.copies(FILE) == 0


def test_a_scan_of_nothing_finds_nothing(tmp_path: Path) -> None:
    assert scan_inboxes(tmp_path / "sessions").copies == {}


def test_a_scan_tells_what_it_leaves_alone(  # M2 M6
    tree: MediaTree, inbox: Inbox, tmp_path: Path
) -> None:
    put(tree, SESSION, FILE)
    inbox.link(tree, SESSION, FILE, "cat.png")
    place = inbox.path(FILE, "x").parents[1]
    for number in range(3):  # whichever comes first
        (place / f"{ID[:-1]}{number + 5}").symlink_to(tmp_path)
    (place.parents[1] / OTHER).symlink_to(place.parent)
    scan = scan_inboxes(tmp_path / "sessions")
    assert scan.copies == {(SESSION, ID): 0}
    assert len(scan.problems) == 4
    assert all("is a symbolic link" in problem for problem in scan.problems)
