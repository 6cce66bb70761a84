"""One message all the way through, seen from the embedding program."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.ports.front import Outcome
from runtime.sessions.content import TextBlock
from runtime.sessions.updates import AgentMessageChunk
from tests.actors.stage import HandAgent, says, settings, stage


async def test_a_prompt_is_answered_and_written_down_once(autojump_clock: MockClock) -> None:
    # D5 D7 J1 T2 T3 R1
    async with stage(agent=HandAgent(says("Hel", "lo"), hold=False)) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hi")
        heard = [update async for update in turn]
        outcome = await turn.result()
        assert heard == [AgentMessageChunk(TextBlock("Hel")), AgentMessageChunk(TextBlock("lo"))]
        assert (outcome.stop_reason, outcome.text) == ("end_turn", "Hello")
        lines = await session.history()
        assert [(line.role, line.content) for line in lines] == [
            ("user", "hi"),
            ("assistant", "Hello"),
        ]
        assert [line.seq for line in lines] == [1, 2]


async def test_an_end_that_was_seen_is_what_the_rows_say(autojump_clock: MockClock) -> None:
    # T2
    async with stage(agent=HandAgent(says("Hel", "lo"), hold=False)) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hi")
        async for _ in turn:
            pass
        as_seen, as_written = await turn.result(), await rt.front.outcome(turn.message_id)
        assert as_seen == as_written
        assert as_seen.text == "Hello"


async def test_whoever_has_seen_the_end_does_not_ask_for_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # T2
    async def not_again(_: str) -> Outcome:
        raise AssertionError("the rows were read")

    async with stage(agent=HandAgent(hold=False)) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hi")
        async for _ in turn:
            pass
        monkeypatch.setattr(rt.front, "outcome", not_again)
        assert (await turn.result()).text == "echo: hi"


async def test_a_chat_network_gets_its_answer_as_rows(autojump_clock: MockClock) -> None:
    # D5 O1 R8 S34
    network = ScriptedChannel()
    async with stage(agent=HandAgent(hold=False), channels=[network]) as rt:
        await network.say("hello", chat="c1")
        (arrival,) = await network.sent(1)
        assert (arrival.chat, arrival.text, arrival.reply_to) == ("c1", "echo: hello", "m1")
        page = await rt.front.list_sessions()
        assert len(page.sessions) == 1


async def test_debounce_joins_and_has_an_end(autojump_clock: MockClock) -> None:
    # Q1
    network = ScriptedChannel()
    agent = HandAgent(hold=False)
    quick = settings(queue={"debounce": 1.0, "debounce_max": 3.0})
    async with stage(agent=agent, channels=[network], settings=quick):
        began = trio.current_time()
        for number in range(6):
            await network.say(f"part {number}")
            await trio.sleep(0.7)
        first = await agent.called(1)
        assert trio.current_time() - began >= 3.0
        assert "part 0" in first.text
        assert "part 4" in first.text
        assert "part 5" not in first.text
        second = await agent.called(2)
        assert second.text == "part 5"
