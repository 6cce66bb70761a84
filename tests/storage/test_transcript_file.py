"""One transcript file by itself: whole lines, whatever they and the disk are like (J1–J3)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.sessions.rows import JournalEntry
from runtime.storage import transcript
from runtime.storage.transcript import FileState, Loaded


def entry(seq: int, content: str = "hello") -> JournalEntry:
    return JournalEntry(seq, 1, f"id-{seq}", "user", content)


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:  # J3
    missing = tmp_path / "none.jsonl"
    assert transcript.load(missing) == Loaded(())
    assert transcript.last_seq(missing) == 0
    assert transcript.check(missing) == FileState(0, 0, sound=True)


def test_lines_end_with_newlines_only(tmp_path: Path) -> None:  # J1, J3
    path = tmp_path / "t.jsonl"
    odd = [entry(1, "a\u2028b\u2029c\x85d"), entry(2, "e\r\nf\x0b\x0cg")]
    transcript.append(path, odd)
    assert transcript.load(path) == Loaded(tuple(odd))


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_bad_lines_are_skipped_counted_and_kept(tmp_path: Path, end: bytes) -> None:  # J3
    path = tmp_path / "t.jsonl"
    transcript.append(path, [entry(1)])
    bad = [b"{torn", b'{"seq": "x"}', b"\xff\xfe", b"", b'{"seq":3,"ts":1,"id":"i","role":"us']
    path.write_bytes(path.read_bytes() + b"\n".join(bad) + end)
    before = path.read_bytes()
    for _ in range(2):
        assert transcript.load(path) == Loaded((entry(1),), skipped=5)
    assert path.read_bytes() == before
    kept = (tmp_path / "t.jsonl.quarantine").read_bytes()
    assert kept == b"\n".join(bad) + b"\n"


def test_a_whole_last_line_without_its_end_is_not_lost(tmp_path: Path) -> None:  # J3
    path = tmp_path / "t.jsonl"
    transcript.append(path, [entry(1), entry(2)])
    path.write_bytes(path.read_bytes()[:-1])
    assert transcript.load(path) == Loaded((entry(1), entry(2)))
    assert transcript.last_seq(path) is None


@pytest.mark.parametrize("size", [10, 70_000, 300_000])
def test_the_last_number_is_found_however_long_the_line(tmp_path: Path, size: int) -> None:  # J2
    path = tmp_path / "t.jsonl"
    for seq in (1, 2):
        transcript.append(path, [entry(seq, "x" * size)])
        assert transcript.last_seq(path) == seq


def test_what_cannot_be_written_whole_leaves_nothing(  # J2
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.jsonl"
    transcript.append(path, [entry(1)])
    before = path.read_bytes()
    write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) < 150:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:20])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            transcript.append(path, [entry(2), entry(3), entry(4)])
    assert path.read_bytes() == before
