"""History, then live: no gap, nothing twice (G2, G5, G12, J1)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runtime.gateway import Gateway
from runtime.sessions.updates import ToolCall
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront


def attach(session_id: str) -> dict[str, Any]:
    return {"sessionId": session_id, "cwd": "/", "mcpServers": []}


async def prompt(client: AcpClient, front: ScriptedFront, session_id: str, text: str) -> int:
    request = await client.request("session/prompt", said(session_id, text))
    await front.until_waiting(session_id, 1)
    front.start_turn(session_id)
    return request


def lines(client: AcpClient) -> list[tuple[str, Any]]:
    return [
        (each["update"]["sessionUpdate"], each["update"].get("content", {}).get("text"))
        for each in client.updates()
    ]


# G2
async def test_load_replays_the_journal_in_its_order(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        request = await prompt(client, front, session_id, "hello")
        front.say(session_id, "Let me see. ")
        front.update(session_id, ToolCall("t1", "Look"))
        front.say(session_id, "There.")
        front.end_turn(session_id)
        await client.answer(request)
    front.add_line(session_id, "system", "The agent was restarted.")
    front.add_line(session_id, "assistant", "An old line without updates.", data={"updates": []})
    front.add_line(session_id, "assistant", "", data={"updates": ["broken", {"no": "kind"}]})
    error = {"code": "agent_gone", "message": "It is gone."}
    front.add_line(session_id, "system", "It is gone.", data={"error": error})
    async with connected(gateway.url) as client:
        result = await client.call("session/load", attach(session_id))
    assert lines(client) == [
        ("user_message_chunk", "hello"),
        ("agent_message_chunk", "Let me see. "),
        ("tool_call", None),
        ("agent_message_chunk", "There."),
        ("agent_message_chunk", "The agent was restarted."),
        ("agent_message_chunk", "An old line without updates."),
        ("agent_message_chunk", "It is gone."),
    ]
    marks = [each["_meta"]["runtime"] for each in client.updates()]
    assert marks[0] == {
        "turnId": "turn-1",
        "messageId": f"{session_id}/m1",
        "seq": 1,
        "at": 1_001,
    }
    assert [each.get("notice") for each in marks] == [None] * 4 + ["system", None, "agent_gone"]
    assert result["_meta"]["runtime"]["journalSeq"] == 6
    assert result["configOptions"][0]["id"] == "queue_mode"


# G2, G12
async def test_load_in_mid_turn_goes_on_live(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        request = await prompt(client, front, session_id, "first")
        front.say(session_id, "one")
        front.end_turn(session_id)
        await client.answer(request)
        request = await prompt(client, front, session_id, "second")
        front.say(session_id, "t", "w")
        # A part of the running turn may be in the journal already.
        front.add_line(session_id, "assistant", "tw", "turn-2", data={"updates": []})
        async with connected(gateway.url) as late:
            await late.call("session/load", attach(session_id))
            front.say(session_id, "o")
            front.end_turn(session_id)
            await client.answer(request)
            front.add_line(session_id, "system", "later")
            await late.call("session/load", attach(session_id))
    expected = [
        ("user_message_chunk", "first"),
        ("agent_message_chunk", "one"),
        ("user_message_chunk", "second"),
        ("agent_message_chunk", "t"),
        ("agent_message_chunk", "w"),
        ("agent_message_chunk", "o"),
    ]
    assert lines(late)[:6] == expected
    assert [each["_meta"]["runtime"].get("number") for each in late.updates()[:6]] == [
        None,
        None,
        None,
        None,
        None,
        9,
    ]


# G2, G12: what happens between the opening of the watch and the snapshot is in both
@pytest.mark.parametrize("method", ["session/load", "session/resume", "_runtime/session/events"])
async def test_nothing_is_sent_twice(gateway: Gateway, front: ScriptedFront, method: str) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await prompt(client, front, session_id, "hello")
        async with connected(gateway.url) as late:
            count = iter(range(100))
            front.before_snapshot = lambda: front.say(session_id, f"{next(count)} ")
            await late.call(method, attach(session_id))
            front.before_snapshot = lambda: None
            front.say(session_id, "end")
            while "end" not in str(late.messages[-1]):
                await late.receive()
    taken = next(count)
    before = "".join(f"{number} " for number in range(taken))
    if method.startswith("_"):
        snapshot, update = late.events()
        said_before = [each["content"]["text"] for each in snapshot["running"]["updates"]]
        assert "".join(said_before) == before
        assert update["update"]["content"]["text"] == "end"
    else:
        assert late.text() == ("end" if method == "session/resume" else before + "end")


# T5: a turn that is tried again begins with words that were replayed already
async def test_words_that_were_replayed_are_not_shown_again(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await prompt(client, front, session_id, "hello")
        async with connected(gateway.url) as late:
            await late.call("session/load", attach(session_id))
            front.end_turn(session_id, stop_reason=None, retry_at=5)
            front.start_turn(session_id)
            front.say(session_id, "at last")
            await late.until("session/update", sessionUpdate="agent_message_chunk")
    assert late.text("user_message_chunk") == "hello"


# G2
async def test_only_the_current_epoch_is_replayed(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        front.add_line(session_id, "user", "old")
        await front.reset_session(session_id)
        front.add_line(session_id, "user", "new")
        await client.call("session/load", attach(session_id))
    assert lines(client) == [("user_message_chunk", "new")]


# G2
async def test_resume_replays_nothing(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await prompt(client, front, session_id, "hello")
        front.say(session_id, "missed ")
        async with connected(gateway.url) as late:
            result = await late.call("session/resume", {"sessionId": session_id, "cwd": "/"})
            front.say(session_id, "seen")
            await late.until("session/update")
    assert late.text() == "seen"
    assert result["_meta"]["runtime"]["live"] == 3
    assert late.updates()[0]["_meta"]["runtime"]["number"] == 4


# G2: pages of a long history, with live events in between
async def test_a_long_history_is_complete(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        for number in range(2_345):
            front.add_line(session_id, "user" if number % 2 else "assistant", str(number))
        await prompt(client, front, session_id, "now")
        async with connected(gateway.url) as late:
            request = await late.request("session/load", attach(session_id))
            for number in range(300):
                front.say(session_id, f"+{number}")
                await late.receive()
            await late.answer(request)
            front.say(session_id, "end")
            while not late.text().endswith("end"):
                await late.receive()
    texts = [text for _, text in lines(late)]
    assert texts[:2_345] == [str(number) for number in range(2_345)]
    assert texts[2_345] == "now"
    assert "".join(texts[2_346:]) == "".join(f"+{each}" for each in range(300)) + "end"


# G12
async def test_events_from_a_cursor(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        for number in range(3):
            front.add_line(session_id, "user", str(number))
        request = await prompt(client, front, session_id, "hello")
        front.say(session_id, "so far")
        async with connected(gateway.url) as late:
            params = {"sessionId": session_id, "after": 2}
            cursor = await late.call("_runtime/session/events", params)
            front.say(session_id, "!")
            front.end_turn(session_id)
            ended = await late.until("_runtime/session/event", type="turn_ended")
            await client.answer(request)
            await client.call("_runtime/runtime/tree")
    assert [each["type"] for each in late.events()] == [
        "journal",
        "snapshot",
        "turn_update",
        "turn_ended",
    ]
    journal, snapshot, update, _ = late.events()
    assert (journal["seq"], journal["role"], journal["content"]) == (3, "user", "2")
    assert snapshot["running"]["updates"][0]["content"]["text"] == "so far"
    assert snapshot["running"]["messageIds"] == [f"{session_id}/m1"]
    assert update["update"]["content"]["text"] == "!"
    assert (ended["number"], ended["event"]["journalSeq"]) == (5, 5)
    assert (cursor["journalSeq"], cursor["live"]) == (3, 3)
    # Who asked for events gets no updates, and who asked for none gets none.
    assert late.updates() == []
    assert client.events() == []


# G12
async def test_events_and_updates_together(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await client.call("_runtime/session/events", {"sessionId": session_id})
        front.echo = True
        await client.call("session/prompt", said(session_id, "a b"))
        await client.call("session/close", {"sessionId": session_id})
        await client.until("_runtime/session/event", type="session_closed")
    assert client.text() == "a b "
    assert [each["type"] for each in client.events()] == [
        "snapshot",
        "message_accepted",
        "turn_started",
        "turn_update",
        "turn_update",
        "turn_ended",
        "session_closed",
    ]
    assert msgspec.convert(client.events()[1]["content"], list[dict[str, str]]) == [
        {"type": "text", "text": "a b"}
    ]


# G12: a live number means something only in the run of the runtime that gave it
async def test_a_cursor_of_another_run_is_reset(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        front.echo = True
        await client.call("session/prompt", said(session_id, "hello"))
        asked = {"sessionId": session_id, "after": 2}
        known = await client.call("_runtime/session/events", asked)
        cases = [
            ({"live": known["live"], "run": known["run"]}, False),
            ({"live": 2, "run": known["run"]}, False),
            ({"live": known["live"] + 1}, True),
            ({"live": 1, "run": "another"}, True),
        ]
        for cursor, reset in cases:
            client.messages.clear()
            await client.call("_runtime/session/events", {**asked, **cursor})
            types = [each["type"] for each in client.events()]
            assert types == (["reset", "snapshot"] if reset else ["snapshot"]), cursor
