"""Commands that people type in a session: in order, once, and only by those who may."""

from __future__ import annotations

import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from actors.front import ActorFront
from actors.queue import Arrived
from actors.sessions import Obtain
from runtime.app import Runtime
from runtime.embedding import Session, Turn
from runtime.ports.front import Outcome, Watch
from runtime.sessions.content import text_content
from runtime.sessions.events import EpochStarted, Notice
from runtime.sessions.principals import Role
from runtime.sessions.rows import InboundState, QueueOverrides, Sender, SessionRow
from runtime.settings import GatewaySettings, PrincipalSettings, SessionSettings, Settings
from runtime.storage.sqlite import open_memory
from tests.actors.listener import STEER, Listener, state_of
from tests.actors.slowness import slow
from tests.actors.stage import HandAgent, clock, settings, stage
from tests.actors.test_stubborn_disk import refusing

QUICK = settings(queue={"debounce": 0.0})


async def order(session: Session, text: str) -> str | None:
    """Give a command; what is said to it."""
    return (await (await session.prompt(text)).result()).text


async def said_to(watch: Watch, command: Turn) -> str:
    """What was said to a command, also when that was before anybody asked."""
    async for live in watch:
        if isinstance(live.event, Notice) and live.event.message_id == command.message_id:
            return live.event.text
    raise AssertionError("the watch has ended")


async def only_session(rt: Runtime) -> SessionRow:
    (info,) = (await rt.front.list_sessions()).sessions
    return info.row


# -- /stop, /queue clear ---------------------------------------------------------------------------


async def test_stop_takes_back_what_was_said_before_it(autojump_clock: MockClock) -> None:
    # Q5 H3 S36
    agent = Listener()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        runs = await session.prompt("runs")
        await agent.prompted(1)
        waits = [await session.prompt(text) for text in ("a", "b")]
        with session.watch() as watch:
            stop, later = await session.prompt("/stop"), await session.prompt("later")
            assert await said_to(watch, stop) == "Stopped. 2 messages withdrawn."
        assert (await runs.result()).stop_reason == "cancelled"
        assert [(await turn.result()).state for turn in waits] == [InboundState.DROPPED] * 2
        assert (await later.result()).text == "well: later"
        assert await order(session, "/stop") == "Nothing is running."


async def test_a_turn_that_has_not_begun_is_stopped_with_its_messages(
    autojump_clock: MockClock,
) -> None:
    # H3 Q5
    agent = HandAgent()
    async with open_memory(clock) as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        runs = await session.prompt("runs")
        await agent.called(1)
        assert await order(session, "/stop") == "Stopped. 1 message withdrawn."
        assert (await runs.result()).stop_reason == "cancelled"
        assert await state_of(store, runs.message_id) == (InboundState.DROPPED, "cleared")


async def test_clear_spares_what_runs_and_what_is_said_later(autojump_clock: MockClock) -> None:
    # Q5 H3
    agent = Listener()
    network = ScriptedChannel()
    async with stage(agent=agent, channels=[network], settings=QUICK):
        await network.say("runs")
        await agent.prompted(1)
        await network.say("a")
        await network.say("/queue clear")
        await network.say("later")
        (told,) = await network.sent(1)
        assert told.text == "1 message withdrawn."
        agent.go.set()
        texts = [each.text for each in await network.sent(3)]
        assert texts[1:] == ["well: runs", "well: later"]


async def test_commands_get_through_a_full_queue(autojump_clock: MockClock) -> None:
    # Q4 S36
    agent = HandAgent()
    async with stage(agent=agent, settings=settings(queue={"cap": 1})) as rt:
        session = await rt.session("demo")
        await session.send("runs")
        await agent.called(1)
        waits = await session.prompt("waits")
        assert "Messages that wait: 1" in (await order(session, "/queue") or "")
        assert await order(session, "/queue clear") == "2 messages withdrawn."
        assert (await waits.result()).stop_reason == "cancelled"


# -- /queue settings -------------------------------------------------------------------------------


async def test_the_queue_of_a_session_is_set_in_the_chat(autojump_clock: MockClock) -> None:
    # Q3 Q5
    agent = HandAgent()
    network = ScriptedChannel()
    async with stage(agent=agent, channels=[network], settings=QUICK) as rt:
        await network.say("/queue followup cap:2 drop:new")
        (told,) = await network.sent(1)
        assert told.text == (
            "The queue of this session: followup cap:2 drop:new."
            " What holds: followup, debounce 0s, at most 10s, cap 2, drop new."
        )
        row = await only_session(rt)
        assert row.queue == QueueOverrides(mode="followup", cap=2, drop="new")
        await network.say("one")
        await agent.called(1)
        await network.say("/queue DEBOUNCE:2s")
        await network.say("/queue fifo cap:9")
        told = (await network.sent(3))[2]
        assert told.text.startswith("Nothing was changed: 'fifo' is no queue mode; choose collect")
        row = await only_session(rt)
        assert row.queue == QueueOverrides("followup", 2.0, 2, "new")
        await network.say("/queue status")
        told = (await network.sent(4))[3]
        assert told.text.startswith(
            "A turn is running. Messages that wait: 0. Queue mode: followup"
        )
        await network.say("/queue default")
        await network.sent(5)
        assert (await only_session(rt)).queue == QueueOverrides()
        assert (await rt.front.queue_status(row.id)).mode == "collect"


async def test_what_is_set_holds_for_what_is_said_next(autojump_clock: MockClock) -> None:
    # Q5 Q7
    agent = HandAgent(hold=False)
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        agent.hold = True
        await session.send("runs")
        call = await agent.called(1)
        await session.send("/queue interrupt")
        new = await session.prompt("new")
        both = (await agent.called(2)).text  # nothing had come of the first
        assert call.cancelled.is_set()
        assert [line for line in both.splitlines() if line in ("runs", "new")] == ["runs", "new"]
        agent.calls[1].go.set()
        assert (await new.result()).text == f"echo: {both}"


# -- /new ------------------------------------------------------------------------------------------


async def test_new_begins_a_new_conversation(autojump_clock: MockClock) -> None:
    # S18 S40 H3
    agent = HandAgent()
    network = ScriptedChannel()
    async with stage(agent=agent, channels=[network], settings=QUICK) as rt:
        await network.say("old")
        await agent.called(1)
        await network.say("waits")
        await network.say("/new")
        (told,) = await network.sent(1)
        assert told.text == "A new conversation begins."
        row = await only_session(rt)
        assert row.epoch == 2
        assert agent.calls[0].cancelled.is_set()
        await network.say("hello")
        call = await agent.called(2)
        assert (call.text, call.context.epoch) == ("hello", 2)
        call.go.set()
        assert (await network.sent(2))[1].text == "echo: hello"
        lines = await rt.front.journal(row.id)
        assert [line.content for line in lines if line.epoch == 2] == ["hello", "echo: hello"]
        assert "waits" not in [line.content for line in lines]


async def test_what_follows_is_its_first_message(autojump_clock: MockClock) -> None:
    # S40 Q7
    agent = HandAgent()
    async with stage(agent=agent) as rt:
        session = await rt.session("demo")
        old = await session.prompt("old")
        await agent.called(1)
        waits = await session.prompt("waits")
        watch = session.watch()
        first = await session.prompt("/New hello\nthere")
        second = await session.prompt("and more")
        assert (await old.result()).stop_reason == "cancelled"
        assert (await waits.result()).state is InboundState.DROPPED
        call = await agent.called(2)
        assert call.context.epoch == 2
        call.go.set()
        if call.text == "hello\nthere":
            (await agent.called(3)).go.set()
        outcomes: list[Outcome] = [await turn.result() for turn in (first, second)]
        assert "hello\nthere" in (outcomes[0].text or "")
        assert "and more" in (outcomes[1].text or "")
        lines = [line for line in await session.history() if line.epoch == 2]
        assert [line.content for line in lines if line.role == "user"] == [
            "hello\nthere",
            "and more",
        ]
        assert lines[0].id == first.message_id
        watch.close()
        events = [live.event async for live in watch]
        assert [each.epoch for each in events if isinstance(each, EpochStarted)] == [2]
        said = [each for each in events if isinstance(each, Notice)]
        assert [(each.text, each.message_id) for each in said] == [
            ("A new conversation begins.", None)
        ]


async def test_a_new_conversation_has_no_lines_of_the_old_queue(autojump_clock: MockClock) -> None:
    # S18 Q4
    agent = HandAgent()
    network = ScriptedChannel()
    small = settings(queue={"debounce": 0.0, "cap": 1})
    async with stage(agent=agent, channels=[network], settings=small):
        await network.say("runs")
        await agent.called(1)
        for text in ("forgotten", "waits"):
            await network.say(text)
        await network.say("/new hello")
        assert (await agent.called(2)).text == "hello"


async def test_what_begins_a_new_conversation_is_a_setting(autojump_clock: MockClock) -> None:
    # S40
    agent = HandAgent(hold=False)
    own = Settings(sessions=SessionSettings(reset_triggers=("restart!",)))
    async with stage(agent=agent, settings=own) as rt:
        session = await rt.session("demo")
        assert await order(session, "/new") == "echo: /new"
        assert await order(session, "Restart! hello") == "echo: hello"
        assert await order(session, "/runtime new") == "A new conversation begins."
        assert (await rt.front.session_info(session.id)).row.epoch == 3


async def test_a_disk_that_refuses_puts_a_new_conversation_off(autojump_clock: MockClock) -> None:
    # S40 Q8 D1
    agent = HandAgent(hold=False)
    async with refusing() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        store.refusals["start_anew"] = 2
        first, second = await session.prompt("/new hello"), await session.prompt("more")
        assert "hello" in ((await first.result()).text or "")
        assert "more" in ((await second.result()).text or "")
        assert store.refused == ["start_anew"] * 2
        assert (await rt.front.session_info(session.id)).row.epoch == 2
        assert {call.context.epoch for call in agent.calls} == {2}


@pytest.mark.parametrize("text", ["/new", "/new hello", "/stop", "/queue clear", "/queue steer"])
async def test_a_command_is_done_after_a_power_cut(autojump_clock: MockClock, text: str) -> None:
    # S36 S40 Q8
    agent = HandAgent()
    async with refusing() as store:
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store) as rt:
                session = await rt.session("demo")
                before = await session.send("before")
                await agent.called(1)
                store.refusals = {"start_anew": 9, "finish_pending": 9, "end_turn": 9}
                sent, later = await session.send(text), await session.send("later")
                await trio.sleep(1)
                power.cancel()
                await trio.sleep_forever()
        assert (await state_of(store, sent.message_id))[0] is InboundState.PENDING
        store.refusals.clear()
        agent.hold = False
        async with stage(agent=agent, store=store) as rt:
            done = await rt.front.outcome(sent.message_id)
            assert done.state is InboundState.DONE
            assert "later" in ((await rt.front.outcome(later.message_id)).text or "")
            await rt.front.outcome(before.message_id)
            assert await state_of(store, before.message_id) == {
                "/new": (InboundState.DROPPED, "reset"),
                "/new hello": (InboundState.DROPPED, "reset"),
                "/stop": (InboundState.DROPPED, "cleared"),
                "/queue clear": (InboundState.DROPPED, "cleared"),
            }.get(text, (InboundState.DONE, None))
            row = (await rt.front.session_info(session.id)).row
            assert row.epoch == (2 if text.startswith("/new") else 1)


async def test_old_news_of_a_new_conversation_begins_no_other(autojump_clock: MockClock) -> None:
    # S40 D8
    agent = HandAgent()
    network = ScriptedChannel()
    patient = settings(queue={"debounce": 5.0})
    async with (
        open_memory(clock) as store,
        stage(agent=agent, channels=[network], store=store, settings=patient) as rt,
    ):
        await network.say("/new hello")
        await network.sent(1)
        (row,) = await store.pending_messages((await only_session(rt)).id)
        assert row.content == text_content("hello")
        old = msgspec.structs.replace(row, content=text_content("/new hello"), epoch=1)
        assert isinstance(rt.front, ActorFront)
        live = await rt.front._sessions.ask(Obtain(row.session_id), timeout=60)
        live.tell(Arrived((old,)))
        await trio.sleep(1)
        assert (await only_session(rt)).epoch == 2
        assert (await agent.called(1)).text == "hello"


async def test_a_stop_that_is_done_again_spares_what_was_said_later(
    autojump_clock: MockClock,
) -> None:
    # S36 H3
    agent = HandAgent()
    async with refusing() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        await session.send("runs")
        await agent.called(1)
        store.refusals["finish_pending"] = 1
        with session.watch() as watch:
            stop, later = await session.prompt("/stop"), await session.prompt("later")
            call = await agent.called(2)
            assert call.text == "later"
            assert await said_to(watch, stop) == "Nothing is running."
        call.go.set()
        assert (await later.result()).text == "echo: later"


async def test_a_command_is_done_before_what_is_said_next(autojump_clock: MockClock) -> None:
    # Q5 Q7 S36
    agent = Listener()
    async with slow() as store, stage(agent=agent, store=store, settings=STEER) as rt:
        session = await rt.session("demo")
        await session.send("runs")
        await agent.prompted(1)
        store.delays["patch_session"] = 5.0
        await session.send("/queue collect")
        later = await session.prompt("later")
        await trio.sleep(30)
        assert agent.asked == []
        agent.go.set()
        assert (await later.result()).text == "well: later"


# -- who may ---------------------------------------------------------------------------------------

PRINCIPALS = Settings(
    gateway=GatewaySettings(
        token="owner",
        principals={
            "ada": PrincipalSettings(token="a", role=Role.ADMIN),
            "bob": PrincipalSettings(token="b", role=Role.MEMBER),
        },
    )
)


async def says(rt: Runtime, session: Session, name: str, text: str) -> str | None:
    """Somebody says something; what is said to it."""
    sent = await rt.front.submit(session.id, text_content(text), sender=Sender(name))
    return (await rt.front.outcome(sent.message_id)).text


@pytest.mark.parametrize("text", ["/new", "/new hello", "/queue clear", "/queue steer"])
@pytest.mark.parametrize("name", ["bob", "somebody", "ada", "local", "token"])
async def test_what_concerns_others_is_for_admins(
    autojump_clock: MockClock, name: str, text: str
) -> None:
    # S36 G8
    agent = HandAgent(hold=False)
    async with stage(agent=agent, settings=PRINCIPALS) as rt:
        session = await rt.session("demo")
        said = await says(rt, session, name, text)
        denied = name in ("bob", "somebody")
        assert (said == "Only an admin may do that.") is denied
        row = (await rt.front.session_info(session.id)).row
        if denied:
            assert (row.epoch, row.queue) == (1, QueueOverrides())


async def test_a_member_stops_the_turn_and_takes_back_only_what_is_theirs(
    autojump_clock: MockClock,
) -> None:
    # S36 H3
    agent = HandAgent()
    async with stage(agent=agent, settings=PRINCIPALS) as rt:
        session = await rt.session("demo")

        async def sends(name: str, text: str) -> str:
            sent = await rt.front.submit(session.id, text_content(text), sender=Sender(name))
            return sent.message_id

        await sends("ada", "runs")
        await agent.called(1)
        theirs, own = await sends("ada", "theirs"), await sends("bob", "own")
        assert await says(rt, session, "bob", "/stop") == "Stopped. 1 message withdrawn."
        assert (await rt.front.outcome(own)).state is InboundState.DROPPED
        call = await agent.called(2)
        assert call.text == "theirs"
        call.go.set()
        assert (await rt.front.outcome(theirs)).text == "echo: theirs"
        assert "Queue mode" in (await says(rt, session, "bob", "/queue") or "")
