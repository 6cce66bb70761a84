"""One run: a crowd, a process that is killed again and again, as its agents are, and the account in
the end.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from tests.crash import accounting, crowd
from tests.crash.accounting import Violation
from tests.crash.agents import Agents, Living
from tests.crash.connections import Disconnected, Line, Refused
from tests.crash.crowd import Person
from tests.crash.evidence import Evidence, collect, missing_in_flight
from tests.crash.ledger import Ledger
from tests.crash.processes import DidNotRun, RuntimeProcess

CONNECTIONS = 6
SETTLE_LIMIT = 180.0
IN_STEP_LIMIT = 60.0
LOOK_EVERY = 0.1

WHILE_STARTING = 0.25
"""How many of the kills come before anybody knows whether the runtime serves."""

STARTING = (0.0, 1.0)
SERVING = (0.05, 2.0)

_TRACEBACK = re.compile(r"Traceback \(most recent call last\)")


class Plan(msgspec.Struct, frozen=True):
    """What a run is made from: the same plan, the same dice."""

    seed: int
    kills: int
    people: int = 30


class Report(msgspec.Struct, frozen=True):
    """What became of it."""

    seed: int
    kills: int
    killed_while_starting: int
    said: int
    accepted: int
    refused: int
    never_heard_of: int
    answered: int
    cancelled: int
    failed: int
    withdrawn: int
    run_again: int
    steered: int
    sent_again: int
    duplicates_refused: int
    agents_killed: int
    agents_outlived: int
    failed_starts: int
    reconnects: int
    transcript_lines: int
    pictures_said: int
    pictures_kept: int
    seconds: float
    violations: tuple[Violation, ...]


class Place:
    """The folder of a run: one runtime after the other works there.

    ``outlived`` is how many agents, and processes of theirs, a killed runtime has left behind.
    """

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "runtime.log"
        self.agents = Agents(folder)
        self.outlived = 0
        self._settings = folder / "runtime.toml"
        self._settings.write_text(crowd.SETTINGS + self.agents.settings)
        self.log.touch()

    @asynccontextmanager
    async def runtime(self) -> AsyncIterator[RuntimeProcess]:
        """Start one, which does not outlive the block."""
        process = await RuntimeProcess.start(self.data_dir, self._settings, self.log)
        try:
            yield process
        finally:
            process.end()

    async def kill(self, process: RuntimeProcess) -> None:
        """SIGKILL, and a look at who lives on."""
        await process.kill()
        self.outlived += len(self.agents.living())

    async def in_flight(self) -> list[Violation]:
        """While no runtime works here: what waits has its files."""
        if not (self.data_dir / "runtime.db").exists():
            return []
        missing = await trio.to_thread.run_sync(missing_in_flight, self.data_dir)
        return [Violation(what, "after a kill") for what in missing]

    async def serving(self, process: RuntimeProcess, earlier: set[Living]) -> list[Violation]:
        """Wait until it serves; then nobody of those who lived before it may live."""
        await process.serving()
        return self.agents.left_of(earlier, "after a new start")


async def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> Report:
    """Run a plan in an empty folder."""
    started = time.monotonic()
    ledger = Ledger()
    place = Place(folder)
    lines = [Line(place.data_dir) for _ in range(CONNECTIONS)]
    people = crowd.gather(plan.seed, plan.people, lines, ledger)
    early = 0
    wrong: list[Violation] = []
    try:
        async with trio.open_nursery() as nursery:
            for line in lines:
                nursery.start_soon(line.run)
            enough = trio.Event()
            done = trio.Event()
            nursery.start_soon(_talk, people, enough, done)
            early = await _kill(plan, place, say, wrong)
            enough.set()
            wrong += await _settle(people, done, place, say)
            nursery.cancel_scope.cancel()
    except* (DidNotRun, Disconnected, Refused, trio.TooSlowError) as group:
        wrong += [Violation(repr(error), "the run was cut short") for error in _leaves(group)]
    finally:
        wrong += place.agents.left_of(place.agents.living(), "at the end")
        place.agents.end()
    evidence = await trio.to_thread.run_sync(collect, place.data_dir)
    account = accounting.account(ledger, evidence)
    wrong += account.violations
    wrong += _logged(place.log)
    seconds = time.monotonic() - started
    return _report(plan, ledger, evidence, account.fates, place, early, seconds, wrong)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def _talk(people: list[Person], enough: trio.Event, done: trio.Event) -> None:
    await crowd.talk_all(people, enough)
    done.set()


async def _kill(
    plan: Plan, place: Place, say: Callable[[str], None], wrong: list[Violation]
) -> int:
    """Start it and kill it, so often, and its agents meanwhile; how many kills came while it
    started.
    """
    choose = random.Random(f"{plan.seed}/kills")
    early = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.agents.kill_some, random.Random(f"{plan.seed}/agents"))
        for number in range(1, plan.kills + 1):
            earlier = place.agents.living()
            async with place.runtime() as process:
                if choose.random() < WHILE_STARTING:
                    early += 1
                    await trio.sleep(choose.uniform(*STARTING))
                else:
                    wrong += await place.serving(process, earlier)
                    await trio.sleep(choose.uniform(*SERVING))
                await place.kill(process)
            wrong += await place.in_flight()
            if number % 10 == 0 or number == plan.kills:
                say(f"seed {plan.seed}: {number} of {plan.kills} kills")
        nursery.cancel_scope.cancel()
    return early


async def _settle(
    people: list[Person], done: trio.Event, place: Place, say: Callable[[str], None]
) -> list[Violation]:
    """Let everything come to its end, look at it as a client, and stop in good order."""
    earlier = place.agents.living()
    async with place.runtime() as process:
        wrong = await place.serving(process, earlier)
        with trio.move_on_after(SETTLE_LIMIT) as patience:
            await done.wait()
            say("everything that was said is decided; waiting for the last answers")
            read = {person.session_id: await person.settled() for person in people}
            wrong += _as_a_client_sees_it(read, await _in_step(place.data_dir))
        if patience.cancelled_caught:
            undecided = sum(person.undecided for person in people)
            what = f"it did not settle within {SETTLE_LIMIT:g} s; {undecided} messages undecided"
            wrong.append(Violation(what, "the runtime"))
        code = await process.stop()
        if code != 0:
            wrong.append(Violation(f"it stopped with exit code {code}", "the process"))
    return wrong


async def _in_step(data_dir: Path) -> Evidence:
    """Wait until the transcript files have what the journal has, and until what nobody wants is
    removed; the account says what they lack.
    """
    evidence = await trio.to_thread.run_sync(collect, data_dir)
    with trio.move_on_after(IN_STEP_LIMIT):
        while any(accounting.transcripts(evidence)) or any(accounting.files(evidence)):
            await trio.sleep(LOOK_EVERY)
            evidence = await trio.to_thread.run_sync(collect, data_dir)
    return evidence


def _as_a_client_sees_it(
    read: dict[str, list[dict[str, Any]]], evidence: Evidence
) -> list[Violation]:
    """The transcript through the gateway, line by line."""
    wrong = []
    for session_id, events in read.items():
        seen = [(event["seq"], event["id"], event["content"]) for event in events]
        kept = [(line.seq, line.id, line.content) for line in evidence.journal[session_id]]
        if seen != kept:
            what = f"a client sees {len(seen)} lines, not the {len(kept)} that are kept"
            wrong.append(Violation(what, f"session {session_id}", (seen, kept)))
    return wrong


def _logged(log: Path) -> list[Violation]:
    """Tracebacks of the runtime."""
    text = log.read_text(errors="replace")
    found = list(_TRACEBACK.finditer(text))
    if not found:
        return []
    start = found[0].start()
    excerpt = text[max(0, start - 500) : start + 3_000]
    return [Violation(f"it wrote {len(found)} tracebacks", "the log", (excerpt,))]


def _report(
    plan: Plan,
    ledger: Ledger,
    evidence: Evidence,
    fates: dict[str, int],
    place: Place,
    early: int,
    seconds: float,
    wrong: list[Violation],
) -> Report:
    sent = ledger.sent.values()
    refused = sum(each.refused for each in sent)
    accepted = sum(1 for _ in ledger.accepted())
    return Report(
        seed=plan.seed,
        kills=plan.kills,
        killed_while_starting=early,
        said=len(sent),
        accepted=accepted,
        refused=refused,
        never_heard_of=len(sent) - accepted - refused,
        answered=fates.get("answered", 0),
        cancelled=fates.get("cancelled", 0),
        failed=fates.get("failed", 0),
        withdrawn=fates.get("withdrawn", 0),
        run_again=sum(row.tries > 0 for row in evidence.rows),
        steered=evidence.steered,
        sent_again=sum(max(0, each.attempts - 1) for each in sent),
        duplicates_refused=sum(each.duplicates for each in sent),
        agents_killed=place.agents.killed,
        agents_outlived=place.outlived,
        failed_starts=place.log.read_text(errors="replace").count("agent_start_failed"),
        reconnects=ledger.reconnects,
        transcript_lines=sum(map(len, evidence.journal.values())),
        pictures_said=sum(each.image is not None for each in sent),
        pictures_kept=len(evidence.on_disk),
        seconds=round(seconds, 1),
        violations=tuple(wrong),
    )
