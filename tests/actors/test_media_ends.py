"""Whose a file is in the end: the session's once the agent has begun, else nobody's (H1–H4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import Behaviour, ScriptedChannel
from actors.intake import pieces
from actors.receiving import receive
from runtime.embedding import Session
from runtime.ports.agent import AgentGone, AgentRefused
from runtime.ports.channel import Attachment, ChannelCapabilities
from runtime.sessions.content import FileBlock, TextBlock
from runtime.sessions.media import MediaItem, MediaKind
from runtime.sessions.rows import InboundState, TurnError
from runtime.sessions.updates import (
    AgentEvent,
    AgentThoughtChunk,
    AvailableCommands,
    ConfigOptions,
    ContextUsage,
    CurrentMode,
    PermissionOption,
    PermissionRequest,
    Plan,
    PlanEntry,
    Result,
    SessionInfo,
    ToolCall,
    ToolCallUpdate,
)
from runtime.storage.requests import NewInbound
from tests.actors.media_stage import House, SeeingAgent, a_while, house, image, links, path_of, said
from tests.actors.stage import Call, chunk

PICTURE = b"\x89PNG" * 5
OPTIONS = (PermissionOption("yes", "Allow", "allow_once"),)
DONE, FAILED, DROPPED = InboundState.DONE, InboundState.FAILED, InboundState.DROPPED


async def sent(here: House, content: bytes = PICTURE) -> tuple[Session, str]:
    """A message with a file is on its way; its session and its id."""
    session = await here.session()
    return session, (await session.send(said(image(content)))).message_id


def has(here: House, *, in_flight: int = 0, evictable: int = 0) -> None:
    """So many bytes are kept, and nothing else."""
    usage = here.usage
    assert (usage.in_flight, usage.evictable) == (in_flight, evictable)
    here.check()
    assert usage.size == in_flight + evictable


# -- withdrawn -------------------------------------------------------------------------------------


async def cleared(session: Session) -> None:
    await session.clear()


async def reset(session: Session) -> None:
    await session.reset()


async def cancelled(session: Session) -> None:
    await session.cancel()


async def closed(session: Session) -> None:
    await session.close()


WITHDRAWN = pytest.mark.parametrize("withdraw", [cleared, reset, closed])


@WITHDRAWN
async def test_what_waits_and_is_withdrawn_leaves_nothing(
    autojump_clock: MockClock, tmp_path: Path, withdraw: Callable[[Session], Awaitable[None]]
) -> None:
    # H2 H3 Q5 S18 S43
    async with house(tmp_path / "media") as here:
        session = await here.session()
        await session.send("first")
        await here.agent.called(1)
        _, message_id = await sent(here)
        has(here, in_flight=len(PICTURE))
        here.agent.calls[0].go.set()  # so that a turn that is asked to end does
        await withdraw(session)
        assert (await here.front.outcome(message_id)).state is DROPPED
        await a_while()
        has(here)
        assert len(here.agent.calls) == 1


@WITHDRAWN
async def test_a_turn_without_a_first_event_is_withdrawn_for_good(
    autojump_clock: MockClock, tmp_path: Path, withdraw: Callable[[Session], Awaitable[None]]
) -> None:
    # H2 H3 T6: an event that comes later changes nothing
    said_late = trio.Event()

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        await call.cancelled.wait()
        yield chunk("too late")
        said_late.set()
        yield Result("cancelled")

    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        session, message_id = await sent(here)
        await here.agent.called(1)
        await a_while()
        has(here, in_flight=len(PICTURE))
        await withdraw(session)
        outcome = await here.front.outcome(message_id)
        await a_while()
        assert said_late.is_set()
        assert outcome.state is DROPPED
        has(here)


async def test_a_cancel_before_the_first_event_hands_nothing_over(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # H4 T6
    async with house(tmp_path / "media") as here:
        session, message_id = await sent(here)
        await here.agent.called(1)
        await session.cancel()
        assert (await here.front.outcome(message_id)).stop_reason == "cancelled"
        await a_while()
        has(here)


@pytest.mark.parametrize("withdraw", [cleared, reset, cancelled])
async def test_a_turn_that_has_begun_keeps_its_files(
    autojump_clock: MockClock, tmp_path: Path, withdraw: Callable[[Session], Awaitable[None]]
) -> None:
    # H1 H3
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("well")
        with trio.move_on_after(100):
            await call.cancelled.wait()
        yield Result("cancelled" if call.cancelled.is_set() else "end_turn")

    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        session, message_id = await sent(here)
        await here.agent.called(1)
        await a_while()
        has(here, evictable=len(PICTURE))
        await withdraw(session)
        await here.front.outcome(message_id)
        await a_while()
        has(here, evictable=len(PICTURE))


# -- dropped ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop, left", [("old", b"2"), ("new", b"1"), ("summarize", b"2")])
async def test_what_falls_out_of_a_full_queue_leaves_nothing(
    autojump_clock: MockClock, tmp_path: Path, drop: str, left: bytes
) -> None:
    # Q4 H2
    network = ScriptedChannel(capabilities=ChannelCapabilities(max_download_bytes=1_000))
    queue = {"cap": 1, "drop": drop, "debounce": 0.0}
    async with house(tmp_path / "media", channels=(network,), queue=queue) as here:
        await network.say("first")
        call = await here.agent.called(1)
        for name in ("1", "2"):
            network.files[name] = name.encode()
            attachment = Attachment(name, MediaKind.IMAGE, f"{name}.png", "image/png")
            await network.say(name, attachments=(attachment,))
            await a_while()
        assert here.on_disk() == [left]
        here.check()
        call.go.set()
        second = await here.agent.called(2)
        assert [path_of(link).read_bytes() for link in links(second)] == [left]


# -- the agent fails -------------------------------------------------------------------------------


async def refuses(call: Call) -> AsyncIterator[AgentEvent]:
    yield AvailableCommands([])  # an announcement is no first event
    raise AgentRefused("not today", code="busy")


async def raises(call: Call) -> AsyncIterator[AgentEvent]:
    yield AvailableCommands([])
    raise ZeroDivisionError("oops")


async def says_nothing(call: Call) -> AsyncIterator[AgentEvent]:
    yield AvailableCommands([])


async def ends_with_an_error(call: Call) -> AsyncIterator[AgentEvent]:
    yield Result(error=TurnError("overloaded", "try later"))


async def fails_in_the_middle(call: Call) -> AsyncIterator[AgentEvent]:
    yield chunk("half")
    raise AgentRefused("not that", code="busy")


async def vanishes_in_the_middle(call: Call) -> AsyncIterator[AgentEvent]:
    yield chunk("half")
    raise AgentGone("gone")


@pytest.mark.parametrize(
    "play, state, kept",
    [
        (refuses, FAILED, False),
        (raises, FAILED, False),
        (says_nothing, DONE, False),  # H4
        (ends_with_an_error, FAILED, True),  # T6: a result is a first event
        (fails_in_the_middle, FAILED, True),  # H1
        (vanishes_in_the_middle, FAILED, True),
    ],
)
async def test_what_an_agent_that_fails_was_given(
    autojump_clock: MockClock,
    tmp_path: Path,
    play: Callable[[Call], AsyncIterator[AgentEvent]],
    state: InboundState,
    kept: bool,
) -> None:
    # H1 H2 H4 T5
    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        _, message_id = await sent(here)
        assert (await here.front.outcome(message_id)).state is state
        await a_while()
        has(here, evictable=len(PICTURE) if kept else 0)


@pytest.mark.parametrize(
    "event, begins",
    [
        (chunk("word"), True),
        (AgentThoughtChunk(TextBlock("hm")), True),
        (Plan((PlanEntry("look"),)), True),
        (ToolCall("t", title="look"), True),
        (PermissionRequest("q", ToolCallUpdate("t"), OPTIONS), True),
        (AvailableCommands([]), False),
        (CurrentMode("code"), False),
        (ConfigOptions([]), False),
        (SessionInfo("title"), False),
        (ContextUsage(1, 2), False),
    ],
)
async def test_what_is_a_beginning(
    autojump_clock: MockClock, tmp_path: Path, event: AgentEvent, begins: bool
) -> None:
    # H1 T6: at the event itself, whatever comes after it
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield event
        await call.go.wait()
        raise AgentRefused("not that", code="busy")

    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        _, message_id = await sent(here)
        call = await here.agent.called(1)
        await a_while()
        has(here, **{"evictable" if begins else "in_flight": len(PICTURE)})
        call.go.set()
        assert (await here.front.outcome(message_id)).state is FAILED
        await a_while()
        has(here, evictable=len(PICTURE) if begins else 0)


async def test_while_a_retry_is_due_its_files_wait_with_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # H2 T5
    tries = 0

    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise AgentGone("gone")
        yield chunk("here")
        yield Result()

    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        _, message_id = await sent(here)
        for number in (1, 2):
            await here.agent.called(number)
            await a_while()
            await here.front.sweep_media()
            has(here, in_flight=len(PICTURE))
        assert (await here.front.outcome(message_id)).state is DONE
        uris = {link.uri for call in here.agent.calls for link in links(call)}
        assert len(uris) == 1
        await a_while()
        has(here, evictable=len(PICTURE))


async def test_when_its_tries_are_used_up_its_files_are_nobodys(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # H2 T5
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield AvailableCommands([])
        raise AgentGone("gone")

    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        _, message_id = await sent(here)
        assert (await here.front.outcome(message_id)).state is FAILED
        assert len(here.agent.calls) == 6
        await a_while()
        has(here)


async def test_a_failed_delivery_takes_no_file_away(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # H1
    network = ScriptedChannel(capabilities=ChannelCapabilities(max_download_bytes=1_000))
    network.script(Behaviour(fail="for_good"))
    agent = SeeingAgent(hold=False)
    async with house(tmp_path / "media", channels=(network,), agent=agent) as here:
        network.files["a"] = PICTURE
        await network.say("look", attachments=(Attachment("a", MediaKind.IMAGE, "a", "image/png"),))
        await network.attempted(1)
        await trio.sleep(1_000)
        assert network.arrived == []
        has(here, evictable=len(PICTURE))


async def test_one_message_of_a_batch_does_not_speak_for_the_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # H1 H2 M4: the same bytes, owned by an answered message, and discarded with another
    async with house(tmp_path / "media") as here:
        session, first = await sent(here)
        (await here.agent.called(1)).go.set()
        await here.front.outcome(first)
        await session.send("busy")
        await here.agent.called(2)
        _, second = await sent(here)
        await a_while()
        has(here, in_flight=len(PICTURE))
        await session.clear()
        assert (await here.front.outcome(second)).state is DROPPED
        await a_while()
        has(here, evictable=len(PICTURE))


async def test_what_is_read_as_context_is_handed_over_as_well(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    # H1 S31: it woke nobody, and comes with the next message that does
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        yield chunk("well")
        await call.go.wait()
        yield Result()

    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        session = await here.session()
        staged = await receive(here.library, session.id, pieces(PICTURE), MediaItem())
        content, item, blob = (FileBlock(0),), staged.item, staged.blob
        await here.store.admit(
            [NewInbound("c", session.id, content, trigger=False, media=(item,), blobs=(blob,))]
        )
        here.library.unstage(staged)
        has(here, in_flight=len(PICTURE))
        await session.send("what is that?")
        call = await here.agent.called(1)
        assert [path_of(link).read_bytes() for link in links(call)] == [PICTURE]
        await a_while()
        has(here, evictable=len(PICTURE))
        call.go.set()


# -- the session's actor crashes -------------------------------------------------------------------


@pytest.mark.parametrize("begun", [True, False])
async def test_after_a_crash_of_the_session_it_is_in_flight_again(
    autojump_clock: MockClock, tmp_path: Path, begun: bool
) -> None:
    # H6 T5 K4
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if begun or len(here.agent.calls) > 1:
            yield chunk("well")
        await call.go.wait()
        yield Result()

    async with house(tmp_path / "media", agent=SeeingAgent(play, hold=False)) as here:
        session, message_id = await sent(here)
        await here.agent.called(1)
        await a_while()
        has(here, **{"evictable" if begun else "in_flight": len(PICTURE)})
        await here.crash(session)
        call = await here.agent.called(2)
        assert [path_of(link).read_bytes() for link in links(call)] == [PICTURE]
        call.go.set()
        assert (await here.front.outcome(message_id)).state is DONE
        await a_while()
        has(here, evictable=len(PICTURE))
