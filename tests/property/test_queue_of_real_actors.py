"""Whatever happens to a session, every accepted message ends once, in a way that one can see.

A random history of sends, cancels, clears, resets, failures of the agent, crashes of the session's
actors, jumps of the clock and power cuts is played to the whole runtime on a virtual clock. Then
the runtime is left alone, and the rows are held against what was promised.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.front import ActorFront
from actors.queue import Arrived, Batch, Offered
from actors.sessions import Obtain
from runtime.app import Runtime
from runtime.embedding import Session
from runtime.ports.agent import AgentGone
from runtime.ports.front import FrontError
from runtime.sessions.content import PromptContent, TextBlock
from runtime.sessions.modes import QueueMode
from runtime.sessions.rows import InboundRow, InboundState, TurnState
from runtime.sessions.updates import AgentEvent, AgentMessageChunk, Result
from runtime.storage.sqlite import open_memory
from runtime.storage.store import Store
from tests.actors.stage import Call, HandAgent, clock, stage
from tests.actors.stage import settings as runtime_settings

STEPS = st.lists(
    st.sampled_from(
        ["send"] * 6
        + [
            "repeat",
            "cancel",
            "clear",
            "reset",
            "anew",
            "wait",
            "wait long",
            "crash",
            "power cut",
            "mode",
        ]
    ),
    min_size=1,
    max_size=25,
)


@dataclass
class World:
    """What was promised to whom."""

    choose: random.Random
    store: Store
    accepted: dict[str, str] = field(default_factory=dict)
    prompts: Counter[str] = field(default_factory=Counter)
    serial: int = 0

    async def play(self, call: Call) -> AsyncIterator[AgentEvent]:
        """An agent with moods."""
        self.prompts.update(call.turn.message_ids)
        mood = self.choose.random()
        await trio.sleep(self.choose.choice([0, 0, 0.5, 3]))
        if mood < 0.1:
            raise AgentGone("before it began")
        yield AgentMessageChunk(TextBlock("so: "))
        await trio.sleep(self.choose.choice([0, 0, 1, 5]))
        if mood < 0.2:
            raise AgentGone("in the middle")
        yield AgentMessageChunk(TextBlock(call.turn.turn_id))
        yield Result()

    async def take_in(self, _content: PromptContent) -> bool:
        """It listens while it works, as the mood may be."""
        await trio.sleep(self.choose.choice([0, 0, 0.5, 3, 20]))
        mood = self.choose.random()
        if mood < 0.1:
            raise AgentGone("it stumbled")
        return mood < 0.7

    async def step(self, name: str, rt: Runtime, session: Session) -> None:
        """One thing happens. What is refused in words was not promised."""
        with suppress(FrontError):
            await self._step(name, rt, session)

    async def _step(self, name: str, rt: Runtime, session: Session) -> None:
        match name:
            case "send" | "anew":
                before = "/new " if name == "anew" else ""
                self.serial += 1
                name = f"m{self.serial}"
                receipt = await session.send(f"{before}say {name}", message_id=name)
                assert receipt.message_id not in self.accepted
                self.accepted[receipt.message_id] = name
            case "repeat" if self.accepted:
                known, name = self.choose.choice(list(self.accepted.items()))
                receipt = await session.send(f"say {name}", message_id=name)
                assert receipt.duplicate
                assert receipt.message_id == known
            case "cancel":
                await session.cancel()
            case "clear":
                await session.clear()
            case "reset":
                await session.reset()
            case "mode":
                mode = self.choose.choice(list(QueueMode))
                await session.set_queue(mode=mode)
            case "wait":
                await trio.sleep(self.choose.choice([0, 0.1, 1, 4]))
            case "wait long":
                await trio.sleep(self.choose.choice([7, 59.9, 61, 130]))
            case "crash":
                await self._crash(rt, session)
            case _:
                pass

    async def _crash(self, rt: Runtime, session: Session) -> None:
        """A bug: the session, or its queue, gets something that its handler stumbles over."""
        assert isinstance(rt.front, ActorFront)
        ref = await rt.front._sessions.ask(Obtain(session.id), timeout=60)
        nonsense = cast("InboundRow", None)
        if self.choose.random() < 0.5:
            ref.tell(Offered(cast("Batch", None)))
        else:
            ref.tell(Arrived(rows=(nonsense,)))


async def history(seed: int, steps: list[str]) -> None:
    async with open_memory(clock) as store:
        world = World(random.Random(seed), store)
        agent = HandAgent(world.play, hold=False, steer=world.take_in)
        mode = world.choose.choice(list(QueueMode)).value
        quick = runtime_settings(queue={"cap": 5, "mode": mode}, sessions={"max_tries": 3})
        remaining = list(steps)
        session_id = ""
        while remaining:
            with trio.CancelScope() as power:
                async with stage(agent=agent, store=store, settings=quick) as rt:
                    session = await rt.session("demo")
                    session_id = session.id
                    while remaining:
                        step = remaining.pop(0)
                        if step == "power cut":
                            power.cancel()
                            await trio.sleep_forever()
                        await world.step(step, rt, session)
        async with stage(agent=agent, store=store, settings=quick) as rt:
            with trio.fail_after(100_000):
                for message_id in world.accepted:
                    await rt.front.outcome(message_id)
            await trio.sleep(200)
        await account(world, session_id)


async def account(world: World, session_id: str) -> None:
    """Each promise was kept once."""
    assert await world.store.pending_messages(session_id) == ()
    lines = await world.store.journal(session_id, limit=1_000)
    ids = Counter(line.id for line in lines)
    assert all(count == 1 for count in ids.values()), ids
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    for message_id, name in world.accepted.items():
        status = await world.store.message_status(message_id)
        assert status is not None
        state, turn = status.message.state, status.turn
        if state is InboundState.DROPPED:
            assert status.message.reason in ("cancelled", "cleared", "reset"), name
            continue
        assert turn is not None, name
        assert ids[message_id] == 1, name
        if state is InboundState.DONE:
            assert turn.state in (TurnState.DONE, TurnState.CANCELLED)
            if turn.state is TurnState.DONE:
                answers = [line for line in lines if line.turn_id == turn.id]
                assert [x.role for x in answers if x.role != "user"] == ["assistant"], name
        else:
            assert state is InboundState.FAILED, name
            assert any(x.turn_id == turn.id and x.role == "system" for x in lines), name


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=STEPS)
def test_every_accepted_message_ends_exactly_once(seed: int, steps: list[str]) -> None:
    # Q7 Q8 T1 T2 T5 D5 D7 D8 H3 J1
    trio.run(history, seed, steps, clock=trio.testing.MockClock(autojump_threshold=0))
