"""The waiting queue under any order of arrivals, turns, retries, withdrawals and pauses."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from runtime.sessions.media import MediaItem
from runtime.sessions.modes import QueueMode
from runtime.sessions.queueing import (
    Decision,
    Heard,
    Interrupt,
    QueuePolicy,
    Run,
    Running,
    Steer,
    WaitingQueue,
    WaitUntil,
    conversation_of,
)
from runtime.sessions.rows import InboundRow
from tests.sessions.rows import address, inbound

DEBOUNCE, DEBOUNCE_MAX = 1.0, 4.0
CHATS = st.sampled_from([None, "a", "b"])
MODES = st.sampled_from(QueueMode)
FETCHING = (MediaItem(reference="r"),)


# Q1, Q2, Q3, Q7, Q8, M10
class Queue(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.waiting = WaitingQueue()
        self.now = 0.0
        self.seq = 0
        self.mode = QueueMode.COLLECT
        self.rows: dict[str, InboundRow] = {}
        self.arrived: dict[str, float] = {}
        self.debounced: set[str] = set()
        self.running: tuple[InboundRow, ...] = ()
        self.newest_at_start = -1
        self.steerable = False
        self.told: set[str] = set()
        self.refused: set[str] = set()
        self.head: str | None = None
        self.head_since = 0.0

    @property
    def now_ms(self) -> int:
        return round(self.now * 1000)

    def look(self) -> Decision:
        policy = QueuePolicy(self.mode, DEBOUNCE, DEBOUNCE_MAX)
        running = None
        if self.running:
            told, refused = frozenset(self.told), frozenset(self.refused)
            running = Running(
                conversation_of(self.running[0]), self.steerable, told=told, refused=refused
            )
        return self.waiting.decide(self.now, self.now_ms, running, policy)

    def wait(self, row: InboundRow, *, debounced: bool) -> None:
        self.waiting.add(row, self.now, debounced=debounced)
        self.rows[row.id] = row
        self.arrived[row.id] = self.now
        if debounced:
            self.debounced.add(row.id)

    @rule(chat=CHATS, debounced=st.booleans(), fetching=st.booleans())
    def arrives(self, chat: str | None, debounced: bool, fetching: bool) -> None:
        self.seq += 1
        reply_to = None if chat is None else address(chat, f"p{self.seq}")
        media = FETCHING if fetching else ()
        self.wait(inbound(self.seq, reply_to=reply_to, media=media), debounced=debounced)

    @precondition(lambda self: any(row.fetching for row in self.rows.values()))
    @rule(data=st.data())
    def a_file_comes(self, data: st.DataObject) -> None:
        coming = sorted(row.id for row in self.rows.values() if row.fetching)
        row = self.rows[data.draw(st.sampled_from(coming))]
        self.rows[row.id] = replace(row, media=())
        self.waiting.replace(self.rows[row.id])

    @rule(delay=st.integers(1, 8))
    def is_scheduled(self, delay: int) -> None:
        self.seq += 1
        row = inbound(self.seq, not_before=self.now_ms + delay * 500)
        self.wait(row, debounced=False)

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        """What gets ready meanwhile runs when it is: whoever decides is woken then."""
        end = self.now + seconds
        self.runs_what_is_ready()
        while isinstance(decision := self.look(), WaitUntil) and decision.at <= end:
            self.now = decision.at
            self.runs_what_is_ready()
        self.now = end

    @rule(mode=MODES)
    def mode_changes(self, mode: QueueMode) -> None:
        self.mode = mode

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def is_withdrawn(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.rows)))
        self.waiting.remove([gone])
        self.forget(gone)

    @rule()
    def runs_what_is_ready(self) -> None:
        decision = self.look()
        if isinstance(decision, Run):
            self.running = decision.rows
            self.newest_at_start = self.seq
            gone = [row.id for row in decision.rows]
            self.waiting.remove(gone)
            for row_id in gone:
                self.forget(row_id)

    @precondition(lambda self: self.running)
    @rule()
    def agent_begins(self) -> None:
        self.steerable = True

    @rule(heard=st.sampled_from(Heard))
    def is_handed_to_the_turn(self, heard: Heard) -> None:
        decision = self.look()
        if not isinstance(decision, Steer):
            return
        row = decision.row
        if heard is Heard.TAKEN:
            self.running += (row,)
        elif heard is Heard.TOLD:
            self.told.add(row.id)
        elif heard is Heard.REFUSED:
            self.refused.add(row.id)
        if heard in (Heard.TAKEN, Heard.GONE):
            self.waiting.remove([row.id])
            self.forget(row.id)

    @precondition(lambda self: self.running)
    @rule(again=st.booleans(), delay=st.sampled_from([None, 500, 2_000]))
    def turn_ends(self, again: bool, delay: int | None) -> None:
        rows, self.running = self.running, ()
        self.steerable = False
        self.told.clear()
        self.refused.clear()
        for row in rows if again else ():
            not_before = None if delay is None else self.now_ms + delay
            row = replace(row, tries=row.tries + 1, turn_id=f"t{row.seq}", not_before=not_before)
            self.wait(row, debounced=False)

    def forget(self, row_id: str) -> None:
        del self.rows[row_id]
        self.debounced.discard(row_id)

    @invariant()
    def nothing_is_lost_and_order_is_kept(self) -> None:
        expected = sorted(self.rows.values(), key=lambda row: row.seq)
        assert list(self.waiting.waiting) == expected

    @invariant()
    def the_decision_is_right(self) -> None:
        decision = self.look()
        if isinstance(decision, Run):
            self.check_run(decision)
        elif isinstance(decision, Steer):
            self.check_steer(decision.row)
        elif isinstance(decision, Interrupt):
            assert self.running
            assert self.mode is QueueMode.INTERRUPT
            assert max(row.seq for row in self.rows.values()) > self.newest_at_start
        elif isinstance(decision, WaitUntil):
            assert decision.at > self.now
        else:
            coming = any(row.fetching for row in self.rows.values())
            assert self.running or coming or not self.rows

    def check_run(self, run: Run) -> None:
        assert not self.running
        standing = [
            row
            for row in sorted(self.rows.values(), key=lambda row: row.seq)
            if row.tries or row.not_before is None or row.not_before <= self.now_ms
        ]
        assert list(run.rows) == standing[: len(run.rows)]
        assert all(row.not_before is None or row.not_before <= self.now_ms for row in run.rows)
        assert not any(row.fetching for row in run.rows)
        conversations = {row.reply_to and row.reply_to.conversation for row in run.rows}
        assert len(conversations) == 1
        assert self.mode is not QueueMode.FOLLOWUP or len(run.rows) == 1

    def check_steer(self, row: InboundRow) -> None:
        """Everything before it in its conversation was told, or its time has not come."""
        assert self.steerable
        assert self.mode.steers
        assert conversation_of(row) == conversation_of(self.running[0])
        assert row.id in self.rows
        assert row.id not in self.told | self.refused
        assert not row.tries
        assert not row.fetching
        assert row.not_before is None or row.not_before <= self.now_ms
        for other in self.rows.values():
            if other.seq < row.seq and conversation_of(other) == conversation_of(row):
                scheduled = not other.tries and (other.not_before or 0) > self.now_ms
                assert scheduled or other.id in self.told

    @invariant()
    def nobody_starves(self) -> None:
        """The longest that a head waits with nothing in its way is the longest window, and for the
        files of what came in it.
        """
        head = min(self.rows.values(), key=lambda row: row.seq, default=None)
        if head is None or self.running or head.id != self.head:
            self.head = head.id if head is not None and not self.running else None
            self.head_since = self.now
        if head is None or self.running:
            return
        due = max(self.arrived[head.id] + DEBOUNCE_MAX, self.head_since)
        if head.not_before is not None:
            due = max(due, head.not_before / 1000)
        coming = [row.id for row in self.rows.values() if row.fetching]
        if self.now >= due and all(self.arrived[name] > due for name in coming):
            assert isinstance(self.look(), Run)


TestQueue = Queue.TestCase
