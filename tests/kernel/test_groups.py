"""Static children: order, strategies, and escalation."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.lowlevel

from runtime.kernel import (
    Actor,
    ActorRef,
    Backoff,
    ChildSpec,
    Intensity,
    Restart,
    State,
    StopKind,
    StopReason,
    Strategy,
    Supervisor,
    open_system,
)
from runtime.kernel.events import Escalated, GivenUp
from runtime.kernel.testkit import assert_stops, assert_tree, settle
from tests.kernel.cast import AT_ONCE, Broken, Echo, Fail, Finish, Note, Scribe

# K5


def scribes(
    page: list[str], names: Sequence[str] = ("a", "b", "c"), **options: Any
) -> list[ChildSpec]:
    def spec(name: str) -> ChildSpec:
        settings: dict[str, Any] = {"backoff": AT_ONCE, **options}
        return ChildSpec(factory=lambda: Scribe(page, f"{name} "), name=name, **settings)

    return [spec(name) for name in names]


async def test_static_children_start_in_order_and_stop_in_reverse() -> None:
    page: list[str] = []

    class Slow(Scribe):
        async def on_start(self) -> None:
            await trio.lowlevel.checkpoint()
            await super().on_start()

    async with open_system() as system:
        specs = scribes(page)
        specs[0] = ChildSpec(factory=lambda: Slow(page, "a "), name="a")
        refs = await system.spawn_all(specs)
        assert [ref.path for ref in refs] == ["system/a", "system/b", "system/c"]
        assert page == ["a start", "b start", "c start"]
    assert page[3:] == ["c stop shutdown", "b stop shutdown", "a stop shutdown"]


async def test_a_child_that_finishes_while_the_next_one_starts_is_still_returned() -> None:
    class Brief(Scribe):
        async def on_start(self) -> None:
            self.stop()

    class Slow(Scribe):
        async def on_start(self) -> None:
            await trio.testing.wait_all_tasks_blocked()

    async with open_system() as system:
        first, second = await system.spawn_all(
            [
                ChildSpec(factory=lambda: Brief([]), name="brief"),
                ChildSpec(factory=lambda: Slow([]), name="slow"),
            ]
        )
        await assert_stops(first, StopKind.NORMAL)
        assert second.alive
        assert_tree(system, "slow")


@pytest.mark.parametrize(
    "strategy, restarted",
    [
        (Strategy.ONE_FOR_ONE, ["b"]),
        (Strategy.ONE_FOR_ALL, ["a", "b", "c"]),
        (Strategy.REST_FOR_ONE, ["b", "c"]),
    ],
)
async def test_which_siblings_are_restarted(strategy: Strategy, restarted: list[str]) -> None:
    page: list[str] = []
    async with open_system() as system:
        refs = await system.spawn_all(scribes(page), strategy)
        page.clear()
        refs[1].tell(Fail())
        await settle(system)
        halted = [f"{name} stop shutdown" for name in reversed(restarted) if name != "b"]
        started = [f"{name} start" for name in restarted]
        assert page == ["b stop crashed", *halted, *started]
        for ref in refs:
            assert ref.state is State.RUNNING
        nodes = system.tree().children
        assert [node.restarts for node in nodes] == [int(n in restarted) for n in ("a", "b", "c")]


@pytest.mark.parametrize(
    "restart, outcome, repaired",
    [
        (Restart.PERMANENT, Finish(), True),
        (Restart.PERMANENT, Fail(), True),
        (Restart.TRANSIENT, Finish(), False),
        (Restart.TRANSIENT, Fail(), True),
        (Restart.TEMPORARY, Finish(), False),
        (Restart.TEMPORARY, Fail(), False),
    ],
)
async def test_what_repairs_a_group(
    restart: Restart, outcome: Finish | Fail, repaired: bool
) -> None:
    page: list[str] = []
    async with open_system() as system:
        specs = [*scribes(page, ("a",)), *scribes(page, ("b",), restart=restart)]
        refs = await system.spawn_all(specs, Strategy.ONE_FOR_ALL)
        refs[1].tell(outcome)
        await settle(system)
        assert page.count("a start") == 1 + repaired
        assert_tree(system, *(["a", "b"] if repaired else ["a"]))


async def test_a_temporary_sibling_is_not_started_again() -> None:
    page: list[str] = []
    async with open_system() as system:
        specs = [*scribes(page, ("a",)), *scribes(page, ("b",), restart=Restart.TEMPORARY)]
        refs = await system.spawn_all(specs, Strategy.ONE_FOR_ALL)
        refs[0].tell(Fail())
        await settle(system)
        assert_tree(system, "a")
        await assert_stops(refs[1], StopKind.SHUTDOWN)


async def test_siblings_that_were_stopped_or_finished_stay_so() -> None:
    page: list[str] = []
    async with open_system() as system:
        refs = await system.spawn_all(scribes(page), Strategy.ONE_FOR_ALL)
        await refs[0].stop()
        refs[2].tell(Finish())
        await settle(system)
        refs[1].tell(Fail())
        await settle(system)
        assert_tree(system, "b")
        assert page.count("b start") == 2


async def test_siblings_keep_their_mailboxes_over_a_repair() -> None:
    page: list[str] = []
    async with open_system() as system:
        refs = await system.spawn_all(
            scribes(page, backoff=Backoff(initial=0.01, jitter=0)), Strategy.ONE_FOR_ALL
        )
        refs[0].tell(Fail())
        await settle(system)
        assert refs[2].state is State.RESTARTING
        assert refs[2].tell(Note("kept"))
        assert await refs[2].ask(Echo("hello"), timeout=10) == "hello"
        assert "c kept" in page


async def test_a_sibling_without_hooks_is_held_during_a_repair() -> None:
    class Plain(Actor[Note]):
        async def on_message(self, message: Note) -> None:
            page.append(message.text)

    page: list[str] = []
    async with open_system() as system:
        backoff = Backoff(initial=0.01, jitter=0)
        specs = [*scribes(page, ("a",), backoff=backoff), ChildSpec(factory=Plain, name="plain")]
        refs = await system.spawn_all(specs, Strategy.ONE_FOR_ALL)
        refs[0].tell(Fail())
        await settle(system)
        assert refs[1].state is State.RESTARTING
        assert refs[1].tell(Note("kept"))
        await settle(system)
        assert refs[1].mailbox_depth == 1
        assert await refs[0].ask(Echo("back"), timeout=10) == "back"
        await settle(system)
        assert page[-1] == "kept"
        assert system.tree().children[1].restarts == 1


async def test_two_failures_at_once_are_repaired_together() -> None:
    page: list[str] = []
    async with open_system() as system:
        refs = await system.spawn_all(scribes(page), Strategy.REST_FOR_ONE)
        refs[2].tell(Fail())
        refs[0].tell(Fail())
        await settle(system)
        assert [ref.state for ref in refs] == [State.RUNNING] * 3
        assert_tree(system, "a", "b", "c")


async def test_a_sibling_that_fails_in_a_repair_is_tried_again() -> None:
    class Shaky(Scribe):
        async def on_start(self) -> None:
            await super().on_start()
            if page.count("b start") == 2:
                raise Broken

    page: list[str] = []
    async with open_system() as system:
        specs = scribes(page)
        specs[1] = ChildSpec(factory=lambda: Shaky(page, "b "), name="b", backoff=AT_ONCE)
        refs = await system.spawn_all(specs, Strategy.ONE_FOR_ALL, Intensity(3, 10))
        refs[0].tell(Fail())
        await settle(system)
        assert [ref.state for ref in refs] == [State.RUNNING] * 3
        assert page.count("b start") == 3


@pytest.mark.parametrize("strategy", Strategy)
async def test_too_many_restarts_escalate_to_the_supervisor(strategy: Strategy) -> None:
    page: list[str] = []
    async with open_system() as system:
        with system.events.subscribe(Escalated, GivenUp) as events:
            boss = system.spawn(
                lambda: Supervisor(scribes(page), strategy, Intensity(1, 10)),
                name="boss",
                restart=Restart.TEMPORARY,
            )
            await settle(system)
            for _ in range(2):
                child = _child(system.tree().children[0].path, boss, "a")
                child.tell(Fail())
                await settle(system)
            reason = await boss.stopped()
            assert reason.kind is StopKind.CRASHED
            assert isinstance(reason.error, Broken)
            assert reason.error.__notes__ == ["in actor system/boss/a", "in actor system/boss"]
            assert [(type(event), event.path) for event in events.take()] == [
                (GivenUp, "system/boss/a"),
                (Escalated, "system/boss"),
            ]
        assert_tree(system)


def _child(path: str, boss: ActorRef[Any], name: str) -> ActorRef[Any]:
    """A supervisor's child; the test has no other way to one that it did not spawn itself."""
    family = boss._cell.family
    assert family is not None
    return boss._cell.system.ref_to(family.children[name])


async def test_failures_that_reach_the_system_leave_its_block() -> None:  # K7
    page: list[str] = []
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what is tested
        async with open_system() as system:
            refs = await system.spawn_all(scribes(page), intensity=Intensity(0, 1))
            refs[0].tell(Fail())
            await trio.sleep_forever()
    [error] = caught.value.exceptions
    assert isinstance(error, Broken)
    assert error.__notes__ == ["in actor system/a"]
    assert page[-2:] == ["c stop cancelled", "b stop cancelled"]


async def test_a_child_that_fails_to_start_fails_the_start_of_the_others() -> None:
    class Fragile(Scribe):
        async def on_start(self) -> None:
            raise Broken("at the start")

    page: list[str] = []
    async with open_system() as system:
        specs = scribes(page)
        specs[2] = ChildSpec(factory=lambda: Fragile(page, "c "), name="c")
        with pytest.raises(Broken, match="at the start"):
            await system.spawn_all(specs)
        assert page == ["a start", "b start", "b stop shutdown", "a stop shutdown"]
        assert_tree(system)
        # The names are free again.
        await system.spawn_all(scribes(page))


async def test_a_child_whose_constructor_fails_does_too() -> None:
    def unmade() -> Scribe:
        raise Broken("in the constructor")

    async with open_system() as system:
        with pytest.raises(Broken):
            await system.spawn_all([ChildSpec(factory=unmade, name="a")])
        assert_tree(system)


async def test_a_cancelled_start_stops_those_that_have_started() -> None:
    class Stuck(Actor[Note]):
        async def on_start(self) -> None:
            await trio.sleep_forever()

        async def on_message(self, message: Note) -> None:
            pass

    page: list[str] = []
    async with open_system() as system:
        specs = [*scribes(page, ("a",)), ChildSpec(factory=Stuck, name="b", grace=0)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.spawn_all, specs)
            await settle(system)
            nursery.cancel_scope.cancel()
        assert page == ["a start", "a stop shutdown"]
        assert_tree(system)


async def test_a_child_that_is_stopped_while_it_starts_fails_the_start() -> None:
    class Stuck(Actor[Note]):
        async def on_start(self) -> None:
            refs.append(self.ref)
            await trio.sleep_forever()

        async def on_message(self, message: Note) -> None:
            pass

    refs: list[ActorRef[Note]] = []
    async with open_system() as system:
        boss = system.spawn(
            lambda: Supervisor([ChildSpec(factory=Stuck, name="stuck")]),
            name="boss",
            restart=Restart.TEMPORARY,
        )
        await settle(system)
        await refs[0].stop(grace=0)
        reason = await boss.stopped()
        assert reason.kind is StopKind.CRASHED
        assert "system/boss/stuck has stopped" in str(reason.error)


async def test_the_end_of_the_system_does_not_wait_for_a_repair(
    autojump_clock: trio.testing.MockClock,
) -> None:
    page: list[str] = []
    async with open_system() as system:
        backoff = Backoff(initial=100, maximum=100)
        refs = await system.spawn_all(scribes(page, backoff=backoff), Strategy.ONE_FOR_ALL)
        refs[0].tell(Fail())
        await settle(system)
    assert trio.current_time() == 0


async def test_supervisors_nest() -> None:
    page: list[str] = []

    def inner() -> Supervisor:
        return Supervisor(scribes(page), Strategy.ONE_FOR_ALL)

    async with open_system() as system:
        await system.spawn_all(
            [ChildSpec(factory=lambda: Supervisor([ChildSpec(factory=inner, name="x")]), name="y")]
        )
        assert_tree(system, "y", "y/x", "y/x/a", "y/x/b", "y/x/c")
    assert page[3:] == ["c stop shutdown", "b stop shutdown", "a stop shutdown"]


async def test_an_actor_may_have_static_and_dynamic_children() -> None:
    class Both(Actor[Note]):
        async def on_start(self) -> None:
            self.spawn(lambda: Scribe(page, "dynamic "), name="dynamic")
            await self.spawn_all(scribes(page))

        async def on_message(self, message: Note) -> None:
            pass

        async def on_stop(self, reason: StopReason) -> None:
            page.append("parent")

    page: list[str] = []
    async with open_system() as system:
        system.spawn(Both, name="both")
        await settle(system)
    ended = [line.split()[0] for line in page if "stop" in line or line == "parent"]
    assert ended == ["c", "b", "a", "dynamic", "parent"]
