"""Bounds, policies, the control lane, and fairness."""

from contextvars import ContextVar
from itertools import pairwise
from typing import Any, assert_never

import pytest
import trio

from runtime.kernel import (
    Actor,
    ActorRef,
    AskTimeout,
    Backoff,
    MailboxFull,
    MailboxSpec,
    Message,
    Overflow,
    System,
    open_system,
)
from runtime.kernel.events import Cause, MailboxOverflow
from runtime.kernel.scheduler import SPARE_WORKERS
from runtime.kernel.testkit import settle
from tests.kernel.cast import Broken, Echo, Note

# K4


class Other(Message, frozen=True):
    """A message that one class of actor handles and the other does not."""


class Till(Actor[Note | Echo]):
    """Waits in its first message until the test opens it."""

    def __init__(self, page: list[str], opened: trio.Event) -> None:
        self.page = page
        self.opened = opened

    async def on_message(self, message: Note | Echo) -> str:
        await self.opened.wait()
        match message:
            case Note(text) | Echo(text):
                self.page.append(text)
                return text
            case _:
                assert_never(message)


async def full_till(
    system: System, policy: Overflow, page: list[str], opened: trio.Event
) -> ActorRef[Note | Echo]:
    """An actor that handles "in hand" while "old" and "young" fill its mailbox."""
    ref = system.spawn(lambda: Till(page, opened), name="till", mailbox=MailboxSpec(2, policy))
    ref.tell(Note("in hand"))
    await settle(system)
    assert ref.tell(Note("old"))
    assert ref.tell(Note("young"))
    return ref


@pytest.mark.parametrize(
    "policy, accepted, handled, lost",
    [
        (Overflow.REJECT, False, ["in hand", "old", "young"], []),
        (Overflow.DROP_OLDEST, True, ["in hand", "young", "new"], ["old"]),
        (Overflow.DROP_NEWEST, False, ["in hand", "old", "young"], ["new"]),
        (Overflow.WAIT, False, ["in hand", "old", "young"], []),
    ],
)
async def test_tell_meets_a_full_mailbox(
    policy: Overflow, accepted: bool, handled: list[str], lost: list[str]
) -> None:
    page: list[str] = []
    opened = trio.Event()
    async with open_system() as system:
        ref = await full_till(system, policy, page, opened)
        with system.events.subscribe(MailboxOverflow) as events:
            assert ref.tell(Note("new")) is accepted
            assert events.take() == [MailboxOverflow("system/till", 2)]
        assert ref.mailbox_depth == 2
        letters = [letter.message for letter in system.dead_letters.latest]
        assert letters == [Note(text) for text in lost]
        assert system.dead_letters.by_cause[Cause.OVERFLOW] == len(lost)
        opened.set()
        await settle(system)
    assert page == handled


@pytest.mark.parametrize(
    "policy, outcome, handled",
    [
        (Overflow.REJECT, "full", ["in hand", "old", "young"]),
        (Overflow.DROP_OLDEST, "new", ["in hand", "young", "new"]),
        (Overflow.DROP_NEWEST, "full", ["in hand", "old", "young"]),
        (Overflow.WAIT, "new", ["in hand", "old", "young", "new"]),
    ],
)
async def test_ask_meets_a_full_mailbox(policy: Overflow, outcome: str, handled: list[str]) -> None:
    async def ask() -> None:
        try:
            outcomes.append(await ref.ask(Echo("new"), timeout=60))
        except MailboxFull:
            outcomes.append("full")

    page: list[str] = []
    outcomes: list[str] = []
    opened = trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await full_till(system, policy, page, opened)
        nursery.start_soon(ask)
        await settle(system)
        assert outcomes == ([] if outcome == "new" else ["full"])
        opened.set()
        await settle(system)
    assert outcomes == [outcome]
    assert page == handled


@pytest.mark.parametrize("policy", Overflow)
async def test_send_waits_for_room_whatever_the_policy(policy: Overflow) -> None:
    page: list[str] = []
    opened = trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await full_till(system, policy, page, opened)
        nursery.start_soon(ref.send, Note("new"))
        await settle(system)
        assert ref.mailbox_depth == 2
        opened.set()
        await settle(system)
    assert page == ["in hand", "old", "young", "new"]


async def test_those_who_wait_for_room_are_served_in_order() -> None:
    page: list[str] = []
    opened = trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await full_till(system, Overflow.DROP_OLDEST, page, opened)
        for text in ("first", "second", "third"):
            nursery.start_soon(ref.send, Note(text))
            await settle(system)
        # It takes the place of the oldest message, and with it that message's turn to wait.
        assert ref.tell(Note("told"))
        opened.set()
        await settle(system)
    assert page == ["in hand", "young", "told", "first", "second", "third"]


async def test_one_who_waits_is_not_held_up_by_a_message_that_nobody_handles(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Before(Actor[Note | Other]):
        async def on_message(self, message: Note | Other) -> None:
            raise Broken

    class After(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            page.append(message.text)

    page: list[str] = []
    instances: list[Actor[Any]] = [After(), Before()]
    async with open_system() as system, trio.open_nursery() as nursery:
        ref: ActorRef[Any] = system.spawn(
            instances.pop, name="changing", mailbox=MailboxSpec(1), backoff=Backoff(initial=0.01)
        )
        ref.tell(Note("breaks it"))
        await settle(system)
        assert ref.tell(Note("first"))
        for message in (Other(), Note("second")):
            nursery.start_soon(ref.send, message)
            await settle(system)
        await trio.sleep(1)
        assert page == ["first", "second"]


async def test_an_ask_that_is_dropped_fails_at_once() -> None:
    async def ask() -> None:
        with pytest.raises(MailboxFull):
            await ref.ask(Echo("dropped"), timeout=60)
        failed.append(True)

    failed: list[bool] = []
    opened = trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(
            lambda: Till([], opened), name="till", mailbox=MailboxSpec(1, Overflow.DROP_OLDEST)
        )
        ref.tell(Note("in hand"))
        await settle(system)
        nursery.start_soon(ask)
        await settle(system)
        assert ref.tell(Note("newer"))
        await settle(system)
        assert failed == [True]
        opened.set()


async def test_an_ask_that_waits_for_room_has_a_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    page: list[str] = []
    opened = trio.Event()
    async with open_system() as system:
        ref = await full_till(system, Overflow.WAIT, page, opened)
        with pytest.raises(AskTimeout):
            await ref.ask(Echo("too late"), timeout=3)
        assert trio.current_time() == 3
        opened.set()
        await settle(system)
    # It never had a place, so it was not handled either.
    assert page == ["in hand", "old", "young"]


async def test_a_mailbox_is_bounded_unless_told_otherwise() -> None:
    async with open_system() as system:
        opened = trio.Event()
        ref = system.spawn(lambda: Till([], opened), name="till", grace=0)
        accepted = sum(ref.tell(Note("")) for _ in range(1500))
        assert accepted == 1000
        node = system.tree().children[0]
        assert (node.depth, node.peak) == (1000, 1000)


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_mailbox_has_room_for_one(capacity: int) -> None:
    with pytest.raises(ValueError):
        MailboxSpec(capacity)


class Again(Actor[Note]):
    """Always has another message, and never waits."""

    def __init__(self, turns: list[str], name: str, rounds: int) -> None:
        self.turns = turns
        self.name = name
        self.rounds = rounds

    async def on_message(self, message: Note) -> None:
        self.turns.append(self.name)
        if len(self.turns) < self.rounds:
            self.ref.tell(message)


async def test_a_busy_actor_takes_a_batch_and_then_lets_the_others() -> None:  # K13
    turns: list[str] = []
    async with open_system() as system:
        for name in ("a", "b", "c"):
            ref = system.spawn(lambda name=name: Again(turns, name, 2000), name=name)  # type: ignore[misc]
            for _ in range(100):
                ref.tell(Note(""))
        await settle(system)
    # Nobody who is ready waits behind more than one batch of each of the others.
    for name in ("a", "b", "c"):
        positions = [index for index, turn in enumerate(turns[:1800]) if turn == name]
        gaps = [later - earlier for earlier, later in pairwise(positions)]
        assert max(gaps) <= 2 * 64 + 1
        assert positions[0] <= 2 * 64
        assert max(_runs(turns[:1800], name)) <= 64


async def test_actors_that_never_wait_do_not_starve_trio() -> None:  # K13
    turns: list[str] = []
    async with open_system() as system:
        ref = system.spawn(lambda: Again(turns, "a", 10_000), name="a")
        ref.tell(Note(""))
        seen = []
        while len(turns) < 10_000:
            await trio.lowlevel.checkpoint()
            seen.append(len(turns))
    steps = [later - earlier for earlier, later in pairwise(seen)]
    # Trio runs the ready tasks in random order, so two turns of a worker may be neighbours.
    assert max(steps) <= 2 * 64


async def test_a_worker_does_not_inherit_from_who_needed_it() -> None:  # K13
    class Curious(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            seen.append(request.get())

    async def tell() -> None:
        request.set("private")
        ref.tell(Note(""))

    request: ContextVar[str] = ContextVar("request", default="nobody's")
    seen: list[str] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Curious, name="curious")
        nursery.start_soon(tell)
        await settle(system)
    assert seen == ["nobody's"]


async def test_an_idle_actor_holds_no_task() -> None:  # K13
    async with open_system() as system:
        refs = [system.spawn(lambda: Till([], opened), name=str(n)) for n in range(100)]
        opened = trio.Event()
        opened.set()
        await settle(system)
        before = trio.lowlevel.current_statistics().tasks_living
        for ref in refs:
            ref.tell(Note(""))
        await settle(system)
        # A few workers, which are spare now, for a hundred actors.
        assert trio.lowlevel.current_statistics().tasks_living <= before + SPARE_WORKERS


async def test_a_handler_that_waits_keeps_a_worker_only_as_long() -> None:  # K13
    async with open_system() as system:
        opened = trio.Event()
        refs = [system.spawn(lambda: Till([], opened), name=str(n)) for n in range(100)]
        before = trio.lowlevel.current_statistics().tasks_living
        for ref in refs:
            ref.tell(Note(""))
        await settle(system)
        assert trio.lowlevel.current_statistics().tasks_living >= before + 100
        opened.set()
        await settle(system)
        assert trio.lowlevel.current_statistics().tasks_living <= before + SPARE_WORKERS + 1


def _runs(turns: list[str], name: str) -> list[int]:
    """Lengths of the uninterrupted runs of a name."""
    runs, length = [], 0
    for turn in [*turns, ""]:
        if turn == name:
            length += 1
        elif length:
            runs.append(length)
            length = 0
    return runs
