"""A turn that fails is told to each of those who watch, once (G5, T5)."""

from __future__ import annotations

from runtime.gateway import Gateway
from runtime.sessions.events import TurnEnded
from runtime.sessions.rows import InboundState, TurnError, TurnState
from tests.gateway.client import AcpClient, connected, said
from tests.gateway.scripted import ScriptedFront


def told(client: AcpClient) -> list[tuple[str, str]]:
    """Codes and words of what the runtime said in the chat."""
    return [
        (mark["notice"], params["update"]["content"]["text"])
        for params in client.updates()
        if (mark := params["_meta"]["runtime"]).get("notice")
    ]


# G5 T5
async def test_why_a_turn_has_failed_is_said_to_those_who_do_not_wait_for_it(
    gateway: Gateway, front: ScriptedFront
) -> None:
    words = "The agent went away."
    async with (
        connected(gateway.url) as asker,
        connected(gateway.url) as sender,
        connected(gateway.url) as watcher,
    ):
        session_id = await asker.new_session()
        attach = {"sessionId": session_id, "cwd": "/", "mcpServers": []}
        for client in (sender, watcher):
            await client.call("session/resume", attach)
        request = await asker.request("session/prompt", said(session_id, "one"))
        await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        front.end_turn(session_id, stop_reason=None, error=TurnError("agent_gone", words))
        assert (await asker.answer(request))["error"]["data"]["code"] == "agent_gone"

        await sender.call("_runtime/session/send", said(session_id, "two"))
        front.start_turn(session_id)
        front.end_turn(session_id, stop_reason=None, error=TurnError("agent_stalled", words))
        last = ("agent_stalled", words)
        for client in (asker, sender, watcher):
            while last not in told(client):
                await client.receive()
        assert told(asker) == [last]
        assert told(sender) == told(watcher) == [("agent_gone", words), last]


# Q3 G5
async def test_what_runs_together_with_something_newer_is_no_failure(
    gateway: Gateway, front: ScriptedFront
) -> None:
    async with connected(gateway.url) as client:
        session_id = await client.new_session()
        first = await client.request("session/prompt", said(session_id, "one"))
        ids = await front.until_waiting(session_id, 1)
        front.start_turn(session_id)
        session = front.sessions[session_id]
        assert session.running is not None
        started, session.running = session.running.started, None
        session.waiting[ids[0]] = started.prompt
        cancelled, pending = TurnState.CANCELLED, InboundState.PENDING
        session.publish(TurnEnded(started.turn_id, 1, ids, cancelled, pending, "cancelled"))
        second = await client.request("session/prompt", said(session_id, "two"))
        await front.until_waiting(session_id, 2)
        front.start_turn(session_id)
        front.end_turn(session_id)
        for request in (first, second):
            assert (await client.answer(request))["result"]["stopReason"] == "end_turn"
        assert told(client) == []
