"""The store against a plain model: every message is in one state, of one owner (D6, Q4, T1)."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.sessions.content import text_content
from runtime.sessions.rows import DropReason, InboundState, SessionSpec, TurnState
from runtime.storage import (
    sql_admission,
    sql_epochs,
    sql_inbound,
    sql_joining,
    sql_journal,
    sql_sessions,
    sql_settle,
    sql_turns,
    sql_withdrawing,
)
from runtime.storage.anew import StartAnew
from runtime.storage.engine import Engine, Limits, Operation, decided
from runtime.storage.errors import NotPending, QueueFull, StaleFence, TurnRunning
from runtime.storage.joining import JoinTurn, LeaveTurn
from runtime.storage.migrations import bundled
from runtime.storage.opening import open_memory_database
from runtime.storage.requests import (
    BeginTurn,
    DropPending,
    EndTurn,
    InterruptedPolicy,
    NewEntry,
    NewInbound,
    Owner,
    Settlement,
    TurnProgress,
)
from tests.storage.stage import CHAT, START, cap, key, new_id

T = TypeVar("T")

PENDING, CLAIMED = InboundState.PENDING, InboundState.CLAIMED
DONE, FAILED, DROPPED = InboundState.DONE, InboundState.FAILED, InboundState.DROPPED
MAX_TRIES = 3
POLICIES = st.sampled_from([InterruptedPolicy(max_tries=MAX_TRIES), InterruptedPolicy(retry=False)])


class Message:
    """What the model knows of a message."""

    def __init__(self, message_id: str, waits: bool) -> None:
        self.id = message_id
        self.waits = waits
        self.state = PENDING
        self.tries = 0
        self.carried = False


class Turn:
    """What the model knows of a running turn."""

    def __init__(self, request: BeginTurn, messages: list[Message]) -> None:
        self.request = request
        self.messages = messages
        self.joined: list[Message] = []
        self.said = False


class Session:
    """What the model knows of a session."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.epoch = 1
        self.fence = 0
        self.messages: list[Message] = []
        self.turn: Turn | None = None
        self.lines: list[str] = []

    def pending(self) -> list[Message]:
        return [message for message in self.messages if message.state is PENDING]


class StoreMachine(RuleBasedStateMachine):
    """Two sessions, whatever may happen to them in any order."""

    @initialize()
    def open(self) -> None:
        self.engine = Engine(open_memory_database(bundled()), Limits())
        self.sessions = []
        for name in ("a", "b"):
            row, _ = self.do(partial(sql_sessions.resolve, spec=SessionSpec("echo", name)))
            self.sessions.append(Session(row.id))
        self.keys: dict[int, str] = {}
        self.instance = 0

    def do(self, operation: Operation[T]) -> T:
        return decided(operation, START, self.engine)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()

    # -- messages -----------------------------------------------------------------------------

    @rule(
        which=st.integers(0, 1),
        waits=st.booleans(),
        size=st.integers(1, 3),
        drop=st.sampled_from(["old", "new", "summarize"]),
        number=st.integers(0, 30),
    )
    def admit(self, which: int, waits: bool, size: int, drop: str, number: int) -> None:
        session = self.sessions[which]
        new = NewInbound(
            new_id(),
            session.id,
            text_content("x"),
            reply_to=None if waits else CHAT,
            key=key(number),
            limit=cap(size, drop),
            refuse_when_full=waits,
        )
        operation = partial(sql_admission.admit, messages=(new,), offset=None)
        if number in self.keys:
            (again,) = self.do(operation)
            assert again.duplicate
            assert again.message.id == self.keys[number]
            return
        waiting = session.pending()
        excess = len(waiting) + 1 - size
        if waits and excess > 0:
            with pytest.raises(QueueFull):
                self.do(operation)
            return
        (admitted,) = self.do(operation)
        message = Message(new.id, waits)
        droppable = [each for each in waiting if not each.waits]
        victims = droppable[: max(excess, 0)]
        if excess > 0 and (drop == "new" or len(victims) < excess):
            victims = []
            message.state = DROPPED
        for victim in victims:
            victim.state = DROPPED
        session.messages.append(message)
        self.keys[number] = new.id
        assert admitted.message.state is message.state
        assert [row.id for row in admitted.dropped] == [victim.id for victim in victims]
        assert admitted.message.seq == len(session.messages)

    @rule(which=st.integers(0, 1), choice=st.integers(0, 5))
    def withdraw_one(self, which: int, choice: int) -> None:
        session = self.sessions[which]
        if choice < len(session.messages):
            message = session.messages[choice]
            request = DropPending(session.id, DropReason.CANCELLED, (message.id,))
            dropped = self.do(partial(sql_withdrawing.withdraw, request=request))
            assert len(dropped) == (message.state is PENDING)
            if dropped:
                message.state = DROPPED

    @rule(which=st.integers(0, 1))
    def new_epoch(self, which: int) -> None:
        session = self.sessions[which]
        row, dropped = self.do(partial(sql_epochs.new_epoch, session_id=session.id))
        assert [each.id for each in dropped] == [each.id for each in session.pending()]
        for message in session.pending():
            message.state = DROPPED
        session.epoch += 1
        assert row.epoch == session.epoch

    @rule(which=st.integers(0, 1), choice=st.integers(0, 5), more=st.booleans())
    def start_anew(self, which: int, choice: int, more: bool) -> None:
        session = self.sessions[which]
        if choice >= len(session.messages):
            return
        asked = session.messages[choice]
        request = StartAnew(session.id, asked.id, text_content("more") if more else ())
        started = self.do(partial(sql_epochs.start_anew, request=request))
        if asked.state is not PENDING:
            assert started is None
            return
        before = [each for each in session.messages[:choice] if each.state is PENDING]
        for message in before:
            message.state = DROPPED
        asked.state = PENDING if more else DONE
        session.epoch += 1
        assert started is not None
        assert started.session.epoch == session.epoch
        assert [row.id for row in started.dropped] == [each.id for each in before]

    # -- turns --------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), count=st.integers(1, 3), fence_off=st.sampled_from([0, 0, 0, 1]))
    def begin(self, which: int, count: int, fence_off: int) -> None:
        session = self.sessions[which]
        chosen = session.pending()[:count]
        request = BeginTurn(
            new_id(),
            session.id,
            session.epoch,
            session.fence - fence_off,
            Owner(str(self.instance), "x"),
            tuple(message.id for message in chosen),
        )
        operation = partial(sql_turns.begin, request=request)
        if fence_off or session.turn is not None:
            with pytest.raises((StaleFence, TurnRunning)):
                self.do(operation)
            return
        self.do(operation)
        for message in chosen:
            message.state = CLAIMED
            message.carried = True
        session.turn = Turn(request, chosen)

    @rule(which=st.integers(0, 1), choice=st.integers(0, 5))
    def begin_with_one_that_does_not_wait(self, which: int, choice: int) -> None:
        session = self.sessions[which]
        gone = [message for message in session.messages if message.state is not PENDING]
        if session.turn is None and choice < len(gone):
            ids = (*(message.id for message in session.pending()), gone[choice].id)
            owner = Owner("i", "x")
            request = BeginTurn(new_id(), session.id, session.epoch, session.fence, owner, ids)
            with pytest.raises(NotPending):
                self.do(partial(sql_turns.begin, request=request))

    @precondition(lambda self: any(session.turn for session in self.sessions))
    @rule(which=st.integers(0, 1), choice=st.integers(0, 5))
    def join(self, which: int, choice: int) -> None:
        session = self.sessions[which]
        turn = session.turn
        if turn is None or choice >= len(session.messages):
            return
        message = session.messages[choice]
        epoch = turn.request.epoch
        request = JoinTurn(turn.request.turn_id, session.id, epoch, session.fence, message.id)
        operation = partial(sql_joining.join, request=request)
        if message in turn.messages or (
            message.state is PENDING and not message.carried and epoch == session.epoch
        ):
            carried = self.do(operation).message_ids
            if message not in turn.messages:
                turn.messages.append(message)
                turn.joined.append(message)
            message.state = CLAIMED
            assert carried == tuple(each.id for each in turn.messages)
            return
        with pytest.raises((NotPending, StaleFence)):
            self.do(operation)

    @precondition(lambda self: any(session.turn for session in self.sessions))
    @rule(which=st.integers(0, 1), drop=st.sampled_from([None, DropReason.CLEARED]))
    def leave(self, which: int, drop: DropReason | None) -> None:
        session = self.sessions[which]
        turn = session.turn
        if turn is None or not turn.joined:
            return
        message = turn.joined.pop()
        turn.messages.remove(message)
        request = LeaveTurn(turn.request.turn_id, session.id, session.fence, message.id, drop)
        left = self.do(partial(sql_joining.leave, request=request))
        stale = turn.request.epoch != session.epoch
        message.state = DROPPED if drop is not None or stale else PENDING
        assert left is not None
        assert left.state is message.state

    @precondition(lambda self: any(session.turn for session in self.sessions))
    @rule(which=st.integers(0, 1))
    def say(self, which: int) -> None:
        session = self.sessions[which]
        if session.turn is not None:
            request = session.turn.request
            progress = TurnProgress(request.turn_id, session.id, session.fence, 0, "so far")
            self.do(partial(sql_turns.save_progress, progress=progress))
            session.turn.said = True

    @precondition(lambda self: any(session.turn for session in self.sessions))
    @rule(which=st.integers(0, 1), to=st.sampled_from([DONE, FAILED, PENDING]), twice=st.booleans())
    def end(self, which: int, to: InboundState, twice: bool) -> None:
        session = self.sessions[which]
        turn = session.turn
        if turn is None:
            return
        request = EndTurn(
            turn.request.turn_id,
            session.id,
            turn.request.epoch,
            session.fence,
            TurnState.VANISHED if to is PENDING else TurnState.DONE,
            messages=tuple(Settlement(each.id, to, count_try=True) for each in turn.messages),
            journal=(NewEntry(turn.request.turn_id, "assistant", "answer"),),
        )
        first = self.do(partial(sql_turns.end, request=request))
        if twice:
            assert self.do(partial(sql_turns.end, request=request)) == first
        for message in turn.messages:
            message.carried = True
            stale = to is PENDING and turn.request.epoch != session.epoch
            message.state = DROPPED if stale else to
            message.tries += 1
        session.lines.append(turn.request.turn_id)
        session.turn = None

    # -- owners -------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), policy=POLICIES)
    def wake(self, which: int, policy: InterruptedPolicy) -> None:
        session = self.sessions[which]
        owner = Owner(str(self.instance), new_id())
        operation = partial(sql_settle.wake, session_id=session.id, owner=owner, policy=policy)
        awake = self.do(operation)
        self.cut_off(session, policy)
        session.fence += 1
        assert awake.session.fence == session.fence
        assert [row.id for row in awake.pending] == [each.id for each in session.pending()]

    @rule(policy=POLICIES)
    def crash_and_recover(self, policy: InterruptedPolicy) -> None:
        self.instance += 1
        running = [session for session in self.sessions if session.turn is not None]
        recovery = self.do(partial(sql_settle.recover, instance=str(self.instance), policy=policy))
        assert {settled.session_id for settled in recovery.settled} == {
            session.id for session in running
        }
        for session in running:
            self.cut_off(session, policy)
            session.fence += 1

    def cut_off(self, session: Session, policy: InterruptedPolicy) -> None:
        turn = session.turn
        if turn is None:
            return
        failed = []
        for message in turn.messages:
            message.carried = True
            if turn.request.epoch != session.epoch:
                message.state = DROPPED
                continue
            message.state = PENDING
            if not policy.retry or message.tries >= policy.max_tries:
                message.state = FAILED
                failed.append(message)
            message.tries += 1
        asked = turn.messages if turn.said else failed
        session.lines += [each.id for each in asked if each.id not in session.lines]
        if turn.said:
            session.lines.append(f"{turn.request.turn_id}:answer")
        if failed:
            session.lines.append(f"{turn.request.turn_id}:error")
        session.turn = None

    # -- what always holds --------------------------------------------------------------------

    @invariant()
    def every_message_is_where_the_model_says(self) -> None:
        for session in getattr(self, "sessions", ()):
            for seq, message in enumerate(session.messages, start=1):
                status = self.do(partial(sql_inbound.status, message_id=message.id))
                assert status is not None
                row = status.message
                assert (row.state, row.seq) == (message.state, seq)
                if message.state is not DROPPED:
                    assert row.tries == message.tries

    @invariant()
    def the_journal_has_every_line_once_and_in_order(self) -> None:
        for session in getattr(self, "sessions", ()):
            operation = partial(
                sql_journal.read, session_id=session.id, after=0, limit=1_000, epoch=None
            )
            lines = self.do(operation)
            assert [line.id for line in lines] == session.lines
            assert [line.seq for line in lines] == list(range(1, len(lines) + 1))


StoreMachine.TestCase.settings = settings(stateful_step_count=40)


TestStore = StoreMachine.TestCase  # D5, D6, D7, D8, Q4, Q7, Q8, T1, S18
