"""Whose settings hold for a queue: the session's, its channel's, the general ones (Q3, Q4)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.app import Runtime
from runtime.ports.front import BadRequest, QueueIsFull
from runtime.sessions.content import TextBlock
from runtime.sessions.rows import QueueOverrides, SessionRow
from runtime.settings import ChannelSettings, QueueSettings, Settings
from tests.actors.stage import HandAgent, stage

BY_CHANNEL = Settings(
    queue=QueueSettings(mode="collect", debounce=1.0, cap=3),
    channels={
        "scripted": ChannelSettings(mode="followup", debounce=4.0, cap=2, drop="new"),
        "client": ChannelSettings(mode="interrupt", cap=1),
    },
)


async def only_session(rt: Runtime) -> SessionRow:
    (info,) = (await rt.front.list_sessions()).sessions
    return info.row


async def test_a_channel_has_settings_of_its_own(autojump_clock: MockClock) -> None:
    # Q3
    agent, network = HandAgent(), ScriptedChannel()
    async with stage(agent=agent, channels=[network], settings=BY_CHANNEL) as rt:
        await network.say("one", chat="c", sender="ann")
        await agent.called(1)
        row = await only_session(rt)
        assert (await rt.front.queue_status(row.id)).mode == "followup"
        client = await rt.session("demo")
        assert (await client.queue()).mode == "interrupt"
        assert rt.reconfigure(Settings()) == ()
        assert (await client.queue()).mode == "collect"
        assert (await rt.front.queue_status(row.id)).mode == "collect"


async def test_a_session_wins_over_its_channel(autojump_clock: MockClock) -> None:
    # Q3
    agent, network = HandAgent(hold=False), ScriptedChannel()
    async with stage(agent=agent, channels=[network], settings=BY_CHANNEL) as rt:
        await network.say("one", chat="c", sender="ann")
        await network.sent(1)
        row = await only_session(rt)
        await rt.front.set_queue(row.id, QueueOverrides(mode="collect", debounce=20.0))
        began = trio.current_time()
        await network.say("two", chat="c", sender="ann")
        await network.say("three", chat="c", sender="ann")
        call = await agent.called(2)
        assert "two" in call.text
        assert "three" in call.text
        assert trio.current_time() - began >= 20  # though the general longest time is less
        await rt.front.set_queue(row.id, QueueOverrides())
        assert (await rt.front.queue_status(row.id)).mode == "followup"


async def test_the_longest_time_may_be_a_sessions_own(autojump_clock: MockClock) -> None:
    # Q1 Q3
    agent, network = HandAgent(hold=False), ScriptedChannel()
    async with stage(agent=agent, channels=[network]) as rt:
        await network.say("one", chat="c", sender="ann")
        await network.sent(1)
        row = await only_session(rt)
        await rt.front.set_queue(row.id, QueueOverrides(debounce=1.0, debounce_max=2.0))
        for number in range(6):
            await network.say(f"number {number}", chat="c", sender="ann")
            await trio.sleep(0.75)
        texts = [(await agent.called(count)).text for count in (2, 3)]
        assert "number 2" in texts[0]
        assert "number 3" not in texts[0]
        assert "number 5" in texts[1]


@pytest.mark.parametrize(
    "own, told",
    [
        (QueueOverrides(), "No more are taken until there is an answer: send them again then."),
        (QueueOverrides(drop="old"), "each new one pushes out the oldest: send that again"),
        (
            QueueOverrides(drop="summarize"),
            "the oldest, of which the agent reads only the beginning",
        ),
    ],
)
async def test_the_notice_says_what_was_done(
    autojump_clock: MockClock, own: QueueOverrides, told: str
) -> None:
    # Q3 Q4
    agent, network = HandAgent(), ScriptedChannel()
    async with stage(agent=agent, channels=[network], settings=BY_CHANNEL) as rt:
        await network.say("one", chat="c", sender="ann")
        call = await agent.called(1)
        await rt.front.set_queue((await only_session(rt)).id, own)
        for text in ("two", "three", "four", "five"):
            await network.say(text, chat="c", sender="ann")
        (notice,) = await network.sent(1)
        assert told in notice.text
        agent.hold = False
        call.go.set()
        await trio.sleep(100)
        kept = ["two", "three"] if own.drop is None else ["four", "five"]
        assert [call.text.splitlines()[-1] for call in agent.calls[1:]] == kept


async def test_clients_are_refused_at_the_cap_of_their_channel(autojump_clock: MockClock) -> None:
    # Q3 Q4
    agent = HandAgent()
    patient = Settings(channels={"client": ChannelSettings(cap=1)})
    async with stage(agent=agent, settings=patient) as rt:
        session = await rt.session("demo")
        await session.send("one")
        await agent.called(1)
        await session.send("two")
        with pytest.raises(QueueIsFull, match="1 message of at most 1"):
            await session.send("three")
        await session.set_queue(cap=2)
        await session.send("three")


@pytest.mark.parametrize(
    "bad", [{"debounce": float("nan")}, {"debounce_max": -1.0}, {"cap": 10_001}, {"debounce": 1e12}]
)
async def test_settings_of_a_session_are_checked(
    autojump_clock: MockClock, bad: dict[str, float]
) -> None:
    # Q3 Q5
    async with stage(agent=HandAgent()) as rt:
        session = await rt.session("demo")
        with pytest.raises(BadRequest):
            await rt.front.set_queue(session.id, QueueOverrides(**bad))  # type: ignore[arg-type]


async def test_settings_of_a_channel_that_is_not_there_are_told_at_the_start(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    # Q3
    agent, network = HandAgent(hold=False), ScriptedChannel()
    for channels, missing in (([network], []), ([], ["scripted"])):
        caplog.clear()
        async with stage(agent=agent, channels=channels, settings=BY_CHANNEL) as rt:
            await (await (await rt.session("demo")).prompt("hello")).result()
        lines = [line for line in caplog.records if line.msg == "settings_of_no_channel"]
        problems = [problem for line in lines for problem in vars(line)["problems"]]
        assert [each.split(":")[0] for each in problems] == [f"channels.{n}" for n in missing]


async def test_one_cap_holds_in_a_session_whoever_speaks(autojump_clock: MockClock) -> None:
    # Q3 Q4
    agent, network = HandAgent(), ScriptedChannel()
    small = Settings(
        queue=QueueSettings(debounce=0.0, cap=9),
        channels={"scripted": ChannelSettings(cap=2), "client": ChannelSettings(cap=4)},
    )
    async with stage(agent=agent, channels=[network], settings=small) as rt:
        await network.say("runs", chat="c", sender="ann")
        await agent.called(1)
        row = await only_session(rt)
        await network.say("first", chat="c", sender="ann")
        await rt.front.submit(row.id, (TextBlock("second"),))
        with pytest.raises(QueueIsFull, match="2 messages of at most 2"):
            await rt.front.submit(row.id, (TextBlock("third"),))
        await network.say("fourth", chat="c", sender="ann")  # of the chat's, the oldest goes
        await rt.front.set_queue(row.id, QueueOverrides(cap=3))
        await rt.front.submit(row.id, (TextBlock("fifth"),))
        assert (await rt.front.queue_status(row.id)).waiting == 3
        agent.hold = False
        (await agent.called(1)).go.set()
        await trio.sleep(100)
        said = "".join(call.text for call in agent.calls)
        assert all(word in said for word in ("second", "fourth", "fifth"))
        assert "third" not in said
