"""What a chat sees of an answer in the making (R3, R6, R8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import Behaviour, ScriptedChannel
from runtime.ports.channel import ChannelCapabilities
from runtime.sessions.rows import TurnError
from runtime.sessions.updates import AgentEvent, Result
from runtime.settings import ChannelSettings
from runtime.storage.errors import StoreUnavailable
from runtime.storage.sqlite import open_memory
from tests.actors.slow_writing import (
    FOR_EVER,
    QUICK,
    agent,
    network,
    over_and_over,
    quiet,
    slowly,
)
from tests.actors.stage import Call, HandAgent, chunk, clock, stage


async def test_the_answer_grows_in_one_message(autojump_clock: MockClock) -> None:
    # R3 R8
    chat = network()
    async with stage(
        agent=agent("one ", 2.0, "two ", 2.0, "three", 2.0), channels=[chat], settings=QUICK
    ):
        await chat.say("hello")
        seen = []
        for count in range(1, 4):
            await chat.called("draft", count)
            await trio.sleep(0.5)
            seen.append(chat.visible())
        assert seen == [["one"], ["one two"], ["one two three"]]
        await chat.called("edit")
        await quiet()
        assert chat.visible() == ["one two three"]
        assert [done.message for done in chat.calls("draft")] == [None, "p1", "p1"]
        assert [done.message for done in chat.calls("edit")] == ["p1"]
        assert chat.arrived == []
        assert chat.calls("withdraw") == []


async def test_drafts_are_an_interval_apart(autojump_clock: MockClock) -> None:
    # R3
    chat = network(draft_interval=2.5)
    words = over_and_over("word ", 0.1, 200)
    async with stage(agent=agent(*words), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("edit")
        begun = [done.at for done in chat.calls("draft")]
        assert 7 <= len(begun) <= 9
        assert min(b - a for a, b in pairwise(begun)) >= 2.5 - 1e-6


async def test_one_is_in_flight_and_the_newest_follows(autojump_clock: MockClock) -> None:
    # R3
    chat = network()
    chat.script(Behaviour(delay=7.0), of="draft")
    words = over_and_over("b", 1.0, 10)
    async with stage(agent=agent("a", 1.0, *words), channels=[chat], settings=QUICK):
        await chat.say("hello")
        first, second = (await chat.called("draft", 2))[:2]
        assert (first.text, second.text) == ("a", "abbbbbbb")
        assert second.at - first.at >= 7.0


async def test_what_the_network_asks_for_is_honoured(autojump_clock: MockClock) -> None:
    # R3
    chat = network()
    chat.script(Behaviour(), Behaviour(fail="before", retry_after=9.0), of="draft")
    words = over_and_over("x", 1.0, 20)
    async with stage(agent=agent(*words), channels=[chat], settings=QUICK):
        await chat.say("hello")
        _, refused, after = (await chat.called("draft", 3))[:3]
        assert after.at - refused.at >= 9.0
        assert len(after.text) > len(refused.text) + 5


@pytest.mark.parametrize("of", ["draft", "typing"])
async def test_what_it_asked_for_holds_for_the_next_turn_too(
    autojump_clock: MockClock, of: Any
) -> None:
    # R3 R4
    chat = network()
    chat.script(Behaviour(fail="before", retry_after=60.0), of=of)
    silence = [] if of == "draft" else [30.0]
    words = over_and_over("x", 1.0, 40)
    async with stage(agent=agent(*silence, *words), channels=[chat], settings=QUICK):
        await chat.say("one")
        await chat.called(of)
        await chat.say("two")
        await chat.say("elsewhere", chat="other", sender="ben")
        await quiet(300)
        refused, *later = [done.at for done in chat.calls(of) if done.chat == "chat"]
        assert later[0] - refused >= 60.0
        assert min(done.at for done in chat.calls(of) if done.chat == "other") < refused + 2.0


@pytest.mark.parametrize("fail", ["before", "during", "after", "for_good", "bug"])
@pytest.mark.parametrize("of", ["draft", "typing"])
async def test_a_failure_is_cosmetic(autojump_clock: MockClock, of: Any, fail: Any) -> None:
    # R3 R4
    chat = network()
    chat.script(*[Behaviour(fail=fail)] * 100, of=of)
    words = over_and_over("x", 1.0, 30)
    async with stage(agent=agent(20.0, *words), channels=[chat], settings=QUICK) as rt:
        await chat.say("hello")
        await quiet()
        shown = chat.visible()
        assert shown[-1] == "x" * 30
        assert len(shown) == (2 if (of, fail) == ("draft", "after") else 1)
        tries = {"for_good": 1}.get(fail, 3)
        if of == "draft" and fail in ("during", "after", "bug"):
            tries = 1  # nobody knows whether there is a message: no second one
        assert len(chat.calls(of)) == tries
        (info,) = (await rt.front.list_sessions()).sessions
        lines = await rt.front.journal(info.row.id)
        assert [line.role for line in lines] == ["user", "assistant"]


@pytest.mark.parametrize("of", ["draft", "typing", "withdraw"])
@pytest.mark.parametrize("text", ["hello", "hello\nNO_REPLY"])
async def test_a_network_that_hangs_delays_the_end_a_little(
    autojump_clock: MockClock, of: Any, text: str
) -> None:
    # R3 R4
    chat = network()
    chat.script(*[Behaviour(delay=FOR_EVER)] * 100, of=of)
    playing = HandAgent(slowly("hello", 0.5, text.removeprefix("hello")), hold=False)
    async with stage(agent=playing, channels=[chat], settings=QUICK):
        began = trio.current_time()
        await chat.say("one")
        await playing.called(1)
        await chat.say("two")
        await playing.called(2)
        assert trio.current_time() - began <= 0.5 + 3.0 + 0.1
        await quiet()
        answers = [] if of != "withdraw" and "NO_REPLY" in text else ["hello", "hello"]
        assert chat.visible() == answers


async def test_the_one_in_flight_is_waited_for(autojump_clock: MockClock) -> None:
    # R3
    chat = network()
    chat.script(Behaviour(delay=2.0), of="draft")
    async with stage(agent=agent("hello", 0.5, " there"), channels=[chat], settings=QUICK):
        await chat.say("one")
        await chat.called("edit")
        await quiet()
        assert chat.visible() == ["hello there"]
        assert [done.text for done in chat.calls("draft")] == ["hello"]


@pytest.mark.parametrize("delete", [True, False])
async def test_a_first_draft_that_comes_after_the_answer_goes(
    autojump_clock: MockClock, delete: bool
) -> None:
    # R3 R8
    chat = network(delete=delete)
    chat.script(Behaviour(delay=9.0), of="draft")
    async with stage(agent=agent("hello", 0.5, " there"), channels=[chat], settings=QUICK):
        began = trio.current_time()
        await chat.say("one")
        await chat.sent(1)
        assert trio.current_time() - began <= 0.5 + 3.0 + 0.1
        await quiet()
        assert chat.visible() == ["hello there"]
        assert len(chat.calls("withdraw")) == delete


async def test_a_late_change_of_a_draft_is_given_up(autojump_clock: MockClock) -> None:
    # R3
    chat = network()
    chat.script(Behaviour(), Behaviour(delay=9.0), of="draft")
    playing = agent("hello", 2.0, " there", 0.5, " all")
    async with stage(agent=playing, channels=[chat], settings=QUICK):
        await chat.say("one")
        await quiet()
        assert [done.text for done in chat.calls("draft")] == ["hello", "hello there"]
        assert chat.visible() == ["hello there all"]
        assert chat.calls("withdraw") == []


async def test_of_a_long_answer_the_first_part_takes_the_place(autojump_clock: MockClock) -> None:
    # R3 R5 R8
    chat = network(text_limit=64)
    answer = "\n\n".join("abc"[n] * 50 for n in range(3))
    async with stage(
        agent=agent(answer[:30], 2.0, answer[30:], 2.0), channels=[chat], settings=QUICK
    ):
        await chat.say("hello")
        await chat.sent(2)
        assert chat.visible() == ["a" * 50, "b" * 50, "c" * 50]
        assert len(chat.calls("edit")) == 1
        assert chat.calls("edit")[0].text == "a" * 50


async def test_a_draft_closes_its_code_block(autojump_clock: MockClock) -> None:
    # R3 R5
    chat = network(text_limit=64)
    async with stage(
        agent=agent("```py\nx = 1\n", 2.0, "y = 2\n" * 20, 2.0), channels=[chat], settings=QUICK
    ):
        await chat.say("hello")
        first, second = await chat.called("draft", 2)
        assert first.text == "```py\nx = 1\n```"
        assert second.text.endswith("y = 2\n```")
        assert len(second.text) <= 64


@pytest.mark.parametrize("text", ["NO_REPLY", "NO_REPLY.", "\nNO_REPLY\nNO_REPLY"])
async def test_nothing_is_ever_seen_of_no_reply(autojump_clock: MockClock, text: str) -> None:
    # R6
    chat = network()
    steps: list[str | float] = [step for character in text for step in (character, 1.5)]
    async with stage(agent=agent(*steps), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await quiet()
        assert chat.calls("draft") == []
        assert chat.visible() == []


@pytest.mark.parametrize("delete", [True, False])
async def test_a_draft_without_an_answer_goes(autojump_clock: MockClock, delete: bool) -> None:
    # R6 R8
    chat = network(delete=delete)
    async with stage(agent=agent("Read it.", 2.0, "\nNO_REPLY"), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("draft")
        await quiet()
        assert chat.visible() == ([] if delete else ["Read it."])
        assert chat.calls("edit") == []


async def test_without_edits_the_answer_is_a_message_of_its_own(autojump_clock: MockClock) -> None:
    # R8
    chat = network(edit=False)
    async with stage(agent=agent("one", 2.0, " two", 2.0), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("draft")
        await chat.sent(1)
        await quiet()
        assert chat.visible() == ["one two"]


@pytest.mark.parametrize("able", [ChannelCapabilities(), ChannelCapabilities(edit=True)])
async def test_what_a_network_cannot_is_not_tried(
    autojump_clock: MockClock, able: ChannelCapabilities
) -> None:
    # R3 R4 N1
    chat = ScriptedChannel(capabilities=able)
    async with stage(agent=agent("one", 2.0, " two", 2.0), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.sent(1)
        await quiet()
        assert chat.done == []
        assert chat.visible() == ["one two"]


@pytest.mark.parametrize(
    "chosen,drafts,typed",
    [
        ({}, 5, 1),
        ({"typing": False}, 5, 0),
        ({"drafts": False}, 0, 2),
        ({"drafts": False, "typing": False}, 0, 0),
        ({"draft_interval": 3.0}, 2, 1),
        ({"draft_interval": 0.0}, 6, 1),
    ],
)
async def test_the_settings_of_the_channel_count(
    autojump_clock: MockClock, chosen: dict[str, Any], drafts: int, typed: int
) -> None:
    # R3 R4
    chat = network()
    own = msgspec.structs.replace(QUICK, channels={"scripted": ChannelSettings(**chosen)})
    words = over_and_over("x ", 0.8, 6)
    async with stage(agent=agent(*words), channels=[chat], settings=own):
        await chat.say("hello")
        await quiet()
        assert len(chat.calls("draft")) == drafts
        assert len(chat.calls("typing")) == typed
        assert chat.visible() == ["x x x x x x "]


async def test_a_failure_takes_the_place_of_the_draft(autojump_clock: MockClock) -> None:
    # R8 T5
    chat = network()
    failed = Result(error=TurnError("overloaded", "try later"))
    async with stage(agent=agent("half", 2.0, failed), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("edit")
        await quiet()
        assert chat.visible() == ["try later"]


async def test_what_was_stopped_stays_as_it_is(autojump_clock: MockClock) -> None:
    # R8
    chat = network()
    async with stage(agent=agent("half an ans", 1_000.0), channels=[chat], settings=QUICK):
        await chat.say("hello")
        await chat.called("draft")
        await chat.say("/stop")
        await quiet()
        assert chat.visible() == ["half an ans", "Stopped."]
        assert chat.calls("withdraw") == []


def by_the_prompt() -> HandAgent:
    """An agent that answers at once, or slowly when it is asked to."""

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk(f"{call.text} begins, ")
        if call.text == "slow":
            for _ in range(60):
                yield chunk("goes on, ")
                await trio.sleep(1.0)
        yield chunk("ends")
        yield Result()

    return HandAgent(play, hold=False)


@pytest.mark.parametrize("fail", ["before", "during", "after"])
async def test_no_draft_is_shown_above_an_answer_that_is_on_its_way(
    autojump_clock: MockClock, fail: Any
) -> None:
    # R3 O3
    chat = network()
    chat.script(Behaviour(fail=fail), Behaviour(fail="before", retry_after=15.0))
    chat.script(*[Behaviour(fail="for_good")], of="draft")
    async with stage(agent=by_the_prompt(), channels=[chat], settings=QUICK):
        await chat.say("quick")
        await chat.attempted(1)
        await chat.say("slow")
        await chat.say("slow", chat="elsewhere", sender="ben")
        await trio.sleep(15.0)
        assert not [text for text in chat.visible() if text.startswith("slow")]
        assert [text for text in chat.visible("elsewhere") if text.startswith("slow")]
        await trio.sleep(20.0)
        assert chat.visible()[-1].startswith("slow begins, goes on")  # a draft, for the rest of it
        await quiet()
        *quick, slow = chat.visible()
        assert all(text.endswith("quick begins, ends") for text in quick)
        assert slow.startswith("slow")
        assert slow.endswith("ends")


async def test_no_draft_is_shown_while_nobody_can_tell_what_is_on_its_way(
    autojump_clock: MockClock,
) -> None:
    # R3 O3
    async def refuse(_: object) -> bool:
        raise StoreUnavailable("as scripted")

    chat = network()
    async with open_memory(clock) as store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "outbox_owes", refuse)
            async with stage(agent=agent("a", 20.0, "b"), channels=[chat], store=store):
                await chat.say("hello")
                await chat.sent(1, timeout=60.0)
    assert chat.visible() == ["ab"]
    assert chat.calls("draft") == []
