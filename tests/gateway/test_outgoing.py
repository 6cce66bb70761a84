"""What waits for a slow client: joined, bounded, in order (G6)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.gateway.outgoing import Outgoing, SlowReader
from runtime.protocol.acp import UpdateParams
from runtime.protocol.extensions import (
    EpochStartedEvent,
    EventParams,
    RuntimeMark,
    TurnUpdateEvent,
    UpdateMark,
    WireEvent,
)
from runtime.sessions.content import ResourceLink, TextBlock
from runtime.sessions.updates import AgentMessageChunk, AgentThoughtChunk, ToolCall, Update


def update(session_id: str, content: Update, number: int, turn: str = "t1") -> UpdateParams:
    return UpdateParams(session_id, content, RuntimeMark(UpdateMark(turn_id=turn, number=number)))


def text(session_id: str, words: str, number: int, turn: str = "t1") -> UpdateParams:
    return update(session_id, AgentMessageChunk(TextBlock(words)), number, turn)


async def drained(outgoing: Outgoing) -> list[tuple[str, str, int]]:
    outgoing.finish()
    found = []
    while (frame := await outgoing.take()) is not None:
        params: dict[str, Any] = json.loads(frame).get("params", {})
        content = params.get("update", {}).get("content", {})
        number = params.get("_meta", {}).get("runtime", {}).get("number", 0)
        found.append((params.get("sessionId", ""), content.get("text", "-"), number))
    return found


async def test_a_client_that_keeps_up_gets_each_piece() -> None:
    outgoing = Outgoing(lag=100)
    for number in range(5):
        outgoing.post_update(text("s", str(number), number))
    assert await drained(outgoing) == [("s", str(number), number) for number in range(5)]


async def test_a_client_that_lags_gets_pieces_joined_per_session() -> None:
    outgoing = Outgoing(lag=2)
    for number in range(1, 6):
        outgoing.post_update(text("a", f"a{number}", number))
        outgoing.post_update(text("b", f"b{number}", number))
    assert await drained(outgoing) == [("a", "a1a2a3a4a5", 5), ("b", "b1b2b3b4b5", 5)]


async def test_only_pieces_of_one_text_are_joined() -> None:
    outgoing = Outgoing(lag=0)
    outgoing.post_update(text("s", "one", 1))
    outgoing.post_update(update("s", AgentThoughtChunk(TextBlock("hm")), 2))
    outgoing.post_update(text("s", "two", 3))
    outgoing.post_update(update("s", ToolCall("t", "Look"), 4))
    outgoing.post_update(text("s", "three", 5))
    outgoing.post_update(text("s", "four", 6, turn="t2"))
    link = AgentMessageChunk(ResourceLink("notes", "file:///notes"))
    outgoing.post_update(update("s", link, 7, turn="t2"))
    outgoing.post_update(text("s", "five", 8, turn="t2"))
    words = [words for _, words, _ in await drained(outgoing)]
    assert words == ["one", "hm", "two", "-", "three", "four", "-", "five"]


async def test_what_the_runtime_says_is_not_joined_to_the_agent() -> None:
    outgoing = Outgoing(lag=0)
    outgoing.post_update(text("s", "one", 1))
    mark = UpdateMark(turn_id="t1", number=2, notice="agent_blocked")
    notice = AgentMessageChunk(TextBlock("It does not start."))
    outgoing.post_update(UpdateParams("s", notice, RuntimeMark(mark)))
    outgoing.post_update(text("s", "two", 3))
    words = [words for _, words, _ in await drained(outgoing)]
    assert words == ["one", "It does not start.", "two"]


# G6, G12: events of one text are joined, and have the number of the last
async def test_events_are_joined_too() -> None:
    outgoing = Outgoing(lag=0)
    pieces = [AgentMessageChunk(TextBlock(each)) for each in ("a", "b", "c", "d")]
    thought = AgentThoughtChunk(TextBlock("hm"))
    events: list[WireEvent] = [
        TurnUpdateEvent("t1", pieces[0]),
        TurnUpdateEvent("t1", pieces[1]),
        TurnUpdateEvent("t1", thought),
        TurnUpdateEvent("t1", pieces[2]),
        EpochStartedEvent(2),
        TurnUpdateEvent("t1", pieces[3]),
        TurnUpdateEvent("t2", pieces[3]),
    ]
    for number, event in enumerate(events, 1):
        outgoing.post_event(EventParams("s", event, number))
        # Updates of the same session, and events of another, are streams of their own.
        outgoing.post_update(text("s", str(number), number))
        outgoing.post_event(EventParams("other", TurnUpdateEvent("t1", pieces[0]), number))
    outgoing.finish()
    found, others, updates = [], [], []
    while (frame := await outgoing.take()) is not None:
        params = json.loads(frame)["params"]
        if "update" in params:
            updates.append(params["update"]["content"]["text"])
        elif params["sessionId"] == "other":
            others.append((params["event"]["update"]["content"]["text"], params["number"]))
        else:
            said = params["event"].get("update", {}).get("content", {}).get("text")
            found.append((params["event"].get("turnId"), said, params["number"]))
    assert found == [
        ("t1", "ab", 2),
        ("t1", "hm", 3),
        ("t1", "c", 4),
        (None, None, 5),
        ("t1", "d", 6),
        ("t2", "d", 7),
    ]
    assert (updates, others) == (["1234567"], [("a" * 7, 7)])


async def test_nothing_is_joined_to_what_was_taken() -> None:
    outgoing = Outgoing(lag=0)
    outgoing.post_update(text("s", "one", 1))
    await outgoing.take()
    outgoing.post_update(text("s", "two", 2))
    assert await drained(outgoing) == [("s", "two", 2)]


async def test_an_answer_keeps_its_place_after_the_text_before_it() -> None:
    outgoing = Outgoing(lag=0)
    outgoing.post_update(text("s", "one", 1))
    outgoing.post(b'{"id":1}')
    outgoing.post_update(text("s", "two", 2))
    assert [words for _, words, _ in await drained(outgoing)] == ["onetwo", "-"]


async def test_the_queue_is_bounded_also_when_pieces_are_joined() -> None:
    outgoing = Outgoing(max_bytes=10_000, lag=0)
    for number in range(97):
        outgoing.post_update(text("s", "x" * 100, number))
    with pytest.raises(SlowReader):
        outgoing.post_update(text("s", "x" * 100, 97))
    assert len(outgoing) == 1
    small = Outgoing(max_bytes=10_000)
    for _ in range(38):
        small.post(b"{}")
    with pytest.raises(SlowReader):
        small.post(b"{}")


async def test_one_message_may_be_longer_than_the_bound() -> None:
    outgoing = Outgoing(max_bytes=1_000)
    outgoing.post(b"x" * 5_000)
    with pytest.raises(SlowReader):
        outgoing.post(b"y")
    assert await outgoing.take() == b"x" * 5_000
    outgoing.post(b"y")
    assert await outgoing.take() == b"y"


async def test_history_waits_for_room(autojump_clock: object) -> None:
    outgoing = Outgoing(max_bytes=1_000)
    await outgoing.wait_for_room()
    outgoing.post(b"x" * 500)
    with pytest.raises(SlowReader):
        await outgoing.wait_for_room()
