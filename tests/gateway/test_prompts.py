"""Prompts over the wire: streaming, order, merging, cancelling, failing (G3, G4, G5, G11, T5)."""

from __future__ import annotations

import pytest
import trio

from runtime.gateway import Gateway
from runtime.sessions.content import EmbeddedResource, TextResource
from runtime.sessions.rows import TurnError
from runtime.sessions.updates import Plan, PlanEntry, ToolCall, ToolCallUpdate
from tests.gateway.client import connected, said
from tests.gateway.scripted import ScriptedFront


# G3
async def test_a_prompt_streams_and_is_answered_with_the_stop_reason(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        request = await client.request("session/prompt", said(session_id, "hello"))
        (message_id,) = await front.until_waiting(session_id, 1)
        turn_id = front.start_turn(session_id)
        front.say(session_id, "Good ", "morning")
        front.update(session_id, Plan((PlanEntry("Greet"),)))
        front.update(session_id, ToolCall("t1", "Look", kind="read", status="pending"))
        front.update(session_id, ToolCallUpdate("t1", status="completed"))
        front.end_turn(session_id, stop_reason="max_tokens")
        answer = await client.answer(request)
    assert answer["result"]["stopReason"] == "max_tokens"
    mark = answer["result"]["_meta"]["runtime"]
    assert mark == {"messageId": message_id, "sequence": 1, "turnId": turn_id}
    kinds = [each["update"]["sessionUpdate"] for each in client.updates()]
    assert kinds == ["agent_message_chunk"] * 2 + ["plan", "tool_call", "tool_call_update"]
    assert client.text() == "Good morning"
    marks = [each["_meta"]["runtime"] for each in client.updates()]
    assert [each["number"] for each in marks] == [3, 4, 5, 6, 7]
    assert {each["turnId"] for each in marks} == {turn_id}


# G3: the sender knows the id of its message only after the turn has begun and ended
async def test_updates_come_before_the_answer_and_nothing_is_echoed(
    gateway: Gateway, front: ScriptedFront
) -> None:
    front.echo = True
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        for number in range(20):
            request = await client.request("session/prompt", said(session_id, f"{number} {number}"))
            await client.answer(request)
            assert client.messages[-1]["id"] == request
            assert client.text() == "".join(f"{each} " * 2 for each in range(number + 1))
    assert client.updates("user_message_chunk") == []


# G3, Q7: what a client says to one session is accepted in its order
async def test_prompts_sent_at_once_are_accepted_in_order(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        requests = [
            await client.request("session/prompt", said(session_id, str(number)))
            for number in range(12)
        ]
        waiting = await front.until_waiting(session_id, 12)
        texts = [front.sessions[session_id].waiting[each][0] for each in waiting]
        assert [each.text for each in texts if hasattr(each, "text")] == list(map(str, range(12)))
        # A request about another matter is answered while they wait.
        status = await client.call("_runtime/queue/status", {"sessionId": session_id})
        assert status == {
            "mode": "collect",
            "running": None,
            "waiting": 12,
            "oldest": None,
            "blocked": None,
        }
        front.start_turn(session_id)
        front.end_turn(session_id)
        answers = [await client.answer(each) for each in requests]
    # G11: merged prompts all get the stop reason of their turn
    assert {each["result"]["stopReason"] for each in answers} == {"end_turn"}
    assert {each["result"]["_meta"]["runtime"]["turnId"] for each in answers} == {"turn-1"}


# G11
async def test_cancel_ends_the_turn_and_the_waiting_prompts_of_this_connection(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client, connected(gateway.url) as other:
        session_id = await client.new_session(key="shared")
        assert await other.new_session(key="shared") == session_id
        first = await client.request("session/prompt", said(session_id, "one"))
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        second = await client.request("session/prompt", said(session_id, "two"))
        await front.until_waiting(session_id, 1)
        theirs = await other.request("session/prompt", said(session_id, "three"))
        await front.until_waiting(session_id, 2)
        await client.send("session/cancel", {"sessionId": session_id})
        for request in (first, second):
            assert (await client.answer(request))["result"]["stopReason"] == "cancelled"
        assert len(await front.until_waiting(session_id, 1)) == 1
        front.start_turn(session_id)
        front.end_turn(session_id)
        assert (await other.answer(theirs))["result"]["stopReason"] == "end_turn"


# G11
async def test_going_away_cancels_nothing(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await client.request("session/prompt", said(session_id, "hello", messageId="m-1"))
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
    async with connected(gateway.url) as client:
        # G4: the same message again waits for the same turn
        request = await client.request("session/prompt", said(session_id, "hello", messageId="m-1"))
        await client.call("_runtime/runtime/tree")
        front.say(session_id, "still here")
        front.end_turn(session_id)
        result = (await client.answer(request))["result"]
    assert client.text() == "still here"
    assert result["stopReason"] == "end_turn"
    assert result["_meta"]["runtime"]["duplicate"] is True
    assert result["_meta"]["runtime"]["text"] == "still here"


# G4
async def test_a_message_that_ended_long_ago_is_answered_at_once(
    gateway: Gateway, front: ScriptedFront
) -> None:
    front.echo = True
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        await client.call("session/prompt", said(session_id, "hello", messageId="m-1"))
    async with connected(gateway.url) as client:
        started = trio.current_time()
        result = await client.call("session/prompt", said(session_id, "hello", messageId="m-1"))
        assert trio.current_time() - started < 5
    assert result["_meta"]["runtime"] == {
        "messageId": "session-1/m1",
        "sequence": 1,
        "duplicate": True,
        "turnId": "turn-1",
        "text": "hello ",
    }
    assert client.updates() == []


# T5, G3
async def test_a_failed_turn_is_an_error_that_names_the_cause(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        request = await client.request("session/prompt", said(session_id, "hello"))
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        front.say(session_id, "I was about to")
        error = TurnError("agent_gone", "The agent went away while it answered.")
        front.end_turn(session_id, stop_reason=None, error=error)
        answer = await client.answer(request)
    assert answer["error"]["code"] == -32603
    assert answer["error"]["message"] == error.message
    assert answer["error"]["data"]["code"] == "agent_gone"
    assert answer["error"]["data"]["turnId"] == "turn-1"
    assert client.text() == "I was about to"


# T5: the messages wait for another try, and so does the prompt
async def test_a_turn_that_is_tried_again_is_answered_once(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client, connected(gateway.url) as other:
        session_id = await client.new_session(key="shared")
        await other.new_session(key="shared")
        request = await client.request("session/prompt", said(session_id, "hello"))
        (message_id,) = await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        front.end_turn(session_id, stop_reason=None, retry_at=5)
        front.start_turn(session_id)
        front.say(session_id, "at last")
        front.end_turn(session_id)
        assert (await client.answer(request))["result"]["stopReason"] == "end_turn"
        await other.until("session/update", sessionUpdate="agent_message_chunk")
    shown = other.updates("user_message_chunk")
    assert [each["update"]["content"]["text"] for each in shown] == ["hello"]
    assert shown[0]["_meta"]["runtime"]["messageId"] == message_id


# G5, G3
async def test_every_watcher_gets_every_update_and_the_words_of_the_others(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as one, connected(gateway.url) as two:
        session_id = await one.new_session(key="shared")
        await two.new_session(key="shared")
        first = await one.request("session/prompt", said(session_id, "from one"))
        await front.until_waiting(session_id, 1)
        second = await two.request("session/prompt", said(session_id, "from two"))
        await front.until_waiting(session_id, 2)
        front.start_turn(session_id)
        front.say(session_id, "hello both")
        front.end_turn(session_id)
        await one.answer(first)
        await two.answer(second)
    assert one.text() == two.text() == "hello both"
    assert one.text("user_message_chunk") == "from two"
    assert two.text("user_message_chunk") == "from one"
    mark = one.updates("user_message_chunk")[0]["_meta"]["runtime"]
    assert mark == {"turnId": "turn-1", "messageId": f"{session_id}/m2", "number": 3}


# G4
async def test_send_answers_when_the_message_is_kept(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        params = said(session_id, "remember this", messageId="m-1")
        first = await client.call("_runtime/session/send", params)
        again = await client.call("_runtime/session/send", params)
        assert first == {"messageId": f"{session_id}/m1", "sequence": 1, "duplicate": False}
        assert again == {**first, "duplicate": True}
        front.start_turn(session_id)
        front.say(session_id, "noted")
        await client.until("session/update")
    assert client.updates("user_message_chunk") == []


# G4
async def test_send_to_a_session_that_is_not_followed(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
    async with connected(gateway.url) as client:
        await client.call("_runtime/session/send", said(session_id, "hello"))
        front.start_turn(session_id)
        front.say(session_id, "nobody hears this")
        front.end_turn(session_id)
        await client.call("_runtime/runtime/tree")
    assert client.updates() == []


# G4, Q5
async def test_clear_withdraws_what_waits(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        request = await client.request("session/prompt", said(session_id, "hello"))
        await front.until_waiting(session_id, 1)
        cleared = await client.call("_runtime/queue/clear", {"sessionId": session_id})
        assert cleared == {"cleared": 1}
        assert (await client.answer(request))["result"]["stopReason"] == "cancelled"


# S45: accepted stays accepted
async def test_a_prompt_that_the_stopping_runtime_keeps(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        request = await client.request("session/prompt", said(session_id, "hello"))
        (message_id,) = await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        front.stop()
        error = (await client.answer(request))["error"]
    assert error["code"] == -32011
    assert error["data"] == {"code": "unavailable", "messageId": message_id, "accepted": True}


# G2
async def test_close_answers_the_prompts_that_wait(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        request = await client.request("session/prompt", said(session_id, "hello"))
        await front.until_waiting(session_id, 1)
        assert await client.call("session/close", {"sessionId": session_id}) == {}
        assert (await client.answer(request))["result"]["stopReason"] == "cancelled"
        error = await client.error("session/prompt", said(session_id, "anyone?"))
        assert error["code"] == -32002


# G3
async def test_resource_links_are_accepted(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        link = {
            "type": "resource_link",
            "name": "notes",
            "uri": "file:///notes.md",
            "mimeType": "text/markdown",
            "annotations": {"priority": 1},
        }
        await client.request("session/prompt", {"sessionId": session_id, "prompt": [link]})
        (message_id,) = await front.until_waiting(session_id, 1)
        (block,) = front.sessions[session_id].waiting[message_id]
    assert getattr(block, "uri", None) == "file:///notes.md"


# G3
async def test_embedded_text_is_accepted_and_shown_to_others(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client, connected(gateway.url) as other:
        session_id = await client.new_session(key="shared")
        await other.new_session(key="shared")
        text = {"uri": "file:///x.md", "text": "# X", "mimeType": "text/markdown"}
        block = {"type": "resource", "resource": text}
        sent = {"type": "resource", "resource": {**text, "blob": None}, "annotations": {}}
        await client.request("session/prompt", {"sessionId": session_id, "prompt": [sent]})
        (message_id,) = await front.until_waiting(session_id, 1)
        expected = EmbeddedResource(TextResource("file:///x.md", "# X", "text/markdown"))
        assert front.sessions[session_id].waiting[message_id] == (expected,)
        front.start_turn(session_id)
        shown = await other.until("session/update", sessionUpdate="user_message_chunk")
        assert shown["update"]["content"] == block


# G3
@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "data": "aGk=", "mimeType": "image/png"},
        {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"},
        {"type": "resource", "resource": {"uri": "file:///x", "blob": "aGk="}},
    ],
)
@pytest.mark.parametrize("method", ["session/prompt", "_runtime/session/send"])
async def test_files_are_taken_with_and_without_text(
    gateway: Gateway, front: ScriptedFront, block: dict[str, object], method: str
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        for prompt in ([block], [{"type": "text", "text": "look"}, block]):
            await client.request(method, {"sessionId": session_id, "prompt": prompt})
            await client.call("_runtime/queue/status", {"sessionId": session_id})
    assert len(front.sessions[session_id].senders) == 2


# G3, G7
@pytest.mark.parametrize("block", [{"type": "video", "data": "aGk="}, {"type": "x"}])
async def test_other_blocks_are_refused_by_name(
    gateway: Gateway, front: ScriptedFront, block: dict[str, object]
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        prompt = [{"type": "text", "text": "look"}, block]
        error = await client.error("session/prompt", {"sessionId": session_id, "prompt": prompt})
    assert error["code"] == -32602
    assert error["data"]["path"] == "$.prompt[1].type"
    assert str(block["type"]) in error["message"]
    assert "text, resource_link, resource, image, audio are accepted" in error["message"]
    assert front.sessions[session_id].waiting == {}


# G3, G7
@pytest.mark.parametrize("method", ["session/prompt", "_runtime/session/send"])
@pytest.mark.parametrize("texts", [[""], [" \n\t", "\u3000"]])
async def test_a_blank_prompt_is_refused(
    gateway: Gateway, front: ScriptedFront, method: str, texts: list[str]
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        prompt = [{"type": "text", "text": text} for text in texts]
        error = await client.error(method, {"sessionId": session_id, "prompt": prompt})
    assert error["code"] == -32602
    assert error["data"]["path"] == "$.prompt"
    assert front.sessions[session_id].waiting == {}
