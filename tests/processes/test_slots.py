"""Places are served in order, and idle ones are asked to leave for those who wait (P6)."""

from __future__ import annotations

from collections.abc import Iterable

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from runtime.processes import Place, Slots


class Guest:
    """Somebody who wants a place, and says when it has to leave."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.place: Place | None = None
        self.asked = 0
        self.busy = True
        self.scope = trio.CancelScope()

    def leave(self) -> None:
        self.asked += 1
        assert not self.busy, "a busy place was asked"

    async def stay(self, slots: Slots) -> None:
        with self.scope:
            async with slots.place(self.leave) as place:
                self.place = place
                try:
                    await trio.sleep_forever()
                finally:
                    self.place = None

    def become(self, *, busy: bool) -> None:
        assert self.place is not None
        self.busy = busy
        if busy:
            self.place.busy()
        else:
            self.place.idle()


class House:
    """Slots with guests."""

    def __init__(self, nursery: trio.Nursery, limit: int) -> None:
        self.limit = limit
        self.slots = Slots(lambda: self.limit)
        self.nursery = nursery
        self.guests: list[Guest] = []

    async def come(self) -> Guest:
        guest = Guest(len(self.guests))
        self.guests.append(guest)
        self.nursery.start_soon(guest.stay, self.slots)
        await trio.testing.wait_all_tasks_blocked()
        return guest

    async def go(self, guest: Guest) -> None:
        guest.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()


async def test_places_are_served_in_order(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 1)
    first, second, third = [await house.come() for _ in range(3)]
    assert (house.slots.taken, house.slots.waiting) == (1, 2)
    await house.go(first)
    assert second.place is not None
    assert third.place is None
    assert first.asked == 0


async def test_the_longest_idle_place_is_asked_once(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 3)
    one, two, three = [await house.come() for _ in range(3)]
    two.become(busy=False)
    one.become(busy=False)
    await house.come()
    assert (one.asked, two.asked, three.asked) == (0, 1, 0)
    three.become(busy=False)
    assert (one.asked, two.asked, three.asked) == (0, 1, 0)
    await house.come()
    assert (one.asked, two.asked, three.asked) == (1, 1, 0)


async def test_a_place_that_was_used_meanwhile_is_idle_since_then(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 2)
    one, two = [await house.come() for _ in range(2)]
    one.become(busy=False)
    two.become(busy=False)
    one.become(busy=True)
    one.become(busy=False)
    await house.come()
    assert (one.asked, two.asked) == (0, 1)


async def test_a_busy_place_is_asked_when_it_becomes_idle(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 1)
    one = await house.come()
    await house.come()
    assert one.asked == 0
    one.become(busy=False)
    assert one.asked == 1


async def test_one_that_was_asked_and_got_work_is_made_up_for(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 2)
    one, two = [await house.come() for _ in range(2)]
    one.become(busy=False)
    await house.come()
    one.become(busy=True)
    two.become(busy=False)
    assert (one.asked, two.asked) == (1, 1)


async def test_who_stops_waiting_leaves_no_gap(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 1)
    one, two, three = [await house.come() for _ in range(3)]
    await house.go(two)
    assert house.slots.waiting == 1
    await house.go(one)
    assert three.place is not None


async def test_a_place_given_to_one_who_is_cancelled_in_that_instant_goes_on(
    nursery: trio.Nursery,
) -> None:
    # P6
    house = House(nursery, 1)
    one, two, three = [await house.come() for _ in range(3)]
    one.scope.cancel()
    two.scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert two.place is None
    assert three.place is not None
    assert (house.slots.taken, house.slots.waiting) == (1, 0)


async def test_the_limit_may_change(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 1)
    one, two, three = [await house.come() for _ in range(3)]
    house.limit = 2
    house.slots.reconsider()
    await trio.testing.wait_all_tasks_blocked()
    assert two.place is not None
    one.become(busy=False)
    two.become(busy=False)
    assert (one.asked, two.asked) == (1, 0)
    house.limit = 1
    house.slots.reconsider()
    assert (one.asked, two.asked) == (1, 1)
    await house.go(one)
    assert three.place is None
    await house.go(two)
    assert three.place is not None


async def test_a_place_that_was_left_is_nobody(nursery: trio.Nursery) -> None:
    # P6
    house = House(nursery, 1)
    one = await house.come()
    place = one.place
    assert place is not None
    await house.go(one)
    await house.come()
    await house.come()
    place.idle()
    place.busy()
    assert one.asked == 0
    assert (house.slots.taken, house.slots.waiting) == (1, 1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "go", "go both", "busy", "idle", "idle", "limit"]),
        st.integers(0, 30),
    ),
    max_size=40,
)


class Model:
    """What the rules say, in the plainest way: two lists."""

    def __init__(self) -> None:
        self.inside: list[int] = []
        self.line: list[int] = []

    def admit(self, limit: int) -> None:
        while self.line and len(self.inside) < limit:
            self.inside.append(self.line.pop(0))

    def remove(self, numbers: Iterable[int]) -> None:
        self.inside = [n for n in self.inside if n not in numbers]
        self.line = [n for n in self.line if n not in numbers]


async def step(house: House, model: Model, name: str, pick: int) -> None:
    present = model.inside + model.line
    match name:
        case "come":
            model.line.append(len(house.guests))
            model.admit(house.limit)
            await house.come()
        case "go" | "go both" if present:
            gone = {present[pick % len(present)]}
            if name == "go both":
                gone.add(present[(pick + 1) % len(present)])
            for number in gone:
                house.guests[number].scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            model.remove(gone)
            model.admit(house.limit)
        case "busy" | "idle" if model.inside:
            house.guests[model.inside[pick % len(model.inside)]].become(busy=name == "busy")
        case "limit":
            house.limit = pick % 5
            house.slots.reconsider()
            await trio.testing.wait_all_tasks_blocked()
            model.admit(house.limit)
        case _:
            pass


def check(house: House, model: Model) -> None:
    assert house.slots.taken == len(model.inside)
    assert house.slots.waiting == len(model.line)
    inside = [house.guests[number] for number in model.inside]
    assert [guest.number for guest in house.guests if guest.place] == sorted(model.inside)
    assert all(guest.asked <= 1 for guest in house.guests)
    assert not any(house.guests[number].asked for number in model.line)
    leaving = sum(1 for guest in inside if guest.asked and not guest.busy)
    could = [guest for guest in inside if not guest.asked and not guest.busy]
    if model.line and could:
        # As many are on their way out as are needed for all who wait.
        assert leaving >= len(model.inside) + len(model.line) - house.limit


@given(STEPS)
def test_whatever_happens_the_line_moves(steps: list[tuple[str, int]]) -> None:
    # P6
    async def play() -> None:
        async with trio.open_nursery() as nursery:
            house, model = House(nursery, 2), Model()
            for name, pick in steps:
                before = {guest: guest.asked for guest in house.guests}
                waiting = bool(model.line)
                await step(house, model, name, pick)
                if not (waiting or model.line):
                    assert all(guest.asked == before.get(guest, 0) for guest in house.guests)
                check(house, model)
            nursery.cancel_scope.cancel()
        assert (house.slots.taken, house.slots.waiting) == (0, 0)

    trio.run(play)
