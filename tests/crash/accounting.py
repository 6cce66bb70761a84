"""Holds what the runtime promised against what it kept. Pure.

======================  ===========================================================================
a message is            when
======================  ===========================================================================
answered                its row is done, one of its turns is done, and that turn's one answer names
                        it
cancelled               its row is done and its turn was cancelled, because somebody asked for it
failed                  its row is failed, and a line in the transcript says why
withdrawn               its row is dropped for a reason that somebody gave
======================  ===========================================================================

Everything else is a violation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from tests.crash.evidence import Evidence, Line, Row, TurnRecord
from tests.crash.ledger import Ledger, Sent, Told, tokens
from tests.crash.media_accounting import media

ENDED = frozenset({"done", "cancelled"})
TRIED_AGAIN = frozenset({"interrupted", "vanished"})
UNREADABLE = "cannot be read"
WITHDRAWN_BY = {
    "cancelled": {"cancel", "reset"},  # a reset cancels the turn that there is
    "cleared": {"clear", "reset"},  # and takes back one whose agent has not begun
    "reset": {"reset"},
}
FATES_TOLD: dict[Told, frozenset[str]] = {
    "end_turn": frozenset({"answered"}),
    "cancelled": frozenset({"cancelled", "withdrawn"}),
    "failed": frozenset({"failed"}),
}


class Violation(msgspec.Struct, frozen=True):
    """A promise that was not kept. ``records`` is what the store has about it."""

    what: str
    subject: str
    records: tuple[object, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join((f"{self.subject}: {self.what}", *map(str, self.records)))


class Account(msgspec.Struct, frozen=True):
    """How many messages came to which end, and what is wrong."""

    fates: dict[str, int]
    violations: tuple[Violation, ...]


def account(ledger: Ledger, evidence: Evidence) -> Account:
    """Account for all messages, transcripts and leftovers."""
    fates: Counter[str] = Counter()
    violations = [Violation(what, "the client was told") for what in ledger.broken_promises]
    fate_of: dict[str, str] = {}
    books = _Books(evidence)
    for row in evidence.rows:
        fate, wrong = _fate(row, books, ledger)
        fate_of[row.id] = fate
        fates[fate] += 1
        violations += wrong
    violations += _promises(ledger, evidence.rows, fate_of)
    violations += _keys(ledger, evidence)
    violations += _turns(evidence)
    violations += transcripts(evidence)
    violations += files(evidence)
    violations += (Violation(what, "the store") for what in evidence.leftovers + evidence.damage)
    return Account(dict(fates), tuple(violations))


# -- messages --------------------------------------------------------------------------------------


class _Books:
    """The evidence, by what is looked up."""

    def __init__(self, evidence: Evidence) -> None:
        self.turns: defaultdict[str, list[TurnRecord]] = defaultdict(list)
        self.lines: defaultdict[str, list[Line]] = defaultdict(list)
        self.user_lines: Counter[tuple[str, str]] = Counter()
        for turn in evidence.turns:
            for message_id in turn.message_ids:
                self.turns[message_id].append(turn)
        for session_id, lines in evidence.journal.items():
            for line in lines:
                if line.turn_id is not None:
                    self.lines[line.turn_id].append(line)
                if line.role == "user":
                    self.user_lines[session_id, line.id] += 1

    def answers(self, turn: TurnRecord) -> list[Line]:
        """What a turn said to its end."""
        return [
            line
            for line in self.lines[turn.id]
            if line.role == "assistant" and not line.interrupted
        ]


def _fate(row: Row, books: _Books, ledger: Ledger) -> tuple[str, list[Violation]]:
    match row.state:
        case "done":
            fate, wrong = _done(row, books, ledger)
        case "failed":
            fate, wrong = "failed", list(_failed(row, books, ledger))
        case "dropped":
            fate, wrong = "withdrawn", list(_dropped(row, books, ledger))
        case _:
            fate, wrong = "lost", ["it was accepted and never came to an end"]
    records = (
        row,
        *books.turns[row.id],
        *(x for t in books.turns[row.id] for x in books.lines[t.id]),
    )
    return fate, [Violation(what, f"message {row.id}", records) for what in wrong]


def _done(row: Row, books: _Books, ledger: Ledger) -> tuple[str, list[str]]:
    wrong = []
    turns = books.turns[row.id]
    ended = [turn for turn in turns if _ended_with(row, turn, ledger)]
    if len(ended) != 1:
        return "lost", [f"it is done, and {len(ended)} turns ended with it"]
    (turn,) = ended
    if turn.id != row.turn_id:
        wrong.append("it is done, and names another turn than the one that ended with it")
    if not {other.state for other in turns if other is not turn} <= {*TRIED_AGAIN, "cancelled"}:
        wrong.append("it ran again although one of its turns had come to an end")
    if books.user_lines[row.session_id, row.id] != 1:
        count = books.user_lines[row.session_id, row.id]
        wrong.append(f"its own line is {count} times in the transcript")
    answers = [answer for each in turns for answer in books.answers(each)]
    if turn.state == "cancelled":
        if len(answers) > 1:
            wrong.append(f"it was cancelled, and there are {len(answers)} answers")
        if row.session_id not in ledger.interrupting and not ledger.withdrawals[row.session_id]:
            wrong.append("its turn was cancelled, and nobody asked for that")
        return "cancelled", wrong
    if len(answers) != 1:
        wrong.append(f"there are {len(answers)} answers to it")
        return "answered", wrong
    said = answers[0].content
    if not tokens(row.text).keys() <= tokens(said).keys():
        wrong.append("the answer to it is about something else")
    if row.files and ("readable" not in said or UNREADABLE in said):
        wrong.append("its file could not be read by the agent that answered it")
    return "answered", wrong


def _ended_with(row: Row, turn: TurnRecord, ledger: Ledger) -> bool:
    """Whether a turn was the end of a message. One that newer messages interrupted before its agent
    had begun lets it wait again (Q3).
    """
    interrupted = turn.state == "cancelled" and not turn.began and turn.id != row.turn_id
    again = interrupted and row.session_id in ledger.interrupting
    return turn.state in ENDED and not again


def _failed(row: Row, books: _Books, ledger: Ledger) -> Iterator[str]:
    turns = books.turns[row.id]
    if any(_ended_with(row, turn, ledger) for turn in turns):
        yield "it has failed, and a turn of it is done"
    if books.user_lines[row.session_id, row.id] != 1:
        yield "it has failed, and its own line is not once in the transcript"
    last = [turn for turn in turns if turn.id == row.turn_id]
    errors = [line for turn in last for line in books.lines[turn.id] if line.role == "system"]
    if len(errors) != 1:
        yield f"it has failed, and {len(errors)} lines in the transcript say why"


def _dropped(row: Row, books: _Books, ledger: Ledger) -> Iterator[str]:
    asked = WITHDRAWN_BY.get(row.reason or "", set())
    if asked.isdisjoint(ledger.withdrawals[row.session_id]):
        yield f"it was withdrawn ({row.reason}), and nobody asked for that"
    if any(turn.state == "done" for turn in books.turns[row.id]):
        yield "it was withdrawn, and a turn of it is done"
    if books.user_lines[row.session_id, row.id] > 1:
        yield "it was withdrawn, and its line is in the transcript more than once"


# -- promises --------------------------------------------------------------------------------------


def _promises(ledger: Ledger, rows: Iterable[Row], fate_of: dict[str, str]) -> Iterator[Violation]:
    stored: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        mentioned = tokens(row.text)
        if len(mentioned) != 1 or not mentioned.keys() <= ledger.sent.keys():
            yield Violation("nobody said this", f"message {row.id}", (row,))
        for token in mentioned:
            stored[token].append(row)
    for sent in ledger.sent.values():
        found = stored[sent.token]
        for what in _promise(sent, found, fate_of):
            yield Violation(what, f"message {sent.token}", (sent, *found))


def _promise(sent: Sent, found: list[Row], fate_of: dict[str, str]) -> Iterator[str]:
    ids = {row.id for row in found}
    if len(found) > 1:
        yield f"it is stored {len(found)} times"
    if len(sent.accepted) > 1:
        yield "it was accepted under several ids"
    if not sent.accepted <= ids:
        yield "it was accepted, and is not there"
    if sent.refused and found:
        yield "it was refused, and is there all the same"
    if any(row.session_id != sent.session_id for row in found):
        yield "it is in another session than the one in which it was said"
    if sent.told is not None and found:
        fates = {fate_of[row.id] for row in found}
        if not fates <= FATES_TOLD[sent.told]:
            yield f"its sender was told {sent.told}, and it is {', '.join(fates)}"


def _keys(ledger: Ledger, evidence: Evidence) -> Iterator[Violation]:
    by_id = {row.id: row for row in evidence.rows}
    for sent in ledger.sent.values():
        if sent.message_id is None or not sent.accepted:
            continue
        row = by_id.get(evidence.keys.get((sent.session_id, sent.message_id), ""))
        if row is None or row.id not in sent.accepted:
            what = "the name that its client gave it does not lead to it"
            yield Violation(what, f"message {sent.token}", (sent, row))


def _turns(evidence: Evidence) -> Iterator[Violation]:
    for turn in evidence.turns:
        if turn.state == "running":
            yield Violation("it runs, and nobody runs it", f"turn {turn.id}", (turn,))


def files(evidence: Evidence) -> Iterator[Violation]:
    """What is wrong with the files that came with messages."""
    return (Violation(what, subject, records) for what, subject, records in media(evidence))


# -- transcripts -----------------------------------------------------------------------------------


def transcripts(evidence: Evidence) -> Iterator[Violation]:
    """What is wrong with the journals, and with the files made from them."""
    expected: defaultdict[tuple[str, int], list[Line]] = defaultdict(list)
    for session_id, lines in evidence.journal.items():
        subject = f"journal of {session_id}"
        if [line.seq for line in lines] != list(range(1, len(lines) + 1)):
            numbers = tuple(line.seq for line in lines)
            yield Violation("its numbers have gaps, or no order", subject, (numbers,))
        for line_id, count in Counter(line.id for line in lines).items():
            if count > 1:
                yield Violation(f"the line {line_id} is there {count} times", subject)
        for line in lines:
            expected[session_id, line.epoch].append(line)
    for place in expected.keys() | evidence.files.keys():
        session_id, epoch = place
        what = _file(evidence.files.get(place), expected[place])
        if what is not None:
            yield Violation(what, f"transcript {epoch} of {session_id}")


def _file(content: bytes | None, expected: list[Line]) -> str | None:
    """What is wrong with one file."""
    if content is None:
        return f"it is missing, and should have {len(expected)} lines"
    if content and not content.endswith(b"\n"):
        return "it ends in the middle of a line"
    lines = content.split(b"\n")[:-1]
    for number, (raw, line) in enumerate(zip(lines, expected, strict=False), start=1):
        try:
            found = msgspec.json.decode(raw, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return f"line {number} cannot be read: {error}"
        if found != line:
            return f"line {number} is {raw!r} and should be {line}"
    if len(lines) != len(expected):
        return f"it has {len(lines)} lines and should have {len(expected)}"
    return None
