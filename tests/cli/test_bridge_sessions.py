"""What an editor is shown after a lost connection: what it missed, once."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from runtime.cli.bridge_frames import NOTHING, Frame, frame_of
from runtime.cli.bridge_sessions import Event, Followed, Shown
from runtime.cli.bridge_views import Questions
from runtime.protocol.extensions import SessionMark

KINDS = ("agent_message_chunk", "agent_thought_chunk")


def chunk(kind: str, text: str) -> dict[str, Any]:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}}


def shown(update: dict[str, Any], number: int, turn: str = "t1") -> Shown:
    mark = {"runtime": {"turnId": turn, "number": number}}
    return msgspec.convert({"sessionId": "s", "update": update, "_meta": mark}, Shown)


def joined(updates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a record keeps them: chunks of one kind that follow each other are one."""
    record: list[dict[str, Any]] = []
    for update in updates:
        last = record[-1] if record else None
        kind = update["sessionUpdate"]
        if last is not None and kind in KINDS and last["sessionUpdate"] == kind:
            text = last["content"]["text"] + update["content"]["text"]
            record[-1] = chunk(kind, text)
        else:
            record.append(update)
    return record


updates = st.lists(
    st.one_of(
        st.builds(chunk, st.sampled_from(KINDS), st.text(min_size=1, max_size=5)),
        st.builds(
            lambda n: {"sessionUpdate": "tool_call", "toolCallId": str(n), "title": "t"},
            st.integers(0, 3),
        ),
    ),
    max_size=12,
)


def follow() -> Followed:
    followed = Followed("s", msgspec.Raw(b'"/"'), NOTHING)
    followed.attached(mark("run 1", 0))
    return followed


def mark(run: str, journal_seq: int) -> SessionMark:
    return SessionMark("k", "echo", 1, run, journal_seq, 0)


# G5, G12
@given(updates, st.integers(0, 12), st.integers(0, 12))
def test_wherever_it_breaks_everything_is_shown_once(
    said: list[dict[str, Any]], lost: int, found: int
) -> None:
    followed = follow()
    lost = min(lost, len(said))
    found = min(max(lost, found), len(said))
    seen = list(said[:lost])
    for number, update in enumerate(seen):
        assert followed.passes(shown(update, number + 1))
    followed.begin_to_catch_up()
    followed.cursor(mark("run 1", 0), ())
    running = {"turnId": "t1", "messageIds": ["m"], "prompt": [], "updates": joined(said[:found])}
    snapshot = {"type": "snapshot", "number": found, "journalSeq": 0, "running": running}
    if lost == 0:
        snapshot["running"] = {**running, "prompt": [{"type": "text", "text": "?"}]}
    for params in followed.missed(msgspec.convert(snapshot, Event)):
        if params.update["sessionUpdate"] != "user_message_chunk":
            seen.append(params.update)
    for number, update in enumerate(said):
        # Those that the snapshot has come once more, as the runtime may send them.
        if number >= lost and followed.passes(shown(update, number + 1)):
            seen.append(update)
    for kind in KINDS:
        assert text_of(seen, kind) == text_of(said, kind)
    calls = [update for update in seen if update["sessionUpdate"] == "tool_call"]
    assert calls == [update for update in said if update["sessionUpdate"] == "tool_call"]


def text_of(seen: list[dict[str, Any]], kind: str) -> str:
    return "".join(update["content"]["text"] for update in seen if update["sessionUpdate"] == kind)


class _Link:
    """Stands for a connection; only which one it is matters."""


# P6
def test_an_answer_never_reaches_another_question() -> None:
    questions = Questions()
    before: Any = _Link()
    after: Any = _Link()
    asked = Frame(msgspec.Raw(b"1"), "session/request_permission", msgspec.Raw(b"{}"))
    first = frame_of(questions.ask(before, asked))
    withdrawn = [frame_of(frame) for frame in questions.withdraw_all(before)]
    assert [each.method for each in withdrawn] == ["$/cancel_request"]
    second = frame_of(questions.ask(after, asked))
    assert bytes(first.id) != bytes(second.id)
    answer = Frame(first.id, result=msgspec.Raw(b'{"outcome": "yes"}'))
    assert questions.answer(after, answer) is None
    reply = questions.answer(after, msgspec.structs.replace(answer, id=second.id))
    assert reply is not None
    assert bytes(frame_of(reply).id) == b"1"
