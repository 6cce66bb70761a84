"""A store that refuses writes for a while: nothing lost, nothing doubled, nobody wedged."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import Behaviour, ScriptedChannel
from actors.outbox import LONGEST_RETRY_AFTER
from runtime.ports.agent import AgentGone
from runtime.ports.channel import Inbound
from runtime.ports.front import Unavailable
from runtime.sessions.content import TextBlock, text_content
from runtime.sessions.rows import InboundState, Sender, SessionSpec
from runtime.sessions.updates import AgentEvent, AgentMessageChunk, Result
from runtime.storage.errors import StoreUnavailable
from runtime.storage.requests import BeginTurn, InterruptedPolicy, NewInbound, Owner
from runtime.storage.sqlite import SqliteStore, open_memory
from tests.actors.stage import Call, HandAgent, clock, settings, stage

QUICK = settings(queue={"debounce": 0.0})


class Refusing:
    """The real store, with operations that refuse so many times."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.refusals: dict[str, int] = {}
        self.refused: list[str] = []

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        if self.refusals.get(name, 0) <= 0:
            return operation

        async def refuse(*args: Any, **options: Any) -> Any:
            self.refusals[name] -= 1
            self.refused.append(name)
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("no space left, as scripted")

        return refuse


class Gated:
    """The real store, one of whose operations waits at a gate, as one that is on its way to the
    disk does: whoever is cancelled meanwhile sees its outcome first.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.gates: dict[str, trio.Event] = {}
        self.waiting = trio.Event()

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)
        gate = self.gates.get(name)
        if gate is None:
            return operation

        async def wait(*args: Any, **options: Any) -> Any:
            self.waiting.set()
            with trio.CancelScope(shield=True):
                await gate.wait()
                result = await operation(*args, **options)
            return result  # noqa: RET504 - see `actors.disk.Threads`

        return wait


@asynccontextmanager
async def refusing() -> AsyncIterator[Any]:
    async with open_memory(clock) as store:
        yield Refusing(store)


@pytest.mark.parametrize("operation", ["wake", "begin_turn", "end_turn"])
async def test_a_turn_goes_on_when_the_disk_does(autojump_clock: MockClock, operation: str) -> None:
    # D1 D7 T2 Q8
    agent = HandAgent()
    async with refusing() as store, stage(agent=agent, store=store) as rt:
        store.refusals[operation] = 3
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        call = await agent.called(1)
        await trio.sleep(5)
        call.go.set()
        agent.hold = False
        assert (await turn.result()).text == "echo: hello"
        assert len(agent.calls) == 1
        assert [line.role for line in await session.history()] == ["user", "assistant"]
        assert store.refused == [operation] * 3


async def test_what_a_turn_says_is_kept_when_the_disk_lets_it(autojump_clock: MockClock) -> None:
    # T3
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        for word in ("one ", "two ", "three"):
            yield AgentMessageChunk(TextBlock(word))
            await trio.sleep(4)
        await trio.sleep_forever()

    agent = HandAgent(play, hold=False)
    async with refusing() as store:
        store.refusals["save_progress"] = 3
        with trio.CancelScope() as power:
            async with stage(agent=agent, store=store) as rt:
                session = await rt.session("demo")
                await session.send("count")
                await trio.sleep(30)
                store.refusals["end_turn"] = 1_000  # the power goes before anything is settled
                power.cancel()
                await trio.sleep_forever()
        assert store.refused[:3] == ["save_progress"] * 3
        store.refusals.clear()
        recovery = await store.recover("next", InterruptedPolicy())
        assert len(recovery.settled) == 1
        lines = await store.journal(session.id)
        assert [line.content for line in lines] == ["count", "one two three"]


async def test_nothing_is_accepted_that_is_not_written(autojump_clock: MockClock) -> None:
    # D1 D5 G7
    agent = HandAgent(hold=False)
    async with refusing() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        store.refusals["admit"] = 1
        with pytest.raises(Unavailable, match="nothing was accepted"):
            await session.send("hello", message_id="m")
        receipt = await session.send("hello", message_id="m")
        assert not receipt.duplicate


@pytest.mark.parametrize(
    "operation",
    ["outbox_due", "outbox_next_due", "outbox_attempt", "outbox_delivered", "outbox_recover"],
)
async def test_delivery_goes_on_when_the_disk_does(
    autojump_clock: MockClock, operation: str
) -> None:
    # O1 O3 D1
    network = ScriptedChannel()
    async with refusing() as store:
        store.refusals[operation] = 12
        async with stage(
            agent=HandAgent(hold=False), channels=[network], store=store, settings=QUICK
        ):
            await network.say("one")
            await network.sent(1, timeout=600)
            await network.say("two")
            arrived = await network.sent(2, timeout=600)
            assert [a.text for a in arrived] == ["echo: one", "echo: two"]


async def test_a_failure_that_is_not_written_at_once_is_written_later(
    autojump_clock: MockClock,
) -> None:
    # O1 O4
    network = ScriptedChannel()
    network.script(Behaviour(fail="before"))
    async with refusing() as store:
        store.refusals["outbox_retry"] = 3
        async with stage(
            agent=HandAgent(hold=False), channels=[network], store=store, settings=QUICK
        ):
            await network.say("one")
            await network.sent(1, timeout=600)


async def test_a_cancel_holds_although_the_turn_was_never_begun(autojump_clock: MockClock) -> None:
    # G11 D1
    agent = HandAgent(hold=False)
    async with refusing() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        await (await session.prompt("warm")).result()
        store.refusals["begin_turn"] = 1_000
        turn = await session.prompt("never mind")
        await trio.sleep(0.5)
        assert await turn.cancel()
        store.refusals.clear()
        outcome = await turn.result()
        assert (outcome.state, outcome.stop_reason) == (InboundState.DROPPED, "cancelled")
        await trio.sleep(100)
        assert len(agent.calls) == 1


async def test_the_order_holds_while_the_disk_refuses(autojump_clock: MockClock) -> None:
    # Q7
    agent = HandAgent(hold=False)
    one_by_one = settings(queue={"mode": "followup"})
    async with refusing() as store, stage(agent=agent, store=store, settings=one_by_one) as rt:
        session = await rt.session("demo")
        await (await session.prompt("warm")).result()
        store.refusals["begin_turn"] = 2
        first = await session.prompt("first")
        second = await session.prompt("second")
        await first.result()
        await second.result()
        assert [call.text for call in agent.calls] == ["warm", "first", "second"]


async def test_resetting_has_a_deadline(autojump_clock: MockClock) -> None:
    # S18
    agent = HandAgent()
    async with refusing() as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        await agent.called(1)
        store.refusals["end_turn"] = 1_000
        with pytest.raises(Unavailable):
            await session.reset()
        assert (await session.queue()).running is not None
        store.refusals.clear()
        assert (await turn.result()).stop_reason == "cancelled"
        await session.reset()


async def test_a_lost_word_is_found_by_the_sweep(autojump_clock: MockClock) -> None:
    # D8
    agent = HandAgent(hold=False)
    async with open_memory(clock) as store, stage(agent=agent, store=store) as rt:
        session = await rt.session("demo")
        await (await session.prompt("warm")).result()
        from runtime.sessions.content import text_content
        from runtime.storage.requests import NewInbound

        for number in range(2):
            row = NewInbound(f"lost-{number}", session.id, text_content(f"lost {number}"))
            await store.admit([row])
            outcome = await rt.front.outcome(f"lost-{number}")
            assert outcome.text == f"echo: lost {number}"
            await trio.sleep(300)


@pytest.mark.parametrize("text", ["x" * 300_000, "half a \ud83d pair"])
async def test_a_message_that_cannot_be_stored_holds_up_nobody(
    autojump_clock: MockClock, text: str
) -> None:
    # D5 Q4
    network = ScriptedChannel()
    agent = HandAgent(hold=False)
    async with (
        open_memory(clock) as store,
        stage(agent=agent, channels=[network], store=store, settings=QUICK) as rt,
    ):
        await network.put(
            Inbound(chat="a", message_id="1", sender=Sender("ann"), text=text),
            Inbound(chat="b", message_id="2", sender=Sender("bob"), text="fine"),
            offset="2",
        )
        arrived = {a.chat: a.text for a in await network.sent(2)}
        assert arrived["b"] == "echo: fine"
        assert "too long" in arrived["a"] or "half a \ufffd pair" in arrived["a"]
        assert await store.channel_offset("scripted", "default") == "2"
        metrics = rt.front.metrics()
        assert (b'dropped_total{reason="too_large"} 1.0' in metrics) == (len(text) > 1_000)


async def test_a_very_long_name_holds_up_nobody(autojump_clock: MockClock) -> None:
    # S22 D5
    network = ScriptedChannel()
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK) as rt:
        sender = Sender("ann", "Ann " * 50_000)
        await network.put(Inbound(chat="a", message_id="1", sender=sender, text="hi"))
        await network.sent(1)
        (info,) = (await rt.front.list_sessions()).sessions
        assert info.row.display_name is not None
        assert len(info.row.display_name) == 200


async def test_a_stop_lets_a_send_under_way_arrive(autojump_clock: MockClock) -> None:
    # O1 S45
    network = ScriptedChannel()
    network.script(Behaviour(delay=2.0))
    async with open_memory(clock) as store:
        async with stage(
            agent=HandAgent(hold=False), channels=[network], store=store, settings=QUICK
        ):
            await network.say("one")
            await network.attempted(1)
        assert [a.text for a in network.arrived] == ["echo: one"]
        assert await store.outbox_due("scripted", "default", 10) == ()


async def test_a_receipt_that_is_forgotten_is_a_receipt(autojump_clock: MockClock) -> None:
    # N4 O1
    class Forgetful(ScriptedChannel):
        async def send(self, part: Any, key: str) -> Any:
            await super().send(part, key)

    network = Forgetful()
    async with stage(agent=HandAgent(hold=False), channels=[network], settings=QUICK):
        await network.say("one")
        await network.sent(1)
        await trio.sleep(2_000)
        assert len(network.arrived) == 1


@pytest.mark.parametrize("asked", [float("inf"), float("nan"), 1e300, -5.0])
async def test_a_senseless_retry_after_is_kept_within_reason(
    autojump_clock: MockClock, asked: float
) -> None:
    # O3
    network = ScriptedChannel()
    network.script(Behaviour(fail="before", retry_after=asked))
    async with open_memory(clock) as store:
        agent = HandAgent(hold=False)
        async with stage(agent=agent, channels=[network], settings=QUICK, store=store):
            await network.say("one")
            await network.attempted(1)
            await trio.testing.wait_all_tasks_blocked()
            due = await store.outbox_next_due(network.name, network.account, clock())
            waits = 0 if network.arrived else (due or math.inf) - clock()
            assert 0 <= waits <= LONGEST_RETRY_AFTER * 1_000


async def test_what_a_start_recovers_is_logged_by_turn(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    # D8
    agent = HandAgent(hold=False)
    async with open_memory(clock) as store:
        spec = SessionSpec("agent", "demo")
        (admitted,) = await store.admit([NewInbound("m", spec, text_content("hello"))])
        session_id, owner = admitted.session.id, Owner("killed", "actor")
        awake = await store.wake(session_id, owner, InterruptedPolicy())
        claim = BeginTurn("turn-1", session_id, 1, awake.session.fence, owner, ("m",))
        await store.begin_turn(claim)
        async with stage(agent=agent, store=store) as rt:
            assert [each.turn_id for each in rt.recovery.settled] == ["turn-1"]
            assert (await rt.front.outcome("m")).state is InboundState.DONE
        lines = [record for record in caplog.records if record.msg == "turn_recovered"]
        assert [vars(line)["turn"] for line in lines] == ["turn-1"]


@pytest.mark.parametrize("work, reason", [("clear", "cleared"), ("cancel", "cancelled")])
async def test_what_is_taken_back_while_a_try_is_written_down_is_not_tried_again(
    autojump_clock: MockClock, work: str, reason: str
) -> None:
    # H3 T5 Q5
    async def vanish(call: Call) -> AsyncIterator[AgentEvent]:
        if call.text == "hello":
            raise AgentGone("it fell over")
        yield Result()

    agent = HandAgent(vanish, hold=False)
    async with refusing() as store, stage(agent=agent, store=store) as rt:
        store.refusals["end_turn"] = 3
        session = await rt.session("demo")
        turn = await session.prompt("hello")
        await agent.called(1)
        await trio.sleep(2)
        assert store.refusals["end_turn"] > 0  # it is not written yet
        assert await (session.clear() if work == "clear" else turn.cancel()) == 1
        assert (await turn.result()).stop_reason == "cancelled"
        await trio.sleep(600)
        assert len(agent.calls) == 1
        message = (await store.message_status(turn.message_id)).message
        assert (message.state, message.reason) == (InboundState.DROPPED, reason)


@pytest.mark.parametrize("work", ["clear", "cancel"])
async def test_what_is_taken_back_when_its_try_has_just_been_written_down_holds_up_nobody(
    autojump_clock: MockClock, work: str
) -> None:
    # H3 Q7 Q8
    async def play(call: Call) -> AsyncIterator[AgentEvent]:
        if call.text == "hello":
            raise AgentGone("it fell over")
        yield Result()

    agent = HandAgent(play, hold=False)
    async with open_memory(clock) as memory:
        store: Any = Gated(memory)
        async with stage(agent=agent, store=store) as rt, trio.open_nursery() as nursery:
            store.gates.update(end_turn=trio.Event(), drop_pending=trio.Event())
            session = await rt.session("demo")
            turn = await session.prompt("hello")
            await agent.called(1)
            await trio.sleep(0.5)
            nursery.start_soon(session.clear if work == "clear" else turn.cancel)
            await trio.sleep(0.5)
            store.gates.pop("end_turn").set()  # both are on their way to the disk, in this order
            await trio.sleep(0.5)
            store.gates.pop("drop_pending").set()
            await trio.sleep(0.5)
            with trio.fail_after(1):
                await (await session.prompt("next")).result()
            await trio.sleep(600)
            assert [call.text for call in agent.calls] == ["hello", "next"]
