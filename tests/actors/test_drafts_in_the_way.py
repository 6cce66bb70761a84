"""Drafts that cannot become the answer: they go, or the answer says so (R8, O2)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import Behaviour, ScriptedChannel
from runtime.sessions.marks import DUPLICATE_MARK
from runtime.storage.sqlite import open_memory
from tests.actors.slow_writing import FOR_EVER, QUICK, agent, network, quiet
from tests.actors.stage import clock, stage


def refusing(**fields: Any) -> ScriptedChannel:
    """A network on which no draft can be edited into its answer."""
    chat = network(**fields)
    chat.script(*[Behaviour(fail="for_good")] * 100, of="edit")
    return chat


async def shown(chat: ScriptedChannel, seconds: float = 1_000.0) -> list[str]:
    """What is in the chat when its one message was answered."""
    async with stage(agent=agent("one", 2.0, " two"), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("edit")
        await quiet(seconds)
    return chat.visible()


async def test_it_goes_before_the_answer_comes(autojump_clock: MockClock) -> None:
    # R8 O2
    chat = refusing()
    chat.script(Behaviour(delay=10.0), of="withdraw")
    async with stage(agent=agent("one", 2.0, " two"), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("withdraw")
        await trio.sleep(9.0)
        assert chat.attempts == []
        await chat.sent(1)
        assert chat.visible() == ["one two"]


async def test_where_somebody_removed_it_nothing_says_that_it_was_there(
    autojump_clock: MockClock,
) -> None:
    # R8 O2
    chat = network()
    async with stage(agent=agent("one", 2.0, " two", 2.0), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("draft", 2)
        await trio.sleep(1.0)
        chat.remove("p1")
        await chat.sent(1)
        await quiet(1_000)
    assert chat.visible() == ["one two"]


@pytest.mark.parametrize("able", [{"delete": False}, {}], ids=["cannot delete", "refuses to"])
@pytest.mark.parametrize("sends", [{}, {"idempotent_sends": True}, {"reconcile": True}])
async def test_where_it_stays_the_answer_says_that_it_was_there(
    autojump_clock: MockClock, able: Any, sends: Any
) -> None:
    # R8 O2
    chat = refusing(**able, **sends, text_limit=200)
    chat.script(Behaviour(fail="for_good"), of="withdraw")
    assert await shown(chat) == ["one two", f"{DUPLICATE_MARK}one two"]


async def test_a_long_answer_has_room_for_the_mark(autojump_clock: MockClock) -> None:
    # R5 R8 O2
    chat = refusing(text_limit=200, delete=False, idempotent_sends=True)
    playing = agent("one ", 2.0, "more " * 100)
    async with stage(agent=playing, channels=[chat], settings=QUICK):
        await chat.say("hello")
        await quiet(1_000)
    first, *others = chat.arrived
    assert first.text.startswith(DUPLICATE_MARK)
    assert len(others) == 3
    assert max(len(arrival.text) for arrival in chat.arrived) <= 200


@pytest.mark.parametrize("fail", ["before", "during", "after", "bug"])
async def test_a_withdrawal_that_fails_is_tried_again(autojump_clock: MockClock, fail: Any) -> None:
    # R8 O2 O4
    chat = refusing()
    chat.script(*[Behaviour(fail=fail)] * 2, of="withdraw")
    assert await shown(chat) == ["one two"]
    assert len(chat.calls("withdraw")) == 3


async def test_an_answer_does_not_wait_for_ever_for_its_draft_to_go(
    autojump_clock: MockClock,
) -> None:
    # R8 O2 O4
    chat = refusing()
    chat.script(*[Behaviour(fail="before")] * 100, of="withdraw")
    assert await shown(chat, 100.0) == ["one two", f"{DUPLICATE_MARK}one two"]


@pytest.mark.parametrize("fail", ["during", "after"])
async def test_an_answer_in_the_place_of_one_says_once_that_it_may_be_double(
    autojump_clock: MockClock, fail: Any
) -> None:
    # R8 O2
    chat = refusing(delete=False)
    chat.script(Behaviour(fail=fail))
    assert (await shown(chat))[-1] == f"{DUPLICATE_MARK}one two"


@pytest.mark.parametrize("done", [False, True], ids=["before it is gone", "when it is gone"])
async def test_a_power_cut_in_a_withdrawal_doubles_nothing(
    autojump_clock: MockClock, done: bool
) -> None:
    # R8 O1 O2
    chat = refusing()
    chat.script(Behaviour(delay=FOR_EVER), of="withdraw")
    playing = agent("one", 2.0, " two")
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with stage(agent=playing, channels=[chat], store=store, settings=QUICK):
                await chat.say("hello")
                await chat.called("withdraw")
                await trio.sleep(1.0)
                if done:
                    chat.remove("p1")
                power.cancel()
                await trio.sleep_forever()
        chat.lose_connection()
        async with stage(agent=agent("x"), channels=[chat], store=store, settings=QUICK):
            await quiet()
    assert chat.visible() == ["one two"]
