"""Which files of an outbox go out, and what is said about others (R7, R5)."""

from __future__ import annotations

import pytest

from runtime.sessions.media import OutboxFile
from runtime.sessions.outgoing import (
    AT_ONCE,
    NAMED,
    Standing,
    failure_notice,
    next_ones,
    refusal,
    refusal_notice,
    sort_out,
    standing,
    waiting_notice,
)
from runtime.sessions.rows import OutboundRow, OutboundState, SessionStatus
from tests.sessions.rows import address

MIB = 1_024**2


def file(path: str = "a.txt", size: int = 5, mtime_ns: int = 1, inode: int = 1) -> OutboxFile:
    return OutboxFile(path, size, mtime_ns, inode)


@pytest.mark.parametrize(
    "state,owed,leftover",
    [
        (None, True, False),
        (OutboundState.PENDING, False, False),
        (OutboundState.ATTEMPTING, False, False),
        (OutboundState.FAILED, False, False),
        (OutboundState.ABANDONED, False, False),
        (OutboundState.DELIVERED, False, True),
    ],
)
@pytest.mark.parametrize("max_bytes", [0, 4, 5])
def test_what_follows_from_what_became_of_it(  # R7
    state: OutboundState | None, owed: bool, leftover: bool, max_bytes: int
) -> None:
    found = file(size=5)
    outgoing = sort_out([found], {} if state is None else {found: state}, max_bytes)
    takes = max_bytes >= 5
    assert outgoing.owed == ((found,) if owed and takes else ())
    assert [each for each, _ in outgoing.refused] == ([found] if owed and not takes else [])
    assert outgoing.leftover == ((found,) if leftover else ())


ENDS = (None, OutboundState.FAILED, OutboundState.ABANDONED)


@pytest.mark.parametrize("delivery", [None, *OutboundState])
@pytest.mark.parametrize("session", [None, *SessionStatus])
def test_what_is_to_become_of_a_file(  # M8 S43
    session: SessionStatus | None, delivery: OutboundState | None
) -> None:
    if session is None:
        expected = Standing.STRANGE
    elif delivery in (OutboundState.PENDING, OutboundState.ATTEMPTING):
        expected = Standing.OWED
    elif delivery in ENDS and session is SessionStatus.ACTIVE:
        expected = Standing.KEPT
    else:
        expected = Standing.UNWANTED
    assert standing(session, delivery) is expected


@pytest.mark.parametrize("change", [{"size": 6}, {"mtime_ns": 2}, {"inode": 2}, {"path": "b.txt"}])
def test_what_was_written_anew_is_another_file(change: dict[str, int]) -> None:  # R7
    known = {file(): OutboundState.FAILED}
    new = file(**change)  # type: ignore[arg-type]
    assert sort_out([new], known, MIB).owed == (new,)


def test_one_that_is_refused_does_not_stop_the_others() -> None:  # R7
    found = [file("a", 9), file("b", 5), file("c", 9), file("d", 0)]
    outgoing = sort_out(found, {}, 8)
    assert outgoing.owed == (found[1], found[3])
    assert [each for each, _ in outgoing.refused] == [found[0], found[2]]


@pytest.mark.parametrize("state", [OutboundState.FAILED, OutboundState.PENDING])
@pytest.mark.parametrize("more", [0, 1, 50])
def test_what_is_settled_takes_no_place(state: OutboundState, more: int) -> None:  # R7
    settled = [file(f"a{number:03}") for number in range(AT_ONCE + 20)]
    new = [file(f"b{number:03}") for number in range(AT_ONCE + more)]
    found, waiting = next_ones(settled + new, dict.fromkeys(settled, state))
    assert (found, waiting) == (new[:AT_ONCE], more)
    found, waiting = next_ones(settled + new, dict.fromkeys(settled, OutboundState.DELIVERED))
    assert (found, waiting) == (new[:AT_ONCE] + settled[:AT_ONCE], more)


def test_what_waits_is_said() -> None:  # R7
    assert waiting_notice(0) == ""
    assert waiting_notice(1).startswith("One more file waits")
    assert waiting_notice(7).startswith("7 more files wait")


@pytest.mark.parametrize(
    "size,max_bytes,reason",
    [
        (5, 5, None),
        (0, 1, None),
        (0, 0, "this chat takes no files"),
        (6, 5, "it has 6 bytes, and this chat takes 5 bytes at most"),
        (50 * MIB, 20 * MIB, "it has 50 MiB, and this chat takes 20 MiB at most"),
        (3 * MIB // 2, MIB, "it has 1.5 MiB, and this chat takes 1 MiB at most"),
        (2 * 1_024 * MIB, 1_024, "it has 2 GiB, and this chat takes 1 KiB at most"),
    ],
)
def test_why_it_is_refused(size: int, max_bytes: int, reason: str | None) -> None:  # R7 N1
    assert refusal(file(size=size), max_bytes) == reason


def test_one_notice_for_all_that_are_refused() -> None:  # R7
    assert refusal_notice([]) == ""
    one = refusal_notice([(file("sub/big.zip"), "why")])
    assert one == "A file was not sent, and kept in the agent's outbox.\nbig.zip: why"
    many = refusal_notice([(file(f"f{n}"), "why") for n in range(NAMED + 3)])
    assert many.splitlines()[0].startswith(f"{NAMED + 3} files were not sent")
    assert many.splitlines()[-1] == "and 3 more"
    assert len(many.splitlines()) == NAMED + 2


@pytest.mark.parametrize(
    "kind,part,sent,told",
    [
        ("answer", 0, None, ""),
        ("answer", 1, None, "Part 2 of this answer could not be delivered."),
        ("notice", 0, None, ""),
        ("notice", 1, None, ""),
        ("file", 0, file("x/y.pdf"), "The file y.pdf could not be delivered"),
    ],
)
def test_what_is_said_about_a_failure(  # R5 R7
    kind: str, part: int, sent: OutboxFile | None, told: str
) -> None:
    row = OutboundRow(
        "o", "s", "t", part, kind, address(), "text", OutboundState.ATTEMPTING, 1, 1, file=sent
    )
    said = failure_notice(row)
    assert said.startswith(told)
    assert bool(said) == bool(told)
