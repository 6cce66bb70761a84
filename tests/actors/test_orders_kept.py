"""Commands in a crowd, and what was said to them, for those who ask late."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.ports.channel import Inbound
from runtime.sessions.capping import Overflow
from runtime.sessions.rows import InboundState, Sender
from runtime.storage.sqlite import open_memory
from tests.actors.stage import HandAgent, clock, settings, stage


def _name(text: str) -> str:
    return text.replace(" ", "-")


async def test_a_command_is_not_pushed_out_by_what_is_said_after_it(
    autojump_clock: MockClock,
) -> None:
    # Q1 Q4 S36
    agent = HandAgent()
    network = ScriptedChannel()
    small = settings(queue={"debounce": 0.0, "cap": 2})
    async with stage(agent=agent, channels=[network], settings=small):
        await network.say("runs")
        call = await agent.called(1)
        texts = ("/stop", "one", "two", "three")
        await network.put(
            *(Inbound("chat", f"x{n}", Sender("ann"), text) for n, text in enumerate(texts))
        )
        told = [each.text for each in await network.sent(2)]
        assert sorted(told) == [
            "Stopped. 1 message withdrawn.",
            Overflow.SUMMARIZE.notice,
        ]
        assert call.cancelled.is_set()
        assert "two" in (await agent.called(2)).text


async def test_who_asks_late_hears_what_was_said_to_a_command(autojump_clock: MockClock) -> None:
    # Q5 S36 S40
    said = {
        "/queue steer": "The queue of this session: steer.",
        "/stop": "Nothing is running.",
        "/new": "A new conversation begins.",
    }
    agent = HandAgent(hold=False)
    async with open_memory(clock) as store:
        async with stage(agent=agent, store=store) as rt:
            session = await rt.session("demo")
            sent = {text: await session.send(text, message_id=_name(text)) for text in said}
            await trio.sleep(1)
        async with stage(agent=agent, store=store) as rt:
            session = await rt.session("demo")
            for text, words in said.items():
                late = await rt.front.outcome(sent[text].message_id)
                again = await (await session.prompt(text, message_id=_name(text))).result()
                assert late.text == again.text
                assert (late.text or "").startswith(words)
                assert (late.state, late.stop_reason) == (InboundState.DONE, "end_turn")
