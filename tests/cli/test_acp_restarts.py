"""``acp`` when the runtime behind it goes away: nothing is lost, nothing is said twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from runtime.endpoint import read
from tests.e2e.stage import QUICK, House
from tests.gateway.client import AcpClient, connected, said

from .editor import editor

SLOW = "[agents.echo]\nkind = 'echo'\npace = '100ms'\n"
HANGS = "[agents.echo]\nkind = 'echo'\npace = '1h'\n"


def thoughts(person: AcpClient) -> list[str]:
    return [each["update"]["content"]["text"] for each in person.updates("agent_thought_chunk")]


def whole_answers(lines: list[tuple[str, str]], text: str) -> int:
    """How often it was answered; the agent is told when an earlier run was cut off."""
    return sum(role == "assistant" and content.endswith(text) for role, content in lines)


async def lines_of(url: str, session_id: str) -> list[tuple[str, str]]:
    async with connected(url) as client:
        await client.call("_runtime/session/events", {"sessionId": session_id, "after": 0})
        return [
            (event["role"], event["content"])
            for event in client.events()
            if event["type"] == "journal"
        ]


# D3, D8, G4, G12, T5
async def test_a_runtime_that_is_killed_answers_after_its_next_start(house: House) -> None:
    process = await house.serve(HANGS)
    async with editor(house.data_dir) as person:
        session_id = await person.new_session()
        prompt = await person.request("session/prompt", said(session_id, "one two three"))
        await person.until("session/update", sessionUpdate="agent_message_chunk")
        listing = await person.request("session/close", {"sessionId": "nobody"})
        assert (await person.answer(listing))["error"]["code"] == -32002
        await process.kill()
        with person.process_paused():  # else it may be the next runtime itself
            process = await house.serve()
        answer = await person.answer(prompt)
        assert answer["result"]["stopReason"] == "end_turn"
        assert [each for each in person.messages if each.get("id") == prompt] == [answer]
        assert person.text().startswith("one ")
        assert person.text().endswith("one two three")
        assert [each for each in thoughts(person) if "restarted" in each] != []
        assert person.updates("user_message_chunk") == []
        # And it goes on as ever.
        before = len(person.text())
        answer = await person.call("session/prompt", said(session_id, "four"))
        assert (answer["stopReason"], person.text()[before:]) == ("end_turn", "four")
        lines = await lines_of(process.url, session_id)
        assert [line for line in lines if line == ("user", "one two three")] != []
        assert whole_answers(lines, "one two three") == 1
        assert await person.leave() == 0


# D3, D8, G3, G4, H6, M4: what was sent is sent again, and is one file
async def test_an_image_survives_a_runtime_that_is_killed(house: House) -> None:
    process = await house.serve(HANGS)
    image = {"type": "image", "data": "aW1hZ2U=", "mimeType": "image/png", "uri": "cat.png"}
    sound = {"type": "audio", "data": "c291bmQ=", "mimeType": "audio/wav"}
    async with editor(house.data_dir) as person:
        (greeting,) = (each["result"] for each in person.messages if each.get("id") == 1)
        can = greeting["agentCapabilities"]["promptCapabilities"]
        assert (can["image"], can["audio"]) == (True, True)
        session_id = await person.new_session()
        words = said(session_id, "look")
        words["prompt"] += [image, sound]
        prompt = await person.request("session/prompt", words)
        await person.until("session/update", sessionUpdate="agent_message_chunk")
        await process.kill()
        with person.process_paused():  # else it may be the next runtime itself
            process = await house.serve(f"{QUICK}images = true\n")
        answer = await person.answer(prompt)
        assert answer["result"]["stopReason"] == "end_turn"
        lines = person.text().splitlines()
        assert "[file: cat.png, image/png, 5 bytes, readable: " in lines[-3]
        assert lines[-2] == "[image block: image/png, 5 bytes]"
        assert ", audio/wav, 5 bytes, readable: " in lines[-1]
        usage = await person.call("_runtime/media/usage")
        assert (usage["files"], usage["size"], usage["inFlight"]) == (2, 10, 0)
        assert await person.leave() == 0


# D3, G12
async def test_a_turn_that_ends_while_nobody_listens_is_shown_afterwards(house: House) -> None:
    process = await house.serve(HANGS)
    async with editor(house.data_dir) as person:
        session_id = await person.new_session()
        words = said(session_id, "one two", messageId="mine")
        prompt = await person.request("session/prompt", words)
        await person.until("session/update", sessionUpdate="agent_message_chunk")
        await process.kill()
        with person.process_paused():
            process = await house.serve()
            async with connected(process.url) as client:
                assert (await client.call("session/prompt", words))["stopReason"] == "end_turn"
                await client.call("session/prompt", said(session_id, "by somebody else"))
        assert (await person.answer(prompt))["result"]["stopReason"] == "end_turn"
        while "else" not in person.text():
            await person.receive()
        assert person.text().endswith("one twoby somebody else")
        assert person.text("user_message_chunk") == "by somebody else"
        assert await person.leave() == 0


@asynccontextmanager
async def unreliable(url: str) -> AsyncIterator[tuple[str, trio.Event]]:
    """A way to a runtime, and an event that breaks its first connection."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    breaks = trio.Event()

    async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for data in source:
            await sink.send_all(data)

    async def serve(ours: trio.SocketStream) -> None:
        theirs = await trio.open_tcp_stream("127.0.0.1", port)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry, ours, theirs)
                nursery.start_soon(carry, theirs, ours)
                if not breaks.is_set():
                    await breaks.wait()
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(ours)
                await trio.aclose_forcefully(theirs)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/acp", breaks
        nursery.cancel_scope.cancel()


# G5, G12
async def test_what_a_broken_connection_swallowed_is_shown_once(house: House) -> None:
    process = await house.serve("[agents.echo]\nkind = 'echo'\npace = '10ms'\n")
    text = " ".join(f"word{number}" for number in range(150))
    async with (
        unreliable(process.url) as (url, breaks),
        editor(house.data_dir, "--url", url) as person,
    ):
        session_id = await person.new_session()
        prompt = await person.request("session/prompt", said(session_id, text))
        while "word20" not in person.text():
            await person.receive()
        breaks.set()
        assert (await person.answer(prompt))["result"]["stopReason"] == "end_turn"
        assert person.text() == text
        assert thoughts(person) == []
        assert await person.leave() == 0


# G11
async def test_prompts_that_were_sent_again_can_be_cancelled(house: House) -> None:
    process = await house.serve(HANGS)
    async with (
        unreliable(process.url) as (url, breaks),
        editor(house.data_dir, "--url", url) as person,
    ):
        session_id = await person.new_session()
        prompts = [await person.request("session/prompt", said(session_id, "one two"))]
        await person.until("session/update", sessionUpdate="agent_message_chunk")
        prompts.append(await person.request("session/prompt", said(session_id, "three four")))
        while (await person.call("_runtime/queue/status", {"sessionId": session_id}))[
            "waiting"
        ] == 0:
            pass
        breaks.set()
        await person.send("session/cancel", {"sessionId": session_id})
        for prompt in prompts:
            assert (await person.answer(prompt))["result"]["stopReason"] == "cancelled"


# D3
async def test_of_two_at_once_one_is_the_runtime(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    answered = [trio.Event(), trio.Event()]
    async with trio.open_nursery() as nursery:

        async def talk(number: int) -> None:
            async with editor(data_dir) as person:
                session_id = await person.new_session()
                answer = await person.call("session/prompt", said(session_id, "hello"))
                assert (answer["stopReason"], person.text()) == ("end_turn", "hello")
                answered[number].set()
                for each in answered:  # the runtime goes with the one that it is
                    await each.wait()
                assert await person.leave() == 0

        nursery.start_soon(talk, 0)
        nursery.start_soon(talk, 1)
    assert read(data_dir) is None


# D3, G9, S45
async def test_when_the_one_that_is_the_runtime_ends_another_takes_its_place(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    (tmp_path / "slow.toml").write_text(f"{HANGS}[sessions]\nshutdown_grace = '200ms'\n")
    slow = ("--config", str(tmp_path / "slow.toml"))
    async with editor(data_dir, *slow) as first, editor(data_dir) as second:
        session_id = await second.new_session()
        prompt = await second.request("session/prompt", said(session_id, "one two"))
        await second.until("session/update", sessionUpdate="agent_message_chunk")
        assert await first.leave() == 0
        answer = await second.answer(prompt)
        assert answer["result"]["stopReason"] == "end_turn"
        assert second.text().endswith("one two")
        endpoint = read(data_dir)
        assert endpoint is not None
        assert endpoint.pid == second.process.pid
        lines = await lines_of(endpoint.url, session_id)
        assert whole_answers(lines, "one two") == 1
        assert await second.leave() == 0
    assert read(data_dir) is None
