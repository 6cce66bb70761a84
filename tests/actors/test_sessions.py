"""Sessions: one identity, sleep and waking, epochs, closing."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from runtime.kernel import TreeNode
from runtime.ports.front import BadRequest, NoSuchAgent, NoSuchSession, Unavailable, WatcherLagged
from runtime.sessions.content import TextBlock
from runtime.sessions.events import EpochStarted, MessageDropped, SessionClosed, TurnUpdate
from runtime.sessions.updates import AgentMessageChunk
from tests.actors.stage import HandAgent, clock, says, settings, stage


def live_sessions(tree: TreeNode) -> list[str]:
    """The names of the sessions that have an actor."""
    sessions = tree.find("runtime/sessions")
    return [child.path.rsplit("/", 1)[1] for child in sessions.children] if sessions else []


async def test_the_same_key_is_the_same_session(autojump_clock: MockClock) -> None:
    # S5 S6 S7
    both = {"a": HandAgent(hold=False), "b": HandAgent(hold=False)}
    async with stage(agents=both, settings=settings(default_agent="a")) as rt:
        found: list[str] = []

        async def open_it() -> None:
            found.append((await rt.session("demo")).id)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(open_it)
        assert len(set(found)) == 1
        other = await rt.session("demo", agent="b")
        assert other.id not in found
        fresh = [(await rt.session()).id for _ in range(3)]
        assert sorted(fresh) == fresh
        assert len(set(fresh)) == 3


async def test_bad_names_are_refused_in_words(autojump_clock: MockClock) -> None:
    # G7 S6
    async with stage(agent=HandAgent()) as rt:
        for key in ("", "x" * 1_000, "tab\tin it"):
            with pytest.raises(BadRequest):
                await rt.session(key)
        with pytest.raises(NoSuchAgent, match="there are: agent"):
            await rt.session("demo", agent="nobody")
        with pytest.raises(NoSuchSession):
            await rt.session_by_id("no-such-id")
        session = await rt.session("demo")
        with pytest.raises(BadRequest):
            await session.send([])
        with pytest.raises(BadRequest):
            await session.send("x", message_id="has blanks in it")


async def test_an_idle_session_sleeps_and_wakes(autojump_clock: MockClock) -> None:
    # S42 D8
    agent = HandAgent(hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        assert live_sessions(rt.system.tree()) == []
        await (await session.prompt("one")).result()
        assert live_sessions(rt.system.tree()) == [session.id]
        assert (await rt.front.session_info(session.id)).run_state == "idle"
        await trio.sleep(130)
        assert live_sessions(rt.system.tree()) == []
        assert (agent.opened, agent.closed) == (1, 1)
        assert (await rt.front.session_info(session.id)).run_state == "stopped"
        with session.watch() as watch:
            assert (await (await session.prompt("two")).result()).text == "echo: two"
            texts = []
            async for live in watch:
                if isinstance(live.event, TurnUpdate):
                    assert isinstance(live.event.update, AgentMessageChunk)
                    texts.append(live.event.update.content)
                    break
        assert texts == [TextBlock("echo: two")]


async def test_a_working_session_does_not_sleep(autojump_clock: MockClock) -> None:
    # S42
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("long")
        call = await agent.called(1)
        await trio.sleep(200)
        assert (await rt.front.session_info(session.id)).run_state == "running"
        call.go.set()
        assert (await turn.result()).text == "echo: long"


@pytest.mark.parametrize("pause", [59.0, 59.9, 60.0, 60.1, 61.0, 66.0])
async def test_a_message_at_the_moment_of_falling_asleep(
    autojump_clock: MockClock, pause: float
) -> None:
    # S42
    async with stage(agent=HandAgent(hold=False)) as rt:
        session = await rt.session("demo")
        for number in range(6):
            turn = await session.prompt(f"n{number}")
            assert (await turn.result()).text == f"echo: n{number}"
            await trio.sleep(pause)


async def test_a_new_epoch_begins_anew_and_keeps_the_old(autojump_clock: MockClock) -> None:
    # S18 H3
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        done = await session.prompt("first life")
        (await agent.called(1)).go.set()
        await done.result()
        runs = await session.prompt("runs")
        await agent.called(2)
        waits = await session.prompt("waits")
        with session.watch() as watch:
            await session.reset()
            seen = [(await watch.__anext__()).event for _ in range(3)]
        assert any(isinstance(e, MessageDropped) and e.reason == "reset" for e in seen)
        assert isinstance(seen[-1], EpochStarted)
        assert (await runs.result()).stop_reason == "cancelled"
        assert (await waits.result()).stop_reason == "cancelled"
        again = await session.prompt("second life")
        call = await agent.called(3)
        assert call.context.epoch == 2
        call.go.set()
        await again.result()
        assert (await rt.session("demo")).id == session.id
        first = await rt.front.journal(session.id, epoch=1)
        second = await rt.front.journal(session.id, epoch=2)
        assert first[0].content == "first life"
        assert [line.content for line in second] == ["second life", "echo: second life"]


async def test_a_closed_session_frees_its_key(autojump_clock: MockClock) -> None:
    # G2
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        runs = await session.prompt("runs")
        await agent.called(1)
        with session.watch() as watch:
            await session.close()
            events = []
            async for live in watch:
                events.append(live.event)
                if isinstance(live.event, SessionClosed):
                    break
        assert (await runs.result()).stop_reason == "cancelled"
        with pytest.raises(NoSuchSession):
            await session.send("anybody there?")
        assert (await rt.session("demo")).id != session.id
        assert agent.closed == 1


async def test_a_late_watcher_finds_the_turn_so_far(autojump_clock: MockClock) -> None:
    # G5 G12
    slow = HandAgent()
    async with stage(agent=slow) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        await slow.called(1)
        snapshot = await rt.front.snapshot(session.id)
        assert snapshot.running is not None
        assert snapshot.running.started.message_ids == (turn.message_id,)
        slow.calls[0].go.set()
        await turn.result()
        after = await rt.front.snapshot(session.id)
        assert after.running is None
        assert after.journal_seq == 2
        assert after.number > snapshot.number


async def test_a_slow_watcher_is_let_go_and_nobody_else_minds(autojump_clock: MockClock) -> None:
    # G6 R8
    words = [f"w{n} " for n in range(50)]
    async with stage(agent=HandAgent(says(*words), hold=False)) as rt:
        session = await rt.session("demo")
        with session.watch(buffer=10) as slow:
            turn = await session.prompt("go")
            heard = [u async for u in turn]
            assert len(heard) == 50
            for _ in range(10):
                await slow.__anext__()
            with pytest.raises(WatcherLagged):
                await slow.__anext__()


async def test_a_turn_read_too_late_gives_the_whole_answer(autojump_clock: MockClock) -> None:
    # G6
    words = [f"w{n} " for n in range(1_100)]
    async with stage(agent=HandAgent(says(*words), hold=False)) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("go")
        await turn.result()
        heard = [u async for u in turn]
        assert isinstance(heard[-1], AgentMessageChunk)
        assert heard[-1].content == TextBlock("".join(words))


async def test_leaving_the_loop_only_detaches(autojump_clock: MockClock) -> None:
    # S45
    agent = HandAgent(says("one ", "two ", "three"), hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        async for _ in turn:
            break
        del turn
        await trio.sleep(10)
        lines = await session.history()
        assert lines[1].content == "one two three"


async def test_two_runtimes_in_one_process(autojump_clock: MockClock) -> None:
    # K1
    async with (
        stage(agent=HandAgent(hold=False)) as first,
        stage(agent=HandAgent(hold=False)) as second,
    ):
        one, two = await first.session("demo"), await second.session("demo")
        assert (await (await one.prompt("a")).result()).text == "echo: a"
        assert await two.history() == ()
        assert (await (await two.prompt("b")).result()).text == "echo: b"


async def test_a_stopping_runtime_accepts_nothing(autojump_clock: MockClock) -> None:
    # S45
    async with stage(agent=HandAgent()) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("x")
    with pytest.raises(Unavailable):
        await session.send("too late")
    with pytest.raises(Unavailable):
        await turn.result()


async def test_old_messages_are_recorded_as_expired(autojump_clock: MockClock) -> None:
    # Q6 S32
    network = ScriptedChannel()
    agent = HandAgent(hold=False)
    fresh = settings(sessions={"max_message_age": 600.0})
    async with stage(agent=agent, channels=[network], settings=fresh) as rt:
        await network.say("stale", sent_at=clock() - 700_000)
        await network.say("fresh", sent_at=clock() - 100_000)
        await network.sent(1)
        assert [call.text for call in agent.calls] == ["fresh"]
        assert b'messages_dropped_total{reason="expired"} 1.0' in rt.front.metrics()
