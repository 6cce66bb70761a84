"""Delivery to push channels: nothing lost, nothing doubled in silence."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from actors import outbox
from actors.channels.scripted import Behaviour, ScriptedChannel
from actors.outbox import CONVERSATIONS
from runtime.ports.channel import ChannelCapabilities, OutboundPart, PermanentFailure, Receipt
from runtime.sessions.marks import SHORTEST_MESSAGES
from runtime.sessions.split import Counting
from runtime.storage.sqlite import open_memory
from tests.actors.stage import HandAgent, clock, says, settings, stage

QUICK = settings(queue={"debounce": 0.0})


async def test_a_long_answer_goes_out_in_parts_and_in_order(autojump_clock: MockClock) -> None:
    # R5 O3 O5
    answer = "\n\n".join(f"Paragraph {n}: " + "x" * 60 for n in range(10))
    network = ScriptedChannel(capabilities=ChannelCapabilities(text_limit=100))
    async with stage(agent=HandAgent(says(answer), hold=False), channels=[network]):
        await network.say("tell me")
        parts = await network.sent(10)
        assert all(len(part.text) <= 100 for part in parts)
        assert "\n\n".join(part.text for part in parts) == answer
        assert len({part.key for part in parts}) == 10


async def test_a_part_that_fails_for_now_holds_the_later_ones(autojump_clock: MockClock) -> None:
    # R5 O4 O3
    network = ScriptedChannel(capabilities=ChannelCapabilities(text_limit=64))
    network.script(Behaviour(), Behaviour(fail="before"), Behaviour(fail="before"))
    answer = "\n\n".join("abc"[n] * 50 for n in range(3))
    async with stage(agent=HandAgent(says(answer), hold=False), channels=[network]):
        began = trio.current_time()
        await network.say("tell me")
        parts = await network.sent(3, timeout=100)
        assert [part.text[0] for part in parts] == ["a", "b", "c"]
        assert trio.current_time() - began >= 5 + 25


async def test_a_later_part_that_fails_for_good_is_skipped(autojump_clock: MockClock) -> None:
    # R5
    network = ScriptedChannel(capabilities=ChannelCapabilities(text_limit=64))
    network.script(Behaviour(), Behaviour(fail="for_good"))
    answer = "\n\n".join("abc"[n] * 50 for n in range(3))
    async with stage(agent=HandAgent(says(answer), hold=False), channels=[network]) as rt:
        await network.say("tell me")
        parts = await network.sent(2)
        assert [part.text[0] for part in parts] == ["a", "c"]
        assert b'deliveries_total{outcome="failed"} 1.0' in rt.front.metrics()


async def test_after_a_crash_a_long_answer_goes_on_where_it_was(autojump_clock: MockClock) -> None:
    # O5 O1
    network = ScriptedChannel(capabilities=ChannelCapabilities(text_limit=64))
    network.script(Behaviour(), Behaviour(fail="before", retry_after=50.0))
    answer = "\n\n".join("abc"[n] * 50 for n in range(3))
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            playing = HandAgent(says(answer), hold=False)
            async with stage(agent=playing, channels=[network], store=store, settings=QUICK):
                await network.say("tell me")
                await network.attempted(2)
                await trio.sleep(10.0)
                power.cancel()
                await trio.sleep_forever()
        network.lose_connection()
        async with stage(agent=HandAgent(), channels=[network], store=store, settings=QUICK):
            parts = await network.sent(3, timeout=100)
            assert [part.text for part in parts] == ["a" * 50, "b" * 50, "c" * 50]


async def test_there_is_room_for_the_mark(autojump_clock: MockClock) -> None:
    # R5 O2 N1
    network = ScriptedChannel(capabilities=ChannelCapabilities(text_limit=400))
    network.script(*[Behaviour(fail="during")] * 3)
    playing = HandAgent(says("word " * 300), hold=False)
    async with stage(agent=playing, channels=[network], settings=QUICK):
        await network.say("tell me")
        parts = await network.sent(5, timeout=1_000)
        assert parts[0].text.startswith("(This message may have reached you before.)")
        assert max(len(part.text) for part in parts) <= 400


class Strict(ScriptedChannel):
    """Refuses what is longer than it takes."""

    async def send(self, part: OutboundPart, key: str) -> Receipt:
        size = size_of(part.text, self.capabilities.counting)
        if size > self.capabilities.text_limit:
            raise PermanentFailure(f"a text of {size} is too long")
        return await super().send(part, key)


def size_of(text: str, counting: Counting) -> int:
    if counting == "utf16":
        return len(text.encode("utf-16-le")) // 2
    return len(text.encode()) if counting == "bytes" else len(text)


@pytest.mark.parametrize("counting", ["characters", "utf16", "bytes"])
@pytest.mark.parametrize("limit", [32, 45, 64, 160, 175, 176])
async def test_whatever_a_network_takes_what_is_in_doubt_is_sent_again_and_marked(
    autojump_clock: MockClock, limit: int, counting: Counting
) -> None:
    # R5 O2 N1
    answer = "```py\n" + "Grüße, 👋 " * 30 + "\n```\n" + "Weiter, ohne Ende. " * 20
    network = Strict(capabilities=ChannelCapabilities(text_limit=limit, counting=counting))
    network.script(*[Behaviour(fail="during"), Behaviour()] * 200)
    playing = HandAgent(says(answer), hold=False)
    async with stage(agent=playing, channels=[network], settings=QUICK):
        await network.say("tell me")
        await trio.sleep(5_000)
    texts = [arrival.text for arrival in network.arrived]
    assert all(text.startswith(("(This message may have", "(again)\n")) for text in texts)
    said = "".join(text.partition("\n")[2] for text in texts)
    for word, times in (("Grüße", 30), ("Weiter", 20)):
        assert said.count(word) == times
    assert "could not be delivered" not in said


async def test_when_the_first_part_fails_for_good_the_rest_is_not_sent(
    autojump_clock: MockClock,
) -> None:
    # R5
    network = ScriptedChannel(capabilities=ChannelCapabilities(text_limit=64))
    network.script(Behaviour(fail="for_good"))
    answer = "\n\n".join("abc"[n] * 50 for n in range(3))
    async with stage(agent=HandAgent(says(answer), hold=False), channels=[network], settings=QUICK):
        await network.say("tell me")
        await network.attempted(1)
        await trio.sleep(2_000)
        assert network.arrived == []
        assert len(network.attempts) == 1
        await network.say("again")
        assert len(await network.sent(3)) == 3


async def test_a_rate_limit_is_honoured(autojump_clock: MockClock) -> None:
    # O3
    network = ScriptedChannel()
    network.script(Behaviour(fail="before", retry_after=77.0))
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        began = trio.current_time()
        await network.say("hello")
        await network.sent(1, timeout=100)
        assert 77 <= trio.current_time() - began < 90


async def test_a_rate_limit_of_the_account_holds_for_all_its_chats(
    autojump_clock: MockClock,
) -> None:
    # O3
    limited, other = ScriptedChannel(account="one"), ScriptedChannel(account="two")
    limited.script(Behaviour(fail="before", retry_after=30.0, account=True))
    agent = HandAgent(hold=False)
    async with stage(agent=agent, channels=[limited, other], settings=QUICK):
        for chat in "abcde":
            await limited.say("hello", chat=chat)
            await limited.attempted(1)
        await other.say("hello")
        await other.sent(1)
        await trio.sleep(25.0)
        assert len(limited.attempts) == 1
        arrived = await limited.sent(5)
        assert {a.chat for a in arrived} == set("abcde")
        assert len(limited.attempts) == 6


async def test_an_account_may_be_asked_to_wait_without_a_time(autojump_clock: MockClock) -> None:
    # O3
    network = ScriptedChannel()
    network.script(Behaviour(fail="before", account=True))
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("one", chat="a")
        await network.attempted(1)
        await network.say("two", chat="b")
        await trio.sleep(3.0)
        assert network.arrived == []
        await network.sent(2)


@pytest.mark.parametrize("asked", [math.inf, math.nan, 1e9])
async def test_an_account_waits_within_reason(autojump_clock: MockClock, asked: float) -> None:
    # O3
    network = ScriptedChannel()
    network.script(Behaviour(fail="before", retry_after=asked, account=True))
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("one", chat="a")
        await network.attempted(1)
        await network.say("two", chat="b")
        (arrival, *_) = await network.sent(1, timeout=4_000)
        assert arrival.text in ("echo: one", "echo: two")


@pytest.mark.parametrize("fail", ["during", "after", "bug"])
async def test_an_unknown_outcome_is_marked_when_it_is_sent_again(
    autojump_clock: MockClock, fail: str
) -> None:
    # O1 O2
    network = ScriptedChannel()
    network.script(Behaviour(fail=fail))  # type: ignore[arg-type]
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("hello")
        arrived = await network.sent(2 if fail == "after" else 1)
        assert "may have reached you before" in arrived[-1].text
        assert arrived[-1].text.endswith("echo: hello")


@pytest.mark.parametrize(
    "able", [ChannelCapabilities(reconcile=True), ChannelCapabilities(idempotent_sends=True)]
)
async def test_a_network_that_can_tell_gets_no_duplicate(
    autojump_clock: MockClock, able: ChannelCapabilities
) -> None:
    # O2 N4
    network = ScriptedChannel(capabilities=able)
    network.script(Behaviour(fail="after"), Behaviour(fail=None))
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("hello")
        await network.attempted(1)
        await trio.sleep(100)
        assert [a.text for a in network.arrived] == ["echo: hello"]
        assert len(set(network.attempts)) == 1


async def test_a_slow_chat_does_not_hold_up_another(autojump_clock: MockClock) -> None:
    # O3 N5
    network = ScriptedChannel()
    network.script(Behaviour(delay=50.0))
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("slow", chat="a", sender="ann")
        await network.attempted(1)
        await network.say("quick", chat="b", sender="bob")
        arrived = await network.sent(2, timeout=100)
        assert [a.chat for a in arrived] == ["b", "a"]


async def test_a_slow_chat_does_not_hold_up_the_next_try_of_another(
    autojump_clock: MockClock,
) -> None:
    # O3
    network = ScriptedChannel()
    network.script(Behaviour(delay=25.0), Behaviour(fail="before", retry_after=1.0))
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("slow", chat="a")
        await network.attempted(1)
        await network.say("quick", chat="b")
        arrived = await network.sent(2)
        assert [a.chat for a in arrived] == ["b", "a"]


async def test_any_number_of_slow_chats_does_not_hold_up_another(
    autojump_clock: MockClock,
) -> None:
    # O3
    network = ScriptedChannel()
    network.script(*[Behaviour(delay=1_000.0)] * CONVERSATIONS)
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        for number in range(CONVERSATIONS):
            await network.say("slow", chat=f"slow {number}")
        await network.attempted(CONVERSATIONS)
        await network.say("quick", chat="quick")
        (arrival,) = await network.sent(1, timeout=20)
        assert arrival.chat == "quick"


async def test_there_is_an_end_to_slow_chats(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # O3
    monkeypatch.setattr(outbox, "CONVERSATIONS", 2)
    monkeypatch.setattr(outbox, "SLOW_CONVERSATIONS", 3)
    network = ScriptedChannel()
    network.script(*[Behaviour(delay=1_000.0)] * 5)
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        for number in range(8):
            await network.say("hello", chat=f"chat {number}")
        await network.attempted(5)
        await trio.sleep(40.0)
        assert len(network.attempts) == 5
        assert network.arrived == []
        await network.sent(3, timeout=100)


async def test_delivery_ends_after_the_last_backoff(autojump_clock: MockClock) -> None:
    # O4
    network = ScriptedChannel()
    network.script(*[Behaviour(fail="before")] * 5)
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        began = trio.current_time()
        await network.say("hello")
        await network.attempted(5, timeout=5_000)
        assert trio.current_time() - began >= 5 + 25 + 120 + 600
        await trio.sleep(5_000)
        assert network.arrived == []
        assert len(network.attempts) == 5


async def test_waits_that_are_asked_for_use_up_no_tries(autojump_clock: MockClock) -> None:
    # O3 O4
    network = ScriptedChannel()
    network.script(*[Behaviour(fail="before", retry_after=1.0)] * 20)
    network.script(*[Behaviour(fail="before")] * 4)
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("hello")
        (arrival,) = await network.sent(1, timeout=5_000)
        assert arrival.text == "echo: hello"
        assert len(network.attempts) == 20 + 5


@pytest.mark.parametrize("asked", [0.0, 1.0, 400.0])
async def test_waits_that_are_asked_for_end_as_well(
    autojump_clock: MockClock, asked: float
) -> None:
    # O4
    network = ScriptedChannel()
    network.script(*[Behaviour(fail="before", retry_after=asked)] * 2_000)
    async with open_memory(clock) as store:
        agent = HandAgent(hold=False)
        async with stage(agent=agent, channels=[network], settings=QUICK, store=store):
            began = trio.current_time()
            await network.say("hello")
            while (await store.backlog()).failed == 0:
                assert trio.current_time() - began < 5_000
                await trio.sleep(10.0)
            assert trio.current_time() - began >= 5 + 25 + 120 + 600
            assert len(network.attempts) <= 750 + 6


async def test_what_was_owed_at_a_crash_is_delivered_after_it(autojump_clock: MockClock) -> None:
    # O1 O2 D7
    network = ScriptedChannel()
    network.script(Behaviour(delay=1_000.0))
    async with open_memory(clock) as store:
        with trio.CancelScope() as power:
            async with stage(
                agent=HandAgent(hold=False), channels=[network], store=store, settings=QUICK
            ):
                await network.say("hello")
                await network.attempted(1)
                power.cancel()
                await trio.sleep_forever()
        async with stage(
            agent=HandAgent(hold=False), channels=[network], store=store, settings=QUICK
        ) as rt:
            assert rt.recovery.ambiguous_deliveries == 1
            (arrival,) = await network.sent(1)
            assert "may have reached you before" in arrival.text


@pytest.mark.parametrize("text", ["NO_REPLY", "Nothing to add.\nNO_REPLY", "NO_REPLY."])
async def test_no_reply_is_not_delivered(autojump_clock: MockClock, text: str) -> None:
    # R6
    network = ScriptedChannel()
    async with stage(
        agent=HandAgent(says(text), hold=False), channels=[network], settings=QUICK
    ) as rt:
        await network.say("hello")
        await trio.sleep(100)
        (info,) = (await rt.front.list_sessions()).sessions
        lines = await rt.front.journal(info.row.id)
        assert [line.content for line in lines] == ["hello", text]
        assert network.arrived == []


async def test_a_lost_connection_is_made_again(autojump_clock: MockClock) -> None:
    # N5
    network = ScriptedChannel()
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        for number in range(4):
            await network.say(f"n{number}")
            await network.sent(number + 1)
            network.lose_connection()
        assert network.connections == 4
        await network.say("last")
        assert network.connections == 5


def test_a_channel_whose_messages_are_too_short_is_refused_at_once() -> None:
    # R5 N1
    for limit in (0, 20, SHORTEST_MESSAGES - 1):
        with pytest.raises(ValueError, match="at least 32 is needed"):
            ChannelCapabilities(text_limit=limit)
    with pytest.raises(ValueError, match="unknown counting 'words'"):
        ChannelCapabilities(counting="words")  # type: ignore[arg-type]
    ChannelCapabilities(text_limit=SHORTEST_MESSAGES, counting="utf16")
