"""A file of a message has exactly one owner, whatever happens and in whatever order (H7).

Hypothesis plays to a whole runtime (real actors, real rows, a real folder) what people, the agent,
the clock, the janitor and a power cut can do; several of these also at the same moment. After every
step that is quiet, what was promised is held against the rows, the index and the disk.

``OWNERSHIP_EXAMPLES=2000`` looks for longer, as ``make ownership COUNT=2000`` does.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.sessions.media import MediaKind
from runtime.settings import QueueMode
from tests.property.ownership.edges import Way
from tests.property.ownership.loop import Loop
from tests.property.ownership.player import Order
from tests.property.ownership.world import Work, World

EXAMPLES = int(os.environ.get("OWNERSHIP_EXAMPLES", "60"))
STEPS = 30

SIZES = (100, 250, 400, 600, 900, 901)
VOICES = (120, 150, 350)  # of the last there is no text
CAPS = (300, 1_000, 2_000, 4_000)
ORDERS = (
    (Order.FINISH,),
    (Order.SPEAK, Order.FINISH),
    (Order.END,),
    (Order.VANISH,),
    (Order.SPEAK, Order.VANISH),
    (Order.REFUSE,),
)
LATE = ("", "drop_pending", "end_turn", "leave_turn")
CHATS = ("chat-red", "chat-blue")
names = st.sampled_from(("one", "two", *CHATS))
chats = st.sampled_from(CHATS)
voices = st.lists(st.sampled_from(VOICES), min_size=1, max_size=2)
files = st.lists(st.sampled_from(SIZES), max_size=3)
together = st.sampled_from((False, False, False, True))
caps = st.sampled_from(CAPS)
operations = st.integers(0, 8)
numbers = st.integers(0, 3)
clients = st.sampled_from(("one", "two"))
steering: st.SearchStrategy[QueueMode] = st.sampled_from(("steer", "steer-backlog"))
modes = st.sampled_from(get_args(QueueMode))
ways: st.SearchStrategy[Way] = st.sampled_from(get_args(Way))
ways_back = st.sampled_from(("cancel", "clear", "reset", "close", "/stop", "/queue clear", "/new"))


class Ownership(RuleBasedStateMachine):
    """What happens. A rule that is drawn ``with_next`` happens at the same time as the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ownership-"))
        self.loop = Loop()
        self.world = World(self.loop, self.folder)
        self.works: list[Work] = []

    @initialize(mode=modes)
    def begin(self, mode: QueueMode) -> None:
        self.loop.call(self.world.begin, mode)

    def teardown(self) -> None:
        try:
            self.loop.call(self.world.end)
        finally:
            self.loop.close()
            shutil.rmtree(self.folder)

    @invariant()
    def everything_is_as_promised(self) -> None:
        if not self.works:
            self.loop.call(self.world.check)

    def _do(self, work: Work, with_next: bool, wait: float = 0.0) -> None:
        self.works.append(work)
        if not with_next:
            works, self.works = self.works, []
            self.loop.call(self.world.step, works, wait)

    def _all_calls(self, *orders: Order) -> None:
        for number in range(len(self.world.player.open_calls)):
            self.works.append(partial(self.world.order, number, orders))
        self._do(self.world.nothing, False)

    # -- people -------------------------------------------------------------------------------

    @rule(name=names, files=files, with_next=together)
    def prompt(self, name: str, files: list[int], with_next: bool) -> None:
        self._do(partial(self.world.prompt, name, files), with_next)

    @precondition(lambda self: self.world.player.open_calls)
    @rule(number=numbers, files=files, with_next=together)
    def say_more(self, number: int, files: list[int], with_next: bool) -> None:
        self._do(partial(self.world.say_more, number, files), with_next)

    @rule(chat=chats, files=files, way=ways, with_next=together)
    def push(self, chat: str, files: list[int], way: Way, with_next: bool) -> None:
        self._do(partial(self.world.push, chat, files, way), with_next)

    @rule(chat=chats, files=voices, way=ways, with_next=together)
    def speak(self, chat: str, files: list[int], way: Way, with_next: bool) -> None:
        self._do(partial(self.world.push, chat, files, way, MediaKind.VOICE), with_next)

    @rule(with_next=together)
    def push_again(self, with_next: bool) -> None:
        self._do(self.world.push_again, with_next)

    @rule(name=names, files=files)
    def exchange(self, name: str, files: list[int]) -> None:
        """All goes well, from the question to the answer."""
        self._do(partial(self.world.prompt, name, files), False)
        self._all_calls(Order.SPEAK, Order.FINISH)

    @rule(name=clients, mode=steering, files=files, taken=st.sampled_from((True, False, None)))
    def while_it_works(
        self, name: str, mode: QueueMode, files: list[int], taken: bool | None
    ) -> None:
        """A message for the turn that runs; it is taken in, or not, or the agent ponders (Q3)."""
        self._do(partial(self.world.set_mode, name, mode), False)
        self._do(partial(self.world.prompt, name, []), False)
        self._all_calls(Order.SPEAK)
        self._do(partial(self.world.prompt, name, files), False)
        if taken is not None:
            self._do(partial(self.world.decide, -1, taken), False)

    @rule(name=names, how=ways_back, with_next=together)
    def take_back(self, name: str, how: str, with_next: bool) -> None:
        self._do(partial(self.world.take_back, name, how), with_next)

    @precondition(lambda self: self.world.player.open_calls)
    @rule(number=numbers, how=ways_back, orders=st.sampled_from(ORDERS), at_once=st.booleans())
    def speak_too_late(
        self, number: int, how: str, orders: tuple[Order, ...], at_once: bool
    ) -> None:
        """Somebody takes back what an agent has, which does not stop for that."""
        self.world.player.stubborn = True
        calls = self.world.player.open_calls
        quiet = [at for at, call in enumerate(calls) if call.links and not call.spoke]
        number = quiet[number % len(quiet)] if quiet else number
        self._do(partial(self.world.take_back_turn, number, how), at_once)
        self._do(partial(self.world.order, number, orders), False)

    @rule(name=clients, files=files, orders=st.sampled_from(ORDERS), steps=st.sampled_from((9, 40)))
    def clear_while_it_ends(
        self, name: str, files: list[int], orders: tuple[Order, ...], steps: int
    ) -> None:
        """What an agent has is cleared; its turn ends before the answer of the store is there."""
        self._do(partial(self.world.prompt, name, files), False)
        self.world.life.late = "drop_pending"
        self._do(partial(self.world.take_back, name, "clear"), True)
        self._do(partial(self.world.order, -1, orders, steps), False)
        self.world.life.late = ""

    @rule(name=names, mode=modes)
    def set_mode(self, name: str, mode: QueueMode) -> None:
        self._do(partial(self.world.set_mode, name, mode), False)

    # -- the agent ----------------------------------------------------------------------------

    @precondition(lambda self: self.world.player.open_calls)
    @rule(number=numbers, orders=st.sampled_from(ORDERS), with_next=together)
    def agent(self, number: int, orders: tuple[Order, ...], with_next: bool) -> None:
        self._do(partial(self.world.order, number, orders), with_next)

    @precondition(lambda self: self.world.player.open_calls)
    @rule(number=numbers, with_next=together)
    def agent_speaks(self, number: int, with_next: bool) -> None:
        self._do(partial(self.world.order, number, (Order.SPEAK,)), with_next)

    @precondition(lambda self: self.world.player.open_steers)
    @rule(number=numbers, taken=st.booleans(), with_next=together)
    def steered(self, number: int, taken: bool, with_next: bool) -> None:
        self._do(partial(self.world.decide, number, taken), with_next)

    @rule(stubborn=st.booleans())
    def manners(self, stubborn: bool) -> None:
        self.world.player.stubborn = stubborn

    # -- the runtime --------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.4, 1.1, 5.5, 11.0, 31.0, 130.0, 305.0)))
    def wait(self, seconds: float) -> None:
        self._do(self.world.nothing, False, seconds)

    @rule(with_next=together)
    def sweep(self, with_next: bool) -> None:
        self._do(self.world.sweep, with_next)

    @rule(cap=caps, with_next=together)
    def set_cap(self, cap: int, with_next: bool) -> None:
        self._do(partial(self.world.set_cap, cap), with_next)

    @rule(name=names, part=st.sampled_from(("session", "queue", "janitor")), with_next=together)
    def crash(self, name: str, part: str, with_next: bool) -> None:
        self._do(partial(self.world.crash, name, part), with_next)

    @rule(orderly=st.booleans(), with_next=together)
    def restart(self, orderly: bool, with_next: bool) -> None:
        self._do(partial(self.world.restart, orderly=orderly), with_next)

    @rule(operation=st.sampled_from(LATE))
    def answers_come_late(self, operation: str) -> None:
        self.world.life.late = operation

    @rule(operations=operations)
    def power_cut_soon(self, operations: int) -> None:
        self.world.life.fuse = operations

    @rule(operations=operations, name=names, how=ways_back, cap=caps)
    def power_cut_while_files_go(self, operations: int, name: str, how: str, cap: int) -> None:
        self.world.life.fuse = operations
        self._do(partial(self.world.set_cap, cap), True)
        self._do(partial(self.world.take_back, name, how), False)

    @rule(
        name=names, how=ways_back, removals=st.sampled_from(("are refused", "fall over")), cap=caps
    )
    def removals_fail(
        self, name: str, how: str, removals: Literal["are refused", "fall over"], cap: int
    ) -> None:
        """What could not be removed is tried again at a sweep (M6)."""
        self._do(partial(self.world.removals, removals), True)
        self._do(partial(self.world.set_cap, cap), True)
        self._do(partial(self.world.take_back, name, how), False, 1.0)
        self._do(partial(self.world.removals, "work"), False, 61.0)

    # -- the network --------------------------------------------------------------------------

    @rule(going=st.booleans(), with_next=together)
    def downloads(self, going: bool, with_next: bool) -> None:
        self._do(partial(self.world.let_files_go, going), with_next)


Ownership.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None
)


# A1 H1 H2 H3 H4 H5 H6 H7 H8 M4 M5 M7 M8 M9 Q1 Q4
@pytest.mark.slow
class TestOwnership(Ownership.TestCase):  # type: ignore[misc,valid-type]
    pass
