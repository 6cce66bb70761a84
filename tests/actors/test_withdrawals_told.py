"""What chats are told when somebody elsewhere takes their messages from the queue."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import Arrival, ScriptedChannel
from runtime.app import Runtime
from runtime.sessions.commands import ANEW
from runtime.sessions.withdrawing import BEGUN_ANEW, CLOSED, STOPPED, WITHDRAWN
from runtime.storage.sqlite import open_memory
from tests.actors.listener import STEER, Listener
from tests.actors.stage import HandAgent, clock, settings, stage

PLAIN = settings(queue={"debounce": 0.0})
ENDS = {"clear_queue": WITHDRAWN, "reset_session": BEGUN_ANEW, "close_session": CLOSED}


async def _session(rt: Runtime) -> str:
    (info,) = (await rt.front.list_sessions()).sessions
    return info.row.id


def _told(network: ScriptedChannel) -> list[tuple[str, str]]:
    return sorted((each.chat, each.text) for each in network.arrived)


@pytest.mark.parametrize("how", ENDS)
async def test_a_chat_is_told_once_that_its_messages_were_withdrawn(
    autojump_clock: MockClock, how: str
) -> None:
    # Q4 H3 S18 S43
    network = ScriptedChannel("test", "a")
    agent = HandAgent()
    async with stage(agent=agent, channels=[network], settings=PLAIN) as rt:
        await network.say("runs, and has not begun", chat="here")
        await agent.called(1)
        await network.say("waits", chat="here")
        await network.say("waits, too", chat="here")
        await trio.sleep(1)
        await getattr(rt.front, how)(await _session(rt))
        await trio.sleep(60)
        (told,) = network.arrived
        assert told == Arrival("here", None, ENDS[how], told.key, None)
        await network.say("again", chat="here")
        assert (await agent.called(2)).text == "again"


@pytest.mark.parametrize("how", ["reset_session", "close_session"])
async def test_a_chat_is_told_that_its_conversation_ends_also_when_nothing_waits(
    autojump_clock: MockClock, how: str
) -> None:
    # S40 S43
    network = ScriptedChannel("test", "a")
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=PLAIN) as rt:
        await network.say("hello", chat="here")
        await network.sent(1)
        await getattr(rt.front, how)(await _session(rt))
        assert (await network.sent(2))[1].text == ENDS[how]


async def test_a_clear_that_takes_nothing_is_not_told(autojump_clock: MockClock) -> None:  # Q4
    network = ScriptedChannel("test", "a")
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=PLAIN) as rt:
        await network.say("hello", chat="here")
        await network.sent(1)
        assert await rt.front.clear_queue(await _session(rt)) == 0
        await trio.sleep(60)
        assert len(network.arrived) == 1


@pytest.mark.parametrize(
    "command, answer, elsewhere",
    [
        ("/queue clear", "3 messages withdrawn.", WITHDRAWN),
        ("/stop", "Stopped. 3 messages withdrawn.", STOPPED),
        ("/new", ANEW, BEGUN_ANEW),
    ],
)
async def test_who_typed_it_is_answered_and_the_other_chats_are_told(
    autojump_clock: MockClock, command: str, answer: str, elsewhere: str
) -> None:
    # Q4 S36 S40
    network = ScriptedChannel("test", "a")
    agent = HandAgent()
    async with stage(agent=agent, channels=[network], settings=PLAIN):
        await network.say("runs, and has not begun", chat="there", sender="ann")
        await agent.called(1)
        await network.say("waits", chat="there", sender="ann")
        await network.say("waits", chat="here", sender="ann")
        await network.say(command, chat="here", sender="ann")
        await trio.sleep(60)
        assert _told(network) == [("here", answer), ("there", elsewhere)]


@pytest.mark.parametrize("which", ["runs", "waits"])
async def test_a_chat_is_told_that_somebody_elsewhere_cancels_its_message(
    autojump_clock: MockClock, which: str
) -> None:
    # Q4 G11
    network = ScriptedChannel("test", "a")
    agent = HandAgent()
    async with (
        open_memory(clock) as store,
        stage(agent=agent, store=store, channels=[network], settings=PLAIN) as rt,
    ):
        await network.say("runs", chat="here")
        runs = (await agent.called(1)).turn.message_ids[0]
        await network.say("waits", chat="here")
        await trio.sleep(1)
        session_id = await _session(rt)
        (waits,) = await store.pending_messages(session_id)
        meant = runs if which == "runs" else waits.id
        assert await rt.front.cancel(session_id, message_id=meant)
        await trio.sleep(10)
        assert _told(network) == [("here", STOPPED)]


@pytest.mark.parametrize("how", ENDS)
async def test_a_chat_is_told_of_a_message_that_the_agent_was_just_asked_to_take_in(
    autojump_clock: MockClock, how: str
) -> None:
    # Q3 Q4 H3
    network = ScriptedChannel("test", "a")
    agent = Listener()
    agent.answer = trio.sleep_forever
    async with stage(agent=agent, channels=[network], settings=STEER) as rt:
        await network.say("one", chat="here")
        await agent.prompted(1)
        await network.say("two", chat="here")
        await agent.was_asked(1)
        await getattr(rt.front, how)(await _session(rt))
        await trio.sleep(60)
        assert _told(network) == [("here", ENDS[how])]
