"""Messages that are taken back, or whose runtime fails, while an agent is asked to take them in."""

from __future__ import annotations

from typing import cast

import pytest
import trio
from trio.testing import MockClock

from actors.front import ActorFront
from actors.queue import Arrived
from actors.session_messages import SessionMessage
from actors.sessions import Obtain
from runtime.app import Runtime
from runtime.embedding import Session
from runtime.kernel import ActorRef
from runtime.sessions.rows import DropReason, InboundRow, InboundState
from runtime.storage.requests import DropPending
from runtime.storage.sqlite import open_memory
from tests.actors.listener import STEER, Listener, state_of
from tests.actors.stage import clock, stage
from tests.actors.test_stubborn_disk import refusing

# -- people take it back meanwhile -----------------------------------------------------------------


@pytest.mark.parametrize(
    "work, reason",
    [("cancel it", "cancelled"), ("clear", "cleared"), ("reset", "reset"), ("close", "closed")],
)
async def test_a_message_may_be_taken_back_while_the_agent_is_asked(
    autojump_clock: MockClock, work: str, reason: str
) -> None:
    # Q3 H3 G11 S18 S43
    agent = Listener()
    agent.answer = trio.sleep_forever
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        if work == "cancel it":
            assert await second.cancel()
        elif work == "clear":
            assert await session.clear() == 1
        else:
            await getattr(session, work)()
        with trio.fail_after(1 if work in ("cancel it", "clear") else 60):
            assert (await second.result()).stop_reason == "cancelled"
        assert await state_of(store, second.message_id) == (InboundState.DROPPED, reason)
        if work in ("cancel it", "clear"):
            assert (await session.queue()).running is not None
        agent.go.set()
        await first.result()
        await trio.sleep(100)
        assert agent.prompts == ["one"]


async def test_what_was_taken_back_is_not_confirmed_any_more(autojump_clock: MockClock) -> None:
    # Q3 H3
    agent = Listener()

    async def confirm_in_any_case() -> bool:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        return True

    agent.answer = confirm_in_any_case
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        assert await second.cancel()
        assert (await second.result()).stop_reason == "cancelled"
        agent.go.set()
        assert (await first.result()).stop_reason == "end_turn"
        assert await state_of(store, second.message_id) == (InboundState.DROPPED, "cancelled")


async def test_messages_are_handed_over_one_at_a_time(autojump_clock: MockClock) -> None:
    # Q3 Q7 G11
    agent = Listener()
    agent.answer = trio.sleep_forever
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        third = await session.prompt("three")
        await trio.sleep(1)
        assert agent.asked == ["two"]
        agent.answer = agent.confirm
        assert await second.cancel()
        with trio.fail_after(1):
            assert (await second.result()).stop_reason == "cancelled"
            assert await agent.was_asked(2) == "three"
        agent.go.set()
        assert (await third.result()).text == "well: one, three"


async def test_what_does_not_wait_any_more_holds_nobody_up(autojump_clock: MockClock) -> None:
    # Q3 Q8
    agent = Listener()
    agent.begin = trio.Event()
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        second, third = await session.send("two"), await session.prompt("three")
        ids = (second.message_id,)
        await store.drop_pending(DropPending(session.id, DropReason.CANCELLED, ids))
        agent.begin.set()
        assert await agent.was_asked(1) == "three"
        agent.go.set()
        assert (await third.result()).text == "well: one, three"


async def test_old_news_of_a_message_that_was_taken_in_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    # Q3 Q8 D8
    agent = Listener()
    agent.begin = trio.Event()
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.prompted(1)
        await session.send("two")
        news = Arrived(await store.pending_messages(session.id))
        agent.begin.set()
        await agent.was_asked(1)
        (await _actor_of(rt, session)).tell(news)
        await trio.sleep(1)
        assert (await session.queue()).waiting == 0
        assert agent.asked == ["two"]
        agent.go.set()


async def test_to_cancel_a_message_that_was_taken_in_cancels_the_turn(
    autojump_clock: MockClock,
) -> None:
    # Q3 G11
    agent = Listener()
    async with stage(agent=agent, settings=STEER) as rt:
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await agent.was_asked(1)
        assert await session.clear() == 0  # it is of a turn that has begun
        assert await second.cancel()
        assert (await first.result()).stop_reason == "cancelled"
        assert (await second.result()).stop_reason == "cancelled"


# -- crashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["session", "queue"])
async def test_a_crash_while_the_agent_is_asked_loses_nothing(
    autojump_clock: MockClock, victim: str
) -> None:
    # Q3 Q8 K5 D8
    agent = Listener()
    agent.answer = trio.sleep_forever
    async with open_memory(clock) as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        sent = [await session.send("one")]
        await agent.prompted(1)
        sent.append(await session.send("two"))
        await agent.was_asked(1)
        agent.go.set()
        await _crash(rt, session, victim)
        for each in sent:
            outcome = await rt.front.outcome(each.message_id)
            assert outcome.state is InboundState.DONE
        lines = [line.id for line in await session.history() if line.role == "user"]
        assert lines == [each.message_id for each in sent]


async def test_a_power_cut_while_the_agent_is_asked_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    # Q3 Q8 T5
    agent = Listener()
    agent.answer = trio.sleep_forever
    async with refusing() as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store, settings=STEER) as rt:
                session = await rt.session("demo")
                sent = [await session.send("one")]
                await agent.prompted(1)
                sent.append(await session.send("two"))
                await agent.was_asked(1)
                store.refusals = {"leave_turn": 1_000, "end_turn": 1_000}
                power.cancel()
                await trio.sleep_forever()
        assert await state_of(store, sent[1].message_id) == (InboundState.CLAIMED, None)
        store.refusals.clear()
        agent.go.set()
        async with stage(agent=agent, store=store, settings=STEER) as rt:
            outcomes = [await rt.front.outcome(each.message_id) for each in sent]
            assert [each.state for each in outcomes] == [InboundState.DONE] * 2


async def _actor_of(rt: Runtime, session: Session) -> ActorRef[SessionMessage]:
    assert isinstance(rt.front, ActorFront)
    return await rt.front._sessions.ask(Obtain(session.id), timeout=60)


async def _crash(rt: Runtime, session: Session, victim: str) -> None:
    """A bug: an actor gets something that its handler stumbles over."""
    target = ref = await _actor_of(rt, session)
    if victim == "queue":
        family = ref._cell.family
        assert family is not None
        target = rt.system.ref_to(family.children["queue"])
    target.tell(Arrived(rows=(cast("InboundRow", None),)))


@pytest.mark.parametrize("operation", ["join_turn", "leave_turn"])
async def test_a_disk_that_refuses_meanwhile_loses_nothing(
    autojump_clock: MockClock, operation: str
) -> None:
    # Q3 Q8 D1
    agent = Listener()
    agent.answer = agent.refuse
    async with refusing() as store, stage(agent=agent, store=store, settings=STEER) as rt:
        store.refusals[operation] = 3
        session = await rt.session("demo")
        first = await session.prompt("one")
        await agent.prompted(1)
        second = await session.prompt("two")
        await trio.sleep(1)
        assert (await session.queue()).waiting == 1
        agent.go.set()
        assert (await first.result()).text == "well: one"
        assert (await second.result()).text == "well: two"
