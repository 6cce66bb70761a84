"""A line: who comes first goes first, whoever gives up in between (Q7)."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.line import Line, Place


# Q7
async def test_each_waits_for_all_before_it() -> None:
    line, gone = Line(), list[str]()

    async def stand(name: str, place: Place) -> None:
        await place.turn()
        gone.append(name)
        if name != "a":
            place.leave()

    async with trio.open_nursery() as nursery:
        places = {name: line.join("one") for name in "abcd"}
        for name in reversed("abcd"):
            nursery.start_soon(stand, name, places[name])
        await stand("other", line.join("two"))
        await wait_all_tasks_blocked()
        assert gone == ["other", "a"]
        places["a"].leave()
    assert gone == ["other", "a", "b", "c", "d"]
    assert line.counters == 0


# Q7: one that leaves before its turn lets nobody past those before it
@pytest.mark.parametrize("joined", ["before", "after"])
async def test_who_gives_up_lets_nobody_in(joined: str) -> None:
    line, gone = Line(), list[str]()
    first, second = line.join("one"), line.join("one")
    third = line.join("one") if joined == "before" else None
    second.leave()
    third = line.join("one") if third is None else third

    async def stand(place: Place) -> None:
        await place.turn()
        gone.append("third")
        place.leave()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stand, third)
        await wait_all_tasks_blocked()
        assert gone == []
        first.leave()
    assert gone == ["third"]
    assert line.counters == 0


# Q7
@pytest.mark.parametrize("seed", range(20))
async def test_they_go_in_order_whatever_happens(autojump_clock: MockClock, seed: int) -> None:
    chance, line, gone = random.Random(seed), Line(), list[int]()

    async def stand(number: int, place: Place, ready: float, gives_up: bool) -> None:
        try:
            await trio.sleep(ready)
            if not gives_up:
                await place.turn()
                gone.append(number)
        finally:
            place.leave()

    async with trio.open_nursery() as nursery:
        for number in range(50):
            ready, gives_up = chance.random() * 10, chance.random() < 0.3
            nursery.start_soon(stand, number, line.join("one"), ready, gives_up)
            await trio.sleep(chance.random())
    assert gone == sorted(gone)
    assert len(gone) > 20
    assert line.counters == 0
