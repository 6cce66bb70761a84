"""Messages of chat networks that no row can hold."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import ScriptedChannel
from actors.oversized import KEPT, LARGEST_MESSAGE, LARGEST_TEXT, admissible
from runtime.ports.channel import Inbound
from runtime.sessions.content import plain_text
from runtime.sessions.rows import DropReason, InboundState, Sender
from runtime.settings import SessionSettings, Settings
from runtime.storage.errors import StoreUnavailable
from tests.actors.stage import HandAgent, clock, settings, stage
from tests.actors.test_stubborn_disk import refusing
from tests.storage.stage import message

PLAIN = settings(queue={"debounce": 0.0})
LONG = "x" * (LARGEST_TEXT + 1)


def said(text: str, message_id: str) -> Inbound:
    return Inbound("here", message_id, Sender("ann"), text)


async def test_one_that_comes_again_is_a_duplicate(autojump_clock: MockClock) -> None:
    # D5 Q4 N5
    network, agent = ScriptedChannel(), HandAgent(hold=False)
    async with refusing() as store:
        store.refusals["admit"] = 1
        async with stage(agent=agent, store=store, channels=[network], settings=PLAIN) as rt:
            with pytest.raises(StoreUnavailable):
                await network.put(said(LONG, "m1"), offset="0")
            for offset in ("1", "2", "3"):
                await network.put(said(LONG, "m1"), offset=offset)
            await network.put(said("hello", "m2"), offset="4")
            await network.sent(2)
            await trio.sleep(60)
            told, answer = [each.text for each in network.arrived]
            assert "it has 200,001 characters, and 200,000 are allowed. Send it in parts." in told
            assert answer == "echo: hello"
            assert await store.channel_offset("scripted", "default") == "4"
            (info,) = (await rt.front.list_sessions()).sessions
            assert await store.pending_messages(info.row.id) == ()
            figures = rt.front.metrics().decode()
            assert 'messages_dropped_total{reason="too_large"} 1.0' in figures
            assert 'admissions_total{outcome="accepted"} 1.0' in figures
            assert 'admissions_total{outcome="duplicate"} 2.0' in figures


async def test_one_that_is_too_old_as_well_is_only_that(autojump_clock: MockClock) -> None:
    # Q6
    network = ScriptedChannel()
    old = Settings(sessions=SessionSettings(max_message_age=10))
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=old) as rt:
        await network.put(
            Inbound("here", "m1", Sender("ann"), LONG, sent_at=clock() - 60_000), offset="1"
        )
        await trio.sleep(60)
        assert network.arrived == []
        assert 'messages_dropped_total{reason="expired"} 1.0' in rt.front.metrics().decode()


@pytest.mark.parametrize("text", ["x" * LARGEST_TEXT, "\x01" * (LARGEST_MESSAGE // 6 - 200)])
def test_what_just_fits_is_left_as_it_is(text: str) -> None:  # D5
    row = message(text=text)
    assert admissible(row, takes_files=True) is row


@pytest.mark.parametrize(
    "text, sender, size",
    [
        (LONG, Sender("ann"), "200,001 characters"),
        ("\x01" * LARGEST_TEXT, None, "1,200,"),
        ("hello", Sender("s" * 2_000_000, "n" * 2_000_000), "4,000,"),
    ],
)
def test_what_is_large_is_left_out(text: str, sender: Sender | None, size: str) -> None:
    # D5 Q4
    row = admissible(message(text=text, sender=sender), takes_files=True)
    assert (row.state, row.reason) == (InboundState.DROPPED, DropReason.TOO_LARGE)
    assert row.notice is not None
    assert size in row.notice
    assert row.notice.endswith("Send it in parts, or as a file.")
    assert len(plain_text(row.content)) <= KEPT
    assert admissible(row, takes_files=True) is row
