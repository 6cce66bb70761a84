"""Messages that a turn takes in while it runs, and those that it does not (Q3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from actors.agents.echo import EchoAgent, Options
from actors.channels.scripted import ScriptedChannel
from actors.steering import STEER_LIMIT
from runtime.ports.agent import AgentGone, PromptTurn
from runtime.sessions.content import PromptContent, plain_text
from runtime.sessions.events import MessageSteered
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import AgentEvent, AgentMessageChunk, Result
from runtime.storage.sqlite import open_memory
from tests.actors.listener import BACKLOG, STEER, Listener, state_of
from tests.actors.stage import clock, stage

# -- the agent takes it in -------------------------------------------------------------------------


async def test_the_running_turn_takes_in_what_arrives(autojump_clock: MockClock) -> None:
    # Q3 Q7 J1
    agent = Listener()
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        watch = session.watch()
        second, third = await session.prompt("two"), await session.prompt("three")
        await agent.was_asked(2)
        await trio.sleep(1)
        assert (await session.queue()).waiting == 0
        agent.go.set()
        outcomes = [await turn.result() for turn in (first, second, third)]
        assert {outcome.turn_id for outcome in outcomes} == {outcomes[0].turn_id}
        assert outcomes[2].text == "well: one, two, three"
        assert agent.prompts == ["one"]
        lines = await session.history()
        assert [line.content for line in lines] == ["one", "two", "three", "well: one, two, three"]
        assert {line.turn_id for line in lines} == {outcomes[0].turn_id}
        rest = [update async for update in second]
        assert [plain_text((u.content,)) for u in rest if isinstance(u, AgentMessageChunk)] == [
            "one, two, three"
        ]
        watch.close()
        seen = [live.event async for live in watch if isinstance(live.event, MessageSteered)]
        assert [event.message_id for event in seen] == [second.message_id, third.message_id]
        assert {event.turn_id for event in seen} == {outcomes[0].turn_id}


async def test_a_message_is_claimed_before_the_agent_is_asked(autojump_clock: MockClock) -> None:
    # Q3 Q8 D8
    agent = Listener()
    states = []

    async def look() -> bool:
        states.append(await state_of(store, sent.message_id))
        return True

    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        agent.answer = look
        sent = await session.send("two")
        await agent.was_asked(1)
        agent.go.set()
        await rt.front.outcome(sent.message_id)
    assert states == [(InboundState.CLAIMED, None)]


@pytest.mark.parametrize("answer", ["no", 1, object()])
async def test_only_a_clear_yes_is_a_confirmation(autojump_clock: MockClock, answer: Any) -> None:
    # Q3
    class Vague(Listener):
        async def steer(self, content: PromptContent) -> bool:
            await super().steer(content)
            return cast("bool", answer)

    agent = Vague()
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        sent = await session.send("two")
        await agent.was_asked(1)
        await trio.sleep(1)
        assert await state_of(store, sent.message_id) == (InboundState.PENDING, None)
        agent.go.set()
        assert await agent.prompted(2) == "two"


async def test_an_agent_that_does_not_confirm_in_time_gets_it_as_a_prompt(
    autojump_clock: MockClock,
) -> None:
    # Q3 Q8
    agent = Listener()
    agent.answer = forever
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        sent = await session.send("two")
        await agent.was_asked(1)
        assert await state_of(store, sent.message_id) == (InboundState.CLAIMED, None)
        await trio.sleep(STEER_LIMIT + 1)
        assert await state_of(store, sent.message_id) == (InboundState.PENDING, None)
        agent.go.set()
        assert await agent.prompted(2) == "two"


async def forever() -> bool:
    await trio.sleep_forever()


async def test_before_the_agent_has_begun_nothing_is_handed_to_it(
    autojump_clock: MockClock,
) -> None:
    # Q3 T6
    agent = Listener()
    agent.begin = trio.Event()
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await trio.sleep(20)
        assert agent.asked == []
        assert (await session.queue()).waiting == 1
        agent.begin.set()
        assert await agent.was_asked(1) == "two"
        agent.go.set()
        assert (await second.result()).text == "well: one, two"


async def test_only_its_own_chat_is_handed_to_a_turn(autojump_clock: MockClock) -> None:
    # Q2 Q3
    agent = Listener()
    network = ScriptedChannel()
    async with stage(agent=agent, channels=[network], settings=STEER):
        await network.say("one", chat="a", sender="ann")
        await agent.prompted(1)
        await network.say("two", chat="b", sender="bob")
        await network.say("three", chat="a", sender="ann")
        assert await agent.was_asked(1) == "three"
        agent.go.set()
        arrived = await network.sent(2)
        assert {(each.chat, each.text) for each in arrived} == {
            ("a", "well: one, three"),
            ("b", "well: two"),
        }


async def test_the_mode_may_change_while_a_turn_runs(autojump_clock: MockClock) -> None:
    # Q3
    agent = Listener()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await trio.sleep(20)
        assert agent.asked == []
        await session.set_queue(mode="Queue")
        assert (await session.queue()).mode == "steer"
        assert await agent.was_asked(1) == "two"
        agent.go.set()
        assert (await second.result()).text == "well: one, two"


async def test_what_a_turn_took_in_shares_its_fate(autojump_clock: MockClock) -> None:
    # Q3 T5
    agent = Listener()
    network = ScriptedChannel()
    async with (
        open_memory(clock) as store,
        stage(agent=agent, store=store, channels=[network], settings=STEER),
    ):
        await network.say("one", chat="a", sender="ann")
        await agent.prompted(1)
        await network.say("two", chat="a", sender="ann")
        await agent.was_asked(1)
        agent.last_words = AgentGone("out of memory")
        agent.go.set()
        (told,) = await network.sent(1)
        assert "out of memory" in told.text
        await trio.sleep(100)
        assert agent.prompts == ["one"]
        (session,) = (await store.sessions()).sessions
        assert await store.pending_messages(session.id) == ()
        assert [line.role for line in await store.journal(session.id)][:2] == ["user", "user"]


async def test_what_a_turn_took_in_runs_again_with_it(autojump_clock: MockClock) -> None:
    # Q3 T5 S45
    agent = Listener()
    async with open_memory(clock) as store:
        async with stage(agent=agent, store=store, settings=STEER) as rt:
            session = await rt.session("demo")
            sent = [await session.send("one")]
            await agent.prompted(1)
            sent.append(await session.send("two"))
            await agent.was_asked(1)
            agent.cancel = trio.lowlevel.checkpoint  # type: ignore[method-assign]
        agent.go.set()
        async with stage(agent=agent, store=store, settings=STEER) as rt:
            outcomes = [await rt.front.outcome(each.message_id) for each in sent]
            assert outcomes[0].turn_id == outcomes[1].turn_id
            assert "cut off" in agent.prompts[1]
            assert "one" in agent.prompts[1]
            assert "two" in agent.prompts[1]


async def test_the_echo_says_back_what_it_is_told_meanwhile(autojump_clock: MockClock) -> None:
    # Q3
    agent = EchoAgent(Options(pace=1.0))
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one two three")
        await trio.sleep(1.5)
        second = await session.prompt("four five")
        assert (await first.result()).text == "one two three\nfour five"
        assert (await second.result()).turn_id == (await first.result()).turn_id


async def test_the_echo_can_be_deaf(autojump_clock: MockClock) -> None:
    # Q3
    agent = EchoAgent(Options(pace=1.0, steer=False))
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one two three")
        await trio.sleep(1.5)
        second = await session.prompt("four")
        assert (await first.result()).text == "one two three"
        assert (await second.result()).text == "four"


# -- it does not -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refuse", "raise_an_error", "hang", "cannot"])
async def test_what_the_agent_does_not_confirm_runs_after_its_turn(
    autojump_clock: MockClock, how: str
) -> None:
    # Q3 Q7 Q8
    agent = Listener(steer=how != "cannot")
    agent.answer = getattr(agent, how, trio.sleep_forever)
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await trio.sleep(1)
        third = await session.prompt("three")
        await trio.sleep(30)
        assert (await session.queue()).waiting == 2
        assert agent.asked == ([] if how == "cannot" else ["two"])
        agent.go.set()
        assert (await first.result()).text == "well: one"
        outcomes = await second.result(), await third.result()
        assert outcomes[0].turn_id == outcomes[1].turn_id != (await first.result()).turn_id
        assert "cut off" not in agent.prompts[1]
        assert [line.content for line in await session.history()][0:3:2] == ["one", "two"]


async def test_the_end_of_a_turn_decides_what_it_takes_in(autojump_clock: MockClock) -> None:
    # Q3 T2
    agent = Listener()
    agent.answer = trio.sleep_forever
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        assert await state_of(store, second.message_id) == (InboundState.CLAIMED, None)
        agent.go.set()
        assert (await first.result()).text == "well: one"
        assert (await second.result()).text == "well: two"
        status = await store.message_status(second.message_id)
        assert status is not None
        assert status.message.tries == 0
        assert status.turn is not None
        assert status.turn.message_ids == (second.message_id,)


async def test_a_turn_that_is_about_to_end_takes_nothing_in(autojump_clock: MockClock) -> None:
    # Q3 T6
    agent = Listener()
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        agent.cancel = trio.lowlevel.checkpoint  # type: ignore[method-assign]
        await session.cancel()
        second = await session.prompt("two")
        assert (await first.result()).stop_reason == "cancelled"
        assert agent.asked == []
        agent.go.set()
        assert (await second.result()).text == "well: two"


@pytest.mark.parametrize("ends", ["by itself", "when asked to"])
async def test_what_is_confirmed_when_the_turn_has_ended_runs_after_it(
    autojump_clock: MockClock, ends: str
) -> None:
    # Q3 H8 T6: there is nothing more to come that it could be answered with
    class Tidies(Listener):
        async def prompt(self, turn: PromptTurn) -> AsyncIterator[AgentEvent]:
            async for event in super().prompt(turn):
                yield event
                if isinstance(event, Result):
                    await trio.sleep(0.5)

        async def cancel(self) -> None:
            await trio.sleep(0.5)
            await super().cancel()

    async def confirm_late() -> bool:
        if ends == "by itself":
            agent.go.set()
        else:
            await first.cancel()
        await trio.sleep(0.2)
        return True

    agent = Tidies()
    agent.answer = confirm_late
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        assert (await second.result()).turn_id != (await first.result()).turn_id
        assert (agent.asked, agent.prompts) == (["two"], ["one", "two"])
        status = await store.message_status(second.message_id)
        assert status is not None
        assert (status.message.state, status.message.tries) == (InboundState.DONE, 0)


# -- and keep it -----------------------------------------------------------------------------------


async def test_with_a_backlog_a_message_is_told_and_runs_as_well(
    autojump_clock: MockClock,
) -> None:
    # Q3
    agent = Listener()
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=BACKLOG) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second, third = await session.prompt("two"), await session.prompt("three")
        await agent.was_asked(2)
        await trio.sleep(30)
        assert agent.asked == ["two", "three"]
        assert await state_of(store, second.message_id) == (InboundState.PENDING, None)
        agent.go.set()
        assert (await first.result()).text == "well: one, two, three"
        outcomes = await second.result(), await third.result()
        assert outcomes[0].turn_id == outcomes[1].turn_id != (await first.result()).turn_id
        assert "two" in agent.prompts[1]
        assert "three" in agent.prompts[1]


async def test_with_a_backlog_a_message_may_be_withdrawn(autojump_clock: MockClock) -> None:
    # Q3 H3
    agent = Listener()
    agent.answer = trio.sleep_forever
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=BACKLOG) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        assert await second.cancel()
        assert await state_of(store, second.message_id) == (InboundState.DROPPED, "cancelled")
        third = await session.prompt("three")
        assert await agent.was_asked(2) == "three"
        agent.go.set()
        assert (await third.result()).text == "well: three"
        assert agent.prompts == ["one", "three"]
