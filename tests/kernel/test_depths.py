"""How much waits, seen without a look at every actor."""

from __future__ import annotations

from functools import partial

import trio

from runtime.kernel import Actor, MailboxDepths, System, open_system
from runtime.kernel.testkit import settle
from tests.kernel.cast import Note

# K4, K9


class Till(Actor[Note]):
    """Waits in its first message until the test opens it."""

    def __init__(self, opened: trio.Event, children: int = 0) -> None:
        self._opened = opened
        self._children = children

    async def on_start(self) -> None:
        for number in range(self._children):
            ref = self.spawn(partial(Till, self._opened), name=str(number))
            for _ in range(number + 1):
                ref.tell(Note("x"))

    async def on_message(self, message: Note) -> None:
        await self._opened.wait()


def looked_at(system: System, limit: int) -> int:
    return system.mailbox_depths(limit)["parent/*"].total


async def test_depths_by_the_actors_at_the_top() -> None:
    opened = trio.Event()
    async with open_system() as system:
        lone = system.spawn(partial(Till, opened), name="lone")
        system.spawn(partial(Till, opened, 3), name="parent")
        await settle(system)
        for _ in range(4):
            lone.tell(Note("x"))
        await settle(system)
        # One message of each is in hand.
        assert system.mailbox_depths() == {
            "lone": MailboxDepths(3, 3),
            "parent": MailboxDepths(0, 0),
            "parent/*": MailboxDepths(2, 3),
        }
        opened.set()
        await settle(system)
        depths = system.mailbox_depths()
        assert depths["lone"] == MailboxDepths(0, 0)
        assert depths.get("parent/*", MailboxDepths()).total == 0


async def test_not_more_of_them_are_looked_at_than_asked_for() -> None:
    opened = trio.Event()
    async with open_system() as system:
        system.spawn(partial(Till, opened, 20), name="parent")
        await settle(system)
        assert (
            looked_at(system, 5) < looked_at(system, 15) < looked_at(system, 100) == sum(range(20))
        )
        opened.set()
