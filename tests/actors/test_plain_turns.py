"""A turn of words alone costs what words cost: nothing for files, nothing twice (D1, J2, M7)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from actors import janitor
from runtime.app import open_runtime
from runtime.settings import Settings, StorageSettings
from runtime.storage.engine import Transaction
from tests.actors.outbox_stage import until
from tests.actors.stage import HandAgent

TURNS = 5


def name_of(work: Callable[..., object]) -> str:
    while isinstance(work, partial):
        work = work.func
    return work.__name__


class Costs:
    """What was run meanwhile: statements, and functions in threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        self.in_threads: list[str] = []
        execute, run_sync = Transaction._execute, trio.to_thread.run_sync

        def executed(transaction: Transaction, sql: str, values: tuple[Any, ...]) -> Any:
            self.statements.append(sql)
            return execute(transaction, sql, values)

        async def handed_over(work: Any, *arguments: Any, **options: Any) -> Any:
            self.in_threads.append(name_of(work))
            return await run_sync(work, *arguments, **options)

        monkeypatch.setattr(Transaction, "_execute", executed)
        monkeypatch.setattr(trio.to_thread, "run_sync", handed_over)


async def test_words_alone_do_not_pay_for_files_or_for_the_same_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # D1 J2 M7
    monkeypatch.setattr(janitor, "LOOK_EVERY", 3_600.0)
    settings = Settings(storage=StorageSettings(data_dir=tmp_path))
    async with open_runtime(settings, agents={"echo": HandAgent(hold=False)}) as rt:
        session = await rt.session("demo")
        await (await session.prompt("hello")).result()  # wakes the session, and opens the agent
        await until(lambda: lines_in(tmp_path) == 2)
        costs, commits = Costs(monkeypatch), commits_of(rt.front.metrics())
        for number in range(TURNS):
            turn = await session.prompt(f"words {number}")
            async for _ in turn:
                pass
            assert (await turn.result()).text == f"echo: words {number}"
        assert commits_of(rt.front.metrics()) - commits == 3 * TURNS
    assert not [sql for sql in costs.statements if "blobs" in sql or "outbound" in sql]
    assert costs.in_threads.count("append_next") == TURNS
    assert "_read" not in costs.in_threads  # of a row
    assert costs.in_threads.count("_look") <= 1  # into outboxes, after the first turn


def commits_of(metrics: bytes) -> int:
    """How many transactions were committed."""
    (line,) = (each for each in metrics.splitlines() if b"commit_seconds_count" in each)
    return int(float(line.split()[-1]))


def lines_in(data_dir: Path) -> int:
    """How many lines all transcript files have."""
    return sum(len(path.read_bytes().splitlines()) for path in data_dir.rglob("transcript-*.jsonl"))
