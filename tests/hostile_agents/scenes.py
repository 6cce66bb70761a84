"""Crimes that take more than a prompt, and all of them at once."""

from __future__ import annotations

import trio

from tests.crash.processes import RuntimeProcess
from tests.gateway.client import AcpClient, connected, said
from tests.hostile_agents.crimes import CRIMES
from tests.hostile_agents.den import Den, follow, until_told

BLOCKED = -32014
ENOUGH = 20
"""Pieces of a flood, each of what had piled up since the one before."""


async def an_endless_answer_is_cancelled(den: Den, process: RuntimeProcess) -> None:
    """The agent does not listen; 5 s later it is ended."""
    async with connected(process.url) as client:
        session_id = await client.new_session(agent="floods")
        first = await client.request("session/prompt", said(session_id, "go"))
        while len(client.updates("agent_message_chunk")) < ENOUGH:
            await client.receive()
        await client.send("session/cancel", {"sessionId": session_id})
        second = await client.request("session/prompt", said(session_id, "stop it"))
        assert (await client.answer(first))["result"]["stopReason"] == "cancelled"
        assert (await client.answer(second))["result"]["stopReason"] == "end_turn"
        assert client.text().endswith("stop it")
        await _close(client, session_id, den, "floods")


async def a_lost_conversation_is_begun_anew(den: Den, process: RuntimeProcess) -> None:
    """The agent is killed while nobody talks to it, and does not know the session afterwards."""
    async with connected(process.url) as client:
        session_id = await client.new_session(agent="forgets")
        await client.call("session/prompt", said(session_id, "one"))
        den.kill("forgets")
        await client.call("session/prompt", said(session_id, "two"))
        assert "does not know the conversation any more" in await until_told(client, "agent_forgot")
        assert client.text().startswith("one")
        assert client.text().endswith("two")
        await _close(client, session_id, den, "forgets")


async def a_blocked_session_keeps_what_is_said(den: Den, process: RuntimeProcess) -> None:
    """Five bad starts in a row; then somebody sees to the agent, and types /reconnect."""
    name = "exits-at-every-start"
    async with connected(process.url) as client:
        session_id = await follow(client, name)
        texts = ("one", "two")
        for text in texts:
            error = await client.error("session/prompt", said(session_id, text, messageId=text))
            assert error["code"] == BLOCKED
            assert error["data"]["code"] == "session_blocked"
            assert error["data"]["kept"] is True
            assert "ended with exit code 7" in error["message"]
        why = await until_told(client, "agent_blocked")
        assert "could not be started 5 times in a row: python ended with exit code 7" in why
        assert "/reconnect" in why
        notices = [event["code"] for event in client.events() if event["type"] == "notice"]
        assert notices.count("agent_start_failed") == 4
        den.mend(name)
        await client.call("session/prompt", said(session_id, "/reconnect"))
        for text in texts:
            again = await client.call("session/prompt", said(session_id, text, messageId=text))
            assert again["stopReason"] == "end_turn"
            assert again["_meta"]["runtime"]["duplicate"] is True
        ended = [event["text"] for event in client.events() if event["type"] == "turn_ended"]
        assert ended == [*texts]
        await _close(client, session_id, den, name)


async def a_login_that_is_wanted_is_not_tried_again(den: Den, process: RuntimeProcess) -> None:
    """It says how to log in, at once; somebody does, and types /reconnect."""
    name = "wants-a-login"
    async with connected(process.url) as client:
        session_id = await follow(client, name)
        error = await client.error("session/prompt", said(session_id, "one", messageId="one"))
        assert error["code"] == BLOCKED
        assert "wants you to log in" in error["message"]
        assert "in a row" not in error["message"]
        await until_told(client, "agent_blocked")
        den.mend(name)
        await client.call("session/prompt", said(session_id, "/reconnect"))
        again = await client.call("session/prompt", said(session_id, "one", messageId="one"))
        assert again["stopReason"] == "end_turn"
        await _close(client, session_id, den, name)


async def _close(client: AcpClient, session_id: str, den: Den, name: str) -> None:
    await client.call("session/close", {"sessionId": session_id})
    await den.is_deserted(name)


SCENES = (
    an_endless_answer_is_cancelled,
    a_lost_conversation_is_begun_anew,
    a_blocked_session_keeps_what_is_said,
    a_login_that_is_wanted_is_not_tried_again,
)


async def let_loose(den: Den, process: RuntimeProcess) -> None:
    """Everything at once, while honest agents work; in the end nobody is left."""
    async with den.witnessed(process), trio.open_nursery() as nursery:
        for scene in SCENES:
            nursery.start_soon(scene, den, process)
        for name in CRIMES:
            nursery.start_soon(den.commit, process, name)
    await den.is_deserted()
