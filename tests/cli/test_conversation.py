"""A conversation with a peer that has a script: what is sent again, in which order, how often."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel
import trio_websocket

from runtime.cli import conversation as conversation_module
from runtime.cli.conversation import Conversation
from runtime.cli.errors import CommandError
from runtime.cli.questions import Asking
from runtime.cli.saying import Message, Talk
from runtime.cli.screen import PipeScreen
from runtime.endpoint import Endpoint
from runtime.protocol.extensions import SESSION_BLOCKED, UNAVAILABLE

MARK = {"key": "main", "agent": "echo", "epoch": 1, "run": "r", "journalSeq": 0, "live": 0}
ANSWERS: dict[str, Any] = {
    "initialize": {"result": {}},
    "session/new": {"result": {"sessionId": "s1", "configOptions": [], "_meta": {"runtime": MARK}}},
    "_runtime/session/send": {"result": {"messageId": "row", "sequence": 1, "duplicate": True}},
    "_runtime/session/events": {"result": {"run": "r", "journalSeq": 0, "live": 0}},
}
UNANSWERED: dict[str, Any] = {}
REFUSED = {"error": {"code": UNAVAILABLE, "message": "The disk is full."}}

Script = Callable[[list[str]], dict[str, Any] | None]
"""What to answer the newest of these prompts; None closes the connection."""


def answered(turn_id: str) -> dict[str, Any]:
    mark = {"messageId": "row", "sequence": 1, "turnId": turn_id, "text": f"answer {turn_id}"}
    return {"result": {"stopReason": "end_turn", "_meta": {"runtime": mark}}}


class Peer:
    """A runtime that does what a script says, and keeps the prompts that it was sent."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.prompts: list[str] = []
        self.texts: list[str] = []
        self.folders: list[str] = []
        self.replies: list[dict[str, Any]] = []
        self.afterwards: dict[str, list[dict[str, Any]]] = {}

    async def serve(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            socket = await request.accept()
            try:
                while True:
                    await self._answer(socket, msgspec.json.decode(await socket.get_message()))
            except trio_websocket.ConnectionClosed:
                nursery.cancel_scope.cancel()

    async def _answer(
        self, socket: trio_websocket.WebSocketConnection, call: dict[str, Any]
    ) -> None:
        if "method" not in call:
            self.replies.append(call)
            return
        if call["method"] == "session/new":
            self.folders.append(call["params"]["cwd"])
        answer = ANSWERS.get(call["method"])
        if call["method"] == "session/prompt":
            self.prompts.append(call["params"]["_meta"]["runtime"]["messageId"])
            self.texts.append(call["params"]["prompt"][0]["text"])
            answer = self.script(self.prompts)
        if answer is None:
            await socket.aclose(1001)
        elif answer is not UNANSWERED:
            reply = {"jsonrpc": "2.0", "id": call["id"], **answer}
            await socket.send_message(msgspec.json.encode(reply).decode())
        for frame in self.afterwards.pop(call["method"], ()):
            await socket.send_message(msgspec.json.encode({"jsonrpc": "2.0", **frame}).decode())


@asynccontextmanager
async def talking_to(peer: Peer, **wishes: Any) -> AsyncIterator[Conversation]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        endpoint = Endpoint(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/acp")
        nursery.start_soon(trio.serve_listeners, peer.serve, [listener])
        wish = Talk("main", patience=60.0, **wishes)
        talk = Conversation(lambda: endpoint, wish, PipeScreen())
        await nursery.start(talk.run)
        yield talk
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(conversation_module, "REFUSED_PAUSES", (0.01, 0.01))


async def wait_for(*messages: Message) -> list[str]:
    with trio.fail_after(30):
        for message in messages:
            await message.done.wait()
    return [message.outcome for message in messages]


# G4
async def test_what_was_not_answered_is_sent_again_in_its_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def script(prompts: list[str]) -> dict[str, Any] | None:
        if len(prompts) < 3:
            return UNANSWERED
        return None if len(prompts) == 3 else answered(prompts[-1])

    peer = Peer(script)
    async with talking_to(peer) as talk:
        messages = [await talk.say(text) for text in ("one", "two", "three")]
        assert await wait_for(*messages) == ["answered"] * 3
        assert talk.unanswered == 0
    ids = [message.id for message in messages]
    assert peer.prompts == [*ids, *ids]
    assert peer.texts == ["one", "two", "three"] * 2
    assert capsys.readouterr().out.splitlines() == [f"answer {each}" for each in ids]


# G4
async def test_what_is_said_while_there_is_no_connection_is_sent_later() -> None:
    def script(prompts: list[str]) -> dict[str, Any] | None:
        return None if len(prompts) == 1 else answered(prompts[-1])

    peer = Peer(script)
    async with talking_to(peer) as talk:
        first = await talk.say("one")
        while talk.connected:
            await trio.lowlevel.checkpoint()
        second = await talk.say("two")
        assert await wait_for(first, second) == ["answered"] * 2
    assert peer.texts == ["one", "one", "two"]


async def test_what_cannot_be_taken_now_is_offered_again() -> None:
    peer = Peer(lambda prompts: REFUSED if len(prompts) < 3 else answered("t"))
    async with talking_to(peer) as talk:
        message = await talk.say("one")
        assert await wait_for(message) == ["answered"]
    assert peer.prompts == [message.id] * 3


async def test_but_not_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    peer = Peer(lambda _: REFUSED)
    async with talking_to(peer) as talk:
        message = await talk.say("one")
        assert await wait_for(message) == ["failed"]
    assert len(peer.prompts) == 3
    assert capsys.readouterr().err == "error: The disk is full\n"


async def test_another_error_is_final(capsys: pytest.CaptureFixture[str]) -> None:
    peer = Peer(lambda _: {"error": {"code": -32603, "message": "The agent is gone."}})
    async with talking_to(peer) as talk:
        assert await wait_for(await talk.say("one")) == ["failed"]
    assert len(peer.prompts) == 1


async def test_a_command_needs_a_connection() -> None:
    peer = Peer(lambda _: None)
    async with talking_to(peer) as talk:
        await talk.say("one")
        while talk.connected:
            await trio.lowlevel.checkpoint()
        with pytest.raises(CommandError, match="there is no connection just now"):
            await talk.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():
            await trio.lowlevel.checkpoint()


def event(happened: dict[str, Any]) -> dict[str, Any]:
    params = {"sessionId": "s1", "event": happened}
    return {"method": "_runtime/session/event", "params": params}


def question(identity: int) -> dict[str, Any]:
    options = [{"optionId": "yes", "name": "Allow", "kind": "allow_once"}]
    params = {
        "sessionId": "s1",
        "toolCall": {"toolCallId": "c", "title": "Dig"},
        "options": options,
        "_meta": {"runtime": {"turnId": "t1", "requestId": "q"}},
    }
    return {"id": identity, "method": "session/request_permission", "params": params}


# G5, G7, G12
async def test_a_question_is_asked_after_what_was_missed_and_again_on_each_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    peer = Peer(lambda _: UNANSWERED)
    missed = event(
        {"type": "journal", "seq": 1, "ts": 0, "id": "l", "role": "system", "content": "x"}
    )
    odd = {"id": 6, "method": "session/request_permission", "params": {"options": 3}}
    unknown = {"id": 7, "method": "fs/read_text_file", "params": {}}

    def next_connection(identity: int) -> None:
        peer.afterwards["session/new"] = [odd, unknown, question(identity), missed]

    next_connection(1)
    asking = Asking("ask", dialog=True)
    async with talking_to(peer, asking=asking, workspace="/somewhere") as talk:
        assert not talk.answer("2")
        next_connection(2)
        peer.script = lambda _: None
        await talk.say("break")
        await until(lambda: not talk.asked)
        peer.script = lambda _: UNANSWERED
        await until(lambda: talk.asked)
        assert talk.answer("1")
        await until(lambda: len(peer.replies) == 5)
    *refused, answered_question = peer.replies
    codes = [(reply["id"], reply["error"]["code"]) for reply in refused]
    assert codes == [(6, -32602), (7, -32601)] * 2
    outcome = {"outcome": {"outcome": "selected", "optionId": "yes"}}
    assert answered_question == {"jsonrpc": "2.0", "id": 2, "result": outcome}
    assert set(peer.folders) == {"/somewhere"}
    shown = [line for line in capsys.readouterr().err.splitlines() if "  1" not in line]
    assert shown.index("x") < shown.index("The agent asks for permission: Dig")


# P3, G4
async def test_a_message_that_is_kept_is_answered_later(capsys: pytest.CaptureFixture[str]) -> None:
    why = "The agent could not be started."
    data = {"code": "session_blocked", "messageId": "row", "kept": True}
    text = f"{why} The message is kept, and runs after /reconnect."
    refusal = {"error": {"code": SESSION_BLOCKED, "message": text, "data": data}}
    peer = Peer(lambda _: refusal)
    ran = {"turnId": "t1", "epoch": 1, "messageIds": ["row"]}
    ended = {"state": "done", "messageState": "done", "stopReason": "end_turn", "text": "at last"}
    peer.afterwards["session/prompt"] = [
        event({"type": "notice", "code": "command", "text": "The agent is connected anew."}),
        event({"type": "turn_started", "prompt": [{"type": "text", "text": "one"}], **ran}),
        event({"type": "turn_ended", **ran, **ended}),
    ]
    async with talking_to(peer) as talk:
        assert await wait_for(await talk.say("one")) == ["failed"]
        await wait_for(await talk.say("two"))
    said = capsys.readouterr()
    assert said.out == "at last\n"
    error = f"error: {text.rstrip('.')}"
    assert said.err.splitlines() == [error, "The agent is connected anew.", error]
    assert len(peer.prompts) == 2


# G2, T6
async def test_what_is_offered_is_asked_for_anew_on_each_connection() -> None:
    commands = [{"name": "review", "description": "Looks"}]
    update = {"sessionUpdate": "available_commands_update", "availableCommands": commands}
    peer = Peer(lambda prompts: None if len(prompts) == 1 else answered("t"))
    params = {"sessionId": "s1", "update": update}
    peer.afterwards["session/new"] = [{"method": "session/update", "params": params}]
    async with talking_to(peer) as talk:
        assert talk.choices.offers("review")
        assert await wait_for(await talk.say("break")) == ["answered"]
        assert not talk.choices.offers("review")
