"""What was promised about each file, and whether it is so.

Nothing here asks the runtime's rules of handover: who owns a file is worked out from what people
sent, from what the agent was given and said, and from how each message stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runtime.sessions.handover import Owner
from tests.property.ownership.facts import Facts, Message, digest
from tests.property.ownership.player import Call, FileKey, Steer


@dataclass
class File:
    """A file that a message brought.

    ``promised``: an agent that had it spoke. ``used``: when, last. ``touched``: when anything last
    happened to a message with it, accepted or not. ``in_flight`` and ``here``: as of the last quiet
    moment.
    """

    content: bytes
    promised: bool = False
    epoch: int = 0
    used: float = 0.0
    touched: float = 0.0
    evicted: bool = False
    in_flight: bool = False
    here: bool = False
    seen_as: tuple[tuple[str, str | None], ...] = ()


@dataclass
class Step:
    """What could have made a difference since the last quiet moment.

    Args:
        cap: the cap as it is now.
        lowest_cap: the lowest that held.
        highest_cap: the highest.
        number: how many files were to be taken in.
        works: how many things happened.
        refused: a message was refused for want of room.
        taken_in: bytes that were to be taken in, at most.
        tried: which bytes these were.
        reserved: bytes of the downloads that have not come to their end, at most.
        reserved_least: and at least.
        unfinished: how many these are.
    """

    cap: int
    lowest_cap: int
    highest_cap: int
    number: int = 0
    taken_in: int = 0
    refused: bool = False
    works: int = 0
    tried: set[bytes] = field(default_factory=set)
    reserved: int = 0
    reserved_least: int = 0
    unfinished: int = 0


@dataclass
class Record:
    """All that was promised."""

    said: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    files: dict[FileKey, File] = field(default_factory=dict)
    told: set[FileKey] = field(default_factory=set)
    perhaps: set[FileKey] = field(default_factory=set)
    owed: dict[str, set[FileKey]] = field(default_factory=lambda: defaultdict(set))
    epochs: dict[str, int] = field(default_factory=dict)
    cleared: dict[str, int] = field(default_factory=dict)
    on_disk: int = 0
    counted: int = 0

    def given(self, key: FileKey, content: bytes) -> None:
        """An agent is given a file: its message may not speak of it any more at the next look."""
        known = self.files.setdefault(key, File(content))
        assert known.content == content, f"{key} has other bytes"

    def check(
        self, facts: Facts, calls: Sequence[Call], steers: Sequence[Steer], step: Step, now: float
    ) -> None:
        """Take in what has happened, and hold it against what is there."""
        by_turn = {call.turn_id: call for call in calls}
        self._learn(facts, step, now)
        for call in calls:
            if _spoke(facts, call):
                self._promise(call.links, facts, call.turn_id, now, fresh=not call.seen)
        for steer in steers:
            taken = [key for key in steer.links if _took(facts, steer, key)]
            self._promise(taken, facts, steer.turn_id, now, fresh=not steer.seen)
        self._check_told(facts, calls)
        self._check_cleared(facts, calls)
        in_doubt = self._check_files(facts, by_turn, steers, step)
        _check_figures(facts, step)
        self._check_cap(facts, step)
        if not in_doubt:
            self._check_owed(facts, calls)
        self.on_disk = facts.on_disk
        for call in calls:
            call.seen = call.spoke
        for steer in steers:
            steer.seen = steer.decided.is_set()

    # -- what has happened --------------------------------------------------------------------

    def _learn(self, facts: Facts, step: Step, now: float) -> None:
        seen: dict[FileKey, list[tuple[str, str | None]]] = defaultdict(list)
        for message_id, message in facts.messages.items():
            for content, name in zip(self.said[message.key], message.files, strict=True):
                if name is None:
                    continue
                key = (message.session_id, name)
                file = self.files.setdefault(key, File(content))
                assert file.content == content, f"{key} is the file of other bytes"
                seen[key].append((message_id + message.state, message.turn_id))
        for key, states in seen.items():
            file = self.files[key]
            if file.seen_as != tuple(states):
                file.seen_as, file.touched = tuple(states), now
        for file in self.files.values():
            if file.content in step.tried:  # also by a message that was then not accepted
                file.touched = now

    def _promise(
        self, links: Iterable[FileKey], facts: Facts, turn_id: str, now: float, *, fresh: bool
    ) -> None:
        for key in links:
            file = self.files[key]
            file.promised = True
            if fresh:
                file.used = file.touched = now
                file.epoch = facts.turns[turn_id].epoch

    # -- whose each file is -------------------------------------------------------------------

    def _check_files(
        self, facts: Facts, by_turn: dict[str, Call], steers: Sequence[Steer], step: Step
    ) -> bool:
        """Each file has one owner, and is there, or is not, as that says (H1, H2, H4, H6, M4)."""
        flying, doubtful = self._in_flight(facts, by_turn, steers)
        strangers = set(facts.disk) - set(self.files)
        assert not strangers, f"on disk, and of no message: {strangers}"
        gone_now = []
        for key, file in self.files.items():
            row = facts.blobs.get(key)
            evicted = row.evicted if row is not None else file.evicted
            here = key in facts.disk
            if key not in doubtful:
                self._check_file(facts, key, file, in_flight=key in flying, evicted=evicted)
                if evicted and not file.evicted:
                    assert file.promised, f"{key} was evicted before it was handed over"
                    heard = any(key in call.links and not call.seen for call in by_turn.values())
                    taken = any(key in steer.links and not steer.seen for steer in steers)
                    assert heard or taken or not (file.in_flight and key in flying), (
                        f"{key} was evicted in flight"
                    )
            if evicted and not file.evicted:
                gone_now.append(key)
            file.evicted, file.in_flight = evicted, key in flying - doubtful
            file.here = here
        self._check_evictions(gone_now, step)
        contents = [(session, content) for (session, _), content in facts.disk.items()]
        assert len(contents) == len(set(contents)), "the same bytes are twice in one session (M4)"
        return bool(doubtful)

    def _check_file(
        self, facts: Facts, key: FileKey, file: File, *, in_flight: bool, evicted: bool
    ) -> None:
        active, here = facts.sessions[key[0]].active, key in facts.disk
        if not active:
            assert not here, f"{key} outlives its session"
        elif in_flight:
            assert here or evicted, f"{key} is in flight and gone"
        elif file.promised:
            assert here or evicted, f"{key} was promised to an agent, and is gone"
        else:
            assert not here, f"{key} was never handed over, and outlives its message"
        assert not (here and evicted), f"{key} counts as evicted and is there"
        row, indexed = facts.blobs.get(key), facts.index.get(key)
        assert (indexed is not None) == here, f"{key}: the index says otherwise: {indexed}"
        assert (row is not None and not row.evicted) == here, (
            f"{key}: the rows say otherwise: {row}"
        )
        if row is None or indexed is None:
            return
        assert facts.disk[key] == file.content, f"{key} has other bytes"
        assert (row.hash, row.size, indexed.size) == (
            digest(file.content),
            len(file.content),
            len(file.content),
        )
        assert row.handed == file.promised, f"{key}: handed over: {row.handed}, {file}"
        owner = Owner.IN_FLIGHT if in_flight else Owner.SESSION
        assert indexed.owner is owner, f"{key} is {owner}, and {indexed.owner} for the index"

    def _in_flight(
        self, facts: Facts, by_turn: dict[str, Call], steers: Sequence[Steer]
    ) -> tuple[set[FileKey], set[FileKey]]:
        """The files in flight, and those of which that cannot be told yet."""
        flying: set[FileKey] = set()
        doubtful: set[FileKey] = set()
        for call in by_turn.values():
            if _spoke(facts, call) is None:
                doubtful.update(call.links)
        for message_id, message in facts.messages.items():
            names = {name for name in message.files if name is not None}
            if message.state == "claimed" and _answered(
                facts, message_id, message, by_turn, steers
            ):
                names &= message.heard  # the text was handed over, and the sound goes with it (H5)
            elif not message.waits and message.state != "claimed":
                continue
            flying.update((message.session_id, name) for name in names)
        return flying, doubtful

    # -- what is evicted ----------------------------------------------------------------------

    def _check_evictions(self, gone: Sequence[FileKey], step: Step) -> None:
        """Only as much as was needed, and what was used longest ago first (M5)."""
        if not gone:
            return
        in_vain = step.refused and step.number == 1 == step.works
        assert not in_vain, f"{gone} were evicted for a file that did not fit all the same"
        sizes = [len(self.files[key].content) for key in gone]
        needed = self.on_disk + step.taken_in + step.reserved - step.lowest_cap
        assert sum(sizes) - max(sizes) < needed, f"{gone} were evicted for {needed} bytes"
        youngest = max(self.files[key].used for key in gone)
        for key, file in self.files.items():
            if file.here and file.promised and not file.in_flight:
                assert file.touched >= youngest, f"{key} was used before what was evicted"

    def _check_cap(self, facts: Facts, step: Step) -> None:
        """Over the cap is only what is in flight, since before the cap was lowered (M3, M5)."""
        total = facts.on_disk + facts.reserved
        allowed = max(step.highest_cap, self.counted)
        assert total <= allowed, f"{total} bytes were taken in, and {allowed} were allowed"
        self.counted = total
        assert total <= step.cap or not facts.evictable, (
            f"{total} bytes of {step.cap}, and {facts.evictable} of them may go"
        )

    # -- what was cleared ---------------------------------------------------------------------

    def _check_cleared(self, facts: Facts, calls: Sequence[Call]) -> None:
        """What waited when the queue was cleared neither waits nor runs any more (H3), unless its
        agent had begun in that moment, or its turn was cut off.
        """
        for message_id, prompts in self.cleared.items():
            turns = [call.turn_id for call in calls[:prompts] if message_id in call.message_ids]
            turns.append(facts.pending.get(message_id) or "")
            had = [facts.turns[each] for each in turns if each in facts.turns]
            if not any(turn.begun or turn.state == "interrupted" for turn in had):
                assert message_id not in facts.pending, f"{message_id} waits, and was cleared"
                again = any(message_id in call.message_ids for call in calls[prompts:])
                assert not again, f"{message_id} runs, and was cleared"

    # -- what the agent is told ---------------------------------------------------------------

    def _check_told(self, facts: Facts, calls: Sequence[Call]) -> None:
        """Each prompt names what was evicted since the last one that was answered (M9)."""
        for call in calls:
            session, turn = call.session_id, facts.turns.get(call.turn_id)
            if not call.read:
                call.read = True
                wrong = {key for key in call.named_as_gone if not _is_evicted(facts, key)}
                assert not wrong, f"the agent was told that {wrong} are gone"
                again = call.named_as_gone & self.told
                assert not again, f"the agent was told twice of {again}"
                if turn is not None and self.epochs.get(session) == turn.epoch:
                    missing = self.owed[session] - self.told - self.perhaps - call.named_as_gone
                    assert not missing, f"the agent was not told that {missing} are gone"
            if turn is not None and turn.begun and turn.state == "interrupted":
                self.perhaps |= call.named_as_gone  # it was cut off, and runs again
            elif turn is not None and turn.begun and turn.state != "running":
                self.told |= call.named_as_gone

    def _check_owed(self, facts: Facts, calls: Sequence[Call]) -> None:
        """Note what the next prompts have to name."""
        self.epochs = {name: session.epoch for name, session in facts.sessions.items()}
        self.owed = defaultdict(set)
        for key, file in self.files.items():
            current = self.epochs[key[0]] == file.epoch
            if file.evicted and key not in self.told and current:
                self.owed[key[0]].add(key)


def _is_evicted(facts: Facts, key: FileKey) -> bool:
    row = facts.blobs.get(key)
    return row is not None and row.evicted


def _spoke(facts: Facts, call: Call) -> bool | None:
    """Whether the agent had spoken before the turn was called off; None: that shows in the end."""
    if call.doubtful:
        turn = facts.turns.get(call.turn_id)
        return None if turn is not None and turn.state == "running" else bool(turn and turn.begun)
    return call.spoke and not call.withdrawn


def _took(facts: Facts, steer: Steer, key: FileKey) -> bool:
    """Whether an agent has confirmed a message with a file."""
    if steer.doubtful:
        return key in facts.blobs and facts.blobs[key].handed
    return steer.taken and not steer.too_late


def _answered(
    facts: Facts,
    message_id: str,
    message: Message,
    by_turn: dict[str, Call],
    steers: Sequence[Steer],
) -> bool:
    """Whether a claimed message is one that the agent has begun to answer."""
    call = by_turn.get(message.turn_id or "")
    if call is None:
        return False
    if message_id in call.message_ids:
        return bool(_spoke(facts, call))
    return any(
        _took(facts, steer, key)
        for steer in steers
        if steer.turn_id == message.turn_id and steer.key == message.key
        for key in steer.links
    )


def _check_figures(facts: Facts, step: Step) -> None:
    """Bytes on disk are the bytes of the index; nothing is reserved for nobody (M3, M7)."""
    assert set(facts.index) == set(facts.disk)
    assert facts.on_disk == sum(len(content) for content in facts.disk.values())
    assert step.reserved_least <= facts.reserved <= step.reserved
    assert facts.unfinished == step.unfinished, f"{facts.unfinished} unfinished files"
    owners = [each.size for each in facts.index.values() if each.owner is Owner.SESSION]
    assert facts.evictable == sum(owners)
    closed = {name for name, session in facts.sessions.items() if not session.active}
    left = facts.folders & closed
    assert not left, f"closed sessions left folders: {left}"
