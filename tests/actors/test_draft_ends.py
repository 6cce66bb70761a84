"""What takes the place of a draft when its turn has ended, or was cut off (R8, O2, T5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import Behaviour, ScriptedChannel
from runtime.ports.agent import AgentContext, AgentGone, AgentHandle
from runtime.sessions.events import TurnUpdate
from runtime.sessions.updates import AgentEvent, Result
from runtime.storage.errors import StoreUnavailable
from runtime.storage.sqlite import open_memory
from tests.actors.slow_writing import (
    FOR_EVER,
    QUICK,
    agent,
    network,
    quiet,
)
from tests.actors.stage import Call, HandAgent, chunk, clock, settings, stage


async def power_cut(
    chat: ScriptedChannel, store: Any, playing: HandAgent, *, drafts: int = 1, **fields: Any
) -> None:
    """A runtime that is cut off in mid-turn, with a draft shown."""
    with trio.CancelScope() as power:
        async with stage(agent=playing, channels=[chat], store=store, **fields):
            if drafts == 1:
                await chat.say("hello")
            await chat.called("draft", drafts)
            await trio.sleep(0.5)
            power.cancel()
            await trio.sleep_forever()
    chat.lose_connection()


async def test_after_a_power_cut_the_answer_takes_the_same_place(autojump_clock: MockClock) -> None:
    # R8 T5 D8
    chat = network()
    async with open_memory(clock) as store:
        await power_cut(chat, store, agent("half", 1_000.0), settings=QUICK)
        await power_cut(chat, store, agent("halves", 1_000.0), drafts=2, settings=QUICK)
        assert chat.visible() == ["halves"]
        whole = agent("half", 2.0, " and whole", 2.0)
        async with stage(agent=whole, channels=[chat], store=store, settings=QUICK):
            await chat.called("edit")
            await quiet()
        assert chat.visible() == ["half and whole"]
        assert {done.message for done in chat.calls("draft")[1:]} == {"p1"}
        assert chat.arrived == []


async def test_after_a_power_cut_the_notice_takes_its_place(autojump_clock: MockClock) -> None:
    # R8 T5
    chat = network()
    told = settings(queue={"debounce": 0.0}, sessions={"on_interrupted": "notify"})
    async with open_memory(clock) as store:
        await power_cut(chat, store, agent("half", 1_000.0), settings=told)
        async with stage(agent=agent("x"), channels=[chat], store=store, settings=told):
            await chat.called("edit")
            await quiet()
        (text,) = chat.visible()
        assert "stopped before the agent had answered" in text


async def test_a_draft_that_is_gone_is_sent_anew(autojump_clock: MockClock) -> None:
    # R8 O1 O2
    chat = network()
    chat.script(Behaviour(fail="after"), Behaviour(fail="during"), of="edit")
    async with stage(agent=agent("one", 2.0, " two", 2.0), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("draft", 2)
        await chat.called("edit", 2)
        chat.remove("p1")
        await chat.sent(1)
        await quiet(1_000)
        assert chat.visible() == ["one two"]  # and nothing says that it may have come before


@pytest.mark.parametrize("fail", ["before", "during", "after", "bug"])
async def test_an_edit_is_repeated_without_a_mark(autojump_clock: MockClock, fail: Any) -> None:
    # R8 O2
    chat = network()
    chat.script(Behaviour(fail=fail), of="edit")
    async with stage(agent=agent("one", 2.0, " two"), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("edit", 2)
        await quiet()
        assert chat.visible() == ["one two"]
        assert chat.arrived == []


async def test_a_send_in_the_place_of_an_edit_is_in_doubt_like_any_other(
    autojump_clock: MockClock,
) -> None:
    # R8 O1 O2
    chat = network()
    chat.script(Behaviour(fail="for_good"), of="edit")
    chat.script(Behaviour(delay=FOR_EVER))
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            playing = agent("one", 2.0, " two")
            async with stage(agent=playing, channels=[chat], store=store, settings=QUICK):
                await chat.say("hello")
                await chat.attempted(1)
                power.cancel()
                await trio.sleep_forever()
        async with stage(agent=agent("x"), channels=[chat], store=store, settings=QUICK):
            (arrival,) = await chat.sent(1)
            assert "may have reached you before" in arrival.text
            assert len(chat.calls("edit")) == 1


async def test_after_a_stop_past_its_grace_it_stays_for_the_next_run(
    autojump_clock: MockClock,
) -> None:
    # R8 T5 S45
    chat = network()
    brief = settings(queue={"debounce": 0.0}, sessions={"shutdown_grace": 1.0})
    async with open_memory(clock) as store:
        async with stage(
            agent=agent("half", 1_000.0), channels=[chat], store=store, settings=brief
        ):
            await chat.say("hello")
            await chat.called("draft")
            await trio.sleep(0.5)
        chat.lose_connection()
        assert chat.calls("withdraw") == []
        async with stage(agent=agent("whole"), channels=[chat], store=store, settings=brief):
            await chat.called("edit")
            await quiet()
        assert chat.visible() == ["whole"]


@pytest.mark.parametrize("operation", ["save_draft", "end_turn"])
async def test_it_is_kept_although_one_write_is_lost(
    autojump_clock: MockClock, operation: str
) -> None:
    # R8 T3 D7
    chat = network()
    async with open_memory(clock) as store:

        async def refuse(_: object) -> None:
            raise StoreUnavailable("as scripted")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, operation, refuse)
            await power_cut(chat, store, agent("half", 1_000.0), settings=QUICK)
        async with stage(agent=agent("whole"), channels=[chat], store=store, settings=QUICK):
            await chat.called("edit")
            await quiet()
        assert chat.visible() == ["whole"]


@pytest.mark.parametrize("fail", ["before", "during", "after", "bug"])
async def test_a_withdrawal_that_fails_is_tried_again(autojump_clock: MockClock, fail: Any) -> None:
    # R6
    chat = network()
    chat.script(*[Behaviour(fail=fail)] * 3, of="withdraw")
    playing = agent("So.", 2.0, "\nNO_REPLY")
    async with stage(agent=playing, channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("draft")
        await quiet()
    assert chat.visible() == []
    assert len(chat.calls("withdraw")) == 4


@pytest.mark.parametrize("fail,tries", [("for_good", 1), ("before", 4)])
async def test_a_withdrawal_is_given_up(autojump_clock: MockClock, fail: Any, tries: int) -> None:
    # R6
    chat = network()
    chat.script(*[Behaviour(fail=fail)] * 100, of="withdraw")
    playing = agent("So.", 2.0, "\nNO_REPLY")
    async with stage(agent=playing, channels=[chat], settings=QUICK):
        await chat.say("hello")
        await quiet(10_000)
    assert len(chat.calls("withdraw")) == tries


async def test_a_withdrawal_waits_for_as_long_as_the_network_asks(
    autojump_clock: MockClock,
) -> None:
    # R3 R6
    chat = network()
    chat.script(Behaviour(), Behaviour(fail="before", retry_after=20.0), of="draft")
    chat.script(Behaviour(fail="before", retry_after=25.0), of="withdraw")
    playing = agent("So.", 2.0, " It is not mine.", 2.0, "\nNO_REPLY")
    async with stage(agent=playing, channels=[chat], settings=QUICK):
        await chat.say("hello")
        await quiet(200)
    _, refused = chat.calls("draft")
    first, second = chat.calls("withdraw")
    assert first.at - refused.at >= 20.0
    assert second.at - first.at >= 25.0
    assert chat.visible() == []


@pytest.mark.parametrize("able", [True, False], ids=["it can", "it cannot edit"])
@pytest.mark.parametrize("done", [False, True], ids=["before it is gone", "when it is gone"])
async def test_after_a_power_cut_in_a_withdrawal_it_goes_with_the_next_start(
    autojump_clock: MockClock, done: bool, able: bool
) -> None:
    # R6 R8
    chat = network(edit=able)
    chat.script(Behaviour(), Behaviour(delay=FOR_EVER), of="withdraw")
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            playing = agent("So.", 2.0, "\nNO_REPLY")
            async with stage(agent=playing, channels=[chat], store=store, settings=QUICK):
                for count, sender in enumerate(("ann", "ben"), 1):
                    await chat.say("hello", sender=sender, chat=sender)
                    await chat.called("withdraw", count)
                await trio.sleep(1.0)
                if done:
                    chat.remove("p2")
                power.cancel()
                await trio.sleep_forever()
        assert (chat.visible("ann"), chat.visible("ben")) == ([], [] if done else ["So."])
        for _ in range(2):
            chat.lose_connection()
            async with stage(agent=agent("x"), channels=[chat], store=store, settings=QUICK):
                await quiet()
        assert chat.visible("ben") == []
        assert [done.message for done in chat.calls("withdraw")] == ["p1", "p2", "p2"]


async def test_what_became_an_answer_or_was_stopped_stays_after_a_start(
    autojump_clock: MockClock,
) -> None:
    # R6 R8
    chat = network()
    async with open_memory(clock) as store:
        slow = agent("one", 20.0, " two")
        async with stage(agent=slow, channels=[chat], store=store, settings=QUICK):
            await chat.say("hello")
            await chat.called("edit")
            drafts = len(chat.calls("draft"))
            await chat.say("again")
            await chat.called("draft", drafts + 1)
            await trio.sleep(1.0)
            await chat.say("/stop")
            await quiet()
        seen = chat.visible()
        assert seen[:2] == ["one two", "one"]
        chat.lose_connection()
        async with stage(agent=slow, channels=[chat], store=store, settings=QUICK):
            await quiet()
        assert chat.visible() == seen
        assert chat.calls("withdraw") == []


async def test_a_withdrawal_that_hangs_holds_up_nobody(autojump_clock: MockClock) -> None:
    # R8 S43
    chat = network()
    chat.script(Behaviour(delay=FOR_EVER), of="withdraw")
    async with stage(agent=agent("So.", 2.0, "\nNO_REPLY"), channels=[chat], settings=QUICK) as rt:
        await chat.say("hello")
        await chat.called("withdraw")
        (info,) = (await rt.front.list_sessions()).sessions
        with trio.fail_after(10.0):
            await rt.front.close_session(info.row.id)


def gone_once() -> HandAgent:
    """An agent that goes away before it begins, and the next time answers."""

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if len(playing.calls) == 1:
            raise AgentGone("gone")
        yield chunk("whole")
        yield Result()

    playing = HandAgent(play, hold=False)
    return playing


@pytest.mark.parametrize("text", ["/queue clear", "/stop", "/new", "one too many"])
async def test_what_is_never_answered_leaves_no_half_answer(
    autojump_clock: MockClock, text: str
) -> None:
    # R8 H3 Q4 T5
    chat = network()
    small = settings(queue={"debounce": 0.0, "cap": 1}, sessions={"retry_delay": 500.0})
    async with open_memory(clock) as store:
        await power_cut(chat, store, agent("half", 1_000.0), settings=small)
        playing = gone_once()
        async with stage(agent=playing, channels=[chat], store=store, settings=small):
            await playing.called(1)
            await trio.sleep(10)
            assert chat.visible() == ["half"]
            chat.script(Behaviour(fail="before"), of="withdraw")
            await chat.say(text)
            await chat.called("withdraw", 2)
            await quiet()
        assert "half" not in chat.visible()


async def test_a_draft_stays_for_those_of_its_messages_that_wait(
    autojump_clock: MockClock,
) -> None:
    # R8 Q4 T5
    chat = network()
    pair = settings(
        queue={"debounce": 1.0, "cap": 2, "drop": "old"}, sessions={"retry_delay": 500.0}
    )
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            cut_off = agent("half", 1_000.0)
            async with stage(agent=cut_off, channels=[chat], store=store, settings=pair):
                await chat.say("one")
                await chat.say("two")
                await chat.called("draft")
                await trio.sleep(0.5)
                power.cancel()
                await trio.sleep_forever()
        chat.lose_connection()
        playing = gone_once()
        async with stage(agent=playing, channels=[chat], store=store, settings=pair):
            await playing.called(1)
            await trio.sleep(10)
            await chat.say("three")  # pushes out the first
            await chat.called("edit", timeout=2_000)
            assert (await playing.called(2)).text.endswith("]\n\ntwo")
            assert chat.visible()[0] == "whole"
            assert chat.calls("withdraw") == []


@pytest.mark.parametrize("text", ["/queue clear", "/stop", "/new"])
async def test_what_an_agent_says_to_withdrawn_messages_is_seen_by_nobody(
    autojump_clock: MockClock, text: str
) -> None:
    # H3 T3 R8
    async def deaf(call: Call) -> AsyncIterator[AgentEvent]:
        await trio.sleep(10)
        for _ in range(4):
            yield chunk("so ")
            await trio.sleep(1)
        yield Result()

    class Deaf(HandAgent):
        @asynccontextmanager
        async def open(self, context: AgentContext) -> AsyncIterator[AgentHandle]:
            async with super().open(context) as handle:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(handle, "cancel", trio.lowlevel.checkpoint)
                    yield handle

    chat = network()
    playing = Deaf(deaf, hold=False)
    async with stage(agent=playing, channels=[chat], settings=QUICK) as rt:
        await chat.say("hello")
        await playing.called(1)
        (info,) = (await rt.front.list_sessions()).sessions
        await trio.sleep(9)
        watch = rt.front.watch(info.row.id)
        await chat.say(text)
        await quiet()
        watch.close()
        assert [live.event async for live in watch if isinstance(live.event, TurnUpdate)] == []
        assert chat.calls("draft") == []
        assert len(chat.visible()) == 1
        lines = await rt.front.journal(info.row.id)
        assert [line.role for line in lines if line.role == "assistant"] == []
