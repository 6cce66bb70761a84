"""The test kit, as an embedder uses it."""

import pytest
import trio

from runtime.kernel import Actor, Request, Restart, State, StopKind, open_system
from runtime.kernel.testkit import (
    InjectedFault,
    Probe,
    assert_dead_letters,
    assert_no_dead_letters,
    assert_state,
    assert_stops,
    assert_tree,
    crash,
    hang,
    inject,
    run,
    run_actor,
    settle,
)
from tests.kernel.cast import AT_ONCE, Broken, Echo, Forwarder, Note, Scribe

# K12


def test_a_scenario_on_a_virtual_clock() -> None:
    async def scenario() -> float:
        await trio.sleep(3600)
        return trio.current_time()

    assert run(scenario) == 3600


def test_a_probe_stands_in_for_another_actor() -> None:
    async def scenario() -> None:
        async with open_system() as system:
            probe = Probe.spawn(system)
            forwarder = system.spawn(lambda: Forwarder(probe.ref), name="forwarder")
            forwarder.tell(Note("a"))
            forwarder.tell(Note("b"))
            assert await probe.expect(Note) == Note("a")
            await settle(system)
            assert probe.received == [Note("b")]
            with pytest.raises(AssertionError, match="no Echo within 1 s, only"):
                await probe.expect(Echo)
            assert_no_dead_letters(system)

    run(scenario)


def test_a_probe_answers_requests() -> None:
    async def scenario() -> None:
        async with open_system() as system:
            probe = Probe.spawn(system)
            probe.reply(Echo, "canned")
            assert await probe.ref.ask(Echo("anything"), timeout=1) == "canned"

    run(scenario)


def test_a_probe_is_bounded() -> None:
    async def scenario() -> None:
        async with open_system() as system:
            probe = Probe.spawn(system)
            while len(probe.received) < Probe.LIMIT:
                probe.ref.tell(Note(""))
                await settle(system)
            probe.ref.tell(Note("one too many"))
            await settle(system)
            assert len(probe.received) == Probe.LIMIT
            assert system.tree().children[0].last_error is not None

    run(scenario)


async def test_one_actor_alone() -> None:
    page: list[str] = []
    async with run_actor(lambda: Scribe(page)) as (ref, probe, system):
        assert_tree(system, "probe", "subject")
        ref.tell(Note("a"))
        await settle(system)
        assert probe.received == []
    assert page == ["start", "a", "stop shutdown"]


async def test_faults_are_counted_across_restarts() -> None:
    page: list[str] = []
    factory = inject(lambda: Scribe(page), {2: crash(), 4: crash(Broken("fourth"))})
    async with open_system() as system:
        ref = system.spawn(factory, name="s", backoff=AT_ONCE)
        for text in "abcde":
            ref.tell(Note(text))
        await settle(system)
        assert_dead_letters(system, Note("b"), Note("d"))
        assert system.tree().children[0].type == "Scribe"
        assert system.tree().children[0].restarts == 2
    assert [line for line in page if len(line) == 1] == ["a", "c", "e"]


async def test_a_fault_can_hang(autojump_clock: trio.testing.MockClock) -> None:
    class Slotted(Actor[Note]):
        __slots__ = ()

        async def on_message(self, message: Note) -> None:
            page.append(trio.current_time())

    page: list[float] = []
    async with open_system() as system:
        ref = system.spawn(inject(Slotted, {1: hang(5), 2: hang()}), name="s")
        ref.tell(Note(""))
        ref.tell(Note(""))
        await trio.sleep(6)
        assert page == [5]
        await ref.stop(grace=0)


async def test_an_injected_crash_says_so() -> None:
    async with open_system() as system:
        factory = inject(lambda: Scribe([]), {1: crash()})
        ref = system.spawn(factory, name="s", restart=Restart.TEMPORARY)
        with pytest.raises(InjectedFault):
            await ref.ask(Echo("x"), timeout=1)


async def test_assertions_fail_with_what_they_found(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_system() as system:
        ref = system.spawn(lambda: Scribe([]), name="s")
        await settle(system)
        assert_state(ref, State.RUNNING)
        with pytest.raises(AssertionError, match="system/s is running"):
            assert_state(ref, State.STOPPED)
        with pytest.raises(AssertionError, match="the tree is \\['s'\\]"):
            assert_tree(system, "t")
        with pytest.raises(AssertionError, match="system/s is running after 1 s"):
            await assert_stops(ref, StopKind.NORMAL)
        await ref.stop()
        with pytest.raises(AssertionError, match="system/s ended: shutdown"):
            await assert_stops(ref, StopKind.NORMAL)
        await assert_stops(ref, StopKind.SHUTDOWN)
        ref.tell(Note("late"))
        with pytest.raises(AssertionError, match="there are 1 dead letters"):
            assert_no_dead_letters(system)
        with pytest.raises(AssertionError, match="no dead letters: "):
            assert_dead_letters(system, Note("other"))


class Chain(Request[int], frozen=True):
    """A request that passes through several actors."""


async def test_settling_waits_for_everything_that_can_happen_now() -> None:
    class Link(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            reached.append(message.text)
            if len(message.text) < 20:
                self.ref.tell(Note(message.text + "x"))

    reached: list[str] = []
    async with run_actor(Link) as (ref, _, system):
        ref.tell(Note(""))
        await settle(system)
        assert len(reached) == 21
