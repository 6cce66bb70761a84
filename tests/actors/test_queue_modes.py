"""What becomes of messages that arrive while a turn runs."""

from __future__ import annotations

import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.ports.front import BadRequest, QueueIsFull
from runtime.sessions.rows import InboundState
from runtime.settings import ChannelSettings
from runtime.storage.sqlite import open_memory
from tests.actors.listener import Listener
from tests.actors.stage import HandAgent, clock, settings, stage
from tests.actors.test_stubborn_disk import refusing


async def test_collect_makes_one_prompt_of_what_came_meanwhile(autojump_clock: MockClock) -> None:
    # Q2 Q3 G11 T1
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        running = await agent.called(1)
        second, third = await session.prompt("two"), await session.prompt("three")
        status = await session.queue()
        assert (status.waiting, status.running) == (2, running.turn.turn_id)
        running.go.set()
        assert (await first.result()).text == "echo: one"
        merged = await agent.called(2)
        assert "two" in merged.text
        assert "three" in merged.text
        assert "while the agent was busy" in merged.text
        merged.go.set()
        outcomes = [await second.result(), await third.result()]
        assert outcomes[0].turn_id == outcomes[1].turn_id
        assert [o.stop_reason for o in outcomes] == ["end_turn", "end_turn"]
        assert len(agent.calls) == 2


async def test_one_waiting_message_is_passed_as_it_is(autojump_clock: MockClock) -> None:
    # Q2
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.send("one")
        call = await agent.called(1)
        await session.send("two")
        call.go.set()
        assert (await agent.called(2)).text == "two"


async def test_different_chats_are_not_merged(autojump_clock: MockClock) -> None:
    # Q2 S34
    agent = HandAgent()
    network = ScriptedChannel()
    async with stage(agent=agent, channels=[network]):
        await network.say("one", chat="a", sender="ann")
        (await agent.called(1)).go.set()
        await network.sent(1)
        await network.say("two", chat="a", sender="ann")
        running = await agent.called(2)
        await network.say("three", chat="b", sender="ann")
        await network.say("four", chat="a", sender="ann")
        await trio.sleep(20)
        running.go.set()
        third = await agent.called(3)
        third.go.set()
        (await agent.called(4)).go.set()
        arrived = await network.sent(4)
        assert [(a.chat, a.text) for a in arrived] == [
            ("a", "echo: one"),
            ("a", "echo: two"),
            ("b", "echo: three"),
            ("a", "echo: four"),
        ]


async def test_followup_gives_each_its_own_turn(autojump_clock: MockClock) -> None:
    # Q3 Q7
    agent = HandAgent(hold=False)
    async with stage(agent=agent, settings=settings(queue={"mode": "followup"})) as rt:
        session = await rt.session("demo")
        turns = [await session.prompt(f"number {n}") for n in range(4)]
        answers = [(await turn.result()).text for turn in turns]
        assert answers == [f"echo: number {n}" for n in range(4)]
        assert len(agent.calls) == 4


async def test_interrupt_cancels_and_runs_the_newest(autojump_clock: MockClock) -> None:
    # Q3 T2: the agent has begun to answer the old one
    agent = Listener()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        await session.set_queue(mode="interrupt")
        old = await session.prompt("old")
        await agent.prompted(1)
        new = await session.prompt("new")
        assert (await old.result()).stop_reason == "cancelled"
        assert await agent.prompted(2) == "new"
        assert (await new.result()).text == "well: new"


async def test_an_interruption_loses_nothing_of_a_turn_that_has_not_begun(
    autojump_clock: MockClock,
) -> None:
    # Q3 T6: however often, and no try is used up
    agent = HandAgent()
    async with open_memory(clock) as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        await session.set_queue(mode="interrupt")
        turns = []
        for number, text in enumerate(("one", "two", "three"), 1):
            turns.append(await session.prompt(text))
            await agent.called(number)
        assert agent.calls[1].cancelled.is_set()
        agent.calls[2].go.set()
        for turn, text in zip(turns, ("one", "two", "three"), strict=True):
            outcome = await turn.result()
            assert outcome.text is not None
            assert text in outcome.text
            status = await store.message_status(turn.message_id)
            assert status is not None
            assert (status.message.state, status.message.tries) == (InboundState.DONE, 0)
        lines = [(line.role, line.content) for line in await session.history()]
        assert [role for role, _ in lines] == ["user"] * 3 + ["assistant"]


async def test_what_was_interrupted_runs_with_what_is_newer_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    # Q3 Q8 D8: it waits as if no turn had ever had it
    agent = HandAgent()
    async with refusing() as store:
        async with stage(agent=agent, store=store) as rt:
            session = await rt.session("demo")
            await session.set_queue(mode="interrupt")
            old = await session.send("old")
            await agent.called(1)
            store.refusals["begin_turn"] = 1_000  # so that both wait until the end
            new = await session.send("new")
            await trio.sleep(5)
            assert (await session.queue()).waiting == 2
        store.refusals.clear()
        agent.hold = False
        async with stage(agent=agent, store=store) as rt:
            outcomes = [await rt.front.outcome(each.message_id) for each in (old, new)]
        assert outcomes[0].turn_id == outcomes[1].turn_id


async def test_a_caller_is_refused_before_the_queue_overflows(autojump_clock: MockClock) -> None:
    # Q4
    agent = HandAgent()
    async with stage(agent=agent, settings=settings(queue={"cap": 2})) as rt:
        session = await rt.session("demo")
        await session.send("runs")
        call = await agent.called(1)
        waiting = [await session.prompt("a"), await session.prompt("b")]
        with pytest.raises(QueueIsFull, match="2 messages of at most 2"):
            await session.send("c")
        agent.hold = False
        call.go.set()
        for turn in waiting:
            assert (await turn.result()).state is InboundState.DONE


@pytest.mark.parametrize("drop", ["summarize", "old", "new"])
async def test_chat_messages_over_the_cap_leave_a_trace(
    autojump_clock: MockClock, drop: str
) -> None:
    # Q4 S32
    agent = HandAgent()
    network = ScriptedChannel()
    small = settings(queue={"cap": 2, "drop": drop})
    async with stage(agent=agent, channels=[network], settings=small) as rt:
        await network.say("zero")
        call = await agent.called(1)
        for number in range(1, 5):
            await network.say(f"number {number} of many")
        await trio.sleep(20)
        (notice,) = await network.sent(1)
        assert "Too many messages" in notice.text
        call.go.set()
        prompt = (await agent.called(2)).text
        kept = (1, 2) if drop == "new" else (3, 4)
        assert all(f"number {n} of many" in prompt for n in kept)
        lost = {1, 2, 3, 4} - set(kept)
        mentioned = [n for n in lost if f"number {n} of many" in prompt]
        assert len(mentioned) == (2 if drop == "summarize" else 0)
        assert b'messages_dropped_total{reason="cap"} 2.0' in rt.front.metrics()


async def test_there_are_no_more_lines_than_the_cap(autojump_clock: MockClock) -> None:
    # Q4
    agent = HandAgent()
    network = ScriptedChannel()
    small = settings(queue={"cap": 2, "debounce": 0.0})
    async with stage(agent=agent, channels=[network], settings=small):
        await network.say("runs")
        call = await agent.called(1)
        for number in range(7):
            await network.say(f"number {number}: " + "word " * 100)
        call.go.set()
        prompt = (await agent.called(2)).text
        lines = [line for line in prompt.splitlines() if line.startswith("- ")]
        assert [line[:17] for line in lines] == [f"- Ann: number {n}: "[:17] for n in (3, 4)]
        assert [len(line) for line in lines] == [160, 160]
        assert prompt.startswith("[At least 2 earlier messages were dropped")
        assert prompt.index("- Ann: number 4") < prompt.index("number 5")


async def test_the_same_client_message_is_accepted_once(autojump_clock: MockClock) -> None:
    # D5 G4
    agent = HandAgent(hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        first = await session.send("hello", message_id="m-1")
        again = await session.send("hello", message_id="m-1")
        assert (first.message_id, first.sequence) == (again.message_id, again.sequence)
        assert (first.duplicate, again.duplicate) == (False, True)
        await session.outcome(first.message_id)
        late = await session.prompt("hello", message_id="m-1")
        assert (await late.result()).text == "echo: hello"
        assert len(agent.calls) == 1


async def test_a_redelivery_by_the_network_is_stored_once(autojump_clock: MockClock) -> None:
    # D5
    agent = HandAgent(hold=False)
    network = ScriptedChannel()
    async with stage(agent=agent, channels=[network]):
        await network.say("hello")
        await network.redeliver()
        await network.sent(1)
        await network.redeliver()
        await trio.sleep(100)
        assert len(agent.calls) == 1
        assert len(network.arrived) == 1


async def test_cancel_withdraws_only_what_is_meant(autojump_clock: MockClock) -> None:
    # G11 T2
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        runs = await session.prompt("runs")
        await agent.called(1)
        waits, stays = await session.prompt("waits"), await session.prompt("stays")
        assert await waits.cancel()
        assert (await waits.result()).stop_reason == "cancelled"
        assert not agent.calls[0].cancelled.is_set()
        assert await runs.cancel()
        assert (await runs.result()).stop_reason == "cancelled"
        call = await agent.called(2)
        assert call.text == "stays"
        call.go.set()
        assert (await stays.result()).stop_reason == "end_turn"
        assert not await stays.cancel()


async def test_clear_withdraws_what_waits_and_spares_what_runs(autojump_clock: MockClock) -> None:
    # H3
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        waiting = []
        first = await session.prompt("has not begun")
        await agent.called(1)
        waiting = [await session.prompt(text) for text in "ab"]
        assert await session.clear() == 3
        for turn in [first, *waiting]:
            assert (await turn.result()).stop_reason == "cancelled"
        assert await session.clear() == 0


async def test_queue_settings_are_checked(autojump_clock: MockClock) -> None:
    # Q3 Q5
    async with stage(agent=HandAgent()) as rt:
        session = await rt.session("demo")
        for bad in ({"mode": "sideways"}, {"cap": 0}, {"drop": "all"}, {"debounce": -1.0}):
            with pytest.raises(BadRequest):
                await session.set_queue(**bad)


# Q1 M10
@pytest.mark.parametrize("where", ["the session", "the clients"])
async def test_whole_prompts_wait_when_somebody_asked_for_it(
    autojump_clock: MockClock, where: str
) -> None:
    agent = HandAgent(hold=False)
    chosen = settings()
    if where == "the clients":
        channels = {"client": ChannelSettings(debounce=1.0)}
        chosen = msgspec.structs.replace(chosen, channels=channels)
    async with stage(agent=agent, settings=chosen) as rt:
        session = await rt.session("demo")
        if where == "the session":
            await session.set_queue(debounce=1.0)
        turns = [await session.prompt(f"{number}") for number in range(14)]
        outcomes = [await turn.result() for turn in turns]
        assert len({outcome.turn_id for outcome in outcomes}) == 1
        assert [call.text for call in agent.calls] == ["\n\n".join(map(str, range(14)))]
