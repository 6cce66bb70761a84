"""What is told of files that were not taken: once for a message, whatever happens (Q4, M5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.channels.scripted import Behaviour
from runtime.storage.sqlite import SqliteStore, open_memory
from tests.actors.stage import clock
from tests.actors.test_fetching import LIMIT, Place, image, links, place

GONE = Behaviour("for_good")
REASON = "the file is gone, as scripted"


def notices(here: Place) -> list[str]:
    return [each.text for each in here.network.arrived if each.text.startswith("Not taken")]


# Q4
async def test_a_message_with_many_files_that_are_not_taken_is_told_of_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.files.update(a=GONE, b=b"bytes", c=GONE)
        files = (image("large", size=LIMIT + 1), image("a"), image("b"), image("c"))
        await here.network.say("look", attachments=files)
        call = await here.agent.called(1)
        assert [link.name for link in links(call)] == ["b.png"]
        await trio.sleep(60)
        (told,) = notices(here)
        head, large, a, c = told.split("\n")
        assert (head, a, c) == ("Not taken:", f"a.png: {REASON}", f"c.png: {REASON}")
        assert large.startswith("large.png: it is larger than")


# Q4
async def test_each_message_is_told_of_for_itself(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with place(tmp_path / "media") as here:
        here.network.files.update(a=GONE, b=GONE)
        for name in ("a", "b"):
            await here.network.say(name, attachments=(image(name),))
        await here.agent.called(1)
        await trio.sleep(60)
        assert sorted(notices(here)) == [f"Not taken:\n{x}.png: {REASON}" for x in ("a", "b")]


class Falling:
    """The real store; the power goes when this many files were written down, or so many messages.

    Args:
        store: keeps what was committed.
        operation: after which of its operations.
        count: after how many of them.
    """

    def __init__(self, store: SqliteStore, operation: str, count: int) -> None:
        self._store = store
        self._operation = operation
        self._left = count
        self.power = trio.CancelScope()

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)
        if name != self._operation:
            return operation

        async def fall(*args: Any, **options: Any) -> Any:
            result = await operation(*args, **options)
            self._left -= 1
            if not self._left:
                self.power.cancel()
                with trio.CancelScope(shield=True):  # what is said after it is never heard
                    await trio.sleep(1)
                await trio.lowlevel.checkpoint()
            return result

        return fall


# Q4 Q8
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_power_cut_while_files_are_refused_costs_no_notice_and_makes_none(
    tmp_path: Path, autojump_clock: MockClock, count: int
) -> None:
    files = {"a": GONE, "b": GONE, "c": GONE}
    async with open_memory(clock) as memory:
        store: Any = Falling(memory, "attach", count)
        with store.power:
            async with place(tmp_path / "media", store=store) as here:
                here.network.files.update(files)
                await here.network.say("look", attachments=tuple(map(image, files)))
                await trio.sleep(1_000)
        assert store.power.cancelled_caught
        assert notices(here) == []
        async with place(tmp_path / "media", store=memory) as again:
            again.network.files.update(files)
            await again.agent.called(1)
            await trio.sleep(60)
            assert notices(again) == [
                "\n".join(["Not taken:", *(f"{name}.png: {REASON}" for name in files)])
            ]
            assert again.network.fetched == list(files)[count:]


# Q4 M5 Q8
async def test_a_power_cut_after_a_message_was_accepted_costs_no_notice(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_memory(clock) as memory:
        store: Any = Falling(memory, "admit", 1)
        with store.power:
            async with place(tmp_path / "media", store=store) as here:
                await here.network.say("look", attachments=(image("a", size=LIMIT + 1),))
        assert store.power.cancelled_caught
        async with place(tmp_path / "media", store=memory) as again:
            await again.agent.called(1)
            await trio.sleep(60)
            (told,) = notices(again)
            assert told.startswith("Not taken:\na.png: it is larger")
