"""Questions of an agent before its watchers: dialogs, words, the first answer (G3, G5, G7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio.testing

from runtime.gateway import Gateway, questions
from runtime.ports.agent import Offers
from runtime.ports.front import BadRequest
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront

ASK = "session/request_permission"


async def asked(client: AcpClient) -> dict[str, Any]:
    """The next request for permission."""
    while True:
        message = await client.receive()
        if message.get("method") == ASK:
            return message


def requests(client: AcpClient) -> list[dict[str, Any]]:
    return [message for message in client.messages if message.get("method") == ASK]


async def reply(client: AcpClient, request_id: Any, **members: Any) -> None:
    message = {"jsonrpc": "2.0", "id": request_id, **members}
    await client.websocket.send_message(json.dumps(message))


async def choose(client: AcpClient, request_id: Any, option_id: str | None) -> None:
    outcome: dict[str, Any] = {"outcome": "cancelled"}
    if option_id is not None:
        outcome = {"outcome": "selected", "optionId": option_id}
    await reply(client, request_id, result={"outcome": outcome})


async def begin(client: AcpClient, front: ScriptedFront) -> tuple[str, int]:
    """A session with a running turn."""
    session_id = await client.new_session(key="shared")
    request = await client.request("session/prompt", said(session_id, "go"))
    await front.until_waiting(session_id, 1)
    front.start_turn(session_id)
    return session_id, request


async def settled(client: AcpClient, front: ScriptedFront, session_id: str) -> None:
    """Return when everything that this client sent before was taken in."""
    await client.call("_runtime/queue/status", {"sessionId": session_id})
    await trio.testing.wait_all_tasks_blocked()


# G3
async def test_a_question_is_a_request_and_its_answer_reaches_the_agent(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id, prompt = await begin(client, front)
        front.say(session_id, "May I?")
        front.ask(session_id)
        request = await asked(client)
        assert client.text() == "May I?"
        assert request["params"] == {
            "sessionId": session_id,
            "toolCall": {
                "toolCallId": "call-q-1",
                "title": "Delete everything",
                "kind": "delete",
            },
            "options": [
                {"optionId": "yes", "name": "Do it", "kind": "allow_once"},
                {"optionId": "no", "name": "Leave it", "kind": "reject_once"},
            ],
            "_meta": {"runtime": {"turnId": "turn-1", "requestId": "q-1"}},
        }
        await choose(client, request["id"], "yes")
        await settled(client, front, session_id)
        assert front.sessions[session_id].answers == [("q-1", "yes")]
        front.end_turn(session_id)
        await client.answer(prompt)
    # Nothing is withdrawn from the client that has answered.
    assert "$/cancel_request" not in str(client.messages)


# G3
async def test_nobody_chose(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        front.ask(session_id)
        await choose(client, (await asked(client))["id"], None)
        await settled(client, front, session_id)
    assert front.sessions[session_id].answers == [("q-1", None)]


# G5, G3: the first answer counts, the question is withdrawn from the others
async def test_the_first_answer_wins(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as one, connected(gateway.url) as two:
        session_id, _ = await begin(one, front)
        await two.new_session(key="shared")
        front.ask(session_id)
        first, second = await asked(one), await asked(two)
        await choose(one, first["id"], "no")
        withdrawn = await two.receive()
        assert withdrawn["method"] == "$/cancel_request"
        assert withdrawn["params"] == {"requestId": second["id"]}
        await choose(two, second["id"], "yes")
        await settled(two, front, session_id)
        assert front.sessions[session_id].answers == [("q-1", "no")]
        # The next question has an id of its own.
        front.ask(session_id, "q-2")
        assert (await asked(two))["id"] != second["id"]


# G5, G12: who comes while a question is open is asked, and once
@pytest.mark.parametrize("method", ["session/new", "session/load", "session/resume"])
async def test_who_comes_later_is_asked(
    gateway: Gateway, front: ScriptedFront, method: str
) -> None:
    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        front.ask(session_id)
        await asked(client)
        async with connected(gateway.url) as late:
            params = {"sessionId": session_id, "cwd": "/", "mcpServers": []}
            named = {**params, "_meta": {"runtime": {"key": "shared"}}}
            await late.call(method, named)
            # Only then does the client know the session.
            assert requests(late) == []
            await late.call("session/load", params)
            await settled(late, front, session_id)
            (request,) = requests(late)
            await choose(late, request["id"], "yes")
            await settled(late, front, session_id)
            assert front.sessions[session_id].answers == [("q-1", "yes")]
            # What was answered is not asked again.
            await late.call("session/load", params)
            await settled(late, front, session_id)
            assert requests(late) == [request]


# G12: a question that is answered before the client knows the session is not put any more
async def test_a_question_that_is_answered_meanwhile(
    gateway: Gateway, front: ScriptedFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def settle(session_id: str) -> Offers:
        front.settle(session_id, "q-1", "yes")
        await trio.testing.wait_all_tasks_blocked()
        return Offers()

    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        front.ask(session_id)
        front.ask(session_id, "q-2")
        async with connected(gateway.url) as late:
            monkeypatch.setattr(front, "offers", settle)
            await late.call("session/resume", {"sessionId": session_id, "cwd": "/"})
            request = await asked(late)
            assert request["params"]["_meta"]["runtime"]["requestId"] == "q-2"
            await settled(late, front, session_id)
            assert requests(late) == [request]


# G3: a client that has no dialog reads the question, and is never asked by request again
async def test_a_client_without_a_dialog_is_asked_in_words(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        front.ask(session_id)
        request = await asked(client)
        await reply(client, request["id"], error={"code": -32601, "message": "what?"})
        words = await client.until("session/update")
        assert words["update"]["sessionUpdate"] == "agent_message_chunk"
        assert words["update"]["content"]["text"] == (
            "The agent asks for permission: Delete everything\n"
            "1. Do it\n2. Leave it\nAnswer with the number."
        )
        assert words["_meta"]["runtime"] == {"turnId": "turn-1", "notice": "permission"}
        front.ask(session_id, "q-2")
        await client.until("session/update")
        front.settle(session_id, "q-1", "yes")
        front.settle(session_id, "q-2")
        await settled(client, front, session_id)
    assert len(requests(client)) == 1
    assert "$/cancel_request" not in str(client.messages)
    assert front.sessions[session_id].answers == []


# G7: whatever a client answers, the question stays open and the connection too
@pytest.mark.parametrize(
    "members",
    [
        {"result": {"outcome": {"outcome": "selected", "optionId": "maybe"}}},
        {"result": {"outcome": {"outcome": "selected"}}},
        {"result": {"outcome": {"outcome": "shrug"}}},
        {"result": {"outcome": "yes"}},
        {"result": None},
        {"result": [[]]},
        {"error": {"code": -32603, "message": "broken"}},
        {"error": {"code": "x"}},
        {"error": None},
    ],
)
async def test_an_answer_that_decides_nothing(
    gateway: Gateway, front: ScriptedFront, members: dict[str, Any]
) -> None:
    async with connected(gateway.url) as client, connected(gateway.url) as other:
        session_id, _ = await begin(client, front)
        await other.new_session(key="shared")
        front.ask(session_id)
        request, theirs = await asked(client), await asked(other)
        await reply(client, request["id"], **members)
        # It is said again in words, so that this person can answer by a number.
        await client.until("session/update", sessionUpdate="agent_message_chunk")
        # A second answer to the same request is one to nothing.
        await choose(client, request["id"], "yes")
        await settled(client, front, session_id)
        assert front.sessions[session_id].answers == []
        await choose(other, theirs["id"], "yes")
        await settled(other, front, session_id)
        assert front.sessions[session_id].answers == [("q-1", "yes")]
        front.ask(session_id, "q-2")
        await asked(client)


# G7
@pytest.mark.parametrize("identity", [0, 7, -1, "x", None, 10**30])
async def test_answers_to_nothing_are_ignored(
    gateway: Gateway, front: ScriptedFront, identity: Any
) -> None:
    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        front.ask(session_id)
        await asked(client)
        await choose(client, identity, "yes")
        await settled(client, front, session_id)
    assert front.sessions[session_id].answers == []


# G7: the front may refuse an answer, or fail
@pytest.mark.parametrize("error", [BadRequest("no such option"), RuntimeError("broken inside")])
async def test_an_answer_that_is_refused_harms_nobody(
    gateway: Gateway, front: ScriptedFront, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> bool:
        raise error

    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        front.ask(session_id)
        monkeypatch.setattr(front, "answer_permission", refuse)
        await choose(client, (await asked(client))["id"], "yes")
        await settled(client, front, session_id)
        front.say(session_id, "still there")
        await client.until("session/update", sessionUpdate="agent_message_chunk")


# G3: questions end with their turn
async def test_the_end_of_a_turn_withdraws_its_questions(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id, prompt = await begin(client, front)
        front.ask(session_id)
        request = await asked(client)
        front.end_turn(session_id, stop_reason="cancelled")
        await client.answer(prompt)
        cancelled = [each for each in client.messages if each.get("method") == "$/cancel_request"]
        assert [each["params"]["requestId"] for each in cancelled] == [request["id"]]
        await choose(client, request["id"], "yes")
        await settled(client, front, session_id)
    assert front.sessions[session_id].answers == []


# G7: who answers nothing is not asked without bound, and reads the rest
async def test_unanswered_questions_are_bounded(
    gateway: Gateway, front: ScriptedFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_OPEN", 2)
    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        for number in range(4):
            front.ask(session_id, f"q-{number}")
        while len(client.updates("agent_message_chunk")) < 2:
            await client.receive()
        assert len(requests(client)) == 2
        # There is room again when one was withdrawn.
        front.settle(session_id, "q-0")
        front.ask(session_id, "q-4")
        await asked(client)


# G11: going away answers nothing
async def test_a_client_that_goes_leaves_the_question_open(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        front.ask(session_id)
        await asked(client)
    async with connected(gateway.url) as client:
        await client.new_session(key="shared")
        await choose(client, (await asked(client))["id"], "yes")
        await settled(client, front, session_id)
    assert front.sessions[session_id].answers == [("q-1", "yes")]


# G12
async def test_questions_are_events(gateway: Gateway, front: ScriptedFront) -> None:
    async with connected(gateway.url) as client:
        session_id, _ = await begin(client, front)
        async with connected(gateway.url) as follower:
            front.ask(session_id)
            await follower.call("_runtime/session/events", {"sessionId": session_id})
            front.settle(session_id, "q-1", "no")
            front.ask(session_id, "q-2")
            await follower.until("_runtime/session/event", type="permission_asked")
            snapshot, answered, again = follower.events()
            # Who follows events only is not asked by request.
            assert requests(follower) == []
    assert [each["requestId"] for each in snapshot["running"]["questions"]] == ["q-1"]
    assert answered == {
        "type": "permission_answered",
        "turnId": "turn-1",
        "requestId": "q-1",
        "optionId": "no",
    }
    assert again["request"]["options"][1]["optionId"] == "no"
    assert again["request"]["toolCall"]["title"] == "Delete everything"
