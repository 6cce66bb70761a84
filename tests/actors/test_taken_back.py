"""What is taken back is gone, whatever becomes of its turn in the same moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.app import Runtime
from runtime.embedding import Session
from runtime.ports.agent import AgentGone
from runtime.sessions.content import text_content
from runtime.sessions.rows import InboundState, Sender
from runtime.sessions.updates import AgentEvent, Result
from runtime.storage.sqlite import open_memory
from tests.actors.listener import STEER, Listener, state_of
from tests.actors.slowness import Starting, slow
from tests.actors.stage import Call, HandAgent, clock, stage
from tests.actors.test_orders import PRINCIPALS, says
from tests.actors.test_starting_agents import Flaky

# -- at the same moment ----------------------------------------------------------------------------


async def vanishes(call: Call) -> AsyncIterator[AgentEvent]:
    if call.text:
        raise AgentGone("just now")
    yield Result()


async def clears(session: Session) -> int:
    return await session.clear()


async def clears_in_words(session: Session) -> int:
    turn = await session.prompt("/queue clear")
    text = (await session.outcome(turn.message_id)).text
    assert text is not None
    return int(text.split()[0])


@pytest.mark.parametrize("clear", [clears, clears_in_words])
@pytest.mark.parametrize("when", ["late", "delays"])
async def test_what_is_cleared_does_not_come_back_from_a_turn_that_ends_meanwhile(
    autojump_clock: MockClock, clear: Callable[[Session], Awaitable[int]], when: str
) -> None:
    # H3 H7 T5 Q5: whichever of the two is written down first
    agent = HandAgent(vanishes)
    async with slow() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        call = await agent.called(1)
        second = await session.prompt("two")
        getattr(store, when)["drop_pending"] = 3.0
        counts: list[int] = []

        async def count() -> None:
            counts.append(await clear(session))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await trio.sleep(1)
            call.go.set()  # its turn is settled before the answer of the store is there
        assert counts == [2]
        await trio.sleep(100)
        for turn in (first, second):
            assert await state_of(store, turn.message_id) == (InboundState.DROPPED, "cleared")
        assert len(agent.calls) == 1


async def test_what_is_cleared_does_not_come_back_from_an_agent_that_does_not_take_it(
    autojump_clock: MockClock,
) -> None:
    # H3 H7 Q3
    agent = Listener()
    decide = trio.Event()

    async def refuse() -> bool:
        await decide.wait()
        return False

    agent.answer = refuse
    async with slow() as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        store.late["drop_pending"] = 3.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.clear)
            await trio.sleep(1)
            decide.set()
        agent.go.set()
        await trio.sleep(100)
        assert await state_of(store, second.message_id) == (InboundState.DROPPED, "cleared")
        assert agent.prompts == ["one"]


# -- while the agent is not there ------------------------------------------------------------------


async def bursts(rt: Runtime) -> Session:
    """A session where prompts that come together are one turn."""
    session = await rt.session("demo")
    await session.set_queue(debounce=1.0)
    return session


async def test_to_cancel_a_message_whose_turn_waits_for_its_agent_spares_the_others(
    autojump_clock: MockClock,
) -> None:
    # G11 P6
    agent = Starting()
    async with stage(agent=agent) as rt:
        session = await bursts(rt)
        first, second = await session.prompt("one"), await session.prompt("two")
        await trio.sleep(3)
        assert await first.cancel()
        assert not await first.cancel()
        assert (await first.result()).stop_reason == "cancelled"
        assert (await session.queue()).waiting == 1
        assert (await second.result()).text == "two"
        assert len(agent.contexts) == 1  # which does not begin anew for that


async def test_a_client_cancels_its_own_messages_of_a_turn_that_waits_for_its_agent(
    autojump_clock: MockClock,
) -> None:
    # G11
    agent = Starting()
    async with open_memory(clock) as store, stage(agent=agent, store=store) as rt:
        session = await bursts(rt)
        sent = [
            await rt.front.submit(session.id, text_content(f"{name} says so"), connection=name)
            for name in ("one", "two", "one")
        ]
        await trio.sleep(3)
        assert not await rt.front.cancel(session.id, connection="three")
        assert (await session.queue()).waiting == 3
        assert await rt.front.cancel(session.id, connection="one")
        assert (await session.queue()).waiting == 1
        assert (await rt.front.outcome(sent[1].message_id)).text == "two says so"
        for each in (sent[0], sent[2]):
            assert await state_of(store, each.message_id) == (InboundState.DROPPED, "cancelled")


async def test_a_cancel_of_somebody_else_leaves_a_chat_its_message(
    autojump_clock: MockClock,
) -> None:
    # G11 P3: its agent cannot be started
    agent, network = Flaky(5), ScriptedChannel()
    async with stage(agent=agent, channels=[network]) as rt:
        await network.say("important")
        await trio.sleep(100)
        (info,) = (await rt.front.list_sessions()).sessions
        assert not await rt.front.cancel(info.row.id, connection="a terminal")
        await network.say("/reconnect")
        await trio.sleep(100)
        assert network.arrived[-1].text == "important"


@pytest.mark.parametrize(
    "name, said, left",
    [
        ("bob", "Nothing is running. 1 message withdrawn.", ["ada's", "carl's"]),
        ("ada", "Stopped. 3 messages withdrawn.", []),
    ],
)
async def test_a_stop_takes_back_what_it_may_of_a_turn_that_waits_for_its_agent(
    autojump_clock: MockClock, name: str, said: str, left: list[str]
) -> None:
    # S36 H3 G11
    async with stage(agent=Starting(), settings=PRINCIPALS) as rt:
        session = await bursts(rt)
        for each in ("ada", "bob", "carl"):
            say = text_content(f"{each}'s")
            await rt.front.submit(session.id, say, sender=Sender(each))
        await trio.sleep(3)
        assert await says(rt, session, name, "/stop") == said
        assert (await session.queue()).waiting == len(left)
        await trio.sleep(100)
        lines = [line.content for line in await session.history() if line.role == "user"]
        assert lines == left


@pytest.mark.parametrize("refused", [0, 1])
async def test_a_claim_that_fails_spares_those_whom_a_cancel_did_not_mean(
    autojump_clock: MockClock, refused: int
) -> None:
    # G11 T2: the message is gone before it is claimed, or the disk refuses
    agent = HandAgent(hold=False)
    async with slow() as store, stage(agent=agent, store=store) as rt:
        session = await bursts(rt)
        store.refusals["begin_turn"], store.delays["begin_turn"] = refused, 3.0
        first, second = await session.prompt("one"), await session.prompt("two")
        await trio.sleep(2)
        assert await first.cancel()
        assert (await first.result()).stop_reason == "cancelled"
        assert (await second.result()).text == "echo: two"
        assert [call.text for call in agent.calls] == ["two"]
