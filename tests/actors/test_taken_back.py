"""What is taken back is gone, whatever becomes of its turn in the same moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from runtime.embedding import Session
from runtime.ports.agent import AgentGone
from runtime.sessions.rows import InboundState
from runtime.sessions.updates import AgentEvent, Result
from tests.actors.listener import STEER, Listener, state_of
from tests.actors.slowness import slow
from tests.actors.stage import Call, HandAgent, stage

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
