"""The account can fail: a store is made by the real runtime, then doctored in every way that would
be a broken promise.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import apsw
import pytest
import trio

from runtime import Settings, open_runtime
from runtime.sessions.content import ImageBlock, TextBlock
from runtime.settings import StorageSettings
from runtime.storage.opening import DATABASE
from tests.crash.accounting import Account, account, transcripts
from tests.crash.evidence import collect, missing_in_flight
from tests.crash.ledger import Ledger, Told, tokens
from tests.crash.media_accounting import TOLD_TWICE

LIMIT = 30.0

Doctor = Callable[[apsw.Connection, Path, Ledger], object]


PICTURE = "cGljdHVyZQ=="


async def talk(data_dir: Path) -> Ledger:
    """Three messages that are answered, by the runtime itself; the second has a picture."""
    ledger = Ledger()
    settings = Settings(storage=StorageSettings(data_dir=data_dir))
    async with open_runtime(settings) as runtime:
        session = await runtime.session("demo")
        for number in range(1, 4):
            sent = ledger.say(f"m-0-{number}", session.id, f"client:{number}")
            words, picture = TextBlock(sent.text), ImageBlock(PICTURE, "image/png")
            content = (words, picture) if number == 2 else (words,)
            turn = await session.prompt(content, message_id=sent.message_id)
            result = await turn.result()
            sent.accepted.add(turn.message_id)
            sent.told = "end_turn"
            assert tokens(result.text or "") == {sent.token: 1}
        with trio.fail_after(LIMIT):
            # The files follow the journal.
            while list(transcripts(collect(data_dir))):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)
    return ledger


def judged(data_dir: Path, ledger: Ledger, doctor: Doctor | None = None) -> Account:
    connection = apsw.Connection(str(data_dir / DATABASE))
    connection.pragma("foreign_keys", "off")
    (transcript,) = data_dir.glob("sessions/*/*/transcript-1.jsonl")
    if doctor is not None:
        doctor(connection, transcript, ledger)
    connection.close()
    return account(ledger, collect(data_dir))


SECOND = "(SELECT id FROM inbound WHERE seq = 2)"
TURN = "(SELECT turn_id FROM inbound WHERE seq = 2)"


def sql(*statements: str) -> Doctor:
    def doctor(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
        for statement in statements:
            connection.execute(statement)

    return doctor


def file(change: Callable[[bytes], bytes]) -> Doctor:
    def doctor(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
        transcript.write_bytes(change(transcript.read_bytes()))

    return doctor


def told(what: Told) -> Doctor:
    def doctor(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
        ledger.sent["m-0-2"].told = what

    return doctor


def refused(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
    ledger.sent["m-0-2"].refused = True


def accepted_twice(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
    ledger.sent["m-0-2"].accepted.add("another")


def unheard_of(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
    del ledger.sent["m-0-2"]


def state(name: str, reason: str = "cleared") -> Doctor:
    finished = "NULL" if name in ("pending", "claimed", "held") else "1"
    return sql(
        f"UPDATE inbound SET state = '{name}', reason = '{reason}', finished_at = {finished}"
        " WHERE seq = 2"
    )


def turn(name: str) -> Doctor:
    ended = "NULL" if name == "running" else "1"
    return sql(f"UPDATE turns SET state = '{name}', ended_at = {ended} WHERE id = {TURN}")


def copied(table: str, where: str, **changed: str) -> str:
    """A statement that copies a row, with some columns changed."""
    columns = {
        "inbound": "id session_id epoch seq kind state content trigger turn_id admitted_at"
        " finished_at",
        "turns": "id session_id epoch state tries message_ids overflow instance incarnation fence"
        " started_at ended_at",
        "journal": "session_id seq epoch ts id role content turn_id data",
    }[table].split()
    values = ", ".join(changed.get(name, name) for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE {where}"


ANSWER = f"turn_id = {TURN} AND role = 'assistant'"
LAST = "seq = (SELECT max(seq) FROM journal)"


def picture(change: Callable[[Path], object]) -> Doctor:
    def doctor(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
        (path,) = transcript.parents[3].glob("media/*/*")
        change(path)

    return doctor


def both(*doctors: Doctor) -> Doctor:
    def doctor(connection: apsw.Connection, transcript: Path, ledger: Ledger) -> None:
        for each in doctors:
            each(connection, transcript, ledger)

    return doctor


CASES: dict[str, tuple[Doctor, str]] = {
    "a file is lost": (picture(Path.unlink), "it has a row, and is not on disk"),
    "half a file": (
        picture(lambda path: path.write_bytes(b"half")),
        "it has 4 bytes, and should have 7",
    ),
    "a file too many": (
        picture(lambda path: path.with_name("other").write_bytes(b"")),
        "it is on disk, and has no row",
    ),
    "a file without its row": (
        sql("DELETE FROM blobs"),
        "was read refers to it, and it has no row",
    ),
    "a file that was evicted": (sql("UPDATE blobs SET evicted_at = 1"), "although there was room"),
    "a file that was not handed over": (
        sql("UPDATE blobs SET handed_at = NULL"),
        "begun to answer a message with it, and it was not handed over",
    ),
    "a file of a message that nobody heard": (
        both(state("failed"), sql(f"UPDATE turns SET first_event_at = NULL WHERE id = {TURN}")),
        "it was handed over, and no agent has begun",
    ),
    "a file of a message that was withdrawn": (
        both(state("dropped"), sql("UPDATE blobs SET handed_at = NULL")),
        "it belongs to nobody, and is there all the same",
    ),
    "a file of nobody": (sql("UPDATE inbound SET media = NULL"), "no message refers to it"),
    "a file that the agent could not read": (
        sql(f"UPDATE journal SET content = replace(content, 'readable', 'missing') WHERE {ANSWER}"),
        "could not be read by the agent",
    ),
    "lost": (sql(f"DELETE FROM inbound WHERE id = {SECOND}"), "it was accepted, and is not there"),
    "pending": (state("pending"), "never came to an end"),
    "claimed": (state("claimed"), "never came to an end"),
    "stored twice": (
        sql(copied("inbound", "seq = 2", id="'copy'", seq="9")),
        "it is stored 2 times",
    ),
    "two turns": (
        sql(copied("turns", f"id = {TURN}", id="'copy'")),
        "2 turns ended with it",
    ),
    "ran again after its end": (
        sql(copied("turns", f"id = {TURN}", id="'copy'", state="'failed'")),
        "it ran again although",
    ),
    "no turn": (sql(f"DELETE FROM turns WHERE id = {TURN}"), "0 turns ended with it"),
    "a turn runs": (turn("running"), "nobody runs it"),
    "another turn": (sql("UPDATE inbound SET turn_id = 'other' WHERE seq = 2"), "another turn"),
    "double answer": (
        sql(copied("journal", ANSWER, id="'copy'", seq="9")),
        "there are 2 answers to it",
    ),
    "double answer in an earlier turn": (
        sql(
            copied("turns", f"id = {TURN}", id="'copy'", state="'interrupted'"),
            copied("journal", ANSWER, id="'copy:answer'", seq="9", turn_id="'copy'"),
        ),
        "there are 2 answers to it",
    ),
    "no answer": (sql(f"DELETE FROM journal WHERE {ANSWER}"), "there are 0 answers to it"),
    "half an answer": (
        sql(f"UPDATE journal SET data = '{{\"interrupted\": true}}' WHERE {ANSWER}"),
        "there are 0 answers to it",
    ),
    "somebody else's answer": (
        sql(f"UPDATE journal SET content = 'm-0-9' WHERE {ANSWER}"),
        "about something else",
    ),
    "said twice": (
        sql(
            "DROP TABLE IF EXISTS journal_copy",
            "CREATE TABLE journal_copy AS SELECT * FROM journal",
            "DROP TABLE journal",
            "ALTER TABLE journal_copy RENAME TO journal",
            copied("journal", f"id = {SECOND}", seq="9"),
        ),
        "its own line is 2 times",
    ),
    "cancelled by nobody": (turn("cancelled"), "its turn was cancelled, and nobody asked"),
    "withdrawn by nobody": (state("dropped"), "it was withdrawn (cleared), and nobody asked"),
    "dropped for the cap": (state("dropped", "cap"), "it was withdrawn (cap), and nobody asked"),
    "withdrawn and answered": (state("dropped"), "it was withdrawn, and a turn of it is done"),
    "failed and answered": (state("failed"), "it has failed, and a turn of it is done"),
    "failed in silence": (state("failed"), "0 lines in the transcript say why"),
    "told failed": (told("failed"), "told failed, and it is answered"),
    "told cancelled": (told("cancelled"), "told cancelled, and it is answered"),
    "refused and there": (refused, "it was refused, and is there all the same"),
    "two ids": (accepted_twice, "accepted under several ids"),
    "nobody said it": (unheard_of, "nobody said this"),
    "in another session": (
        sql("UPDATE inbound SET session_id = 'other' WHERE seq = 2"),
        "in another session",
    ),
    "its name leads elsewhere": (
        sql("UPDATE message_keys SET message_id = 'x' WHERE message_id = 'client:2'"),
        "does not lead to it",
    ),
    "a gap": (sql(f"UPDATE journal SET seq = 99 WHERE {LAST}"), "gaps, or no order"),
    "delivery in flight": (
        sql(
            "INSERT INTO outbound (id, session_id, part, kind, channel, account, conversation,"
            " reply_to, text, state, created_at) SELECT 'o', id, 0, 'answer', 'c', '', '', '{}',"
            " '', 'attempting', 1 FROM sessions"
        ),
        "1 deliveries in flight",
    ),
    "progress of an ended turn": (
        sql(f"INSERT INTO turn_progress (turn_id, n, at, text) SELECT {TURN}, 0, 1, 'so far'"),
        "pieces of turns that have ended",
    ),
    "torn transcript": (file(lambda text: text[:-7]), "ends in the middle of a line"),
    "missing line": (file(lambda text: text[text.index(b"\n") + 1 :]), "and should be"),
    "missing last line": (
        file(lambda text: text[: text.rindex(b"\n", 0, -1) + 1]),
        "5 lines and should have 6",
    ),
    "a line twice": (
        file(lambda text: text + text[text.rindex(b"\n", 0, -1) + 1 :]),
        "7 lines and should have 6",
    ),
    "unreadable line": (file(lambda text: b"?" + text[1:]), "line 1 cannot be read"),
    "changed line": (file(lambda text: text.replace(b"m-0-2", b"m-0-3")), "and should be"),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ledger]:
    data_dir = tmp_path_factory.mktemp("original")
    return data_dir, trio.run(talk, data_dir)


@pytest.fixture
def talked(original: tuple[Path, Ledger], tmp_path: Path) -> tuple[Path, Ledger]:
    """A copy to doctor."""
    data_dir, ledger = original
    return shutil.copytree(data_dir, tmp_path / "data"), deepcopy(ledger)


# D5 D7 J1 J2
def test_what_was_kept_is_not_complained_about(talked: tuple[Path, Ledger]) -> None:
    judgement = judged(*talked)
    assert judgement.violations == ()
    assert judgement.fates == {"answered": 3}


# D5 D7 J1 J2 Q8 T1
@pytest.mark.parametrize("case", CASES)
def test_each_broken_promise_is_reported(talked: tuple[Path, Ledger], case: str) -> None:
    doctor, complaint = CASES[case]
    judgement = judged(*talked, doctor)
    assert any(complaint in str(violation) for violation in judgement.violations), [
        str(violation) for violation in judgement.violations
    ]


# H6
def test_a_missing_file_of_a_message_that_waits_is_reported(talked: tuple[Path, Ledger]) -> None:
    data_dir, ledger = talked
    judged(data_dir, ledger, state("claimed"))
    assert missing_in_flight(data_dir) == []
    judged(data_dir, ledger, picture(Path.unlink))
    (missing,) = missing_in_flight(data_dir)
    assert " is claimed, and its file " in missing


def test_a_missing_transcript_is_reported(talked: tuple[Path, Ledger]) -> None:
    judgement = judged(*talked, lambda connection, transcript, ledger: transcript.unlink())
    (violation,) = judgement.violations
    assert "it is missing, and should have 6 lines" in str(violation)


def test_what_somebody_asked_for_is_no_violation(talked: tuple[Path, Ledger]) -> None:
    data_dir, ledger = talked
    (session_id,) = {sent.session_id for sent in ledger.sent.values()}
    ledger.withdrawals[session_id].add("cancel")
    ledger.sent["m-0-2"].told = "cancelled"
    assert judged(data_dir, ledger, turn("cancelled")).violations == ()


# Q3
@pytest.mark.parametrize("began", [True, False])
def test_a_turn_that_was_interrupted_before_it_began_is_no_end(
    talked: tuple[Path, Ledger], began: bool
) -> None:
    data_dir, ledger = talked
    ledger.interrupting.update(sent.session_id for sent in ledger.sent.values())
    earlier = copied("turns", f"id = {TURN}", id="'copy'", state="'cancelled'")
    first = f"UPDATE turns SET first_event_at = {1 if began else 'NULL'} WHERE id = 'copy'"
    violations = judged(data_dir, ledger, sql(earlier, first)).violations
    assert any("2 turns ended with it" in str(violation) for violation in violations) == began
    assert began or violations == ()


# H8
def test_a_copy_that_waited_has_no_files_and_they_are_the_sessions(
    talked: tuple[Path, Ledger],
) -> None:
    twice = f"UPDATE sessions SET agent_group_id = '{TOLD_TWICE}'"
    copy = "UPDATE inbound SET media = NULL"
    assert judged(*talked, sql(twice, copy)).violations == ()
    (violation,) = judged(*talked, sql("UPDATE blobs SET handed_at = NULL")).violations
    assert "it belongs to nobody, and is there all the same" in str(violation)
